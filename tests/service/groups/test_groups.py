"""Groups of real nodes in memory: they fill, stay full, let go, and the application decides."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import crust
import crust.testing
from crust import Group, Service, limits
from crust.testing import Network


@pytest.fixture
def net() -> Iterator[Network]:
    with crust.testing.network() as net:
        yield net
        assert net.close()
        assert [node for node in net._heard if node._node is not None and node._node.crashes] == []


def ids(group: Group) -> set[crust.PeerId]:
    return {peer.id for peer in group.peers}


def swarm(net: Network, count: int) -> tuple[Service, list[Service]]:
    """A node that knows so many others."""
    others = [net.service() for _ in range(count)]
    return net.service(contacts=[each.contact for each in others]), others


def by_id(nodes: list[Service], peer_id: crust.PeerId) -> Service:
    return next(each for each in nodes if each.id == peer_id)


# --- keeping up -------------------------------------------------------------------------------------------------------


def test_it_fills_and_says_so(net: Network) -> None:
    me, _ = swarm(net, 12)
    group = me.group("swarm", 5)
    assert group.wait(10) and group.is_full
    assert (group.name, group.want, len(group.peers), group.dialling) == ("swarm", 5, 5, [])
    net.settle()
    (ready,) = net.heard(me, crust.GroupReady)
    assert (ready.name, ready.want, set(ready.peers)) == ("swarm", 5, set(group.peers))
    assert set(me.peers) == set(group.peers) and me.groups == (group,)
    assert len(net.heard(me, crust.ConnectSuccess)) == 5
    net.advance(300)
    assert set(me.peers) == set(ready.peers) and net.heard(me, crust.GroupShort) == []


@pytest.mark.parametrize("how", ["cut", "partition", "close"])
def test_one_goes_every_two_seconds(net: Network, how: str) -> None:
    """For a quarter of a minute; a line that falls silent is noticed by data that flows."""
    me, others = swarm(net, 30)
    group = me.group("swarm", 8)
    assert group.wait(10)
    for _ in range(8):
        victim = by_id(others, group.peers[3].id)
        if how == "close":
            victim.close()
        elif how == "cut":
            net.cut(victim, me)
        else:
            net.partition(victim, me)
            group.peers[3].send(b"are you there?")
        began = net.now
        while len(group.peers) < 8 or victim.id in ids(group):
            net.advance(0.1)
            assert net.now - began <= 5.0
        net.advance(2.0)
    assert net.heard(me, crust.ConnectFailure) == []  # nobody asked for any of those


def test_it_goes_on_trying(net: Network) -> None:
    """There are not enough; the group takes who comes up later, and says when it is full."""
    late = net.Service(address="10.9.9.9", identity=crust.Identity.generate())
    others = [net.service() for _ in range(2)]
    me = net.service(contacts=[each.contact for each in others])
    group = me.group("few", 3)
    group.add(f"{late.id}@tcp://10.9.9.9:5483")
    assert not group.wait(5) and not group.is_full and len(group.peers) == 2
    assert net.heard(me, crust.GroupReady) == []
    late._config = late._config.replace(**{"listen.addresses": ("tcp://0.0.0.0:5483",)})
    late.start()
    assert group.wait(70)
    assert late.id in ids(group)


def test_a_break_is_no_loss(net: Network) -> None:
    """Everything is cut for a moment: the same sessions are in it afterwards, and nobody else."""
    me, _ = swarm(net, 12)
    group = me.group("swarm", 5)
    assert group.wait(10)
    net.advance(1.0)
    before = group.peers
    net.cut(me)
    assert group.peers == []
    net.advance(0.2)
    net.heal()
    net.advance(5.0)
    assert set(group.peers) == set(before) and set(me.peers) == set(before)
    assert net.heard(me, crust.GroupShort) == [] and net.heard(me, crust.LostPeer) == []


def test_a_long_break(net: Network) -> None:
    """The places are others', and whoever comes back too late is let go of, but not dropped."""
    me, others = swarm(net, 6)
    group = me.group("swarm", 5)
    assert group.wait(10)
    victim = by_id(others, group.peers[0].id)
    net.cut(me, victim)
    net.advance(3.0)
    assert len(group.peers) == 5 and len(me.peers) == 6
    net.heal()
    net.advance(20.0)
    assert len(group.peers) == 5 and len(me.peers) == 5 and not me.is_connected(victim.id)
    (lost,) = net.heard(victim, crust.LostPeer)
    assert (lost.reason, lost.text) == ("disconnected", "not needed any more")
    assert me._finding is not None and not me._finding.dropped.covers(victim.id, net._clock.now())


# --- who belongs to it ------------------------------------------------------------------------------------------------


