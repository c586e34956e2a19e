"""What happens follows from the seed, leaves nobody without rest, and is over in time."""

from __future__ import annotations

import collections

from hypothesis import given
from hypothesis import strategies as st

from tests.soak.schedule import KINDS, REST, Blow, schedule
from tests.support.source import ROOT

EVERYBODY = dict.fromkeys(KINDS, range(10))


def blows(seed: int, end: float = 600.0, interval: float = 2.0, most: int = 3) -> list[Blow]:
    return list(schedule(seed, EVERYBODY, interval, end, most))


@given(st.integers(0, 1 << 31))
def test_it_is_reproducible(seed: int) -> None:
    """The same seed, the same blows; another one, others."""
    assert blows(seed, 60.0) == blows(seed, 60.0)
    assert blows(seed, 60.0) != blows(seed + 1, 60.0)


@given(st.integers(0, 1 << 31), st.floats(30.0, 900.0), st.floats(0.2, 10.0), st.integers(1, 5))
def test_nobody_is_hit_twice_at_once(seed: int, end: float, interval: float, most: int) -> None:
    """Nor too many together; all is over at the end, and blows come in order."""
    found = blows(seed, end, interval, most)
    assert [each.at for each in found] == sorted(each.at for each in found)
    assert all(each.at < end and each.until <= end for each in found)
    for place, blow in enumerate(found):
        under_way = [each for each in found[:place] if each.until + REST > blow.at]
        assert len(under_way) < most
        assert blow.target not in {each.target for each in under_way}


def test_each_kind_has_its_turn() -> None:
    """In ten minutes all of them, several times, and none much more often than another."""
    counts = collections.Counter(each.kind for each in blows(1))
    assert counts.keys() == KINDS.keys()
    assert min(counts.values()) >= 3 and max(counts.values()) <= 4 * min(counts.values())


def test_each_kind_is_in_the_documents() -> None:
    """docs/laboratory.md says what each does."""
    text = (ROOT / "docs" / "laboratory.md").read_text().partition("## Soak")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    assert [word.strip(" `") for row in rows for word in row.split(",")] == list(KINDS)


def test_only_who_may_be_hit() -> None:
    """A kind without victims does not happen; nothing at all, if there are none."""
    found = list(schedule(1, {"kill": [3], "cable": [1, 2], "clock": []}, 1.0, 200.0, 9))
    assert {(each.kind, each.target) for each in found} == {("kill", 3), ("cable", 1), ("cable", 2)}
    assert list(schedule(1, {}, 1.0, 200.0, 9)) == []
