"""NAT-PMP towards one router, sans-IO: the outer address to find it and its restarts, a request for each port."""

from __future__ import annotations

from ... import limits
from ...exceptions import MalformedMessage
from . import natpmp
from .datagram_way import PROBE, DatagramWay
from .layers import usable_ipv4
from .ways import (
    Ask,
    Epoch,
    Ready,
    Refusal,
    Refused,
    Removed,
    Wanted,
    WayState,
)

__all__ = ["NatPmpEpoch", "NatPmpWay"]

_WORDS = {
    natpmp.Result.UNSUPPORTED_VERSION: "it speaks another version",
    natpmp.Result.NOT_AUTHORIZED: "port mapping is switched off in it",
    natpmp.Result.NETWORK_FAILURE: "it has no connection itself",
    natpmp.Result.OUT_OF_RESOURCES: "it has no room for more mappings",
    natpmp.Result.UNSUPPORTED_OPCODE: "it does not map this transport protocol",
}


class NatPmpEpoch(Epoch):
    """RFC 6886 section 3.6."""

    def _is_off(self, ours: float, theirs: int) -> bool:
        # Far ahead: this machine slept, and what we had may have run out meanwhile. Not of the RFC.
        return theirs < ours * 7 / 8 - 2 or theirs > ours * 9 / 8 + 60


class NatPmpWay(DatagramWay):
    """A router's table by the questions of RFC 6886. The router chooses another outer port if ours is taken."""

    name = "natpmp"
    title = "NAT-PMP"

    def __init__(self) -> None:
        super().__init__(NatPmpEpoch())

    def _question(self) -> bytes:
        return natpmp.build_natpmp(natpmp.AddressRequest())

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
            asked = self._exchanges.answered(PROBE)
            self._heard(message.epoch, now)
            external_ip = usable_ipv4(message.external_ip)
            # Another address each time, unasked, would have the node tell all of its peers so.
            if self.state is not WayState.READY or (asked and external_ip and external_ip != self.external_ip):
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
        self._settle(wanted)
        if is_removal:
            self._found(Removed(ask, True))
        else:
            self._agreed(ask, message.external, message.lifetime, self.external_ip)

    def _failed(self, message: natpmp.Error) -> None:
        known = natpmp.Result(message.result) if message.result in set(natpmp.Result) else None
        reason = f"error {message.result}" if known is None else _WORDS.get(known, f"error {message.result}")
        if message.opcode == natpmp.ADDRESS:
            # That is also how it answers what it takes for another version: a question of PCP's.
            if message.result != natpmp.Result.UNSUPPORTED_VERSION and self._exchanges.answered(PROBE):
                self._gone(reason)
            return
        protocol = "tcp" if message.opcode == natpmp.MAP_TCP else "udp"
        for wanted, (ask, is_removal) in list(self._asks.items()):  # it does not say which
            if ask.wanted.protocol == protocol:
                self._settle(wanted)
                self._found(Removed(ask, False) if is_removal else Refused(ask, Refusal.OTHER, reason))
