"""The cache of nodes reached before: its order, whom it looks at, and what becomes of it among others. Virtual time."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from crust import Contact, Endpoint, PeerId, limits
from crust.discovery.cache.core import Cache, Entry, in_turns

NOON = 1_800_000_000.0
HOUR = 3600.0


def peer(number: int) -> PeerId:
    """Made of a number, and not of a key: nothing here is encrypted."""
    return PeerId(number.to_bytes(32, "big"))


def contact(number: int, port: int = 5000) -> Contact:
    return Contact(peer(number), (Endpoint("tcp", f"1.1.{number >> 8}.{number & 255}", port),))


def made(max_peers: int = 200) -> Cache:
    return Cache(max_peers, random.Random(7).random)


def numbers(entries: Iterable[Entry]) -> list[int]:
    return [int.from_bytes(each.peer_id.public_key, "big") for each in entries]


def order(cache: Cache) -> list[int]:
    return numbers(cache.entries())


# --- order and size ---------------------------------------------------------------------------------------------------


def test_the_last_seen_comes_first() -> None:
    """Whoever was met; those that only go on being there keep their order behind it."""
    cache = made()
    for number in (1, 2, 3):
        cache.met(contact(number), NOON + number)
    cache.met(contact(1), NOON + 4)
    assert order(cache) == [1, 3, 2]
    cache.present([peer(2), peer(3)], NOON + 5)
    assert order(cache) == [3, 2, 1]
    cache.met(contact(4), NOON + 6)
    cache.present([peer(number) for number in (1, 2, 3, 4)], NOON + 6)
    assert order(cache)[0] == 4
    cache.answered(peer(2), NOON + 7)
    assert order(cache)[0] == 2


def test_the_longest_unseen_go_when_it_is_full() -> None:
    """And nobody else."""
    cache = made(3)
    for number in range(5):
        cache.met(contact(number), NOON + number)
    assert order(cache) == [4, 3, 2]
    assert peer(1) not in cache and cache.get(peer(4)) is not None


def test_one_address_with_many_keys_drives_nobody_out() -> None:
    """Or a node would know nobody else after a restart; those that were seen last are kept of it."""
    cache = made(20)
    for number in range(8):
        cache.met(contact(number), NOON + number)
    for number in range(1000, 1200):
        cache.met(Contact(peer(number), (Endpoint("tcp", "9.9.9.9", 1024 + number),)), NOON + number)
    assert sorted(order(cache)) == [*range(8), *range(1188, 1200)]
    places = {number: (Endpoint("tcp", "9.9.9.9", number),) for number in range(2000, 2100)}
    cache.merge([Entry(Contact(peer(number), place), NOON + 5000) for number, place in places.items()], NOON + 6000)
    assert set(range(8)) < set(order(cache)) and len(cache) == 20


def test_a_site_with_many_networks_drives_nobody_out() -> None:
    """An IPv6 /48 counts as two addresses, however many /64 of it answer."""
    cache = made(20)
    for number in range(8):
        cache.met(contact(number), NOON + number)
    for number in range(1000, 1200):
        place = Endpoint("tcp", f"2001:db8:1:{number:x}::1", 5000)
        cache.met(Contact(peer(number), (place,)), NOON + number)
    assert sorted(order(cache)) == [*range(8), *range(1188, 1200)]


def test_addresses_take_turns() -> None:
    """However many keys were seen last at one of them, or at one site; else by when they were seen."""
    cache = made()
    for number in (1, 2, 3):
        cache.met(contact(number), NOON + number)
    for number in (10, 11, 12):
        cache.met(Contact(peer(number), (Endpoint("tcp", "9.9.9.9", number),)), NOON + number)
    for number in range(20, 25):
        cache.met(Contact(peer(number), (Endpoint("tcp", f"2001:db8:1:{number:x}::1", 5000),)), NOON + number)
    assert order(cache) == [24, 23, 22, 21, 20, 12, 11, 10, 3, 2, 1]
    assert numbers(in_turns(cache.entries())) == [24, 23, 12, 3, 2, 1, 22, 21, 11, 20, 10]


def test_who_is_known_by_name_counts_by_it() -> None:
    """Whatever somebody has written into the file."""
    cache = made(2)
    for number in range(3):
        host = "example.org" if number else "1.1.1.1"
        cache.met(Contact(peer(number), (Endpoint("tcp", host, 5000),)), NOON + number)
    assert order(cache) == [2, 0]


def test_a_node_has_few_places() -> None:
    """The last one first; those of another private network are not mixed with it."""
    cache = made()
    for port in (1, 2, 3):
        cache.met(contact(1, port), NOON)
    assert [each.port for each in cache.entries()[0].contact.endpoints] == [3, 2]
    cache.met(contact(1, 4), NOON, around="10.0.0.0/8")
    assert [each.port for each in cache.entries()[0].contact.endpoints] == [4]
    cache.met(Contact(peer(2)), NOON)
    assert peer(2) not in cache


def test_a_clock_that_goes_back() -> None:
    """Whoever is met then comes first all the same, and nobody is forgotten; one that leaps ahead loses nobody."""
    cache = made()
    for number in (1, 2):
        cache.met(contact(number), NOON + number)
    cache.met(contact(3), NOON - 40 * HOUR)
    assert order(cache) == [3, 2, 1]
    assert all(each.seen == NOON - 40 * HOUR for each in cache.entries())
    assert cache.due(0.0, NOON + 10_000 * HOUR) is not None
    assert len(cache) == 3


@pytest.mark.parametrize("how", ["present", "answered"])
def test_nobody_was_seen_in_the_future(how: str) -> None:
    """Whoever shows that the clock has gone back: else the others would stay before it for hours."""
    cache = made()
    for number in (1, 2):
        cache.met(contact(number), NOON + number)
    if how == "present":
        cache.present([], NOON - HOUR)
    else:
        cache.answered(peer(1), NOON - HOUR)
    assert [each.seen for each in cache.entries()] == [NOON - HOUR] * 2


# --- looks ------------------------------------------------------------------------------------------------------------


def test_a_lost_one_is_looked_at_and_goes_after_three_failures() -> None:
    """Within seconds; nobody is asked twice at once."""
    cache = made()
    cache.met(contact(1), NOON)
    cache.lost(peer(1), 100.0)
    now, failures = 100.0, []
    while peer(1) in cache:
        assert cache.due(now, NOON) is None
        now = cache.next_at(now)
        if cache.due(now, NOON) is None:
            continue  # it was somebody else's turn
        assert cache.due(now, NOON) is None
        cache.failed(peer(1), now)
        failures.append(now - 100.0)
    assert len(failures) == limits.CACHE_FAILURES
    assert 0.3 < failures[0] < 1 < failures[1] < 5 < failures[2] < 20


def test_a_failure_is_forgotten_when_it_answers() -> None:
    """They count in a row only."""
    cache = made()
    cache.met(contact(1), NOON)
    for _ in range(5):
        for _ in range(limits.CACHE_FAILURES - 1):
            assert not cache.failed(peer(1), 0.0)
        cache.answered(peer(1), NOON)
    assert cache.entries()[0].failures == 0
    assert not cache.failed(peer(9), 0.0)


def test_who_is_linked_again_is_not_looked_at() -> None:
    """Nor who may not be dialled; those are asked for again later."""
    cache = made()
    cache.met(contact(1), NOON)
    cache.lost(peer(1), 0.0)
    cache.met(contact(1), NOON + 0.1)
    assert cache.due(30.0, NOON + 30) is None
    cache.lost(peer(1), 30.0)
    assert cache.due(40.0, NOON + 40, but={peer(1)}) is None
    assert cache.next_at(40.0) > 40.0
    cache.lost(peer(2), 40.0)
    assert cache.due(200.0, NOON + 200, but={peer(1)}) is None


def test_where_nothing_was_learned_nothing_is_counted() -> None:
    """We may be cut off: a lost one is looked at again after a while, others in their turn."""
    cache = made()
    cache.met(contact(1), NOON)
    for round in range(10):
        cache.lost(peer(1), 1000.0 * round)
        assert cache.due(1000.0 * round + 1, NOON) is not None
        cache.undecided(peer(1), 1000.0 * round + 1, again=True)
        assert 1000.0 * round + 30 < cache.next_at(1000.0 * round + 2) < 1000.0 * round + 90
    cache.undecided(peer(1), 0.0, again=False)
    assert cache.entries()[0].failures == 0


def test_one_that_is_removed_while_it_is_looked_at() -> None:
    """Whatever the look shows: it is not looked at again, and nothing comes of it."""
    for over in ("undecided", "failed", "answered"):
        cache = made()
        for number in (1, 2):
            cache.met(contact(number), NOON)
        cache.lost(peer(1), 0.0)
        entry = cache.due(1.0, NOON)
        assert entry is not None and entry.peer_id == peer(1)
        cache.remove(peer(1))
        if over == "undecided":
            cache.undecided(peer(1), 2.0, again=True)
        elif over == "failed":
            assert not cache.failed(peer(1), 2.0)
        else:
            cache.answered(peer(1), NOON, contact(1))
        assert order(cache) == [2]
        assert cache.due(500.0, NOON) is None


def test_a_link_that_is_lost_while_its_peer_is_looked_at() -> None:
    """That look will show it: no other is due meanwhile, so nobody waits for one that is."""
    cache = made()
    cache.met(contact(1), NOON)
    cache.lost(peer(1), 0.0)
    assert cache.due(1.0, NOON) is not None
    cache.lost(peer(1), 1.0)
    assert cache.next_at(5.0) > 5.0
    cache.failed(peer(1), 5.0)
    assert cache.due(5.0 + limits.CACHE_CHECKS[0] * 1.5, NOON) is None


def test_one_a_minute_of_those_unseen_for_an_hour() -> None:
    """The longest unseen first, as long as they are there."""
    cache = made()
    for number in range(30):
        cache.met(contact(number), NOON + number)
    assert cache.due(0.0, NOON + 29 + HOUR - 60) is None
    looked: list[tuple[float, int]] = []
    for second in range(20 * 60):
        wall = NOON + 29 + HOUR + second
        entry = cache.due(float(second), wall)
        if entry is not None:
            looked.append((second, int.from_bytes(entry.peer_id.public_key, "big")))
            cache.answered(entry.peer_id, wall)
    assert [number for _, number in looked] == list(range(len(looked)))
    assert 15 <= len(looked) <= 26


@pytest.mark.parametrize("links", [3, 20])
@pytest.mark.parametrize("size", [40, 200])
def test_nine_of_ten_live_while_a_tenth_dies_each_minute(links: int, size: int) -> None:
    """However few of them we have links to; new ones come as old ones go. The looks stay within bounds."""
    chance = random.Random(size + links)
    cache = Cache(size, chance.random)
    alive: set[int] = set()
    linked: list[int] = []
    names = iter(range(10**9))
    pending: list[tuple[float, int]] = []  # looks at the dead take their time
    looks, shares = 0, []

    def born(now: float) -> None:
        number = next(names)
        alive.add(number)
        cache.met(contact(number), NOON + now)

    for _ in range(size):
        born(0.0)
    for tick in range(30 * 60 * 5):
        now = tick / 5
        if chance.random() < size * 0.1 / 300:
            victim = chance.choice(sorted(alive))
            alive.discard(victim)
            if victim in linked:
                linked.remove(victim)
                cache.lost(peer(victim), now)
            born(now)
        while len(linked) < links:
            linked.append(chance.choice(sorted(alive - set(linked))))
        for due, number in [each for each in pending if each[0] <= now]:
            pending.remove((due, number))
            cache.failed(peer(number), now)
        entry = cache.due(now, NOON + now, but={peer(number) for number in linked})
        if entry is not None:
            looks += 1
            number = int.from_bytes(entry.peer_id.public_key, "big")
            if number in alive:
                cache.answered(peer(number), NOON + now)
            else:
                pending.append((now + limits.KNOCK_SECONDS, number))
        if tick % 300 == 0 and now >= 1200:
            cache.present([peer(number) for number in linked], NOON + now)
            shares.append(sum(number in alive for number in order(cache)) / len(cache))
    assert sum(shares) / len(shares) >= 0.9, shares
    assert looks / (30 * 60) < 5


# --- with others in one file ------------------------------------------------------------------------------------------


def share(one: Cache, other: Cache) -> None:
    """``one`` writes the file that ``other`` has written."""
    one.merge(other.entries(), NOON + 1000)
    one.saved()


def test_two_that_share_a_file_lose_nothing() -> None:
    """Each adds, and has what the other added; what neither changed is as it was."""
    one, other = made(), made()
    one.met(contact(1), NOON + 1)
    one.saved()
    share(other, one)
    other.met(contact(2), NOON + 2)
    one.met(contact(3), NOON + 3)
    share(one, other)
    assert order(one) == [3, 2, 1]
    share(other, one)
    assert other.entries() == one.entries()
    assert not one.changed and not other.changed


def test_what_one_removes_is_gone_for_the_other() -> None:
    """Unless the other has seen it since."""
    one, other = made(), made()
    for number in (1, 2):
        one.met(contact(number), NOON + number)
    one.saved()
    share(other, one)
    one.remove(peer(1))
    one.remove(peer(2))
    one.merge(other.entries(), NOON + 10)
    assert order(one) == []
    one.saved()
    other.met(contact(2), NOON + 5)
    share(other, one)
    assert order(other) == [2]
    share(one, other)
    assert order(one) == [2]


def test_what_one_removes_stays_gone_though_the_other_has_counted_a_failure() -> None:
    """That is no sign of life, whichever of the two writes first."""
    for first in (True, False):
        one, other = made(), made()
        one.met(contact(1), NOON)
        one.saved()
        share(other, one)
        one.remove(peer(1))
        other.failed(peer(1), 0.0)
        share(*((one, other) if first else (other, one)))
        assert order(one if first else other) == []


def test_of_two_words_about_one_node_the_later_counts() -> None:
    """Seen later, or failed more often since."""
    one, other = made(), made()
    one.met(contact(1), NOON)
    one.saved()
    share(other, one)
    one.failed(peer(1), 0.0)
    other.failed(peer(1), 0.0)
    other.failed(peer(1), 0.0)
    share(one, other)
    assert one.entries()[0].failures == 2
    one.met(contact(1, 7), NOON + 9)
    other.failed(peer(1), 0.0)
    assert peer(1) not in other
    share(other, one)
    places = (contact(1, 7).endpoints[0], contact(1).endpoints[0])
    assert other.entries() == (Entry(Contact(peer(1), places), NOON + 9),)


def test_a_file_that_is_gone_takes_nothing_with_it() -> None:
    """What it had is written anew."""
    cache = made()
    cache.met(contact(1), NOON)
    cache.saved()
    cache.begin()
    cache.merge([], NOON)
    assert order(cache) == [1]


def test_a_merge_keeps_to_the_size() -> None:
    """The last seen of both."""
    one, other = made(3), made(3)
    for number in range(3):
        one.met(contact(number), NOON + number)
        other.met(contact(10 + number), NOON + number + 0.5)
    share(one, other)
    assert order(one) == [12, 2, 11]
