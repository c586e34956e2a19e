"""What peers can make a node believe, keep, send and reckon: little, and only as much as its budgets say."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest

from crust import limits
from crust.addresses import network_id
from crust.discovery.gossip import Gossip, GossipSettings, Misbehaved, Record, read_with
from crust.discovery.gossip.store import Store
from crust.exceptions import MalformedMessage
from crust.wire import gossip as wire
from crust.wire.handshake import Role
from tests.discovery.gossip.mesh import NETWORK, WALL, Mesh, key_pair, record_of, ring
from tests.support.bitten import Bitten

LIAR, HONEST = b"L" * 32, b"H" * 32
EVERYTHING = (1 << 64) - 1


class Victim:
    """A core with a liar and an honest peer, whose reader counts, and takes everything made by ``made_up``."""

    def __init__(self, max_records: int = 256) -> None:
        self.bitten = Bitten()
        self.checks = 0
        self.made_up: dict[bytes, Record] = {}
        self._real = read_with(NETWORK)
        own_id = key_pair(1).peer_id.public_key
        self.core = Gossip(own_id, GossipSettings(max_records), self._read, random.Random(1), self.bitten)
        self.now = 0.0
        self.sent: list[tuple[bytes, wire.GossipFrame]] = []
        for peer in (LIAR, HONEST):
            self.core.link_up(peer, True, 0.0)
            self.say(peer, wire.Summary(EVERYTHING, False, ()))

    def _read(self, data: bytes) -> Record:
        self.checks += 1
        return self.made_up.get(data) or self._real(data)

    def say(self, peer: bytes, frame: wire.GossipFrame) -> list[wire.GossipFrame]:
        """What the core says to that peer thereupon."""
        self.core.receive(peer, frame, self.now, WALL + self.now)
        return self._sent_to(peer)

    def _sent_to(self, peer: bytes) -> list[wire.GossipFrame]:
        frames = self.core.frames_to_send()
        self.sent += frames
        return [frame for to, frame in frames if to == peer]

    def wait(self, seconds: float) -> list[tuple[bytes, wire.GossipFrame]]:
        """Let time pass; what is sent meanwhile."""
        end = self.now + seconds
        frames = self.core.frames_to_send()
        while (timer := self.core.get_timer()) is not None and timer <= end:
            self.now = max(self.now, timer)
            self.core.handle_timer(self.now, WALL + self.now)
            frames += self.core.frames_to_send()
        self.now = end
        self.sent += frames
        return frames

    def offer(self, peer: bytes, record: Record, data: bytes | None = None, version: int | None = None) -> None:
        """Announce a record, and bring it, or something else in its place, if it is asked for."""
        announced = record.version if version is None else version
        frames = self.say(peer, wire.Announce(((record.prefix, announced),)))
        if any(isinstance(frame, wire.Request) and record.prefix in frame.prefixes for frame in frames):
            self.say(peer, wire.Records((record.data if data is None else data,)))

    def lie(self, number: int) -> Record:
        """A record of a node that nobody has; cheap to make."""
        node = random.Random(number).randbytes(32)
        made = round(WALL * 1000)
        spots = (wire.Spot(1, ("203.0.113.1", 1)),)
        statement = wire.Statement(node, made, made, Role.NODE, True, spots, ())
        data = node + number.to_bytes(8, "big") + bytes(100)
        record = self.made_up[data] = Record(statement, data)
        return record

    def misbehaved(self) -> set[tuple[bytes, str]]:
        return {(event.peer_id, event.kind) for event in self.core.events() if isinstance(event, Misbehaved)}


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda record: record.data[:-1] + bytes((record.data[-1] ^ 1,)), "forged"),
        (lambda record: record.data[:-1], "forged"),
        (lambda record: record.data + b"\0", "forged"),
        (lambda record: record_of(key_pair(2), network=network_id("other")).data, "forged"),
        (lambda record: record_of(key_pair(2), WALL - 7300).data, "time"),
        (lambda record: record_of(key_pair(2), WALL + 700).data, "time"),
    ],
    ids=["signature", "too short", "too long", "another network", "expired", "future"],
)
def test_what_is_no_good_record_is_not_kept(make: Callable[[Record], bytes], why: str) -> None:
    """It is counted; and the same record, as it should be, is taken from somebody else."""
    victim = Victim()
    record = record_of(key_pair(2))
    victim.offer(LIAR, record, make(record))
    assert victim.core.store.of(record.node) is None
    assert victim.core.rejected == {why: 1}
    assert ((LIAR, "forged") in victim.misbehaved()) == (why == "forged")
    victim.offer(HONEST, record)
    assert victim.core.store.of(record.node) is not None


def test_nobody_is_rolled_back() -> None:
    """An older record of a node is not asked for; forced upon us, it changes nothing."""
    victim = Victim()
    old, new = record_of(key_pair(2)), record_of(key_pair(2), WALL + 60)
    victim.offer(HONEST, new)
    checks = victim.checks
    victim.offer(LIAR, old)
    victim.say(LIAR, wire.Records((old.data,)))
    assert victim.checks == checks
    victim.offer(LIAR, old, version=new.version + 1)
    kept = victim.core.store.of(new.node)
    assert kept is not None and kept.version == new.version


def test_who_says_something_old_hears_what_is_new() -> None:
    """A peer that is behind is told so."""
    victim = Victim()
    old, new = record_of(key_pair(2)), record_of(key_pair(2), WALL + 60)
    victim.offer(HONEST, new)
    victim.wait(3)
    victim.sent.clear()
    victim.say(LIAR, wire.Announce(((old.prefix, old.version),)))
    victim.wait(3)
    assert (LIAR, wire.Announce(((new.prefix, new.version),))) in victim.sent


def test_of_two_records_with_one_sequence_all_keep_the_same() -> None:
    """Whichever they heard first: a mesh in which both were published ends up with one."""
    keys = key_pair(77)
    one, other = record_of(keys), record_of(keys, is_public=False)
    assert one.sequence == other.sequence
    winner = max(one, other, key=lambda record: record.version)
    mesh = Mesh()
    nodes = mesh.add(10)
    ring(mesh, nodes)
    mesh.run(1)
    for node, record in ((nodes[0], one), (nodes[5], other)):
        node.core.store.add(record)
        node.core._announcing.spread(record.prefix, (), mesh.now)
        node.act()
    mesh.run(10)
    kept = [node.core.store.of(winner.node) for node in nodes]
    assert [record.version for record in kept if record is not None] == [winner.version] * len(nodes)


def test_a_million_records_cost_a_bounded_store_and_a_bounded_number_of_signatures() -> None:
    """A liar that announces as fast as it is heard, for two minutes, and brings whatever it is asked for."""
    victim = Victim()
    number = 0
    seconds = 120
    for _ in range(seconds):
        items = []
        for _ in range(200):
            number += 1
            record = victim.lie(number)
            items.append((record.prefix, record.version))
        pending = victim.say(LIAR, wire.Announce(tuple(items)))
        by_prefix = {record.prefix: record for record in victim.made_up.values()}
        for _ in range(4):
            wanted = [prefix for frame in pending if isinstance(frame, wire.Request) for prefix in frame.prefixes]
            pending = []
            for start in range(0, len(wanted), 16):
                batch = tuple(by_prefix[prefix].data for prefix in wanted[start : start + 16])
                pending += victim.say(LIAR, wire.Records(batch))
            pending += [frame for to, frame in victim.wait(0.25) if to == LIAR]
    assert len(victim.core.store) <= 256
    fresh = 64 + 64 / limits.GOSSIP_FRESH_SECONDS * seconds  # what one link may add to a store that is half full
    assert victim.checks <= 128 + fresh + limits.GOSSIP_OUTSTANDING
    assert victim.bitten["GOSSIP_FRESH_SECONDS"] > 10_000


def test_what_is_announced_at_once_counts_before_it_has_come() -> None:
    """A liar that names thousands in one breath does not fill more than half of a store, and a little."""
    victim = Victim()
    frames = []
    for start in range(0, 2000, 100):
        lies = [victim.lie(number) for number in range(start, start + 100)]
        frames += victim.say(LIAR, wire.Announce(tuple((one.prefix, one.version) for one in lies)))
    by_prefix = {record.prefix: record.data for record in victim.made_up.values()}
    for _ in range(60):
        wanted = [prefix for frame in frames if isinstance(frame, wire.Request) for prefix in frame.prefixes]
        frames = [frame for prefix in wanted for frame in victim.say(LIAR, wire.Records((by_prefix[prefix],)))]
        frames += [frame for to, frame in victim.wait(0.25) if to == LIAR]
    assert 128 <= len(victim.core.store) <= 128 + 100 + 16 + 1


def test_who_comes_after_a_flood_is_taken_still() -> None:
    """The budget of one link is not that of another."""
    victim = Victim()
    for number in range(400):
        victim.offer(LIAR, victim.lie(number))
    near = min((record_of(key_pair(n)) for n in range(2, 40)), key=lambda r: r.prefix ^ victim.core.store.prefix)
    victim.offer(HONEST, near)
    assert victim.core.store.of(near.node) is not None


@pytest.mark.parametrize("places", [1, 4])
def test_who_comes_after_a_flood_by_many_keys_is_taken_still(places: int) -> None:
    """Nor is that of all links only theirs who offer all the time, at one address or at several."""
    victim, numbers = Victim(), itertools.count()
    for key in range(16):
        liar = b"many" + bytes([key]) * 28
        victim.core.link_up(liar, True, 0.0, place=key % places)
        victim.core.receive(liar, wire.Summary(EVERYTHING, False, ()), victim.now, WALL)
        for _ in range(40):
            victim.offer(liar, victim.lie(next(numbers)))
    assert victim.bitten["GOSSIP_FRESH_SECONDS"] > 0
    near = sorted((record_of(key_pair(n)) for n in range(2, 40)), key=lambda r: r.prefix ^ victim.core.store.prefix)
    for record in near[:2]:
        victim.offer(HONEST, record)
    assert all(victim.core.store.of(record.node) is not None for record in near[:2])


def test_announcements_without_end_are_not_read() -> None:
    """Beyond its budget a link is not listened to, and that is reported once in a while."""
    victim = Victim()
    frame = wire.Announce(tuple((number << 40, 5) for number in range(256)))
    for _ in range(200):
        victim.say(LIAR, frame)
    assert victim.misbehaved() == {(LIAR, "flood")}
    assert len(victim.core._pulling.wants) <= 512
    assert victim.bitten["GOSSIP_ITEMS_RATE"] > 100
    record = record_of(key_pair(2))
    victim.offer(HONEST, record)
    assert victim.core.store.of(record.node) is not None


def test_who_announces_and_does_not_deliver_delays_and_no_more() -> None:
    """Somebody else is asked after five seconds; and of who never delivers, nothing for a while."""
    victim = Victim(4096)
    record = record_of(key_pair(2))
    victim.say(LIAR, wire.Announce(((record.prefix, record.version + 1000),)))
    victim.say(HONEST, wire.Announce(((record.prefix, record.version),)))
    asked = [to for to, frame in victim.wait(limits.GOSSIP_PATIENCE + 0.5) if isinstance(frame, wire.Request)]
    assert asked == [HONEST]
    victim.say(HONEST, wire.Records((record.data,)))
    assert victim.core.store.of(record.node) is not None
    for number in range(100):
        victim.say(LIAR, wire.Announce(((number << 50, 1),)))
    victim.wait(3 * limits.GOSSIP_PATIENCE)
    late = record_of(key_pair(3))
    frames = victim.say(LIAR, wire.Announce(((late.prefix, late.version),)))
    assert frames == [] and victim.bitten["GOSSIP_PAUSED"] == 1
    victim.wait(limits.GOSSIP_PAUSED)
    assert victim.say(LIAR, wire.Announce(((late.prefix, late.version),))) != []


def test_a_record_that_was_asked_for_twice_has_its_time_each_time() -> None:
    """That the first request would be late by now says nothing of the second one."""
    victim = Victim(4096)
    first = record_of(key_pair(2))
    second = record_of(key_pair(2), WALL + limits.GOSSIP_PATIENCE, first.sequence)
    victim.offer(HONEST, first)
    victim.wait(limits.GOSSIP_PATIENCE - 0.01)
    victim.say(HONEST, wire.Announce(((second.prefix, second.version),)))
    victim.wait(0.02)
    victim.say(HONEST, wire.Records((second.data,)))
    kept = victim.core.store.of(first.node)
    assert kept is not None and kept.data == second.data


def test_who_breaks_its_word_again_and_again_is_asked_nothing_more() -> None:
    """Records that are forged, or older than was said: after eight, silence for ten minutes."""
    victim = Victim()
    for number in range(2, 20):
        record = record_of(key_pair(number))
        victim.offer(LIAR, record, version=record.version + 7)
    kept = sum(victim.core.store.of(key_pair(number).peer_id.public_key) is not None for number in range(2, 20))
    assert kept == limits.GOSSIP_STRIKES and victim.bitten["GOSSIP_STRIKES"] == 1
    record = record_of(key_pair(30))
    assert victim.say(LIAR, wire.Announce(((record.prefix, record.version),))) == []
    victim.offer(HONEST, record)
    assert victim.core.store.of(record.node) is not None


def test_a_new_link_does_not_bring_a_new_budget() -> None:
    """Who hangs up and comes again goes on where it was."""
    victim = Victim()
    for number in range(2, 2 + limits.GOSSIP_STRIKES):
        record = record_of(key_pair(number))
        victim.offer(LIAR, record, record.data[:-1])
    victim.core.link_down(LIAR, victim.now)
    victim.core.link_up(LIAR, True, victim.now)
    victim.say(LIAR, wire.Summary(EVERYTHING, False, ()))
    record = record_of(key_pair(30))
    assert victim.say(LIAR, wire.Announce(((record.prefix, record.version),))) == []


def test_links_that_have_ended_are_remembered_of_so_many_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes with another identity each time does not make the node grow; the last ones are remembered."""
    monkeypatch.setattr(limits, "GOSSIP_PAST", 20)
    victim = Victim()
    strangers = [key_pair(number).peer_id.public_key for number in range(100, 200)]
    for each in strangers:
        victim.core.link_up(each, False, 0.0)
        victim.core.link_down(each, 0.0)
    assert list(victim.core._past) == strangers[-20:]


