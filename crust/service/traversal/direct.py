"""
Dials to the places that a peer names, from fresh ports: whoever answers those takes strangers, and there is no hole to
be punched. Both ends do this at once, so whichever can be reached is (connection reversal).

They are few and short: what is sent counts against the peer's allowance.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable

from ... import limits
from ...addresses import Endpoint
from ...nat.punch.allowance import Allowance
from ...peers.race import Candidate
from ...transports.contract import Connection, Dialling, Transport
from ...wire.frames import Place, TransportCode

__all__ = ["candidates_of", "endpoint_of", "fresh_utp"]


def endpoint_of(place: Place) -> Endpoint:
    """A place as an endpoint."""
    return Endpoint("tcp" if place.transport is TransportCode.TCP else "utp", *place.address)


def candidates_of(
    places: Iterable[Place], tried: set[Endpoint], allowance: Allowance, transports: dict[str, Transport]
) -> list[Candidate]:
    """
    What to dial now, best first.

    Args:
        places: Where the peer may be, best first.
        tried: What has been dialled in this attempt; more is added.
        allowance: What may be sent to those places.
        transports: Those that this node uses.
    """
    found: list[Candidate] = []
    for place in places:
        endpoint = endpoint_of(place)
        transport = transports.get(endpoint.transport)
        if transport is None or endpoint in tried or len(tried) >= limits.DIRECT_DIALS_MAX:
            continue
        take = _toll(place, allowance)
        if not take():
            continue
        tried.add(endpoint)
        found.append(Candidate(endpoint, prepare=_prepare(transport, endpoint, place.is_open, take)))
    return found


def _toll(place: Place, allowance: Allowance) -> Callable[[], bool]:
    """Whether one more dial may go there."""
    is_tcp = place.transport is TransportCode.TCP
    take, packets = (allowance.syn, limits.DIRECT_SYNS) if is_tcp else (allowance.probe, limits.DIRECT_PROBES)
    return lambda: take(place.address[0], packets)


def _prepare(
    transport: Transport, endpoint: Endpoint, is_open: bool, take: Callable[[], bool]
) -> Callable[[float], Dialling]:
    """µTP leaves from the listening socket where strangers are let in anyhow; else that would be a punch."""
    paid = [True]  # for the first dial; each later one is under another of the network's secrets

    def prepare(timeout: float) -> Dialling:
        if not paid and not take():
            return _Refused(endpoint)
        paid.clear()
        seconds = min(timeout, limits.DIRECT_DIAL_TIMEOUT)
        if is_open or endpoint.transport == "tcp":  # TCP dials leave from fresh ports as a rule
            return transport.dialling(endpoint, seconds)
        return fresh_utp(transport, endpoint, seconds)

    return prepare


class _Refused:
    """A :class:`crust.transports.contract.Dialling` that sends nothing."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    def run(self) -> Connection:
        """See the contract."""
        raise OSError(errno.EPERM, "no more packets may go there", str(self.endpoint))

    def cancel(self) -> None:
        """See the contract."""


def fresh_utp(transport: Transport, endpoint: Endpoint, seconds: float) -> Dialling:
    from ...transports.utp.transport import UtpTransport  # whoever uses µTP has loaded it

    if not isinstance(transport, UtpTransport):
        return transport.dialling(endpoint, seconds)
    hub = transport.fresh(endpoint.family or 4)
    try:
        return transport.dialling_over(hub, (endpoint.host, endpoint.port), seconds)
    finally:
        hub.release()
