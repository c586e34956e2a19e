"""At which addresses a node says that it may be reached."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crust import Candidate, CandidateKind, Endpoint, limits
from crust.nat.punch.places import places
from crust.wire.frames import (
    Candidates,
    Place,
    PlaceKind,
    TransportCode,
    build_record,
    parse_record_untrusted,
)

INTERFACE, MAPPED = CandidateKind.INTERFACE, CandidateKind.MAPPED
REFLEXIVE, CONFIGURED = CandidateKind.REFLEXIVE, CandidateKind.CONFIGURED


def candidate(kind: CandidateKind, text: str, *, shown: bool = False) -> Candidate:
    return Candidate(kind, Endpoint.parse(text), None, shown)


def texts(found: tuple[Place, ...]) -> list[str]:
    names = {TransportCode.TCP: "tcp", TransportCode.UTP: "utp"}
    return [str(Endpoint(names[each.transport], *each.address)) for each in found]


def test_the_order() -> None:
    """Configured, global interface, mapped, reflexive, private interface; of one kind TCP first."""
    known = [
        candidate(INTERFACE, "utp://192.168.1.10:1"),
        candidate(REFLEXIVE, "utp://20.0.1.1:2"),
        candidate(MAPPED, "utp://20.0.1.1:3"),
        candidate(INTERFACE, "utp://20.0.9.9:4"),
        candidate(INTERFACE, "tcp://20.0.9.9:5"),
        candidate(CONFIGURED, "utp://20.0.5.5:6"),
    ]
    found = places(known, [Endpoint.parse("utp://20.0.1.1:7")])
    assert [each.address[1] for each in found] == [6, 5, 4, 3, 2, 7, 1]
    assert [each.kind for each in found][-2:] == [PlaceKind.REFLEXIVE, PlaceKind.INTERFACE]


@pytest.mark.parametrize(
    "text",
    [
        *("tcp://node.example.org:5", "tcp://224.0.0.1:5", "tcp://255.255.255.255:5"),
        *("utp://[fe80::1%eth0]:5", "utp://[ff02::1]:5"),
    ],
)
def test_what_nobody_else_could_use_is_left_out(text: str) -> None:
    """Names, what is no one machine's, and addresses that mean something on one link only."""
    assert places([candidate(INTERFACE, text), candidate(INTERFACE, "tcp://10.0.0.1:5")]) == places(
        [candidate(INTERFACE, "tcp://10.0.0.1:5")]
    )


def test_loopback_is_for_those_who_have_nothing_else() -> None:
    """A node that only its own machine reaches says so."""
    alone = [candidate(INTERFACE, "tcp://127.0.0.1:5"), candidate(INTERFACE, "tcp://[::1]:5")]
    assert len(places(alone)) == 2
    assert texts(places([*alone, candidate(INTERFACE, "tcp://10.0.0.1:5")])) == ["tcp://10.0.0.1:5"]


@pytest.mark.parametrize(
    ("kind", "text", "is_open"),
    [
        (CONFIGURED, "tcp://20.0.1.1:1", True),
        (INTERFACE, "tcp://20.0.1.1:1", True),
        (INTERFACE, "tcp://192.168.1.1:1", False),
        (INTERFACE, "tcp://[2a10:20:1::1]:1", False),
        (INTERFACE, "utp://[2a10:20:1::1]:1", True),
        (MAPPED, "tcp://20.0.1.1:1", False),
        (MAPPED, "tcp://20.0.1.2:2", True),
        (REFLEXIVE, "tcp://20.0.1.1:1", False),
        (REFLEXIVE, "tcp://20.0.1.2:2", True),
    ],
)
def test_what_counts_as_open(kind: CandidateKind, text: str, is_open: bool) -> None:
    """By what is known: strangers came in at IPv6 over µTP, and one outer address was tried."""
    opened, entered = {Endpoint.parse("tcp://20.0.1.2:2")}, {("utp", 6)}
    assert [each.is_open for each in places([candidate(kind, text)], opened=opened, entered=entered)] == [is_open]


endpoints = st.builds(
    Endpoint,
    st.sampled_from(["tcp", "utp"]),
    st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str),
    st.integers(0, 65535),
)


@given(st.lists(st.builds(Candidate, st.sampled_from(CandidateKind), endpoints, st.none(), st.booleans()), max_size=80))
def test_the_wire_takes_them(known: list[Candidate]) -> None:
    """Whatever a node finds, it can be told, and comes back as it was; no address twice."""
    found = places(known)
    frame = Candidates(1, (), found)
    assert parse_record_untrusted(build_record([frame])) == [frame]
    assert len({(each.transport, each.address) for each in found}) == len(found)
    assert sum(":" in each.address[0] for each in found) <= limits.CANDIDATES_MAX