def test_records_that_nobody_asked_for_are_not_looked_at() -> None:
    """However many: no signature is checked, and the flood is reported."""
    victim = Victim()
    batch = tuple(record_of(key_pair(number)).data for number in range(2, 18))
    for _ in range(400):
        victim.say(LIAR, wire.Records(batch))
    assert victim.checks == 0 and len(victim.core.store) == 0
    assert victim.misbehaved() == {(LIAR, "unasked")}


def test_its_own_record_again_and_again_costs_no_more_than_others() -> None:
    """Unasked records of the sender itself are paid for, too."""
    victim = Victim()
    mine = record_of(key_pair(2))
    victim.core.link_up(mine.node, True, 0.0)
    for _ in range(1000):
        victim.say(mine.node, wire.Records((mine.data,)))
    assert victim.checks <= limits.GOSSIP_CHECKS_LINK
    assert victim.bitten["GOSSIP_CHECKS_LINK"] == 1000 - victim.checks
    assert victim.misbehaved() == set(), "an honest node may bring its own while much is asked of it"
    for _ in range(3000):
        victim.say(mine.node, wire.Records((mine.data,)))
    assert victim.misbehaved() == {(mine.node, "flood")}


def test_contents_that_nobody_asked_for_are_not_read() -> None:
    """Else each would make us announce all that we have."""
    victim = Victim()
    victim.offer(HONEST, record_of(key_pair(2)))
    victim.wait(30)
    victim.core._compare_at = float("inf")
    victim.wait(limits.GOSSIP_CONTENTS_WAIT + 1)  # whatever was asked is over
    victim.core.events()
    victim.sent.clear()
    victim.say(LIAR, wire.Contents(0, EVERYTHING, ()))
    victim.wait(20)
    assert victim.misbehaved() == {(LIAR, "unasked")}
    assert victim.sent == []


