"""setup: dial, prove to each other who we are, one round trip, close; one after another, how many a second."""

from __future__ import annotations

from ..contract import WAIT
from ..peers import Contestant
from ..results import Case, Metric, Reference, Target, Trial
from ..stage import Settings, stage
from .common import ALL, CRUST_THREADS, PLACED

__all__ = ["TRIAL"]

_RATE = Metric("rate", "1/s")
_EFFORT = Metric("effort", "CPU ms", higher_is_better=False, aside=True)
_PLACEMENT = "split"


def _cases(settings: Settings) -> list[Case]:
    title = PLACED[_PLACEMENT]
    return [
        Case(
            test="setup",
            title=title,
            where={"placement": _PLACEMENT},
            metrics=(_RATE, _EFFORT),
            contestants=ALL,
            reference=lambda contestant: Reference("ssl mutual", "ssl", title),
            target=lambda contestant, metric: Target(1.0) if contestant in CRUST_THREADS else None,
        )
    ]


def _run(settings: Settings, case: Case, contestant: Contestant) -> dict[str, float]:
    with stage(settings, contestant, "echo", placement=_PLACEMENT, peers=0) as sides:
        sides.listen()
        before = sides.cpu()
        outcome = sides.spokes[0].call(
            "setup", settings.seconds + 2 * WAIT, address=sides.address, seconds=settings.seconds
        )
        effort = (sides.cpu() - before) / outcome["count"] * 1e3
    return {_RATE.name: outcome["count"] / outcome["seconds"], _EFFORT.name: effort}


TRIAL = Trial("setup", "dial, mutual proof, first round trip, close", _cases, _run)
