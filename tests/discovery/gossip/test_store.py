"""What is kept of others: bounded, the nearest, what can be reached first; and how stores are compared."""

from __future__ import annotations

import random

from crust import limits
from crust.discovery.gossip.record import Record
from crust.discovery.gossip.store import EVERYTHING, Store
from crust.wire import gossip as wire
from crust.wire.handshake import Role
from tests.discovery.gossip.mesh import WALL

MADE = round(WALL * 1000)
SPOTS = (wire.Spot(1, ("192.0.2.7", 1)),)


def record(node: bytes, sequence: int = 1, *, is_public: bool = True, made: int = MADE) -> Record:
    """Not signed: a store does not look at that."""
    statement = wire.Statement(node, sequence, made, Role.NODE, is_public, SPOTS if is_public else (), ())
    return Record(statement, wire.build_record_body(statement) + bytes(64))


def nodes(count: int, seed: int = 1) -> list[bytes]:
    chance = random.Random(seed)
    return [chance.randbytes(32) for _ in range(count)]


def full(size: int = 64, count: int = 300) -> tuple[Store, list[Record]]:
    store = Store(bytes(32), size)
    records = [record(node) for node in nodes(count)]
    for one in records:
        store.add(one)
    return store, records


def test_the_newest_version_holds() -> None:
    """Whatever the order in which they come; the same one twice is no news."""
    store = Store(bytes(32), 64)
    (node,) = nodes(1)
    old, new = record(node, 1), record(node, 2)
    assert store.add(new) and not store.add(old) and not store.add(new)
    assert store.of(node) is new
    assert len(store) == 1 and list(store) == [new]


def test_who_has_the_prefix_of_another_does_not_take_its_place() -> None:
    """The first one that came keeps it."""
    store = Store(bytes(32), 64)
    (node,) = nodes(1)
    twin = node[:8] + bytes(24)
    store.add(record(node))
    assert not store.add(record(twin, 9))
    assert store.of(twin) is None and store.of(node) is not None


def test_a_full_store_keeps_those_nearest_to_its_node() -> None:
    """By XOR; and it says how near."""
    store, records = full()
    assert 60 <= len(store) <= 64
    nearest = sorted(one.prefix for one in records)[: len(store)]
    assert sorted(one.prefix for one in store) == nearest
    assert nearest[-1] <= store.radius < EVERYTHING
    far = record(b"\xff" * 32)
    assert not store.wants(far.prefix) and not store.add(far)


def test_a_million_records_do_not_make_it_grow() -> None:
    """Fewer of them here: it stays within its size at every moment."""
    store = Store(bytes(32), 256)
    chance = random.Random(3)
    template = record(bytes(32))
    largest = 0
    for _ in range(20_000):
        one = object.__new__(Record)
        node = chance.randbytes(32)
        one.data, one.node, one.prefix, one.mix = template.data, node, wire.prefix_of(node), chance.getrandbits(64)
        one.version, one.made, one.is_public = 1, MADE, True
        store.add(one)
        largest = max(largest, len(store))
    assert largest <= 256


def test_what_its_node_brought_itself_stays() -> None:
    """However far it is, and however many others come."""
    store, _ = full()
    far = record(b"\xfe" * 32)
    assert store.add(far, pinned=True)
    for one in [record(node) for node in nodes(2000, 5)]:
        store.add(one)
    assert store.of(far.node) is far


def test_pinned_ones_are_bounded_as_well() -> None:
    """A quarter at most: so many identities are cheap."""
    store = Store(bytes(32), 64)
    for node in nodes(1000):
        store.add(record(node), pinned=True)
        assert len(store) <= 64
    assert len(store._pinned) <= 16


def test_many_keys_at_one_place_do_not_take_what_others_have_of_that() -> None:
    """However many come there and bring themselves, and whoever came last."""
    store = Store(bytes(32), 64)
    honest = [record(node) for node in nodes(12)]
    for number, one in enumerate(honest):
        store.add(one, pinned=True, place=number)
    for node in nodes(1000, 5):
        store.add(record(node), pinned=True, place="there")
    assert [one for one in honest if store.of(one.node) is not one] == []
    assert len(store._pinned) <= 16


def test_our_own_record_stays_whoever_brings_theirs_and_whatever_is_said_of_us() -> None:
    """It is pinned for good: no number of identities takes that from it."""
    store = Store(bytes(32), 64)
    own = record(bytes(32))
    store.add(own, pinned=True)
    store.failed(own.prefix, 1.0)
    for node in nodes(1000):
        store.add(record(node), pinned=True)
    assert store.of(own.node) is own