def test_contents_without_end_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes have us go through all that we have: who says them again and again is read no more."""
    victim = Victim()
    for number in range(100):
        victim.core.store.add(victim.lie(number))
    victim.core._links[LIAR].compared_until = victim.now + 1.0
    looks: list[int] = []
    items = Store.items
    monkeypatch.setattr(Store, "items", lambda store, first, last: looks.append(first) or items(store, first, last))
    for _ in range(2000):
        victim.say(LIAR, wire.Contents(0, EVERYTHING, ()))
    assert 0 < len(looks) <= victim.core._links[LIAR].items.size / len(victim.core.store) + 1
    assert (LIAR, "flood") in victim.misbehaved()


def test_comparisons_are_answered_now_and_then_only() -> None:
    """Three at once, then one in five seconds: an answer is much longer than the question."""
    victim = Victim()
    victim.offer(HONEST, record_of(key_pair(2)))
    answers = [victim.say(LIAR, wire.Summary(EVERYTHING, True, (1,))) for _ in range(50)]
    assert sum(bool(frames) for frames in answers) == 3
    assert victim.bitten["GOSSIP_SUMMARIES_LINK"] == 47
    victim.now += 5
    assert victim.say(LIAR, wire.Summary(EVERYTHING, True, (1,)))


def test_what_is_given_away_is_bounded() -> None:
    """Requests without end: so many bytes at once, and a second; and others are not forgotten for it."""
    victim = Victim()
    records = [record_of(key_pair(number)) for number in range(2, 66)]
    for record in records:
        victim.core.store.add(record)
    frame = wire.Request(tuple(record.prefix for record in records))
    given = 0
    for _ in range(2000):
        given += sum(len(data) for f in victim.say(LIAR, frame) if isinstance(f, wire.Records) for data in f.records)
    assert given <= limits.GOSSIP_SERVE_BURST + 512
    assert len(victim.core._links[LIAR].wanted) <= limits.GOSSIP_REQUEST_MAX
    assert victim.say(HONEST, wire.Request((records[0].prefix,))) == []
    brought = [to for to, frame in victim.wait(2) if isinstance(frame, wire.Records)]
    assert HONEST in brought
    assert victim.bitten["GOSSIP_REQUEST_MAX"] > 0 and victim.bitten["GOSSIP_SERVE_RATE"] == 2


def test_many_keys_at_one_address_leave_others_their_turn() -> None:
    """Each of them waits for more records than there is budget for: a node elsewhere is second."""
    victim = Victim()
    records = [record_of(key_pair(number)) for number in range(2, 66)]
    for record in records:
        victim.core.store.add(record)
    liars = [b"many" + bytes([number]) * 28 for number in range(100)]
    for liar in liars:
        victim.core.link_up(liar, True, 0.0, place="there")
    frame = wire.Request(tuple(record.prefix for record in records))
    for _ in range(10):
        for liar in liars:
            victim.say(liar, frame)
    assert victim.say(HONEST, wire.Request((records[0].prefix,))) == []
    brought = [to for to, frame in victim.wait(limits.GOSSIP_DELAY_PUBLIC) if isinstance(frame, wire.Records)]
    brought += [to for to, frame in victim.wait(1.0) if isinstance(frame, wire.Records)]
    assert HONEST in brought[:2]


def test_who_asks_for_records_without_end_leaves_others_their_turn() -> None:
    """One peer asks a hundred times a second for more than there is budget for: another one has its answers in time."""
    victim = Victim()
    records = [record_of(key_pair(number)) for number in range(2, 98)]
    for record in records:
        victim.core.store.add(record)
    greedy = wire.Request(tuple(record.prefix for record in records[:64]))
    modest = wire.Request(tuple(record.prefix for record in records[64:]))
    burst = limits.GOSSIP_SERVE_BURST
    while burst > 0:
        burst -= sum(len(data) for f in victim.say(LIAR, greedy) if isinstance(f, wire.Records) for data in f.records)
    brought = 0
    asked = victim.say(HONEST, modest)
    for _ in range(100):  # a second
        victim.say(LIAR, greedy)
        given = [(HONEST, frame) for frame in asked] + victim.wait(0.01)
        asked = []
        brought += sum(len(f.records) for to, f in given if to == HONEST and isinstance(f, wire.Records))
    assert brought == 32


def test_who_offers_without_end_leaves_others_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """More is offered by one peer than may be checked of all together: what another one offers is fetched in time."""
    monkeypatch.setattr(limits, "GOSSIP_CHECKS", 50.0)  # half of what one link may: else it takes several
    monkeypatch.setattr(limits, "GOSSIP_CHECKS_BURST", 10.0)
    victim = Victim(max_records=4096)
    lies = [victim.lie(number) for number in range(200)]
    true = [record_of(key_pair(number)) for number in range(2, 7)]
    by_prefix = {record.prefix: record.data for record in (*lies, *true)}
    for step in range(100):  # two seconds
        offers = {LIAR: lies[2 * step : 2 * step + 2], HONEST: true if step == 20 else []}
        for peer, records in offers.items():
            if records:
                victim.say(peer, wire.Announce(tuple((record.prefix, record.version) for record in records)))
        victim.wait(0.02)
        asked, victim.sent = victim.sent, []
        for peer, frame in asked:
            if isinstance(frame, wire.Request):
                victim.say(peer, wire.Records(tuple(by_prefix[prefix] for prefix in frame.prefixes)))
    assert all(victim.core.store.of(record.node) is not None for record in true)
    assert victim.bitten["GOSSIP_CHECKS"] > 0


def test_who_brings_its_own_record_without_end_leaves_checks_to_others() -> None:
    """Sixty keys at one address, whose budgets all last: what another peer offers is asked for at once all the same."""
    victim = Victim()
    liars = [record_of(key_pair(number)) for number in range(100, 160)]
    for liar in liars:
        victim.core.link_up(liar.node, True, 0.0, place="there")
    asked = 0
    for step in range(200):  # two seconds
        for liar in liars[step % 20 :: 20]:
            victim.say(liar.node, wire.Records((liar.data,) * 16))
        if step >= 150 and step % 10 == 0:
            record = victim.lie(step)
            asked += len(victim.say(HONEST, wire.Announce(((record.prefix, record.version),))))
        victim.wait(0.01)
    assert asked == 5 and victim.bitten["GOSSIP_CHECKS"] > 0


def test_who_brings_its_own_record_from_everywhere_has_no_more_checked_than_there_is() -> None:
    """Eleven hundred addresses bring one each: what is asked for does not have to wait until those are made up for."""
    victim, liars = Victim(), [record_of(key_pair(number)) for number in range(100, 1200)]
    for liar in liars:
        victim.core.link_up(liar.node, True, 0.0, place=liar.prefix)
    for liar in liars:
        victim.say(liar.node, wire.Records((liar.data,)))
    assert 0 <= victim.core._pulling.checks.left(0.0) < limits.GOSSIP_CHECKS_BURST / 2


def test_who_moves_takes_part_where_it_is() -> None:
    """What is answered at its old address is not its concern any more, nor its own link's there."""
    victim = Victim()
    victim.core.link_up(LIAR, True, 0.0, place="there")
    victim.core.link_up(HONEST, True, 0.0, place="there")
    for number in range(50):
        liar = b"many" + bytes([number]) * 28
        victim.core.link_up(liar, True, 0.0, place="there")
        for question in range(10):
            victim.say(liar, wire.Find(question, b"x" * 32))
    assert victim.say(HONEST, wire.Find(1, b"x" * 32)) == []
    victim.core.link_up(HONEST, True, 0.0, place="elsewhere")
    assert victim.say(HONEST, wire.Find(2, b"x" * 32)) == [wire.Found(2, b"", ())]


