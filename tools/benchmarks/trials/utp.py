"""utp: crust over µTP beside crust over TCP: big messages one way, MB/s; one small message to and fro, microseconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..contract import ROUND_TRIP
from ..peers import Contestant
from ..results import Case, Metric, Reference, Target, Trial
from ..stage import Settings
from .common import OVER_TCP, PLACED, ping, size_text, stream

__all__ = ["TRIAL"]

_SPEED = Metric("speed", "MB/s")
_EFFORT = Metric("effort", "MB/CPU s", aside=True)
_MEDIAN = Metric("p50", "µs", higher_is_better=False)
_TAIL = Metric("p99", "µs", higher_is_better=False, aside=True)
_EFFORT_OF_ONE = Metric("effort", "CPU µs", higher_is_better=False, aside=True)
_BESIDE = ("crust-threads-callback", "crust-threads-pull", "crust-gevent-callback")
_SHARE = 0.5  # of the speed over TCP
_SHARE_WITHOUT = 0.15  # the same without GSO and GRO
_TIMES = 1.5  # the round trip over TCP


def _cases(settings: Settings) -> list[Case]:
    placements = ("split",) if settings.quick else ("split", "one")
    bulk = [_bulk(size, placement) for size in settings.sizes for placement in placements]
    return bulk + [_round_trip(placement) for placement in placements]


def _bulk(size: int, placement: str) -> Case:
    def target(contestant: str, metric: str) -> Target | None:
        if contestant not in OVER_TCP or placement != "split":
            return None
        return Target(_SHARE_WITHOUT if contestant == "crust-utp-plain" else _SHARE)

    title = f"bulk, {size_text(size)}, {PLACED[placement]}"
    return _case(title, {"size": size, "placement": placement}, (_SPEED, _EFFORT), target, tuple(OVER_TCP))


def _round_trip(placement: str) -> Case:
    def target(contestant: str, metric: str) -> Target | None:
        return Target(_TIMES) if contestant in OVER_TCP else None

    title = f"round trip, {size_text(ROUND_TRIP)}, {PLACED[placement]}"
    where = {"round_trip": ROUND_TRIP, "placement": placement}
    small = ("crust-utp-callback", "crust-utp-pull", "crust-utp-gevent")  # to others of few bytes it is all the same
    return _case(title, where, (_MEDIAN, _TAIL, _EFFORT_OF_ONE), target, small)


def _case(
    title: str,
    where: dict[str, Any],
    metrics: tuple[Metric, ...],
    target: Callable[[str, str], Target | None],
    ours: tuple[str, ...],
) -> Case:
    def reference(contestant: str) -> Reference | None:
        return Reference("the same over TCP", OVER_TCP.get(contestant, contestant), title)

    return Case("utp", title, where, metrics, (*_BESIDE, *ours), reference=reference, target=target)


def _run(settings: Settings, case: Case, contestant: Contestant) -> dict[str, float]:
    placement = case.where["placement"]
    if "round_trip" in case.where:
        return ping(settings, contestant, placement)
    size = case.where["size"]
    done = stream(settings, contestant, placement, size)
    megabytes = done.messages * size / 1e6
    return {_SPEED.name: megabytes / done.seconds, _EFFORT.name: megabytes / done.cpu}


TRIAL = Trial("utp", "over µTP beside over TCP: big messages one way, a small one to and fro", _cases, _run)
