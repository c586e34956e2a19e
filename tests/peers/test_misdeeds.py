"""When misbehaviour is told: on a clock that the test turns."""

from __future__ import annotations

import collections

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crust import limits
from crust.peers.misdeeds import KINDS, Action, Finding, Misdeeds

FLOOD = KINDS["start-rate"]
THRESHOLD = int(FLOOD.threshold)


def test_the_first_alert_comes_with_the_threshold() -> None:
    """Not before, and at once; then not for ten seconds, and the next one counts what was held back."""
    misdeeds = Misdeeds()
    for _ in range(THRESHOLD - 1):
        assert misdeeds.note(FLOOD.name, b"a", b"a", 5.0) is None
    assert misdeeds.note(FLOOD.name, b"a", b"a", 5.0) == Finding(THRESHOLD)
    assert misdeeds.note(FLOOD.name, b"a", b"a", 14.9) == Finding(None)
    for _ in range(THRESHOLD - 1):
        assert misdeeds.note(FLOOD.name, b"a", b"a", 15.1) is None
    assert misdeeds.note(FLOOD.name, b"a", b"a", 15.1) == Finding(THRESHOLD + 1)


def test_what_is_slow_is_no_flood() -> None:
    """Somebody who stays below the threshold in its time is never told."""
    misdeeds = Misdeeds()
    pause = FLOOD.seconds / (FLOOD.threshold - 1)
    assert all(misdeeds.note(FLOOD.name, b"a", b"a", each * pause) is None for each in range(1000))


def test_kinds_and_addresses_count_apart() -> None:
    """One who is told of hides nobody else."""
    misdeeds = Misdeeds()
    assert misdeeds.note("protocol", "peer", b"a", 0.0) == Finding(1)
    assert misdeeds.note("gossip-flood", "peer", b"a", 0.0) == Finding(1)
    assert misdeeds.note("protocol", "other", b"b", 0.0) == Finding(1)
    assert misdeeds.note("protocol", "third", b"a", 0.0) == Finding(None)  # of the same address


@pytest.mark.parametrize("addresses", [200, 20_000])
def test_a_flood_from_many_addresses_is_told_once(addresses: int) -> None:
    """Though none of them reaches the threshold by itself; and what is remembered of them is bounded."""
    misdeeds = Misdeeds()
    found = []
    for number in range(20_000):
        finding = misdeeds.note(FLOOD.name, number % addresses, number % addresses, 1.0 + number * 1e-6)
        if finding is not None and finding.alert is not None:
            found.append(finding)
    together = [each for each in found if each.about_all]
    assert len(together) == 1 and together[0].alert == FLOOD.many and not together[0].by_itself
    assert len(found) <= 1 + limits.ALERTS_PER_KIND
    book = misdeeds._books[FLOOD.name]
    assert max(len(book.counts), len(book.told)) <= limits.MISDEEDS_KEPT


@pytest.mark.parametrize("kind", ["protocol", FLOOD.name])
def test_too_many_to_name_are_told_of_together(kind: str) -> None:
    """Peers too; each of them is over the threshold."""
    misdeeds = Misdeeds()
    found = [misdeeds.note(kind, number, number, 1.0, amount=KINDS[kind].threshold) for number in range(100)]
    alerts = [each for each in found if each is not None and each.alert is not None]
    assert [each.about_all for each in alerts] == [False] * limits.ALERTS_PER_KIND + [True]
    assert all(each.by_itself for each in alerts)


