"""bulk: big messages one way, all of them acknowledged; MB/s."""

from __future__ import annotations

from ..peers import Contestant
from ..results import Case, Metric, Reference, Target, Trial
from ..stage import Settings
from .common import ALL, CRUST_THREADS, PLACED, size_text, stream

__all__ = ["TRIAL"]

_SPEED = Metric("speed", "MB/s")
_EFFORT = Metric("effort", "MB/CPU s", aside=True)


def _cases(settings: Settings) -> list[Case]:
    placements = ("split",) if settings.quick else ("split", "one")
    return [_case(size, placement) for size in settings.sizes for placement in placements]


def _case(size: int, placement: str) -> Case:
    title = f"{size_text(size)}, {PLACED[placement]}"
    return Case(
        test="bulk",
        title=title,
        where={"size": size, "placement": placement},
        metrics=(_SPEED, _EFFORT),
        contestants=ALL,
        reference=lambda contestant: Reference("ssl", "ssl", title),
        target=lambda contestant, metric: Target(1.0) if contestant in CRUST_THREADS else None,
    )


def _run(settings: Settings, case: Case, contestant: Contestant) -> dict[str, float]:
    size = case.where["size"]
    done = stream(settings, contestant, case.where["placement"], size)
    megabytes = done.messages * size / 1e6
    return {_SPEED.name: megabytes / done.seconds, _EFFORT.name: megabytes / done.cpu}


TRIAL = Trial("bulk", "big messages one way", _cases, _run)
