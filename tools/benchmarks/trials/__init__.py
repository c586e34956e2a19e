"""The tests, one module each, in the order in which they run."""

from __future__ import annotations

from ..results import Trial
from . import bulk, busy, conns, imports, rate, rtt, setup

__all__ = ["TRIALS"]

TRIALS: dict[str, Trial] = {
    each.name: each
    for each in (bulk.TRIAL, rate.TRIAL, rtt.TRIAL, setup.TRIAL, conns.TRIAL, imports.TRIAL, busy.TRIAL)
}
