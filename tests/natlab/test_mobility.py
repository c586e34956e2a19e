"""A stream of messages survives what happens to the network; and what is said of one that does not is right."""

from __future__ import annotations

import pathlib

import pytest

from tests.natlab.mobility import EVENTS, WAYS, row, suffered
from tests.natlab.stream import Damage, damage

IN_TIME = [(1.0 + 0.01 * number, number) for number in range(300)]
TAKEN = dict.fromkeys(range(300), True)


def test_nothing_happened() -> None:
    """All came, once, in order, without a break."""
    found = damage(TAKEN, IN_TIME, 2.0, 2.0)
    assert found == Damage(300, 0, 0, 0, 0, found.gap, 0.0)
    assert found.none and 0.009 < found.gap < 0.011


@pytest.mark.parametrize(
    ("received", "taken", "expected"),
    [
        ([each for each in IN_TIME if each[1] != 7], TAKEN, {"lost": 1}),
        (IN_TIME[:-1], {**TAKEN, 299: False}, {"refused": 1, "accepted": 299}),
        ([*IN_TIME, (4.0, 7)], TAKEN, {"doubled": 1, "reordered": 0}),
        ([*IN_TIME[:7], *IN_TIME[8:], (4.0, 7)], TAKEN, {"reordered": 1, "doubled": 0}),
        ([IN_TIME[1], IN_TIME[0], *IN_TIME[2:]], TAKEN, {"reordered": 1}),
    ],
)
def test_damage_is_counted(received: list[tuple[float, int]], taken: dict[int, bool], expected: dict[str, int]) -> None:
    """Each kind of it, and that makes it one."""
    found = damage(taken, received, 2.0, 2.0)
    assert {name: getattr(found, name) for name in expected} == expected and not found.none


@pytest.mark.parametrize(
    ("later", "restored", "gap", "back"),
    [
        (1.5, 2.0, 1.51, 1.5),  # all of it after the restoration
        (1.5, 3.0, 1.51, 0.5),
        (1.5, 3.6, 1.51, 0.0),  # messages came before it was over: nothing had to be restored
        (0.08, 2.0, 0.09, 0.0),  # no break to speak of
    ],
)
def test_a_break_is_measured(later: float, restored: float, gap: float, back: float) -> None:
    """Its length, and from the restored network to the next message, though one that was under way came in between."""
    received = [(at if number < 100 else at + later, number) for at, number in IN_TIME]
    found = damage(TAKEN, received, 1.985, restored)
    assert (found.gap, found.back) == (pytest.approx(gap), pytest.approx(back))


def test_what_never_came_back_has_no_time() -> None:
    """And is damage; an earlier break is not what is looked for."""
    found = damage(TAKEN, IN_TIME[:50], 1.6, 2.0)
    assert found.back is None and not found.none and found.lost == 250
    early = [(at - 5.0, number) if number < 50 else (at, number) for at, number in IN_TIME]
    assert damage(TAKEN, early, 2.0, 2.0).gap < 0.1


def test_a_row_of_the_table() -> None:
    """Sums, the longest gap, the median and the worst time; never, if one run never came back."""
    one, other = Damage(9, 0, 1, 2, 0, 0.5, 0.2), Damage(9, 1, 1, 0, 3, 1.5, 0.6)
    assert row("cable", "direct", [one, other]) == "| cable | direct | 2 | 1 | 2 | 2 | 3 | 1.50 | 0.40 | 0.60 |\n"
    assert "| never | never |" in row("cable", "direct", [one, Damage(9, 0, 9, 0, 0, 0.0, None)])


@pytest.mark.usefixtures("laboratory")
@pytest.mark.parametrize(
    ("way", "event", "seconds"),
    [
        ("direct", "private-address", 5.0),
        ("direct", "tcp-blocked", 5.0),
        ("relay", "relay-killed", 5.0),
        ("punched", "rebinding", 5.0),
    ],
)
def test_a_stream_goes_on(tmp_path: pathlib.Path, way: str, event: str, seconds: float) -> None:
    """Nothing is lost, doubled or reordered, and it goes on soon."""
    found = suffered(WAYS[way], EVENTS[event], tmp_path)
    assert found.none and found.accepted > 80, found
    assert found.back is not None and found.back < seconds
