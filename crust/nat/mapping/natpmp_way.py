"""NAT-PMP towards one router, sans-IO: the outer address to find it and its restarts, a request for each port."""

from __future__ import annotations

from collections.abc import Sequence

from ... import limits
from ...exceptions import MalformedMessage
from . import natpmp
from .exchange import Exchanges
from .layers import usable_ipv4
from .ways import (
    Absent,
    Ask,
    Epoch,
    Granted,
    Ready,
    Refusal,
    Refused,
    Removed,
    Restarted,
    Wanted,
    Way,
    WayState,
)

__all__ = ["NatPmpWay"]

_PROBE = "probe"
_WORDS = {
    natpmp.Result.UNSUPPORTED_VERSION: "it speaks another version",
    natpmp.Result.NOT_AUTHORIZED: "port mapping is switched off in it",
    natpmp.Result.NETWORK_FAILURE: "it has no connection itself",
    natpmp.Result.OUT_OF_RESOURCES: "it has no room for more mappings",
    natpmp.Result.UNSUPPORTED_OPCODE: "it does not map this transport protocol",
}


class NatPmpWay(Way):
    """A router's table by the questions of RFC 6886. The router chooses another outer port if ours is taken."""

    name = "natpmp"
    title = "NAT-PMP"

    def __init__(self) -> None:
        super().__init__()
        self._exchanges = Exchanges()
        self._asks: dict[Wanted, tuple[Ask, bool]] = {}  # and whether it is a removal
        self._epoch = Epoch()
        self._queue: list[bytes] = []

    def probe(self, now: float) -> None:
        self._ask_address(now, limits.MAPPING_PROBES)

    def check(self, held: Sequence[Ask], now: float) -> None:
        if held:
            self._ask_address(now, 2)

    def _ask_address(self, now: float, sends: int) -> None:
        data = natpmp.build_natpmp(natpmp.AddressRequest())
        self._exchanges.add(_PROBE, data, now, sends=sends, interval=limits.MAPPING_RESEND)

    def ask(self, ask: Ask, now: float) -> None:
        wanted = ask.wanted
        request = natpmp.MapRequest(wanted.protocol, wanted.port, ask.external, ask.lifetime)
        self._replace(wanted, ask, False)
        data = natpmp.build_natpmp(request)
        self._exchanges.add(wanted, data, now, sends=limits.MAPPING_SENDS, interval=limits.MAPPING_RESEND)

    def remove(self, ask: Ask, now: float) -> None:
        wanted = ask.wanted
        self._replace(wanted, ask, True)
        data = natpmp.build_natpmp(natpmp.MapRequest(wanted.protocol, wanted.port, 0, 0))
        sends, interval = limits.MAPPING_REMOVE_SENDS, limits.MAPPING_REMOVE_RESEND
        self._exchanges.add(wanted, data, now, sends=sends, interval=interval)

    def _replace(self, wanted: Wanted, ask: Ask, is_removal: bool) -> None:
        """What is asked about a port of ours. A removal on its way is settled by that: a router has one line for it."""
        old, was_removal = self._asks.get(wanted, (ask, False))
        if was_removal and (old, was_removal) != (ask, is_removal):
            self._found(Removed(old, True))
        self._asks[wanted] = (ask, is_removal)

    # --- answers ------------------------------------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> None:
        """A datagram from the router's port."""
        try:
            message = natpmp.parse_natpmp_untrusted(data)
        except MalformedMessage:
            return
        if isinstance(message, natpmp.AddressResponse):
            self._exchanges.answered(_PROBE)
            self._heard(message.epoch, now)
            external_ip = usable_ipv4(message.external_ip)
            if self.state is not WayState.READY or (external_ip and external_ip != self.external_ip):
                self._found(Ready(external_ip))
        elif isinstance(message, natpmp.MapResponse):
            self._mapped(message, now)
        elif isinstance(message, natpmp.Error):
            self._failed(message)

    def _mapped(self, message: natpmp.MapResponse, now: float) -> None:
        wanted = Wanted(message.protocol, message.internal)
        ask, is_removal = self._asks.get(wanted, (None, False))
        if ask is None or is_removal != (message.lifetime == 0):
            return
        self._heard(message.epoch, now)
        self._exchanges.answered(wanted)
        del self._asks[wanted]
        if is_removal:
            self._found(Removed(ask, True))
        elif not message.external:
            self._found(Refused(ask, Refusal.OTHER, "it agreed to a mapping that leads nowhere"))
        elif message.lifetime <= limits.MAPPING_RENEW_MIN:  # over before it may be renewed: it would come and go
            self._found(Refused(ask, Refusal.OTHER, f"it opens ports for {message.lifetime} s only"))
        else:
            self._found(Granted(ask, message.external, message.lifetime, self.external_ip))

    def _failed(self, message: natpmp.Error) -> None:
        known = natpmp.Result(message.result) if message.result in set(natpmp.Result) else None
        reason = f"error {message.result}" if known is None else _WORDS.get(known, f"error {message.result}")
        if message.opcode == natpmp.ADDRESS:
            # That is also how it answers what it takes for another version: a question of PCP's.
            if message.result != natpmp.Result.UNSUPPORTED_VERSION and self._exchanges.answered(_PROBE):
                self._gone(reason)
            return
        protocol = "tcp" if message.opcode == natpmp.MAP_TCP else "udp"
        for wanted, (ask, is_removal) in list(self._asks.items()):  # it does not say which
            if wanted.protocol == protocol:
                self._exchanges.answered(wanted)
                del self._asks[wanted]
                self._found(Removed(ask, False) if is_removal else Refused(ask, Refusal.OTHER, reason))

    def _heard(self, epoch: int, now: float) -> None:
        if self._epoch.restarted(epoch, now, pcp=False):
            self._found(Restarted())

    def unreachable(self) -> None:
        """Nobody is at the router's port."""
        self._gone("the router has no such service")

    def _gone(self, reason: str) -> None:
        self._exchanges.clear()
        asks, self._asks = self._asks, {}
        if self.state is not WayState.ABSENT:
            self._found(Absent(reason))
        for ask, is_removal in asks.values():
            self._found(Removed(ask, False) if is_removal else Refused(ask, Refusal.NO_ANSWER, reason))

    # --- time ---------------------------------------------------------------------------------------------------------

    def get_timer(self) -> float | None:
        return self._exchanges.get_timer()

    def handle_timer(self, now: float) -> None:
        datagrams, expired = self._exchanges.poll(now)
        self._queue += datagrams
        for key in expired:
            if key == _PROBE:
                if self.state is WayState.UNKNOWN:
                    self._gone("no answer")
            elif isinstance(key, Wanted):
                ask, is_removal = self._asks.pop(key)
                reason = "no answer"
                self._found(Removed(ask, False) if is_removal else Refused(ask, Refusal.NO_ANSWER, reason))

    def datagrams(self) -> list[bytes]:
        """What is to be sent to the router's port now."""
        found, self._queue = self._queue, []
        return found
