"""Small meshes on a virtual clock: everybody hears of everybody, whatever happens to links and clocks."""

from __future__ import annotations

import random

from crust import limits
from crust.discovery.gossip import Gossip, GossipSettings, RecordLearned, Superseded, read_with
from crust.discovery.gossip.store import EVERYTHING
from crust.wire import gossip as wire
from tests.discovery.gossip.mesh import NETWORK, WALL, Mesh, Node, key_pair, record_of, ring


def all_know(nodes: list[Node], who: list[Node] | None = None) -> bool:
    return all(one.knows(other) for one in nodes for other in who or nodes)


def settled(mesh: Mesh, count: int, also: int = 0) -> list[Node]:
    nodes = mesh.add(count)
    ring(mesh, nodes, also)
    for node in nodes:
        node.publish()
    assert mesh.run(60, lambda: all_know(nodes)) < 60
    return nodes


def test_a_ring_of_nodes_knows_itself_within_seconds() -> None:
    """Each record reaches everybody, and each node verifies each record once."""
    mesh = Mesh()
    nodes = mesh.add(24)
    ring(mesh, nodes)
    for node in nodes:
        node.publish()
    assert mesh.run(10, lambda: all_know(nodes)) < 10
    assert max(node.checks for node in nodes) <= len(nodes)
    learned = [event for event in nodes[0].events if isinstance(event, RecordLearned)]
    assert {event.record.node for event in learned} == {node.id for node in nodes[1:]}
    assert {event.source for event in learned} <= set(nodes[0].links)


def test_a_line_of_thirty_takes_less_than_fifteen_seconds() -> None:
    """From one end to the other, where no node has more than two links."""
    mesh = Mesh()
    nodes = mesh.add(30, is_public=False)
    for one, other in zip(nodes, nodes[1:], strict=False):
        mesh.link(one, other)
    mesh.run(1)
    nodes[0].publish()
    assert mesh.run(30, lambda: nodes[-1].knows(nodes[0])) < 15


def test_one_change_is_known_soon_and_is_announced_to_nobody_twice() -> None:
    """The news crosses each link once, in one direction or, at the same moment, in both."""
    mesh = Mesh()
    nodes = settled(mesh, 24, also=3)
    mesh.run(5)
    for node in nodes:
        node.sent.clear()
    nodes[3].publish()
    assert mesh.run(8, lambda: all_know(nodes, [nodes[3]])) < 8
    mesh.run(3)
    told = [
        (node.id, peer)
        for node in nodes
        for peer, frame in node.sent
        if isinstance(frame, wire.Announce) and (nodes[3].record.prefix, nodes[3].record.version) in frame.items
    ]
    assert len(told) == len(set(told))
    brought = sum(isinstance(frame, wire.Records) for node in nodes for _, frame in node.sent)
    assert brought == len(nodes) - 1


def test_who_joins_learns_all_that_is_known() -> None:
    """Over one link, by comparing stores."""
    mesh = Mesh()
    nodes = settled(mesh, 20)
    (late,) = mesh.add(1)
    mesh.link(late, nodes[0])
    late.publish()
    assert mesh.run(5, lambda: all_know([late], nodes)) < 5
    assert mesh.run(10, lambda: all_know([*nodes, late], [late])) < 10


def test_two_meshes_become_one_by_one_link() -> None:
    """In both directions, whoever has the lower id."""
    mesh = Mesh()
    one, other = settled(mesh, 10), settled(mesh, 10)
    mesh.link(one[0], other[0])
    assert mesh.run(15, lambda: all_know([*one, *other])) < 15


def test_links_that_come_and_go_lose_nothing() -> None:
    """Frames in flight are gone with their link; what they said is known in the end."""
    mesh = Mesh()
    nodes = mesh.add(16)
    ring(mesh, nodes, also=2)
    chance = random.Random(2)
    for node in nodes:
        node.publish()
        one = chance.choice(nodes)
        other = mesh.by_id[chance.choice(sorted(one.links))]
        mesh.unlink(one, other)
        mesh.run(0.2)
        mesh.link(one, other)
    assert mesh.run(60, lambda: all_know(nodes)) < 60


def test_what_was_lost_with_no_link_lost_is_noticed_by_comparing() -> None:
    """Half of all announcements never arrive: every thirty seconds a node compares with somebody."""
    mesh = Mesh()
    nodes = mesh.add(8)
    ring(mesh, nodes, also=1)
    mesh.run(1)
    chance = random.Random(4)
    for node in nodes:
        receive = node.core.receive

        def lossy(peer_id: bytes, frame: wire.GossipFrame, now: float, wall: float, to=receive) -> None:  # type: ignore[no-untyped-def]
            if not isinstance(frame, wire.Announce) or chance.random() < 0.3:
                to(peer_id, frame, now, wall)

        node.receive = (  # type: ignore[method-assign]
            lambda sender, frame, node=node, lossy=lossy: (lossy(sender, frame, mesh.now, node.wall), node.act())
        )
        node.publish()
    assert not all_know(nodes)
    mesh.run(3)
    assert mesh.run(600, lambda: all_know(nodes)) < 600


