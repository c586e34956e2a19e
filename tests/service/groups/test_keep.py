"""One peer that is kept: reconnected for ever, until one of the two ends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

import crust
import crust.testing
from crust import Service, limits
from crust.testing import Network


@pytest.fixture
def net() -> Iterator[Network]:
    with crust.testing.network() as net:
        yield net
        assert net.close()
        assert [node for node in net._heard if node._node is not None and node._node.crashes] == []


def kept(service: Service) -> frozenset[crust.PeerId]:
    assert service._finding is not None
    return service._finding.groups.kept


def pair(net: Network, how: str = "connect") -> tuple[Service, Service, crust.Peer]:
    me, other = net.service(), net.service()
    if how == "connect":
        peer = me.connect(other.contact, keep=True)
    else:
        peer = me.dial(other.contact, keep=True).result(5)
    net.settle()
    net.advance(0.0)
    return me, other, peer


def story(net: Network, service: Service) -> list[str]:
    net.settle()
    kinds = (crust.ConnectSuccess, crust.LostPeer, crust.ConnectFailure, crust.PeerResumed)
    return [type(each).__name__ for each in net.heard(service) if isinstance(each, kinds)]


@pytest.mark.parametrize("how", ["connect", "dial"])
def test_a_lost_session_is_followed_by_a_new_one(net: Network, how: str) -> None:
    """By ``LostPeer``, and then ``ConnectSuccess`` with a new ``Peer``; the back-off begins anew each time."""
    me, other, peer = pair(net, how)
    for _ in range(4):
        net.cut(me, other)
        net.advance(me._config.session.resume_timeout + 1)
        assert peer.state == "lost" and me.peers == []
        net.heal()
        net.advance(limits.KEEP_DELAY_MAX * (1 + limits.JITTER))
        (new,) = me.peers
        assert new is not peer and new.id == other.id and new.state == "connected"
        peer = new
    assert story(net, me) == ["ConnectSuccess", *(["LostPeer", "ConnectSuccess"] * 4)]


def test_it_goes_on_for_ever_and_ever_more_slowly(net: Network) -> None:
    """An hour later it is there within a minute; nobody is told of each attempt as of a failure of connect."""
    me, other, peer = pair(net)
    net.cut(me, other)
    net.advance(3600)
    assert peer.state == "lost"
    attempts = [each.attempt for each in net.heard(me, crust.PathAttempted)]
    dials = [each for each in attempts if each.method == "direct"]
    assert len(dials) < 1500
    net.heal()
    net.advance(limits.KEEP_DELAY_MAX * (1 + limits.JITTER))
    assert me.is_connected(other.id)
    assert story(net, me) == ["ConnectSuccess", "LostPeer", "ConnectSuccess"]


def test_soon_after_a_close(net: Network) -> None:
    """The other node is closed: there is no waiting for it to resume, the first attempt follows at once."""
    me, other, peer = pair(net)
    other.close()
    net.settle()
    assert peer.state == "lost"
    net.advance(limits.KEEP_DELAY * (1 + limits.JITTER) + 0.01)
    attempted = [each.peer_id for each in net.heard(me, crust.PathAttempted)]
    assert attempted.count(other.id) >= 2


ENDS: dict[str, Callable[[Service, Service, crust.Peer], object]] = {
    "our disconnect": lambda me, other, peer: me.disconnect(peer.id),
    "our peer's disconnect": lambda me, other, peer: peer.disconnect(),
    "their disconnect": lambda me, other, peer: other.disconnect(me.id),
    "our ban": lambda me, other, peer: me.ban(peer.id),
    "their ban": lambda me, other, peer: other.ban(me.id),
    "our ban of the address": lambda me, other, peer: me.ban(*{each.host for each in other.addresses}),
}


@pytest.mark.parametrize("end", ENDS)
def test_what_ends_it(net: Network, end: str) -> None:
    """For good: not even much later, and when nothing stands in the way any more."""
    me, other, peer = pair(net)
    assert kept(me) == {other.id}
    ENDS[end](me, other, peer)
    net.settle()
    net.advance(1)
    assert kept(me) == frozenset() and me.peers == []
    me.unban(other.id, *{each.host for each in other.addresses})
    other.unban(me.id)
    net.advance(3 * limits.DROPPED_SECONDS)
    assert me.peers == [] and story(net, me) == ["ConnectSuccess", "LostPeer"]


@pytest.mark.parametrize("end", ["our disconnect", "our ban"])
def test_what_ends_it_between_two_sessions(net: Network, end: str) -> None:
    me, other, peer = pair(net)
    net.cut(me, other)
    net.advance(200)
    assert peer.state == "lost" and kept(me) == {other.id}
    ENDS[end](me, other, peer)
    net.advance(2 * limits.KEEP_DELAY_MAX)
    assert kept(me) == frozenset()
    net.heal()
    me.unban(other.id)
    net.advance(3 * limits.DROPPED_SECONDS)
    assert me.peers == []


def test_close_ends_it(net: Network) -> None:
    me, other, _ = pair(net)
    assert me.close()
    net.advance(200)
    assert other.peers == []


def test_a_failure_keeps_nothing(net: Network) -> None:
    """``connect`` raises as it does else, and nobody is dialled afterwards."""
    me, other = net.service(), net.service()
    net.refuse()
    with pytest.raises(crust.ConnectError):
        me.connect(other.contact, keep=True)
    with pytest.raises(crust.ConnectError):
        me.dial(other.contact, keep=True).result(5)
    net.settle()
    assert kept(me) == frozenset()
    net.heal()
    net.advance(100)
    assert me.peers == []


def test_without_keep_a_lost_peer_stays_lost(net: Network) -> None:
    me, other = net.service(), net.service()
    net.connect(me, other)
    other.close()
    net.advance(100)
    assert story(net, me) == ["ConnectSuccess", "LostPeer"] and kept(me) == frozenset()


def test_kept_once_and_for_an_existing_session(net: Network) -> None:
    """For a session that there is; twice is once; a later connect without it changes nothing."""
    me, other = net.service(), net.service()
    peer = me.connect(other.contact)
    assert me.connect(other.id, keep=True) is peer and me.connect(other.contact, keep=True) is peer
    assert me.connect(other.id) is peer
    assert kept(me) == {other.id}
    net.cut(me, other)
    net.advance(130)
    net.heal()
    net.advance(100)
    assert me.is_connected(other.id) and story(net, me) == ["ConnectSuccess", "LostPeer", "ConnectSuccess"]


def test_the_other_side_may_come_back_first(net: Network) -> None:
    """Both keep each other: one session, whoever is quicker."""
    me, other = net.service(), net.service()
    me.connect(other.contact, keep=True)
    other.connect(me.contact, keep=True)
    for _ in range(5):
        net.cut(me, other)
        net.advance(130)
        net.heal()
        net.advance(100)
        assert len(me.peers) == len(other.peers) == 1
        assert me.is_connected(other.id) and other.is_connected(me.id)


def test_kept_and_in_a_group(net: Network) -> None:
    """It counts there, is dialled once, and stays when the group ends or lets go of it."""
    me, other, peer = pair(net)
    group = me.group("g", 1, members=[other.contact])
    assert group.wait(1) and group.peers == [peer]
    net.cut(me, other)
    net.advance(130)
    net.heal()
    net.advance(100)
    assert len(group.peers) == 1 and len(net.heard(other, crust.ConnectSuccess)) == 2
    group.remove(other.id)
    group.close()
    net.advance(10)
    assert me.is_connected(other.id)


def test_many_are_kept(net: Network) -> None:
    """More than are dialled at once."""
    me = net.service()
    others = [net.service() for _ in range(3 * limits.KEEP_DIALS)]
    for each in others:
        me.connect(each.contact, keep=True)
    for peer in me.peers:
        peer._conversation.end("gone")
    net.advance(20)
    assert len(me.peers) == len(others)