def test_members_alone(net: Network) -> None:
    me, others = swarm(net, 6)
    me.connect(others[5].contact)
    group = me.group("some", 3, members=[others[0].contact, others[1].id, str(others[2].contact), me.contact])
    assert group.members == {me.id, *(each.id for each in others[:3])}
    assert group.wait(10)
    net.advance(60)
    assert ids(group) == {each.id for each in others[:3]}
    assert len(me.peers) == 4


def test_members_and_others(net: Network) -> None:
    me, others = swarm(net, 8)
    stranger = net.service()
    group = me.group("some", 4, members=[stranger.prepare_connection_info()], others=True)
    assert group.wait(10)
    assert stranger.id in ids(group)


def test_who_calls_counts(net: Network) -> None:
    me, others = net.service(), [net.service() for _ in range(4)]
    group = me.group("callers", 3)
    for each in others:
        net.connect(each, me)
    assert ids(group) == {each.id for each in others[:3]} and group.is_full
    group.want = 2
    net.advance(1)
    assert len(group.peers) == 2 and len(me.peers) == 4  # nobody who called is cut
    group.want = 4
    assert group.wait(1) and len(group.peers) == 4


def test_add_and_remove(net: Network) -> None:
    me, others = net.service(), [net.service() for _ in range(4)]
    group = me.group("list", 10, members=[each.contact for each in others[:2]])
    net.advance(1)
    assert ids(group) == {each.id for each in others[:2]}
    group.add(others[2].contact, others[3].prepare_connection_info())
    net.advance(1)
    assert len(group.peers) == 4
    group.remove(others[0].id, group.peers[-1])
    net.advance(60)
    assert len(group.peers) == 2 and len(me.peers) == 2
    group.add(others[0].contact)
    net.advance(1)
    assert others[0].id in ids(group)
    another = net.service()
    with pytest.raises(crust.ContactSyntaxError):
        group.add(another.contact, "nonsense")
    assert another.id not in group.members


def test_less_and_more(net: Network) -> None:
    me, others = swarm(net, 10)
    group = me.group("swarm", 6)
    assert group.wait(10)
    oldest = group.peers[:2]
    group.want = 2
    net.advance(0.5)
    assert group.peers == oldest and me.peers == oldest
    group.want = 0
    net.advance(0.5)
    assert me.peers == [] and group.is_full
    group.want = 10
    assert group.wait(5) and len(group.peers) == 10
    net.settle()
    assert [type(each).__name__ for each in net.heard(me) if "Group" in type(each).__name__] == [
        *("GroupReady", "GroupShort", "GroupReady"),
    ]


# --- the application decides ------------------------------------------------------------------------------------------


def test_each_connection_is_offered(net: Network) -> None:
    """Before its first message; who is refused hears why, and is not dialled again for ten minutes."""
    me, others = swarm(net, 10)
    bad = {each.id for each in others[:4]}
    seen: list[object] = []
    me.on(crust.ConnectSuccess, lambda event: seen.append(("connected", event.peer.id)))
    me.on(crust.NewMessage, lambda message: seen.append(("message", message.peer.id)))
    for each in others:
        each.on(crust.ConnectSuccess, lambda event: event.peer.send(b"hello"))

    def offer(peer: crust.Peer) -> bool | str:
        seen.append(("offered", peer.id))
        return "not you" if peer.id in bad else True

    group = me.group("choosy", 6, offer=offer)
    assert group.wait(10)
    net.settle()
    assert ids(group) == {each.id for each in others[4:]}
    for peer_id in ids(group):
        order = [what for what, who in seen if who == peer_id]
        assert order == ["connected", "offered", "message"]
    refused = [each for each in others[:4] if net.heard(each, crust.LostPeer)]
    assert all(net.heard(each, crust.LostPeer)[0].text == "not you" for each in refused)
    group.want = 10
    net.advance(limits.DROPPED_SECONDS - 10)
    count = len(seen)
    dialled = {each.id for each in others[:4] if len(net.heard(each, crust.ConnectSuccess)) > 1}
    assert dialled == set()
    bad.clear()
    net.advance(30)
    assert group.is_full and len(seen) > count


def test_who_calls_is_offered_too(net: Network) -> None:
    me, caller = net.service(), net.service()
    me.group("closed", 3, offer=lambda peer: False)
    caller.connect(me.contact)
    net.settle()
    (lost,) = net.heard(caller, crust.LostPeer)
    assert (lost.reason, lost.text) == ("disconnected", "the application let go of this peer")
    assert me.peers == []


