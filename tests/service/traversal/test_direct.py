"""Dials to the places that a peer names: from fresh ports, few, and paid for."""

from __future__ import annotations

from typing import Any, cast

from crust import limits
from crust.addresses import Endpoint
from crust.nat.punch.allowance import Allowance
from crust.service.traversal.direct import candidates_of
from crust.transports.utp.dialling import UtpDialling
from crust.transports.utp.transport import UtpTransport
from crust.wire.frames import Place, PlaceKind, TransportCode
from tests.support.threads import Crew

HOST = "127.0.0.1"


def place(port: int, transport: TransportCode = TransportCode.UTP, *, is_open: bool = False) -> Place:
    return Place(PlaceKind.REFLEXIVE, transport, is_open, (HOST, port))


def test_utp_leaves_from_a_fresh_port_unless_strangers_are_let_in_anyhow() -> None:
    """From the listening port it would open a hole for the answer, and what it reached be no direct path."""
    with Crew() as crew:
        utp = UtpTransport(crew.io, crew.spawn, crew.crashed)
        there, here = utp.listen(Endpoint("utp", HOST, 0)), utp.listen(Endpoint("utp", HOST, 0))
        allowance = Allowance()
        allowance.begin([HOST])
        closed, opened = candidates_of(
            [place(there.endpoint.port), place(here.endpoint.port, is_open=True)], set(), allowance, {"utp": utp}
        )
        assert closed.prepare is not None and opened.prepare is not None
        fresh, usual = cast(UtpDialling, closed.prepare(1.0)), cast(UtpDialling, opened.prepare(1.0))
        try:
            listening = {there.endpoint.port, here.endpoint.port}
            assert fresh._hub is not None and fresh._hub.port not in listening
            assert usual._hub is None  # any that fits, a listening one first
        finally:
            for dialling in (fresh, usual):
                dialling.cancel()
            utp.close()


def test_a_peer_is_dialled_at_so_many_places_and_each_once() -> None:
    """Those that come first; what may not be sent is not begun."""
    transports: Any = {"tcp": object()}
    allowance = Allowance()
    allowance.begin([HOST])
    places = [place(port, TransportCode.TCP) for port in range(1, 100)]
    tried: set[Endpoint] = set()
    first = candidates_of(places, tried, allowance, transports)
    assert [each.endpoint.port for each in first] == list(range(1, limits.DIRECT_DIALS_MAX + 1))
    assert candidates_of(places, tried, allowance, transports) == []
    victim = Allowance()
    assert len(candidates_of(places, set(), victim, transports)) <= limits.UNSEEN_SYNS // limits.DIRECT_SYNS


def test_what_this_node_does_not_use_is_not_dialled() -> None:
    """Nor paid for."""
    allowance = Allowance()
    assert candidates_of([place(1)], set(), allowance, {}) == []
    assert allowance.probe(HOST, limits.UNSEEN_PROBES)