def test_whom_nobody_reaches_goes_first_and_is_not_told() -> None:
    """And comes back with a new record, or after a while."""
    store = Store(bytes(32), 64)
    records = [record(node) for node in sorted(nodes(64))]
    for one in records:
        store.add(one)
    nearest = records[0]
    store.failed(nearest.prefix, 100.0)
    assert nearest not in store.nearest(0, 5, 100.0)
    assert nearest in store.nearest(0, 5, 100.0 + limits.GOSSIP_SUNK)
    store.add(record(nearest.node, 2))
    assert store.nearest(0, 1, 100.0)[0].node == nearest.node
    store.failed(nearest.prefix, 100.0)
    store.add(record(b"\x01" * 32))
    assert store.of(nearest.node) is None
    assert not store.wants(nearest.prefix)


def test_who_failed_often_is_left_alone_longer() -> None:
    """And who was reached, at once no more."""
    store, records = full()
    prefix = records[0].prefix
    for _ in range(3):
        store.failed(prefix, 100.0)
    assert store.is_sunk(prefix, 100.0 + 2.5 * limits.GOSSIP_SUNK)
    store.reached(prefix)
    assert not store.is_sunk(prefix, 100.0)


def test_failures_are_remembered_of_so_many_only() -> None:
    """A million lies cost no memory."""
    store = Store(bytes(32), 64)
    for prefix in range(5000):
        store.failed(prefix, 1.0)
    assert len(store._sunk) <= limits.GOSSIP_SUNK_MAX


def test_the_nearest_public_nodes() -> None:
    """As a look at all of them says."""
    store = Store(bytes(32), 4096)
    records = [record(node, is_public=index % 3 == 0) for index, node in enumerate(nodes(500))]
    for one in records:
        store.add(one)
    public = [one for one in records if one.is_public]
    for target in (0, EVERYTHING, 1 << 60, records[5].prefix):
        expected = sorted(public, key=lambda one: one.prefix ^ target)[:20]
        assert store.nearest(target, 20, 0.0) == expected
        skip = {expected[0].prefix}
        assert store.nearest(target, 3, 0.0, skip) == expected[1:4]


def test_what_is_too_old_goes() -> None:
    """And the hashes with it."""
    store = Store(bytes(32), 64)
    old, new = record(b"\x01" * 32, made=MADE - 8_000_000), record(b"\x02" * 32)
    before = store.hashes(8)
    store.add(old)
    store.expire(lambda one: one is not old, 0.0, WALL)
    assert store.hashes(8) == before and len(store) == 0
    store.add(new)
    store.expire(lambda one: True, 0.0, WALL)
    assert list(store) == [new]


def test_a_store_with_room_again_wants_more() -> None:
    """Little by little, so that nobody sends it everything at once."""
    store, records = full()
    radius = store.radius
    for one in list(store)[:40]:
        store.remove(one.prefix)
    store.expire(lambda one: True, 0.0, WALL)
    assert radius < store.radius < 2 * radius
    for _ in range(200):
        store.expire(lambda one: True, 0.0, WALL)
    assert store.radius == EVERYTHING


def test_equal_stores_have_equal_hashes_and_others_differ_where_they_differ() -> None:
    """Whatever the order in which records came, and at every depth."""
    one, other = Store(bytes(32), 4096), Store(b"\xff" * 32, 4096)
    records = [record(node) for node in nodes(300)]
    for each in records:
        one.add(each)
    for each in reversed(records):
        other.add(each)
    assert one.hashes() == other.hashes()
    assert one.differing(other.hashes(), other.prefix, other.radius) == []
    newer = record(records[7].node, 2)
    other.add(newer)
    for bits in range(9):
        ((first, last),) = one.differing(other.hashes(bits), other.prefix, other.radius)
        assert first <= newer.prefix <= last and last - first == (1 << 64 - bits) - 1
        assert (newer.prefix, newer.version) in other.items(first, last)
    assert other.items(0, EVERYTHING) == other.items(0, (1 << 63) - 1) + other.items(1 << 63, EVERYTHING)


def test_only_what_both_keep_wholly_is_compared() -> None:
    """What one of them throws out is no difference."""
    small, records = full()
    large = Store(b"\xff" * 32, 4096)
    for each in records:
        large.add(each)
    assert small.differing(large.hashes(8), large.prefix, large.radius) == []
    assert large.differing(small.hashes(8), small.prefix, small.radius) == []


def test_ranges_side_by_side_are_one() -> None:
    """An empty store differs in one range from any other."""
    empty, (store, _) = Store(bytes(32), 4096), full(4096)
    assert store.differing(empty.hashes(0), 0, EVERYTHING) == [(0, EVERYTHING)]