def test_what_the_application_asked_for_is_not_cut(net: Network) -> None:
    me, other = net.service(), net.service()
    peer = me.connect(other.contact)
    group = me.group("closed", 3, offer=lambda peer: False)
    net.advance(5)
    assert peer.state == "connected" and group.peers == []
    future = me.dial(net.service().contact)
    assert future.result(5).state == "connected"
    net.advance(5)
    assert len(me.peers) == 2
    group.close()
    net.advance(5)
    assert len(me.peers) == 2


def test_what_a_group_found_and_the_application_asked_for_stays(net: Network) -> None:
    me, others = swarm(net, 3)
    group = me.group("swarm", 3)
    assert group.wait(5)
    mine = me.connect(others[0].id)
    assert mine in group.peers
    group.close()
    net.advance(1)
    assert me.peers == [mine]


@pytest.mark.parametrize("answer", [None, 0, 1, "raise"])
def test_what_is_no_yes_is_a_no(net: Network, answer: object, caplog: pytest.LogCaptureFixture) -> None:
    me, _ = swarm(net, 1)
    asked = threading.Event()

    def offer(peer: crust.Peer) -> bool | str:
        asked.set()
        if answer == "raise":
            raise RuntimeError("out of order")
        return answer  # type: ignore[return-value]

    group = me.group("odd", 1, offer=offer)
    net.advance(5)
    assert asked.is_set() and group.peers == [] and me.peers == []
    assert "offer" in caplog.text


def test_offer_may_call_anything(net: Network) -> None:
    """The group itself, the peer, the node; only what waits for itself is an error."""
    me, others = swarm(net, 5)
    errors: list[Exception] = []

    def offer(peer: crust.Peer) -> bool:
        try:
            group.wait(1)
        except crust.LocalProtocolError as error:
            errors.append(error)
        group.want = 3
        me.group(f"with {peer.id}", 0).close()
        if len(errors) == 2:
            peer.disconnect("not now")
        return True

    group = me.group("busy", 2, offer=offer)
    net.advance(5)
    assert len(group.peers) == 3 and len(errors) == 4