def test_questions_without_end_are_not_answered() -> None:
    """Twenty at once, ten a second, of one link."""
    victim = Victim()
    answers = [victim.say(LIAR, wire.Find(number, b"x" * 32)) for number in range(100)]
    assert sum(bool(frames) for frames in answers) == 2 * limits.GOSSIP_FINDS_LINK
    assert victim.bitten["GOSSIP_FINDS_LINK"] == 80
    assert victim.misbehaved() == {(LIAR, "flood")}
    assert victim.say(HONEST, wire.Find(1, b"x" * 32)) == [wire.Found(1, b"", ())]


def test_many_keys_at_one_address_do_not_get_all_answers() -> None:
    """Each of them asks little; a node elsewhere is answered, and nobody is blamed for what others ask."""
    victim = Victim()
    for number in range(100):
        liar = b"many" + bytes([number]) * 28
        victim.core.link_up(liar, True, 0.0, place="there")
        for question in range(10):
            victim.say(liar, wire.Find(question, b"x" * 32))
    assert victim.bitten["GOSSIP_FINDS_ADDRESS"] == 1000 - 2 * limits.GOSSIP_FINDS_ADDRESS
    assert victim.say(HONEST, wire.Find(1, b"x" * 32)) == [wire.Found(1, b"", ())]
    assert victim.misbehaved() == set()


