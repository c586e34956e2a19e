"""Whom one of two applications drops: both hear why, and both nodes know for ten minutes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import crust
import crust.testing
from crust import Contact, Identity, Service, limits
from crust.peers.conversation import Conversation
from crust.service.connecting import Dialled
from crust.service.finding.bootstrap import Bootstrap
from crust.service.finding.dropped import Dropped
from crust.wire.handshake import Purpose
from tests.support.nodes import Nodes, config
from tests.support.waiting import wait_until

IDS = [Identity.generate().peer_id for _ in range(3)]
NOISE = "full\x1b[2J\u202e"


def covered(service: Service, other: Service) -> bool:
    node, finding = service._node, service._finding
    assert node is not None and finding is not None
    return finding.dropped.covers(other.id, node.clock.now())


def test_for_ten_minutes() -> None:
    dropped = Dropped()
    dropped.add(IDS[0], 100.0)
    dropped.add(IDS[1], 400.0)
    assert [dropped.covers(each, 699.9) for each in IDS] == [True, True, False]
    assert [dropped.covers(each, 700.0) for each in IDS] == [False, True, False]
    assert dropped.all(700.0) == [IDS[1]]
    dropped.lift(IDS[1])
    assert not dropped.covers(IDS[1], 400.0)
    dropped.lift(IDS[1])  # that it is not there is no error


def test_again_is_from_then_on() -> None:
    dropped = Dropped()
    dropped.add(IDS[0], 0.0)
    dropped.add(IDS[0], 300.0)
    assert dropped.covers(IDS[0], 899.9) and not dropped.covers(IDS[0], 900.0)


def test_no_more_than_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go first."""
    monkeypatch.setattr(limits, "DROPPED_MAX", 2)
    dropped = Dropped()
    for number, peer_id in enumerate((*IDS[:2], IDS[0], IDS[2])):
        dropped.add(peer_id, float(number))
    assert dropped.all(0.0) == [IDS[0], IDS[2]]


@pytest.mark.parametrize(
    "drop",
    [
        lambda service, peer: peer.disconnect(NOISE),
        lambda service, peer: service.disconnect(peer, NOISE),
        lambda service, peer: service.disconnect(peer.id, reason=NOISE),
    ],
    ids=["of the peer", "of the service", "by id"],
)
def test_both_hear_why(drop: Callable[[Service, crust.Peer], bool]) -> None:
    """The words arrive without what could harm a terminal, in the event and in the error; both nodes remember."""
    with crust.testing.network() as net:
        near, far = net.service(), net.service()
        ours, theirs = net.connect(near, far)
        assert drop(near, ours)
        net.settle()
        for service in (near, far):
            (lost,) = net.heard(service, crust.LostPeer)
            assert (lost.reason, lost.text) == ("disconnected", "full\ufffd[2J\ufffd")
        with pytest.raises(crust.PeerLost, match=r"\(disconnected: full"):
            theirs.send(b"x")
        assert covered(near, far) and covered(far, near)
        net.advance(limits.DROPPED_SECONDS - 1)
        assert covered(near, far) and covered(far, near)
        net.advance(1)
        assert not covered(near, far) and not covered(far, near)


def test_a_long_reason_is_cut() -> None:
    with crust.testing.network() as net:
        ours, _ = net.connect(near := net.service(), far := net.service())
        ours.disconnect("ü" * 500)
        net.settle()
        assert [each.text for each in net.heard(far, crust.LostPeer)] == ["ü" * 100]
        assert [each.text for each in net.heard(near, crust.LostPeer)] == ["ü" * 100]


def test_connect_lifts_it() -> None:
    """As does dial; the side that was dropped still does not dial by itself."""
    with crust.testing.network() as net:
        near, far = net.service(), net.service()
        for again in (near.connect, near.dial):
            ours, _ = net.connect(near, far)
            ours.disconnect()
            net.settle()
            again(far.contact)
            net.settle()
            assert near.is_connected(far.id)
            assert not covered(near, far) and covered(far, near)
            near.disconnect(far.id)
            net.settle()


