"""What is announced, by itself: to thousands of links at a pace, to each once, and to nobody who has it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from crust import limits
from crust.discovery.gossip.announcing import Announcing
from crust.discovery.gossip.link import Link
from crust.discovery.gossip.record import Record
from crust.discovery.gossip.store import Store
from crust.wire.gossip import Announce
from tests.discovery.gossip.mesh import key_pair, record_of

MOST = 64
Told = list[tuple[bytes, Announce]]


class Counted(dict[bytes, Link]):
    """Links that know how many of them have been looked at."""

    looks = 0

    def items(self) -> Iterator[tuple[bytes, Link]]:  # type: ignore[override]
        self.looks += len(self)
        return iter(super().items())

    def __getitem__(self, peer_id: bytes) -> Link:
        self.looks += 1
        return super().__getitem__(peer_id)


def announcing(count: int) -> tuple[Announcing, Counted, Store]:
    """For so many links, all open."""
    store = Store(bytes(32), MOST)
    links = Counted()
    made = Announcing(links, store)
    for number in range(1, count + 1):
        link = Link(number.to_bytes(32, "big"), False, False, MOST)
        links[link.peer_id] = link
        link.is_open = True
        made.opened(link)
    return made, links, store


def learn(made: Announcing, store: Store, number: int, now: float, *has: Link, last: int = 0) -> Record:
    """A record that is new here."""
    record = record_of(key_pair(number), last=last)
    assert store.add(record)
    made.spread(record.prefix, [link.peer_id for link in has], now)
    return record


def until_quiet(made: Announcing) -> tuple[Told, float]:
    """All that is said, and when the last of it was."""
    told: Told = []
    now = 0.0
    while made.due != float("inf"):
        now = max(now, made.due)
        told += made.flush(now)
    return told, now


def prefixes(told: Told, link: Link) -> list[int]:
    return [prefix for peer_id, frame in told if peer_id == link.peer_id for prefix, _ in frame.items]


def test_news_costs_the_same_however_many_links_there_are() -> None:
    """It is noted once: no link is looked at until it is told."""
    made, links, store = announcing(3000)
    for number in range(20):
        learn(made, store, number, 0.0)
    assert links.looks == 0


def test_thousands_of_links_are_told_at_a_pace() -> None:
    """Never more at once than the burst, so many a second in the long run, and each link once."""
    made, links, store = announcing(1500)
    record = learn(made, store, 1, 0.0)
    told: Told = []
    begun = now = made.due
    while made.due != float("inf"):
        now = max(now, made.due)
        some = made.flush(now)
        assert 0 < len(some) <= limits.GOSSIP_TELLS_BURST
        told += some
    assert sorted(peer_id for peer_id, _ in told) == sorted(links)
    assert all(frame.items == ((record.prefix, record.version),) for _, frame in told)
    assert now - begun >= (1500 - limits.GOSSIP_TELLS_BURST) / limits.GOSSIP_TELLS - limits.GOSSIP_TELLS_PAUSE
    assert links.looks <= 3 * len(links)


def test_whose_turn_comes_late_hears_all_at_once() -> None:
    """What has come up meanwhile goes with the rest: one announcement, not two."""
    made, links, store = announcing(1000)
    first = learn(made, store, 1, 0.0)
    told = made.flush(made.due)
    second = learn(made, store, 2, made.due)
    late = next(link for link in links.values() if link.told == 0)
    rest, _ = until_quiet(made)
    assert prefixes(rest, late) == [first.prefix, second.prefix]
    assert sum(peer_id == late.peer_id for peer_id, _ in rest) == 1
    early = links[told[0][0]]
    assert prefixes(rest, early) == [second.prefix]


@pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])
def test_who_has_it_is_not_told(later: bool) -> None:
    """Neither who brought a record, nor who has announced it before its own turn came."""
    made, links, store = announcing(4)
    one, other, *_ = links.values()
    record = learn(made, store, 1, 0.0, *([] if later else [one]))
    if later:
        made.knows(one, record.prefix)
    told, _ = until_quiet(made)
    assert prefixes(told, one) == [] and prefixes(told, other) == [record.prefix]
    newer = learn(made, store, 2, 9.0)
    assert prefixes(until_quiet(made)[0], one) == [newer.prefix]


def test_who_has_an_earlier_version_is_told() -> None:
    """Also if the later one comes before its turn has."""
    made, links, store = announcing(4)
    one, other, *_ = links.values()
    earlier = learn(made, store, 1, 0.0, one)
    later = learn(made, store, 1, 0.0, other, last=earlier.sequence + 1)
    told, _ = until_quiet(made)
    assert prefixes(told, one) == [later.prefix] and prefixes(told, other) == []


def test_what_one_link_lacks_goes_to_it_alone() -> None:
    """And what all are to hear at the same time goes with it, once."""
    made, links, store = announcing(4)
    one, other, *_ = links.values()
    record = learn(made, store, 1, 0.0)
    until_quiet(made)
    made.queue(one, record.prefix, 9.0)
    newer = learn(made, store, 2, 9.0)
    made.queue(one, newer.prefix, 9.0)
    told, _ = until_quiet(made)
    assert prefixes(told, one) == [record.prefix, newer.prefix] and prefixes(told, other) == [newer.prefix]


def test_nobody_is_told_what_it_does_not_keep() -> None:
    """A radius holds for news as for the rest; and who takes no part hears nothing."""
    made, links, store = announcing(3)
    narrow, closed, short = links.values()
    narrow.radius = 0
    closed.is_open = False
    short.is_short = True
    learn(made, store, 1, 0.0)
    assert until_quiet(made)[0] == []


def test_a_link_that_comes_or_goes_meanwhile() -> None:
    """Who is gone is told nothing any more; a newcomer compares, and hears what comes later."""
    made, links, store = announcing(3)
    gone = next(iter(links.values()))
    learn(made, store, 1, 0.0)
    made.queue(gone, store.prefix, 0.0)
    del links[gone.peer_id]
    made.lost(gone)
    newcomer = Link(bytes([9]) * 32, True, False, MOST)
    links[newcomer.peer_id] = newcomer
    newcomer.is_open = True
    made.opened(newcomer)
    told, _ = until_quiet(made)
    assert prefixes(told, gone) == prefixes(told, newcomer) == [] and len(told) == 2
    newer = learn(made, store, 2, 9.0)
    assert prefixes(until_quiet(made)[0], newcomer) == [newer.prefix]


def test_who_becomes_public_meanwhile_is_told() -> None:
    """Public links are told sooner: one that was not public then, and is when the others have their turn, hears it."""
    made, links, store = announcing(4)
    made.is_public = True
    one = next(iter(links.values()))
    record = learn(made, store, 1, 0.0)
    assert made.flush(made.due) == []  # there was no public one
    one.is_public = True
    assert prefixes(until_quiet(made)[0], one) == [record.prefix]


def test_what_all_have_been_told_is_forgotten() -> None:
    """And whoever is behind for ever, such as a link that never gets its turn, keeps only so much of it."""
    made, links, store = announcing(3)
    for number in range(10):
        learn(made, store, number, 0.0)
    until_quiet(made)
    assert made._news == [] and made._latest == {}
    behind = next(iter(links.values()))
    behind.is_public = True
    record = record_of(key_pair(1))
    for turn in range(5 * MOST):
        made.spread(record.prefix, (), 10.0 * turn)
        made._dues[True] = 1e9
        made.flush(10.0 * turn + 5.0)
    assert len(made._news) <= 2 * MOST


def test_others_are_told_all_whoever_comes_first() -> None:
    """What is not said to one that keeps little, or takes no part, is said to those after it."""
    made, links, store = announcing(4)
    narrow, closed, short, usual = links.values()
    narrow.radius = 0
    closed.is_open = False
    short.is_short = True
    record = learn(made, store, 1, 0.0)
    made.queue(narrow, record.prefix, 0.0)
    told, _ = until_quiet(made)
    assert [peer_id for peer_id, _ in told] == [usual.peer_id] and prefixes(told, usual) == [record.prefix]


def test_a_link_that_goes_while_it_waits_for_its_turn() -> None:
    """The others are told nevertheless."""
    made, links, store = announcing(1000)
    learn(made, store, 1, 0.0)
    told = made.flush(made.due)
    gone = next(link for link in links.values() if link.told == 0)
    del links[gone.peer_id]
    made.lost(gone)
    rest, _ = until_quiet(made)
    assert sorted(peer_id for peer_id, _ in [*told, *rest]) == sorted(links)


def test_when_news_is_due() -> None:
    """It waits for more to go with it, but no longer for what comes later; our own record waits for nothing, and all
    of it waits less where there may be no other way."""
    made, links, store = announcing(4)
    made.is_public = True
    one = next(iter(links.values()))
    made.spread(1, (), 10.0)
    made.spread(2, (), 10.1)
    assert made.due == 10.0 + limits.GOSSIP_DELAY_PUBLIC
    made.flush(made.due)
    assert made.due == 10.0 + limits.GOSSIP_DELAY_OTHERS
    until_quiet(made)
    made.queue(one, 1, 20.0)
    made.queue(one, 2, 20.1)
    assert made.due == 20.0 + limits.GOSSIP_DELAY_OTHERS
    made.queue(one, store.prefix, 20.2)
    assert made.due == 20.2
    until_quiet(made)
    made.spread(store.prefix, (), 30.0)
    assert made.due == 30.0
    few, _, _ = announcing(2)
    few.spread(1, (), 10.0)
    assert few.due == 10.0 + limits.GOSSIP_DELAY_PUBLIC


def test_what_is_gone_or_known_meanwhile_is_not_said() -> None:
    """Records that are here no more, and what the peer has said itself; and nothing of that is kept."""
    made, links, store = announcing(4)
    one = next(iter(links.values()))
    record = learn(made, store, 1, 0.0)
    until_quiet(made)
    made.queue(one, record.prefix ^ 1, 9.0)
    made.queue(one, record.prefix, 9.0)
    made.knows(one, record.prefix)
    made.spread(record.prefix, [one.peer_id], 9.0)
    assert prefixes(until_quiet(made)[0], one) == []
    assert one.known is None and one.queue is None


def test_who_was_behind_for_long_hears_what_is_left() -> None:
    """From the first thing that is still kept; and a link that takes no part keeps nothing."""
    made, links, store = announcing(3)
    behind, closed, _ = links.values()
    behind.is_public = True
    closed.is_open = False
    record = learn(made, store, 1, 0.0)
    for turn in range(3 * MOST):
        made.spread(record.prefix, (), 10.0 * turn)
        made._dues[True] = 1e9
        made.flush(10.0 * turn + 5.0)
    assert made._first > 0
    made._dues[True] = 0.0
    assert prefixes(made.flush(1e6), behind) == [record.prefix]
    until_quiet(made)
    assert made._news == [] and made._latest == {}
