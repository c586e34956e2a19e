"""The gate: who may begin while others use up all that may begin in a second."""

from __future__ import annotations

import pytest

from crust.config import LimitsConfig
from crust.peers.gate import Gate

SECONDS = 20


def begun(gate: Gate, host: str, now: float, known: bool = False) -> bool:
    slot = gate.admit(host, now, known=known, evict=lambda: None)
    if slot is None:
        return False
    slot.release(now)
    return True


def beside(loud: int, known: bool, config: LimitsConfig | None = None) -> tuple[int, int, int]:
    """
    So many addresses begin twenty times a second each, and close at once; another, each time a new one, calls ten times
    a second, from the third second on: before that all call seldom. How often they began, and the others, of how many.
    """
    gate = Gate(config or LimitsConfig())
    often = seldom = newcomers = 0
    for tick in range(20 * SECONDS):
        now = 1.0 + tick / 20
        for number in range(loud):
            often += begun(gate, f"198.51.{number}.1", now, known)
        if tick >= 40 and tick % 2:
            newcomers += 1
            seldom += begun(gate, f"10.0.{tick // 250}.{tick % 250}", now)
    return often, seldom, newcomers


@pytest.mark.parametrize("known", [False, True], ids=["strangers", "peers"])
@pytest.mark.parametrize("loud", [25, 40, 200])
def test_who_calls_all_the_time_leaves_room(loud: int, known: bool) -> None:
    """Strangers or peers, from however many addresses: who has never called is let in; all together are no more."""
    often, seldom, newcomers = beside(loud, known)
    assert seldom == newcomers
    assert often + seldom <= 500 * (SECONDS + 1) + 63


def test_the_eighth_is_as_large_as_the_whole() -> None:
    """Of sixteen a second it is two, also if that is so from later on; of four there is none."""
    few = LimitsConfig(starts_per_second=16, starts_per_address_per_second=20)
    often, seldom, _ = beside(5, True, few)
    assert 2 * SECONDS - 8 <= seldom <= 2 * SECONDS and often + seldom <= 16 * (SECONDS + 1) + 3
    _, seldom, _ = beside(5, True, LimitsConfig(starts_per_second=4, starts_per_address_per_second=20))
    assert seldom == 0
    gate = Gate(LimitsConfig(starts_per_second=4))
    gate.configure(few)
    assert [begun(gate, "198.51.1.1", 1.0, True) for _ in range(20)].count(True) == 16
    assert [begun(gate, f"10.0.0.{number}", 1.0) for number in range(5)].count(True) == 2