def test_offers_do_not_pile_up(net: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the application takes its time, peers come and go: of those that are gone nothing is left to be asked."""
    me = net.service()
    offered: list[crust.PeerId] = []
    waiting: list[Callable[[], None]] = []
    assert me._node is not None
    post = me._node.dispatcher.post

    def put_off(call: Callable[..., object], *args: Any) -> None:
        if getattr(call, "__name__", "") == "_ask":
            waiting.append(lambda: post(call, *args))
        else:
            post(call, *args)

    def offer(peer: crust.Peer) -> bool:
        offered.append(peer.id)
        return True

    group = me.group("slow", 1, offer=offer)
    monkeypatch.setattr(me._node.dispatcher, "post", put_off)
    for _ in range(5):
        with net.service() as caller:
            caller.connect(me.contact)
            net.settle()
        net.settle()
    stays = net.service()
    stays.connect(me.contact)
    net.settle()
    assert len(waiting) == 1
    waiting.pop()()
    net.settle()
    assert offered == [stays.id] and ids(group) == {stays.id}


def test_two_groups(net: Network) -> None:
    """A peer in both is one session; leaving one group does not end it for the other."""
    me, others = swarm(net, 4)
    all_of_them = me.group("all", 4)
    two = me.group("two", 2, members=[each.contact for each in others[:2]], offer=lambda peer: True)
    assert all_of_them.wait(5) and two.wait(5)
    assert len(me.peers) == 4 and set(two.peers) < set(all_of_them.peers)
    all_of_them.close()
    net.advance(1)
    assert set(me.peers) == set(two.peers) and me.groups == (two,)
    assert all_of_them.peers == [] and all_of_them.want == 0
    two.close()
    net.advance(1)
    assert me.peers == []


def test_one_group_drops_what_another_keeps(net: Network) -> None:
    me, others = swarm(net, 2)
    picky = me.group("picky", 2, offer=lambda peer: False)
    easy = me.group("easy", 2, offer=lambda peer: True)
    assert easy.wait(5)
    net.advance(30)
    assert len(me.peers) == 2 and picky.peers == []


# --- bans, drops ------------------------------------------------------------------------------------------------------


def test_nobody_dials_who_is_dropped_banned_or_blacklisted(net: Network) -> None:
    others = [net.service() for _ in range(6)]
    config = crust.Config().replace(**{"bootstrap.blacklist": (str(others[0].id), others[1].addresses[0].host)})
    me = net.service(config, contacts=[each.contact for each in others])
    me.ban(others[2].id)
    address = others[3].addresses[0].host
    me.ban(*{each.host for each in others[3].addresses})
    group = me.group("rest", 6)
    net.advance(60)
    assert ids(group) <= {each.id for each in (*others[4:], others[1])}
    assert {each.id for each in others[4:]} <= ids(group)
    if others[1].id in ids(group):  # by its other address, which is not on the list
        assert by_id(me.peers, others[1].id) is not None  # type: ignore[arg-type]
    assert address
    peer = next(each for each in group.peers if each.id == others[4].id)
    peer.disconnect("enough")
    net.advance(limits.DROPPED_SECONDS - 10)
    assert not me.is_connected(others[4].id)
    net.advance(30)
    assert me.is_connected(others[4].id)
    me.ban(others[5].id)
    net.advance(100)
    assert not me.is_connected(others[5].id)


def test_who_drops_us_is_left_alone(net: Network) -> None:
    me, others = swarm(net, 1)
    group = me.group("one", 1)
    assert group.wait(5)
    net.settle()
    others[0].disconnect(me.id, "go away")
    net.advance(limits.DROPPED_SECONDS - 5)
    assert group.peers == [] and len(net.heard(others[0], crust.ConnectSuccess)) == 1
    net.advance(20)
    assert group.is_full


def test_who_is_asked_for(net: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """Members, and those without an address: not each of many that are known, of whom some are dead."""
    me, others = swarm(net, 6)
    member, nowhere = net.service(), crust.Identity.generate().peer_id
    for each in (*others[:3], member):
        each.stop_listening()
    asked: set[crust.PeerId] = set()
    monkeypatch.setattr(me._node, "look_for", lambda peer_id, tell, patient: asked.add(peer_id))
    group = me.group("some", 8, members=[member.contact, nowhere], others=True)
    net.advance(5.0)
    assert asked == {member.id, nowhere}
    assert ids(group) == {each.id for each in others[3:]}


# --- life -------------------------------------------------------------------------------------------------------------


def test_wrong_arguments(net: Network) -> None:
    me = net.service()
    for want in (-1, 1.5, True, "3"):
        with pytest.raises((TypeError, ValueError), match="want must be"):
            me.group("g", want)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="members must be a list"):
        me.group("g", 1, members=str(me.id))
    with pytest.raises(TypeError, match="offer must be callable"):
        me.group("g", 1, offer=True)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="name must be text"):
        me.group(7, 1)  # type: ignore[arg-type]
    with pytest.raises(crust.ContactSyntaxError):
        me.group("g", 1, members=["nonsense"])
    group = me.group("g", 1)
    with pytest.raises(ValueError, match="there is a group 'g' already"):
        me.group("g", 2)
    with pytest.raises(ValueError, match="want must be 0 or more"):
        group.want = -1
    with pytest.raises(TypeError, match="cannot be pickled"):
        group.__reduce__()
    assert repr(group) == "<crust.Group 'g' 0 of 1>"
    group.close()
    group.close()
    assert group.closed and repr(group) == "<crust.Group 'g' closed>"
    with pytest.raises(crust.ServiceClosed, match="group 'g' has been closed"):
        group.want = 2
    for call in (lambda: group.add(me.id), lambda: group.remove(me.id), lambda: group.wait(0)):
        with pytest.raises(crust.ServiceClosed):
            call()
    with me.group("g", 2) as again:  # the name is free
        group.close()  # which harms nobody else's
        assert not again.closed and me.groups == (again,)
    assert again.closed and me.groups == ()


def test_who_waits_hears_that_it_is_over(net: Network) -> None:
    """The end of the group, or of the node, ends all waiting."""
    me = net.service()
    found: list[object] = []

    def wait(group: Group) -> None:
        try:
            found.append(group.wait())
        except crust.ServiceClosed as error:
            found.append(type(error))

    groups = [me.group("a", 1), me.group("b", 1)]
    threads = [threading.Thread(target=wait, args=(group,), daemon=True) for group in groups]
    for thread in threads:
        thread.start()
    net.settle(until=lambda: all(group._waiting for group in groups))
    groups[0].close()
    net.settle(until=lambda: len(found) == 1)
    me.close()
    for thread in threads:
        thread.join(5)
    assert found == [crust.ServiceClosed, crust.ServiceClosed]
    assert groups[1].closed and groups[1].peers == []
    with pytest.raises(crust.ServiceClosed):
        me.group("c", 1)


def test_closing_while_it_dials(net: Network) -> None:
    me, others = swarm(net, 10)
    net.partition()
    group = me.group("swarm", 8)
    net.advance(0.5)
    assert len(group.dialling) == 8
    group.close()
    net.advance(0.1)
    assert me._node is not None and me._node.dialer._efforts == {}
    net.heal()
    net.advance(60)
    assert me.peers == []
    me.group("swarm", 8)
    net.partition()
    net.advance(0.5)
    assert me.close()
