"""How much is simulated: a part in the suite, all of it by `make simulate`, which sets CRUST_SIMULATE_RUNS."""

from __future__ import annotations

import os

__all__ = ["RUNS", "THOROUGH", "seeds"]

THOROUGH = "CRUST_SIMULATE_RUNS" in os.environ
RUNS = int(os.environ.get("CRUST_SIMULATE_RUNS", "300"))
"""Trials of one connection against a bad network."""


def seeds(usual: int) -> int:
    """In how many worlds something is tried of which so many are enough to notice a fault: ten times as many."""
    return 10 * usual if THOROUGH else usual
