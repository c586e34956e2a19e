"""PCP towards one router, sans-IO: ANNOUNCE to find it and its restarts, MAP for each port."""

from __future__ import annotations

from ... import limits
from ...exceptions import MalformedMessage
from . import natpmp, pcp
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

__all__ = ["PcpEpoch", "PcpWay"]

_PROTOCOLS = {"tcp": pcp.Protocol.TCP, "udp": pcp.Protocol.UDP}
_WORDS = {
    pcp.Result.UNSUPP_VERSION: "it speaks another version",
    pcp.Result.NOT_AUTHORIZED: "it does not allow that: port mapping is switched off in it, or another program has the"
    " port",
    pcp.Result.MALFORMED_REQUEST: "it does not understand the request",
    pcp.Result.UNSUPP_OPCODE: "it does not open ports",
    pcp.Result.NETWORK_FAILURE: "it has no connection itself",
    pcp.Result.NO_RESOURCES: "it has no room for more mappings",
    pcp.Result.UNSUPP_PROTOCOL: "it does not map this transport protocol",
    pcp.Result.USER_EX_QUOTA: "this machine has as many mappings as it may",
    pcp.Result.CANNOT_PROVIDE_EXTERNAL: "it cannot give this port",
    pcp.Result.ADDRESS_MISMATCH: "another NAT stands between this machine and the router that answered",
}
_KINDS = {
    pcp.Result.CANNOT_PROVIDE_EXTERNAL: Refusal.CONFLICT,
    pcp.Result.ADDRESS_MISMATCH: Refusal.BEHIND_NAT,
}


class PcpEpoch(Epoch):
    """RFC 6887 section 8.5."""

    def _is_off(self, ours: float, theirs: int) -> bool:
        if theirs < -1:
            return True
        return ours + 2 < theirs - theirs / 16 or theirs + 2 < ours - ours / 16


class PcpWay(DatagramWay):
    """
    Args:
        client: Our address, as the router sees it on our packets if nothing stands between.
    """

    name = "pcp"
    title = "PCP"

    def __init__(self, client: str) -> None:
        super().__init__(PcpEpoch())
        self._client = client

    def _question(self) -> bytes:
        return pcp.build_pcp(pcp.AnnounceRequest(self._client))

    def ask(self, ask: Ask, now: float) -> None:
        self._map((ask.wanted, False), ask, ask.lifetime, now, limits.MAPPING_SENDS, limits.MAPPING_RESEND)

    def remove(self, ask: Ask, now: float) -> None:
        self._exchanges.answered((ask.wanted, False))
        self._asks.pop((ask.wanted, False), None)
        key = (ask.wanted, True)
        self._map(key, ask, 0, now, limits.MAPPING_REMOVE_SENDS, limits.MAPPING_REMOVE_RESEND)

    def _map(
        self, key: tuple[Wanted, bool], ask: Ask, lifetime: int, now: float, sends: int, interval: float
    ) -> None:
        wanted = ask.wanted
        protocol = _PROTOCOLS[wanted.protocol]
        request = pcp.MapRequest(self._client, lifetime, ask.nonce, protocol, wanted.port, ask.external)
        old, is_removal = self._asks.get(key, (ask, key[1]))
        if is_removal and old != ask:  # such as two that crashes left, with nonces of their own: one at a time
            self._found(Removed(old, False))
        self._asks[key] = ask, key[1]
        self._exchanges.add(key, pcp.build_pcp(request), now, sends=sends, interval=interval)

    # --- answers ------------------------------------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> None:
        """A datagram from the router's port."""
        try:
            message = pcp.parse_pcp_untrusted(data)
        except MalformedMessage:
            self._receive_other(data)
            return
        if isinstance(message, pcp.AnnounceResponse):
            if message.result == pcp.Result.UNSUPP_VERSION:
                return  # of our version: so a router without NAT-PMP answers NAT-PMP's question
            self._exchanges.answered(PROBE)
            self._heard(message.epoch, now)
            # An error is an answer too: whoever does not know ANNOUNCE may know MAP.
            if self.state is not WayState.READY:
                self._found(Ready(""))
        elif isinstance(message, pcp.MapResponse):
            self._mapped(message, now)
        elif isinstance(message, pcp.Rejection):
            self._rejected(message, now)

    def _receive_other(self, data: bytes) -> None:
        """A router that speaks NAT-PMP alone says so in its own format (RFC 6887 appendix A)."""
        try:
            message = natpmp.parse_natpmp_untrusted(data)
        except MalformedMessage:
            return
        if isinstance(message, natpmp.Error) and message.result == natpmp.Result.UNSUPPORTED_VERSION:
            self._gone("it speaks NAT-PMP only")

    def _mapped(self, message: pcp.MapResponse, now: float) -> None:
        wanted = Wanted("tcp" if message.protocol is pcp.Protocol.TCP else "udp", message.internal)
        # A removal is answered with a lifetime of 0; an error of either kind belongs to the one that waits.
        is_removal = (wanted, False) not in self._asks or (
            message.result == pcp.SUCCESS and not message.lifetime and (wanted, True) in self._asks
        )
        key = (wanted, is_removal)
        ask, _ = self._asks.get(key, (None, False))
        if ask is None or ask.nonce != message.nonce:
            return
        if is_removal and message.result == pcp.SUCCESS and message.lifetime:
            return  # a late answer to what was asked before
        self._heard(message.epoch, now)
        self._settle(key)
        if is_removal:
            self._found(Removed(ask, message.result == pcp.SUCCESS))
        elif message.result != pcp.SUCCESS:
            self._refuse(ask, message.result)
        else:
            self._agreed(ask, message.external, message.lifetime, usable_ipv4(message.external_ip))

    def _rejected(self, message: pcp.Rejection, now: float) -> None:
        self._heard(message.epoch, now)
        if message.result == pcp.Result.UNSUPP_VERSION:
            self._gone("it speaks another version of PCP")
            return
        for key in list(self._asks):  # it does not say which: all that wait
            ask, is_removal = self._settle(key)
            if is_removal:
                self._found(Removed(ask, False))
            else:
                self._refuse(ask, message.result)

    def _refuse(self, ask: Ask, result: int) -> None:
        known = pcp.Result(result) if result in set(pcp.Result) else None
        reason = _WORDS.get(known, f"error {result}") if known is not None else f"error {result}"
        kind = _KINDS.get(known, Refusal.OTHER) if known is not None else Refusal.OTHER
        self._found(Refused(ask, kind, reason))
