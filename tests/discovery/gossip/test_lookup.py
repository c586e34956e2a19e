"""Searches: many hops away, past the dead, and past those who lie."""

from __future__ import annotations

import random

import pytest

from crust import limits
from crust.discovery.gossip import Found, Gossip, GossipSettings, Misbehaved, read_with
from crust.discovery.gossip.lookup import Candidate, Lookup
from crust.wire import gossip as wire
from tests.discovery.gossip.mesh import NETWORK, WALL, Mesh, Node, key_pair, record_of, ring
from tests.support.bitten import Bitten


def sparse(mesh: Mesh, count: int = 60, max_records: int = 24, links: int = 3) -> list[Node]:
    """A network in which nobody knows more than a third of the others."""
    nodes = mesh.add(count, max_records=max_records)
    ring(mesh, nodes, also=links)
    for node in nodes:
        node.publish()
    mesh.run(30)
    return nodes


def find(mesh: Mesh, seeker: Node, target: bytes) -> Found:
    number = seeker.core.find(target, mesh.now)
    seeker.act()
    mesh.run(limits.GOSSIP_FIND_TIMEOUT + 1, lambda: any(one.number == number for one in seeker.found()))
    (found,) = [one for one in seeker.found() if one.number == number]
    return found


def test_any_node_finds_any_other_though_none_knows_all() -> None:
    """With few questions, and in little time."""
    mesh = Mesh()
    nodes = sparse(mesh)
    chance = random.Random(5)
    results = []
    for _ in range(30):
        seeker, target = chance.sample(nodes, 2)
        found = find(mesh, seeker, target.id)
        results.append(found)
        assert found.asked <= limits.GOSSIP_FIND_ASKS
        assert found.record is not None and found.record.node == target.id
    assert sum(found.asked > 0 for found in results) > 8


def test_a_third_of_all_dead_hides_nobody() -> None:
    """Those who do not answer are waited for a second, while others are asked."""
    mesh = Mesh()
    nodes = sparse(mesh)
    chance = random.Random(6)
    for node in chance.sample(nodes, 18):
        mesh.kill(node)
    alive = [node for node in nodes if node.is_alive and node.links]
    found = [find(mesh, *pair) for pair in ((a, b.id) for a, b in (chance.sample(alive, 2) for _ in range(30)))]
    assert sum(one.record is not None for one in found) >= 29


def test_who_is_nobody_is_not_found() -> None:
    """After at most twenty questions and ten seconds, with an answer."""
    mesh = Mesh()
    nodes = sparse(mesh, count=40)
    began = mesh.now
    found = find(mesh, nodes[0], key_pair(99_999).peer_id.public_key)
    assert found.record is None and 0 < found.asked <= limits.GOSSIP_FIND_ASKS
    assert mesh.now - began <= limits.GOSSIP_FIND_TIMEOUT


def test_a_search_without_anybody_to_ask_ends_at_once() -> None:
    """Nothing is waited for."""
    core = Gossip(bytes(32), GossipSettings(), read_with(NETWORK), random.Random(1))
    number = core.find(b"x" * 32, 1.0)
    assert core.events() == [Found(number, None, 0)]
    assert core.get_timer() is None


def test_searches_are_bounded_and_can_be_given_up() -> None:
    """A program that looks for thousands at once is told; what was given up leaves room."""
    bitten = Bitten()
    core = Gossip(bytes(32), GossipSettings(), read_with(NETWORK), random.Random(1), bitten)
    core.link_up(b"p" * 32, True, 0.0)
    numbers = [core.find(bytes((index,)) * 32, 0.0) for index in range(1, limits.GOSSIP_FINDS_AT_ONCE + 1)]
    with pytest.raises(ValueError, match="64 searches at once"):
        core.find(b"y" * 32, 0.0)
    assert bitten["GOSSIP_FINDS_AT_ONCE"] == 1
    core.cancel_find(numbers[0])
    last = core.find(b"y" * 32, 0.0)
    core.handle_timer(limits.GOSSIP_FIND_TIMEOUT + 1, WALL)
    assert {event.number for event in core.events() if isinstance(event, Found)} == {*numbers[1:], last}