def test_who_was_not_there_is_dropped_too() -> None:
    """An application that lets go of a peer between two sessions means it."""
    with crust.testing.network() as net:
        near, far = net.service(), net.service()
        assert not near.disconnect(far.id)
        assert covered(near, far) and not covered(far, near)


@pytest.mark.parametrize("end", ["close", "cut", "ban"])
def test_other_ends_do_not_count(end: str) -> None:
    with crust.testing.network() as net:
        near, far = net.service(), net.service()
        net.connect(near, far)
        if end == "close":
            far.close()
        elif end == "cut":
            net.cut(near, far)
            net.advance(200)
        else:
            far.ban(near.id)
        net.settle()
        (lost,) = net.heard(near, crust.LostPeer)
        assert lost.text == "" and lost.reason != "disconnected"
        assert not covered(near, far)


def test_a_contact_that_is_mistyped_lifts_nothing() -> None:
    with crust.testing.network() as net:
        near, far = net.service(), net.service()
        near.disconnect(far.id)
        info = crust.ConnectionInfo(Contact(far.id), bytes(8))
        with pytest.raises(crust.ConnectError):
            near.connect(info)
        assert covered(near, far)


def test_a_dial_that_begins_after_the_drop(nodes: Nodes) -> None:
    """If nobody has asked for that peer the dialer refuses: so no decision that was made before comes too late."""
    near, far = nodes.start(), nodes.start()
    node = near._node
    assert node is not None
    ended: list[tuple[Conversation | None, Exception | None]] = []

    def dialled(**how: bool) -> Dialled:
        return Dialled(node, far.contact, Purpose.CONNECT, 5.0, lambda *outcome: ended.append(outcome), **how)

    near.disconnect(far.id)
    for how in ({"unasked": True}, {"quiet": True}):
        dialled(**how).begin()
        conversation, error = ended.pop()
        assert conversation is None and "dropped" in str(error)
    assert node.dialer.attempts(far.id) == () and far.peers == []
    assert near.connect(far.contact).id == far.id  # the application may
    dialled(unasked=True).begin()
    assert ended == [(node.registry.get(far.id), None)]


def test_bootstrap_has_chosen_whom_the_application_drops(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the last moment before the dial: it is not begun, and somebody else is linked to."""
    fars = [nodes.start(config(bootstrap__accept=True)) for _ in range(2)]
    begin = Dialled.begin
    begun: list[bool] = []
    dropped: list[crust.PeerId] = []

    def begin_late(dialled: Dialled) -> None:
        peer_id, node = dialled._contact.peer_id, dialled._node
        if not dropped and node is near._node:
            dropped.append(peer_id)
            near.disconnect(peer_id)
            begin(dialled)
            begun.append(peer_id in node.dialer._efforts or node.registry.get(peer_id) is not None)
        else:
            begin(dialled)

    monkeypatch.setattr(Dialled, "begin", begin_late)
    near = nodes.start(config(bootstrap__links=1))
    near.start_bootstrap(contacts=[far.contact for far in fars])
    wait_until(lambda: near.peers, what="a link")
    assert begun == [False]
    assert near.peers[0].id not in dropped


def test_it_is_known_before_bootstrap_hears_of_the_loss(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the other side has dropped us: else it would be dialled again at once."""
    heard: list[bool] = []
    gone = Bootstrap._gone

    def gone_now(bootstrap: Bootstrap, conversation: Conversation) -> None:
        node = bootstrap._node
        if node is near._node and node.registry.get(conversation.peer_id) is None:
            heard.append(bootstrap._dropped.covers(conversation.peer_id, node.clock.now()))
        gone(bootstrap, conversation)

    monkeypatch.setattr(Bootstrap, "_gone", gone_now)
    near, far = nodes.start(), nodes.start()
    near.connect(far.contact)
    wait_until(lambda: far.disconnect(near.id), what="the session")
    wait_until(lambda: heard, what="its end")
    assert heard == [True]