def test_equal_stores_say_little() -> None:
    """Nothing but a comparison every thirty seconds, and no answer to it."""
    mesh = Mesh()
    nodes = settled(mesh, 12)
    mesh.run(60)
    for node in nodes:
        node.sent.clear()
    mesh.run(120)
    assert {type(frame) for node in nodes for _, frame in node.sent} == {wire.Summary}
    assert all(3 <= len(node.sent) <= 6 for node in nodes)


def test_more_than_stores_hold_does_not_make_them_talk() -> None:
    """Stores that must differ, because each keeps those nearest to it, are not told their differences for ever."""
    mesh = Mesh()
    nodes = mesh.add(40, max_records=16)
    ring(mesh, nodes, also=4)
    for node in nodes:
        node.publish()
    mesh.run(180)
    assert all(len(node.core.store) <= 16 for node in nodes)
    before = sum(node.bytes for node in nodes)
    mesh.run(300)
    assert (sum(node.bytes for node in nodes) - before) / len(nodes) / 300 < 100


def test_records_die_with_their_time() -> None:
    """Two hours after a node has made its last one, nobody knows it; who renews in time stays."""
    mesh = Mesh()
    nodes = settled(mesh, 6)
    mesh.kill(nodes[0])
    for _ in range(3):
        mesh.run(3000)
        for node in nodes[1:]:
            node.publish()
    mesh.run(120)
    assert all_know(nodes[1:])
    assert not any(node.core.store.of(nodes[0].id) for node in nodes[1:])


# --- clocks -----------------------------------------------------------------------------------------------------------


def test_a_clock_that_jumps_does_not_empty_the_store() -> None:
    """A day ahead, or back: what is known is kept until it would have died anyhow."""
    for jump in (86_400.0, -86_400.0):
        mesh = Mesh()
        nodes = settled(mesh, 6)
        nodes[0].wall_error = jump
        mesh.run(600)
        assert all(nodes[0].core.store.of(node.id) is not None for node in nodes)
        number = nodes[0].core.find(nodes[3].id, mesh.now)
        nodes[0].act()
        assert nodes[0].found()[-1].number == number and nodes[0].found()[-1].record is not None
        mesh.run(8000)
        assert not any(nodes[0].core.store.of(node.id) for node in nodes[1:])


def test_who_is_right_again_is_heard_again() -> None:
    """A node whose clock was a day ahead is known to nobody; set right, and with a new record, it is."""
    mesh = Mesh()
    nodes = settled(mesh, 6)
    nodes[0].wall_error = 86_400.0
    nodes[0].publish()
    mesh.run(10)
    assert not any(node.knows(nodes[0]) for node in nodes[1:])
    assert any(node.core.rejected.get("time") for node in nodes[1:])
    nodes[0].wall_error = 0.0
    wrong = nodes[0].record
    assert wrong is not None
    nodes[0].publish()
    assert nodes[0].record is not None and nodes[0].record.sequence == wrong.sequence + 1
    assert mesh.run(10, lambda: all_know(nodes)) < 10


def test_an_earlier_run_that_was_ahead_is_heard_of() -> None:
    """A node whose clock has gone back meanwhile learns its last sequence from others, and goes on from there."""
    mesh = Mesh()
    nodes = settled(mesh, 6)
    mesh.kill(nodes[0])
    mesh.run(5)
    again = Node(mesh, 1, True, 4096)
    assert again.id == nodes[0].id
    again.wall_error = -60.0
    mesh.by_id[again.id] = again
    mesh.link(again, nodes[1])
    again.publish()
    mesh.run(5)
    (heard,) = [event for event in again.events if isinstance(event, Superseded)]
    again.record = heard.record
    again.publish()
    assert mesh.run(10, lambda: all_know(nodes[1:], [again])) < 10
    assert len([event for event in again.events if isinstance(event, Superseded)]) == 1


# --- short links, and what is published -------------------------------------------------------------------------------