def test_many_searches_at_once_flood_nobody() -> None:
    """A node that has lost all its peers looks for each of them: whom it asks says of nobody that it floods."""
    mesh = Mesh()
    seeker, asked = mesh.add(2)
    mesh.link(seeker, asked)
    mesh.run(1)
    numbers = [seeker.core.find(bytes((index,)) * 32, mesh.now) for index in range(limits.GOSSIP_FINDS_AT_ONCE)]
    seeker.act()
    mesh.run(limits.GOSSIP_FIND_TIMEOUT + 1, lambda: len(seeker.found()) == len(numbers))
    assert not [event for event in asked.events if isinstance(event, Misbehaved)]
    assert {one.number for one in seeker.found()} == set(numbers)
    assert all(one.asked == 1 for one in seeker.found()), "each has had its turn"


def test_answers_that_nobody_asked_for_change_nothing() -> None:
    """From a stranger, of another number, twice, or to a search that is over."""
    core = Gossip(bytes(32), GossipSettings(), read_with(NETWORK), random.Random(1))
    target, helper, stranger = record_of(key_pair(2)), key_pair(3).peer_id.public_key, b"s" * 32
    core.link_up(helper, True, 0.0)
    number = core.find(target.node, 0.0)
    core.receive(stranger, wire.Found(number, target.data, ()), 0.1, WALL)
    core.receive(helper, wire.Found(number + 1, target.data, ()), 0.1, WALL)
    assert core.events() == []
    core.receive(helper, wire.Found(number, target.data, ()), 0.2, WALL)
    core.receive(helper, wire.Found(number, b"", ()), 0.2, WALL)
    (found,) = [event for event in core.events() if isinstance(event, Found)]
    assert found.record is not None and found.record.data == target.data


def test_a_newer_record_is_looked_for_where_one_is_known() -> None:
    """Who has no newer one is like those who have none. What is newer here already is found at once."""
    core = Gossip(bytes(32), GossipSettings(), read_with(NETWORK), random.Random(1))
    old = record_of(key_pair(2))
    new = record_of(key_pair(2), last=old.sequence)
    helpers = [key_pair(number).peer_id.public_key for number in (5, 6)]
    for helper in helpers:
        core.link_up(helper, True, 0.0)

    def ask(newer_than: int, *answers: bytes) -> tuple[int | None, int]:
        """The sequence of the record that is found, and how many were asked."""
        number = core.find(old.node, 0.0, newer_than)
        for helper, data in zip(helpers, answers, strict=False):
            core.receive(helper, wire.Found(number, data, ()), 0.1, WALL)
        (found,) = [event for event in core.events() if isinstance(event, Found)]
        assert found.number == number
        return (None if found.record is None else found.record.sequence), found.asked

    assert ask(-1, b"", old.data) == (old.sequence, 2)
    assert ask(-1) == (old.sequence, 0)
    assert ask(old.sequence, old.data, b"") == (None, 2)
    assert ask(old.sequence, old.data, new.data) == (new.sequence, 2)
    assert ask(old.sequence) == (new.sequence, 0) and new.sequence > old.sequence


def test_an_answer_is_believed_only_with_the_right_signature_and_time() -> None:
    """Forged, expired, or of another node: it counts as none."""
    core = Gossip(bytes(32), GossipSettings(), read_with(NETWORK), random.Random(1))
    target = record_of(key_pair(2))
    old, other = record_of(key_pair(2), WALL - 8000), record_of(key_pair(4))
    helpers = [key_pair(number).peer_id.public_key for number in (5, 6, 7)]
    for helper in helpers:
        core.link_up(helper, True, 0.0)
    number = core.find(target.node, 0.0)
    forged = target.data[:-1] + bytes((target.data[-1] ^ 1,))
    for helper, data in zip(helpers, (forged, old.data, other.data), strict=True):
        core.receive(helper, wire.Found(number, data, ()), 0.1, WALL)
    (found,) = [event for event in core.events() if isinstance(event, Found)]
    assert found.record is None
    assert core.rejected["forged"] == 2


def test_nobody_is_asked_whose_record_is_out_of_date() -> None:
    """Its addresses may be somebody else's by now; a signature of long ago is easily repeated."""
    core = Gossip(bytes(32), GossipSettings(), read_with(NETWORK), random.Random(1))
    helper = key_pair(5).peer_id.public_key
    core.link_up(helper, True, 0.0)
    number = core.find(key_pair(2).peer_id.public_key, 0.0)
    old = [record_of(key_pair(each), WALL - 8000) for each in (6, 7)]
    early = record_of(key_pair(8), WALL + 8000)
    current = record_of(key_pair(9))
    core.receive(helper, wire.Found(number, b"", tuple(each.data for each in (*old, early, current))), 0.1, WALL)
    assert [ask.record.node for ask in core.asks()] == [current.node]


