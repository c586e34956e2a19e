"""What the source "LAN" makes of answers, without a link: on a clock that the test turns."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import crust
import crust.testing
from crust import Identity, PeerId, limits
from crust.discovery.beacon.links import Link
from crust.discovery.beacon.packet import Offer
from crust.discovery.beacon.seeker import Found
from crust.service.finding.lan import _PLACES, _TWINS, Lan
from crust.testing import Network
from crust.wire.handshake import Role

LINK = Link("eth0", 2, "10.0.0.1", 16)


@pytest.fixture
def net() -> Iterator[Network]:
    with crust.testing.network() as net:
        yield net


def lan_of(service: crust.Service) -> Lan:
    assert service._finding is not None
    return service._finding.lan


def found(peer_id: PeerId, host: str = "10.0.0.7") -> Found:
    return Found(LINK, peer_id, host, Offer(Role.NODE, 5000, 5001), True, (host, 9))


def test_who_has_not_been_heard_for_long_is_nobody(net: Network) -> None:
    """Nobody may be asked meanwhile, so only time tells."""
    lan = lan_of(net.service())
    peer_id = Identity.generate().peer_id
    lan._found(found(peer_id))
    net.advance(limits.BEACON_LIFE - 1.0)
    assert [each.contact.peer_id for each in lan.peers()] == [peer_id] == [each.peer_id for each in lan.contacts()]
    assert lan.places(peer_id)
    net.advance(2.0)
    assert (lan.peers(), lan.contacts(), lan.places(peer_id)) == ((), [], [])


def test_a_peer_has_so_many_places(net: Network) -> None:
    """Anybody on the link can seem to have any number of addresses."""
    lan = lan_of(net.service())
    peer_id = Identity.generate().peer_id
    for number in range(_PLACES):
        lan._found(found(peer_id, f"10.0.1.{number}"))
    (contact,) = lan.contacts()
    assert len(contact.endpoints) == _PLACES
    assert contact.endpoints[0].host == f"10.0.1.{_PLACES - 1}", "the last heard first"


def test_of_our_identity_elsewhere_little_is_told(net: Network, caplog: pytest.LogCaptureFixture) -> None:
    """An event once, a warning for each address; and whoever makes up addresses does not fill the log."""
    heard: list[crust.IdentityShared] = []
    service = net.service()
    service.on(crust.IdentityShared, heard.append)
    for _ in range(2):
        for number in range(4 * _TWINS):
            lan_of(service)._found(found(service.id, f"10.0.1.{number}"))
    net.settle()
    assert len(heard) == 1
    assert caplog.text.count("has our identity") == _TWINS
    assert lan_of(service).contacts() == []


def test_where_nobody_is_to_be_asked_nothing_is_opened(net: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither socket nor thread, whoever seeks; where it is allowed there is a try."""
    for seek, expected in (("never", 0), ("bootstrap", 1)):
        lan = lan_of(net.service(crust.Config().replace(**{"lan.seek": seek})))
        opened: list[int] = []
        monkeypatch.setattr(lan, "_open", lambda opened=opened: opened.append(1))
        seeking = lan.seek(lambda contact: None)
        assert len(opened) == expected
        seeking.stop()
        assert not lan.has_peers(0.0)
