"""rtt: one small message to and fro; microseconds."""

from __future__ import annotations

from ..contract import ROUND_TRIP
from ..peers import Contestant
from ..results import Case, Metric, Reference, Target, Trial
from ..stage import Settings
from .common import ALL, PLACED, ping, size_text

__all__ = ["TRIAL"]

_MEDIAN = Metric("p50", "µs", higher_is_better=False)
_TAIL = Metric("p99", "µs", higher_is_better=False, aside=True)
_EFFORT = Metric("effort", "CPU µs", higher_is_better=False, aside=True)
_TARGETS = {"crust-threads-pull": 1.6, "crust-threads-callback": 1.75}


def _cases(settings: Settings) -> list[Case]:
    return [_case(placement) for placement in (("one",) if settings.quick else ("one", "split"))]


def _case(placement: str) -> Case:
    title = f"{size_text(ROUND_TRIP)}, {PLACED[placement]}"

    def target(contestant: str, metric: str) -> Target | None:
        if placement != "one" or metric != _MEDIAN.name or contestant not in _TARGETS:
            return None
        return Target(_TARGETS[contestant])

    return Case(
        test="rtt",
        title=title,
        where={"size": ROUND_TRIP, "placement": placement},
        metrics=(_MEDIAN, _TAIL, _EFFORT),
        contestants=ALL,
        reference=lambda contestant: Reference("pyzmq CURVE", "zmq-curve", title),
        target=target,
    )


def _run(settings: Settings, case: Case, contestant: Contestant) -> dict[str, float]:
    return ping(settings, contestant, case.where["placement"])


TRIAL = Trial("rtt", "one small message to and fro", _cases, _run)
