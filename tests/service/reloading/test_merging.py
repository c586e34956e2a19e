"""What of another configuration a running node takes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crust import Config
from crust.config.sections import live_keys, values
from crust.service.reloading.merging import merge
from tests.service.reloading.other_values import OTHER

LIVE = live_keys(Config)


def test_there_is_another_value_for_every_key() -> None:
    """So that the tests below forget none."""
    assert set(OTHER) == {key for key, _ in values(Config())} - {"version"}


@pytest.mark.parametrize("key", OTHER)
def test_a_key_is_taken_or_named(key: str) -> None:
    """One or the other, and nothing else; what is not taken is as it was."""
    running, wanted = Config(), Config().replace(**{key: OTHER[key]})
    merged = merge(running, wanted)
    if key in LIVE:
        assert merged == (wanted, (key,), ())
    else:
        assert merged == (running, (), (key,))


@given(st.sets(st.sampled_from(sorted(OTHER))), st.sets(st.sampled_from(sorted(OTHER))))
def test_many_at_once(first: set[str], second: set[str]) -> None:
    """Whatever runs and whatever is wanted: each key is from one of the two, and the lists say from which."""
    running, wanted = (Config().replace(**{key: OTHER[key] for key in keys}) for keys in (first, second))
    merged = merge(running, wanted)
    before, after, now = (dict(values(each)) for each in (running, wanted, merged.config))
    differing = {key for key in after if after[key] != before[key]}
    assert set(merged.applied) == differing & LIVE
    assert set(merged.needs_restart) == differing - LIVE
    assert all(now[key] == (after if key in LIVE else before)[key] for key in now)
    again = merge(merged.config, wanted)
    assert (again.config, again.applied, again.needs_restart) == (merged.config, (), merged.needs_restart)


@pytest.mark.parametrize("drop", [None, {"max_age": 5.0}])
def test_a_section_that_can_be_null(drop: Any) -> None:
    """It, or what is in it, is named."""
    running = Config().replace(**{"session.drop": None}) if drop else Config()
    wanted = running.replace(**{"session.drop": drop})
    named = ("session.drop.min_priority", "session.drop.max_age") if drop else ("session.drop",)
    assert merge(running, wanted).needs_restart == named
