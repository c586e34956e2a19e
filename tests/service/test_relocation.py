"""What a peer's places mean for the links to it, and what is told of ours."""

from __future__ import annotations

from typing import Any

import pytest

from crust import Endpoint, Identity, limits
from crust.candidates import Candidate, CandidateKind
from crust.service.network.relocation import NO_ATTEMPT, Relocation, successor
from crust.wire.frames import Candidates, Place, PlaceKind, TransportCode
from crust.wire.handshake import Capability


def place(text: str) -> Place:
    endpoint = Endpoint.parse(text)
    code = TransportCode.TCP if endpoint.transport == "tcp" else TransportCode.UTP
    return Place(PlaceKind.INTERFACE, code, True, (endpoint.host, endpoint.port))


@pytest.mark.parametrize(
    ("remote", "places", "expected"),
    [
        ("tcp://192.0.2.1:1", ["tcp://192.0.2.1:2"], "tcp://192.0.2.1:2"),
        ("tcp://192.0.2.1:1", ["tcp://192.0.2.1:2", "tcp://192.0.2.1:3"], "tcp://192.0.2.1:2"),
        ("tcp://192.0.2.1:1", ["tcp://192.0.2.1:2", "tcp://192.0.2.1:1"], None),  # it is still there
        ("tcp://192.0.2.1:1", ["utp://192.0.2.1:2"], None),  # nothing is said of TCP
        ("tcp://192.0.2.1:1", ["tcp://192.0.2.2:2"], None),  # nor of this host
        ("utp://[2001:db8::1]:1", ["utp://[2001:db8::1]:2"], "utp://[2001:db8::1]:2"),
        ("tcp://192.0.2.1:1", [], None),
    ],
)
def test_where_a_peer_has_gone(remote: str, places: list[str], expected: str | None) -> None:
    """To another port of the same host and transport, if the one that was dialled is named no more; else nowhere."""
    found = successor(Endpoint.parse(remote), [place(each) for each in places])
    assert found == (None if expected is None else Endpoint.parse(expected))


class Fake:
    """Anything with these attributes."""

    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)


def told(local: str, candidates: list[Candidate], bound: list[str], **link: Any) -> list[Candidates]:
    """What one peer hears whose link goes by an address of ours."""
    said: list[Candidates] = []
    made = Fake(connection=Fake(local=Endpoint.parse(local)), write_control=said.append, **{"circuit": None, **link})
    conversation = Fake(link=made, capabilities=Capability.TRAVERSAL)
    node: Any = Fake(registry=Fake(all=lambda: [conversation]))
    Relocation(node).announce(candidates, [Endpoint.parse(each) for each in bound])
    return said


def candidate(text: str, shown: bool = True) -> Candidate:
    return Candidate(CandidateKind.INTERFACE, Endpoint.parse(text), None, shown)


def test_what_a_peer_is_told() -> None:
    """What strangers are told, and the listeners at the address that its link goes by; nothing that nobody is told."""
    (said,) = told(
        "tcp://10.0.0.1:1",
        [candidate("tcp://192.0.2.1:7"), candidate("tcp://192.0.2.2:7", shown=False), candidate("tcp://a.example:7")],
        ["tcp://0.0.0.0:7", "utp://10.0.0.1:8", "tcp://[::]:7", "tcp://10.0.0.2:9"],
    )
    assert said.generation == NO_ATTEMPT and said.standings == ()
    addresses = [(each.transport, each.address) for each in said.places]
    assert addresses == [
        (TransportCode.TCP, ("10.0.0.1", 7)),
        (TransportCode.UTP, ("10.0.0.1", 8)),
        (TransportCode.TCP, ("192.0.2.1", 7)),
    ]


def test_what_has_a_meaning_here_alone_is_not_told() -> None:
    """The scope of a link-local address is our own name for an interface."""
    (said,) = told("tcp://[fe80::1%eth0]:1", [candidate("tcp://192.0.2.1:7")], ["tcp://[::]:7"])
    assert [each.address[0] for each in said.places] == ["192.0.2.1"]


def test_no_more_than_a_frame_may_have() -> None:
    """Of each family, the first."""
    many = [candidate(f"tcp://192.0.2.{number}:7") for number in range(1, 40)]
    many += [candidate(f"tcp://[2001:db8::{number:x}]:7") for number in range(1, 40)]
    (said,) = told("tcp://10.0.0.1:1", many, [])
    assert len(said.places) == 2 * limits.CANDIDATES_MAX


def test_circuits_are_told_nothing() -> None:
    """There our ports are of no use, and the introducer's address is none of ours."""
    assert told("tcp://10.0.0.1:1", [candidate("tcp://192.0.2.1:7")], [], circuit=object()) == []


def test_addresses_that_stand_for_others_are_not_tried() -> None:
    """Else more would go to those than may; unless that is how the peer is reached."""
    seen, public = "64:ff9b::c000:207", "198.41.0.4"
    places = [f"tcp://[{host}]:7" for host in (seen, "64:ff9b::c629:4", "2002:c629:4::1")] + [f"tcp://{public}:7"]
    node: Any = Fake(traversals=None, io=Fake(now=lambda: 0.0), refusals=Fake(count=lambda limit: None))
    conversation: Any = Fake(
        told=[place(each) for each in places],
        address=seen,
        path=Fake(path_class="direct-tcp"),
        link=None,
        peer_id=Identity.generate().peer_id,
    )
    assert [each.host for each in Relocation(node).places(conversation)] == [seen, public]
