"""How much is simulated: a part in the suite, all of it by `make simulate`, which sets CRUST_SIMULATE_RUNS."""

from __future__ import annotations

import os

__all__ = ["RUNS", "THOROUGH"]

THOROUGH = "CRUST_SIMULATE_RUNS" in os.environ
RUNS = int(os.environ.get("CRUST_SIMULATE_RUNS", "300"))
"""Trials of one connection against a bad network."""