def test_many_addresses_do_not_get_all_answers() -> None:
    """Together they take all that there is; who asks seldom is answered."""
    victim = Victim()
    for number in range(8):
        for key in range(25):
            liar = b"many" + bytes([number, key]) * 14
            victim.core.link_up(liar, True, 0.0, place=number)
            for question in range(10):
                victim.say(liar, wire.Find(question, b"x" * 32))
    assert victim.bitten["GOSSIP_FINDS"] > 500
    answers = [victim.say(HONEST, wire.Find(number, b"x" * 32)) for number in range(12)]
    assert list(map(bool, answers)) == [True] * 10 + [False] * 2


def test_strangers_say_nothing() -> None:
    """Frames of somebody without a link, or of one whose link is gone, do nothing at all."""
    victim = Victim()
    record = record_of(key_pair(2))
    victim.core.link_down(LIAR, 0.0)
    for peer in (LIAR, b"S" * 32):
        for frame in (
            wire.Announce(((record.prefix, record.version),)),
            wire.Records((record.data,)),
            wire.Request((record.prefix,)),
            wire.Summary(5, True, (1,)),
            wire.Contents(0, 5, ()),
            wire.Find(1, record.node),
            wire.Found(1, record.data, ()),
        ):
            assert victim.say(peer, frame) == []
    assert victim.checks == 0


