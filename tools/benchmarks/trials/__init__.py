"""The tests, one module each, in the order in which they run."""

from __future__ import annotations

from ..results import Trial
from . import (
    bans,
    bulk,
    circuits,
    conns,
    crowd,
    flood,
    hostile,
    imports,
    rate,
    rtt,
    setup,
    siege,
    signed,
    utp,
)

__all__ = ["TRIALS"]

TRIALS: dict[str, Trial] = {
    each.name: each
    for each in (
        bulk.TRIAL,
        utp.TRIAL,
        rate.TRIAL,
        signed.TRIAL,
        rtt.TRIAL,
        setup.TRIAL,
        conns.TRIAL,
        circuits.TRIAL,
        imports.TRIAL,
        flood.TRIAL,
        hostile.TRIAL,
        siege.TRIAL,
        crowd.TRIAL,
        bans.TRIAL,
    )
}