def test_a_liar_spoils_one_path_only() -> None:
    """Whoever names made-up nodes beside the target leads one half of the questions astray."""
    target = record_of(key_pair(2))
    core = Gossip(bytes(32), GossipSettings(), read_with(NETWORK), random.Random(1))
    liar, honest = sorted((key_pair(n).peer_id.public_key for n in (3, 4)), key=lambda i: i[0] ^ target.node[0])
    friend = record_of(key_pair(5))
    core.link_up(liar, True, 0.0)
    core.link_up(honest, True, 0.0)
    number = core.find(target.node, 0.0)
    made_up = [record_of(key_pair(number)).data for number in range(1000, 1006)]
    core.receive(liar, wire.Found(number, b"", tuple(made_up)), 0.1, WALL)
    core.receive(honest, wire.Found(number, b"", (friend.data,)), 0.1, WALL)
    asked = {ask.record.node for ask in core.asks()}
    assert friend.node in asked


@pytest.mark.parametrize("known", [False, True])
def test_many_keys_at_one_address_do_not_get_all_questions(known: bool) -> None:
    """However near to the target they are, and whether or not others are known: a link from elsewhere is asked."""
    target = bytes(32)
    core = Gossip(key_pair(1).peer_id.public_key, GossipSettings(), read_with(NETWORK), random.Random(1))
    liars = [bytes([0, number]) * 16 for number in range(1, 3 * limits.GOSSIP_FIND_ASKS)]
    honest = b"\xff" * 32
    for liar in liars:
        core.link_up(liar, True, 0.0, place="there")
    core.link_up(honest, True, 0.0, place="elsewhere")
    for number in range(100, 140 if known else 100):
        core.store.add(record_of(key_pair(number)))
    core.frames_to_send()
    number = core.find(target, 0.0)
    asked: list[bytes] = []
    while finds := [to for to, frame in core.frames_to_send() if isinstance(frame, wire.Find)]:
        asked += finds
        for node in finds:
            core.receive(node, wire.Found(number, b"", ()), 0.1, WALL)
        for ask in core.asks():
            core.failed(ask.record.node, 0.1)
    assert honest in asked[:4] and len(asked) > 4


def test_answers_name_first_those_that_had_a_link_with_us() -> None:
    """Records of nodes that nobody has seen, however near, do not fill the answer."""
    core = Gossip(key_pair(1).peer_id.public_key, GossipSettings(), read_with(NETWORK), random.Random(1))
    seen = [record_of(key_pair(number)) for number in range(2, 6)]
    for record in seen:
        core.link_up(record.node, True, 0.0)
        core.receive(record.node, wire.Records((record.data,)), 0.0, WALL)
    for number in range(100, 300):
        core.store.add(record_of(key_pair(number)))
    core.frames_to_send()
    core.receive(seen[0].node, wire.Find(7, key_pair(5000).peer_id.public_key), 0.1, WALL)
    ((to, answer),) = core.frames_to_send()
    assert to == seen[0].node and isinstance(answer, wire.Found) and answer.record == b""
    named = [read_with(NETWORK)(data).node for data in answer.nearer]
    assert len(named) == limits.GOSSIP_NEARER_MAX
    assert {record.node for record in seen[1:]} <= set(named)
    assert seen[0].node not in named


@pytest.mark.parametrize("path", [0, 1])
def test_who_has_to_wait_is_asked_still(path: int) -> None:
    """An honest node has been asked too much for now; others, however many, do not use up all questions meanwhile."""
    target = bytes(32)
    honest = Candidate(bytes(31) + b"\1", None, path, b"")
    liars = [Candidate(bytes([1 + number]) * 32, None, path, b"") for number in range(100)]
    lookup = Lookup(1, target, 0.0, [honest, *liars], b"\xff" * 32)
    may_ask_all = False

    def may(node: bytes, now: float) -> bool:
        return may_ask_all or node != honest.node

    asked: list[Candidate] = []
    now = 0.0
    while now < limits.GOSSIP_FIND_TIMEOUT - 1:
        asked += lookup.next(now, may)
        lookup.wait(now)
        assert now < lookup.due
        now = lookup.due
    assert len(asked) == limits.GOSSIP_FIND_ASKS // 2 and honest not in asked
    may_ask_all = True
    asked += lookup.next(now, may)
    assert honest in asked
