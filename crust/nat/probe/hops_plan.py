"""
The first routers on the way out: who they are tells whether there is a second translator behind our own. No I/O.

Datagrams that may pass few routers are sent, as traceroute does; each router that drops one says so by ICMP, from its
address on our side. A carrier that translates numbers its customers out of 100.64.0.0/10 (RFC 6598); a second home
router has a private address as well.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from ... import limits
from ..stun.message import Class, Message
from .actions import Close, Open
from .asking import AskingPlan
from .servers import Server

__all__ = ["HopsPlan"]


class HopsPlan(AskingPlan):
    """
    IPv4. Not thread-safe.

    Args:
        server: Towards whom; its answers are not needed.
        random_bytes: Source of randomness.
    """

    protocol = "hops"
    family = 4

    def __init__(self, server: Server, random_bytes: Callable[[int], bytes]) -> None:
        super().__init__(random_bytes)
        self.servers = (server,)
        self._found: dict[int, str] = {}
        self._slots: list[str] = []

    def begin(self, now: float) -> None:
        """Send one for each distance."""
        self._begun = True
        address = self.servers[0].address
        for distance in range(1, limits.PROBE_HOPS + 1):
            slot = f"hop{distance}"
            self._slots.append(slot)
            self._actions.append(Open(slot, address, hops=distance))
            self._questions.ask(
                ("hop", distance), slot, address, now, limits.PROBE_SCHEDULE, Message(Class.REQUEST, b"")
            )
        self.handle_timer(now)

    def opened(self, slot: str, local: tuple[str, int], now: float) -> None:
        """A socket stands."""

    def failed(self, slot: str, reason: str, now: float) -> None:
        """A socket could not be made: that distance stays unknown."""
        self._questions.give_up(("hop", int(slot[3:])))

    def received(self, slot: str, data: bytes, source: tuple[str, int], now: float) -> None:
        """It came all the way: there is no router at that distance."""
        self._questions.give_up(("hop", int(slot[3:])))

    def reported(self, slot: str, reporter: str, now: float) -> None:
        """A router dropped a datagram of that socket."""
        if reporter and reporter != self.servers[0].address[0]:
            self._found.setdefault(int(slot[3:]), reporter)
        self._questions.give_up(("hop", int(slot[3:])))

    @property
    def hops(self) -> tuple[str, ...]:
        """Addresses of the routers, nearest first; empty where one keeps silent."""
        return tuple(self._found.get(distance, "") for distance in range(1, max(self._found, default=0) + 1))

    @property
    def second_translator(self) -> str:
        """
        The address of a router beyond the first that stands in a carrier's or a private network; empty: none seen.

        Only where there is translation at all does that say anything.
        """
        for hop in self.hops[1:]:
            if hop and not ipaddress.ip_address(hop).is_global:
                return hop
        return ""

    def close(self) -> None:
        """Close all sockets."""
        self._actions.extend(Close(slot) for slot in self._slots)
