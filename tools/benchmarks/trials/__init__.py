"""The tests, one module each, in the order in which they run."""

from __future__ import annotations

from ..results import Trial
from . import bulk, busy, conns, flood, imports, rate, rtt, setup, utp

__all__ = ["TRIALS"]

TRIALS: dict[str, Trial] = {
    each.name: each
    for each in (
        bulk.TRIAL,
        utp.TRIAL,
        rate.TRIAL,
        rtt.TRIAL,
        setup.TRIAL,
        conns.TRIAL,
        imports.TRIAL,
        flood.TRIAL,
        busy.TRIAL,
    )
}