@pytest.mark.parametrize("seed", range(5))
def test_any_frames_in_any_order_are_survived(seed: int) -> None:
    """Nothing but what is documented comes out of a core, and its bounds hold."""
    chance = random.Random(seed)
    victim = Victim(32)
    records = [record_of(key_pair(number), WALL + chance.uniform(-9000, 900)) for number in range(2, 40)]
    number = victim.core.find(b"z" * 32, 0.0)

    def prefix() -> int:
        return chance.choice((chance.getrandbits(64), chance.choice(records).prefix, 0, EVERYTHING))

    def items() -> tuple[wire.Item, ...]:
        return tuple((prefix(), chance.getrandbits(64)) for _ in range(chance.randint(1, 9)))

    def blobs() -> tuple[bytes, ...]:
        return tuple(chance.choice((chance.choice(records).data, chance.randbytes(70), b"x")) for _ in range(3))

    makers: list[Callable[[], wire.GossipFrame]] = [
        lambda: wire.Summary(prefix(), chance.random() < 0.5, (1,) * chance.choice((0, 1, 2, 256))),
        lambda: wire.Contents(*sorted((prefix(), prefix())), items()),  # type: ignore[call-arg]
        lambda: wire.Announce(items()),
        lambda: wire.Announce(tuple((record.prefix, record.version) for record in records)),
        lambda: wire.Request(tuple(prefix() for _ in range(9))),
        lambda: wire.Records(blobs()),
        lambda: wire.Find(chance.getrandbits(32), chance.choice(records).node),
        lambda: wire.Found(number, b"", blobs()),
        lambda: wire.Found(number, b"x", ()),
    ]
    for _ in range(600):
        peer = chance.choice((LIAR, HONEST, b"S" * 32))
        roll = chance.random()
        if roll < 0.03:
            victim.core.link_up(peer, roll < 0.02, victim.now, short=roll < 0.01)
        elif roll < 0.05:
            victim.core.link_down(peer, victim.now)
        elif roll < 0.1:
            victim.wait(chance.uniform(0, 9))
        elif roll < 0.12:
            victim.core.failed(chance.choice(records).node, victim.now)
        else:
            victim.say(peer, chance.choice(makers)())
        assert len(victim.core.store) <= 32
        victim.core.asks()
    with pytest.raises(MalformedMessage):
        read_with(NETWORK)(b"x")