@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(KINDS)), st.integers(0, 40), st.floats(0, 3), st.integers(1, 600)),
        max_size=200,
    )
)
def test_alerts_are_bounded_and_count_everything_once(deeds: list[tuple[str, int, float, int]]) -> None:
    """At most one for a kind and address in ten seconds; no more is counted than has been done."""
    misdeeds = Misdeeds()
    now = 0.0
    done: collections.Counter[tuple[str, int]] = collections.Counter()
    told: collections.Counter[tuple[str, int]] = collections.Counter()
    last: dict[tuple[str, object], float] = {}
    for kind, who, pause, times in deeds:
        now += pause
        done[kind, who] += times
        finding = misdeeds.note(kind, who, who, now, amount=times, times=times)
        if finding is None or finding.alert is None:
            continue
        place = (kind, None if finding.about_all else who)
        assert now - last.get(place, -100.0) >= limits.MISBEHAVIOUR_INTERVAL
        last[place] = now
        if not finding.about_all:
            told[kind, who] += finding.alert
            assert told[kind, who] <= done[kind, who]


def test_the_table_bans_nobody_for_what_others_can_feign() -> None:
    """Nor does it end anything of an address, which may be that of many."""
    for kind in KINDS.values():
        if not kind.attributable or not kind.proven:
            assert kind.action in (Action.WARN, Action.THROTTLE), kind.name
        assert kind.threshold > 0 and kind.seconds <= 60
        assert kind.many is None or kind.many >= kind.threshold


def test_whoever_is_beyond_those_that_are_named_is_held_to_what_was_decided() -> None:
    """Nobody is told of it, but it counts as one that does too much."""
    misdeeds = Misdeeds()
    found = [misdeeds.note("protocol", number, number, 1.0) for number in range(limits.ALERTS_PER_KIND + 5)]
    assert found[limits.ALERTS_PER_KIND :] == [Finding(1, about_all=True), *[Finding(None)] * 4]


def test_a_crowd_hides_no_newcomer() -> None:
    """However many are remembered, whoever comes now is counted; who has been quiet for longest makes room."""
    misdeeds = Misdeeds()
    misdeeds.note(FLOOD.name, "early", "early", 1.0, amount=THRESHOLD - 1)
    for number in range(limits.MISDEEDS_KEPT - 1):
        misdeeds.note(FLOOD.name, number, number, 1.0, amount=0.0)
    assert misdeeds.note(FLOOD.name, "early", "early", 1.0, amount=0.0) is None  # it is the most recent now
    misdeeds.note(FLOOD.name, "late", "late", 1.0, amount=THRESHOLD - 1)
    assert misdeeds.note(FLOOD.name, "late", "late", 1.0) == Finding(2)
    assert misdeeds.note(FLOOD.name, "early", "early", 1.0) == Finding(3)


def test_alerts_count_how_often_and_thresholds_how_much() -> None:
    """Each in its own unit: seconds held back are no times. What nobody in particular did counts by its number."""
    misdeeds = Misdeeds()
    assert misdeeds.note("ack-flood", "peer", b"a", 1.0, amount=0.5, times=7) is None
    assert misdeeds.note("ack-flood", "peer", b"a", 1.0, amount=0.5, times=2) == Finding(9)
    assert FLOOD.many is not None
    many = int(FLOOD.many)
    assert misdeeds.note_many(FLOOD.name, 1.0, many - 1) is None
    assert misdeeds.note_many(FLOOD.name, 1.0, 1) == Finding(many, about_all=True, by_itself=False)
    assert misdeeds.note_many(FLOOD.name, 1.0, 5) is None
    assert misdeeds.note_many(FLOOD.name, 11.0, many) == Finding(many + 5, about_all=True, by_itself=False)
    # Of who may do more, each time counts less, also among all.
    assert all(misdeeds.note("half-open", number, number, 1.0, amount=0.05) is None for number in range(2 * many))


def test_so_many_are_named_in_each_interval() -> None:
    """Not only in the first one."""
    misdeeds = Misdeeds()
    for start in (1.0, 21.0, 22.0):
        found = [misdeeds.note("protocol", (start, n), (start, n), start) for n in range(limits.ALERTS_PER_KIND + 4)]
        named = [each for each in found if each is not None and each.alert is not None and not each.about_all]
        assert len(named) == (0 if start == 22.0 else limits.ALERTS_PER_KIND)