def test_our_own_record_comes_back_when_it_is_not_here_any_more() -> None:
    """As after its time, by a clock that was fast: it is nobody else's, and no older one is."""
    keys, peer = key_pair(1), key_pair(2).peer_id.public_key
    core = Gossip(keys.peer_id.public_key, GossipSettings(), read_with(NETWORK), random.Random(1))
    older = record_of(keys, WALL - 100)
    own = record_of(keys, WALL, older.sequence)
    core.publish(own, 0.0)
    core.link_up(peer, True, 0.0)
    core.receive(peer, wire.Summary(EVERYTHING, False, ()), 0.0, WALL)
    for record in (older, own):
        core.store.remove(own.prefix)
        core.receive(peer, wire.Announce(((record.prefix, record.version),)), 0.0, WALL)
        core.receive(peer, wire.Records((record.data,)), 0.0, WALL)
        assert core.store.of(record.node) is not None
    assert core.events() == []


def test_a_short_link_carries_questions_only() -> None:
    """Nothing is announced on it, in either direction; made a lasting one, it is."""
    mesh = Mesh()
    one, other = settled(mesh, 4), settled(mesh, 4)
    for node in (*one, *other):
        node.sent.clear()
    mesh.link(one[0], other[0], short=True)
    mesh.run(40)
    assert not any(one[0].knows(node) for node in other)
    assert not any(other[0].knows(node) for node in one)
    assert one[0].core.links.count(other[0].id) == 0
    mesh.link(one[0], other[0])
    assert mesh.run(15, lambda: all_know([*one, *other])) < 15


def test_our_own_record_is_brought_to_the_nearest_when_stores_are_small() -> None:
    """Twenty public nodes get it, as far as they live, though no link leads to them."""
    keys = key_pair(1)
    core = Gossip(keys.peer_id.public_key, GossipSettings(64), read_with(NETWORK), random.Random(1))
    others = [record_of(key_pair(number)) for number in range(2, 200)]
    for record in others:
        core.store.add(record)
    core.publish(record_of(keys), 0.0)
    ours = core.store.prefix
    nearest = sorted(core.store, key=lambda record: record.prefix ^ ours)[1:]
    dead = {record.node for record in nearest[:6]}
    asked = []
    now = 0.0
    while (timer := core.get_timer()) is not None and timer < 100:
        now = timer
        core.handle_timer(now, WALL + now)
        for ask in core.asks():
            assert isinstance(ask.frame, wire.Records)
            asked.append(ask.record.node)
            if ask.record.node in dead:
                core.failed(ask.record.node, now)
    assert asked == [record.node for record in nearest[: limits.GOSSIP_REPLICAS + 6]]
    assert now < 20


def test_a_record_that_changes_all_the_time_is_brought_now_and_then() -> None:
    """The first one at once, and of those in the two minutes after it the last one."""
    keys = key_pair(1)
    core = Gossip(keys.peer_id.public_key, GossipSettings(64), read_with(NETWORK), random.Random(1))
    for number in range(2, 200):
        core.store.add(record_of(key_pair(number)))
    brought: dict[bytes, float] = {}
    now, last = 0.0, None
    for second in range(int(limits.GOSSIP_REPLICA_PERIOD) + 30):
        now = float(second)
        if second % 10 == 0 and second > 5 or last is None:
            last = record_of(keys, WALL + second)
            core.publish(last, now)
        for step in range(4):
            core.handle_timer(now + step / 4, WALL + now)
            for ask in core.asks():
                assert isinstance(ask.frame, wire.Records)
                brought.setdefault(ask.frame.records[0], now)
    assert list(brought.values()) == [0.0, limits.GOSSIP_REPLICA_PERIOD]


def test_whose_record_is_brought_keeps_it() -> None:
    """Unasked, but from itself; from somebody else it is not even looked at."""
    reader = read_with(NETWORK)
    core = Gossip(key_pair(1).peer_id.public_key, GossipSettings(64), reader, random.Random(1))
    mine, others = record_of(key_pair(2)), record_of(key_pair(3))
    core.link_up(mine.node, True, 0.0)
    core.receive(mine.node, wire.Records((others.data, mine.data)), 0.1, WALL)
    assert core.store.of(mine.node) is not None
    assert core.store.of(others.node) is None
    assert core.rejected == {}


def test_an_answer_that_comes_on_a_later_link_was_asked_for() -> None:
    """The question went over one that has been cut since: nobody has misbehaved."""
    peer = b"\xff" * 32  # who is the lesser one asks
    core = Gossip(key_pair(1).peer_id.public_key, GossipSettings(64), read_with(NETWORK), random.Random(1))
    core.link_up(peer, True, 0.0)
    core.receive(peer, wire.Summary(EVERYTHING, False, ()), 0.0, WALL)
    assert any(isinstance(frame, wire.Summary) and frame.asks for _, frame in core.frames_to_send())
    core.link_down(peer, 1.0)
    core.link_up(peer, True, 1.0)
    core.receive(peer, wire.Contents(0, EVERYTHING, ()), 1.0, WALL + 1)
    assert core.events() == []
