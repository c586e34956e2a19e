"""
hostile: one peer, which has proven its key, floods a node with what brings it nothing; fifty others get messages.

Told is the share of a core that it costs the node when it has been throttled and nobody else does anything; how much of
their rate the fifty keep; and how many of them lost their connection.
"""

from __future__ import annotations

import time
from typing import Any

from ..contract import WAIT
from ..peers import Contestant
from ..results import Case, Metric, Target, Trial
from ..stage import Settings, Stage, stage
from ..villain import KINDS, Villain

__all__ = ["TRIAL"]

_COST = Metric("its cost", "of a core", higher_is_better=False)
_KEPT = Metric("rate kept", "")
_BROKEN = Metric("connections broken", "", higher_is_better=False)
_TARGETS = {_COST.name: 0.25, _KEPT.name: 0.7, _BROKEN.name: 0.0}
_PEERS = 50
_SIZE = 100
_LEAD = 3.0  # seconds until what it could save up is spent
_SECONDS = 3.0


def _cases(settings: Settings) -> list[Case]:
    return [_case(kind) for kind in (KINDS[:1] if settings.quick else KINDS)]


def _case(kind: str) -> Case:
    return Case(
        test="hostile",
        title=f"one peer floods with {kind}, {_PEERS} get messages",
        where={"peers": _PEERS, "kind": kind},
        metrics=(_COST, _KEPT, _BROKEN),
        contestants=("crust-threads-callback", "crust-gevent-callback"),
        rounds=2,
        target=lambda contestant, metric: Target(_TARGETS[metric], relative=False),
    )


def _run(settings: Settings, case: Case, contestant: Contestant) -> dict[str, Any]:
    seconds = settings.seconds if settings.quick else max(settings.seconds, _SECONDS)
    with stage(settings, contestant, "flooded", placement="free", peers=_PEERS) as sides:
        sides.listen()
        sides.dial()
        sides.hub.call("choose_audience", WAIT)
        sides.hub.call("limit_starts", WAIT)
        sides.spokes[0].call("sink", WAIT, size=_SIZE)
        _rate(sides, seconds / 2)  # warms up
        before = _rate(sides, seconds)
        sides.hub.call("watch", WAIT)
        if case.where["kind"] == "signatures":  # else its credit ends the flood, and not its account
            sides.hub.call("take_from_others", WAIT)
        idle = _cost(sides, seconds)
        with Villain(case.where["kind"], sides.address, 10 * (_LEAD + seconds)):
            time.sleep(_LEAD)
            cost = _cost(sides, seconds) - idle
            during = _rate(sides, seconds)
        broken = sides.hub.call("watched", WAIT)["broken"]
    return {_COST.name: max(0.0, cost), _KEPT.name: during / before, _BROKEN.name: broken}


def _rate(sides: Stage, seconds: float) -> float:
    """Messages a second."""
    outcome = sides.hub.call("stream", seconds + 2 * WAIT, size=_SIZE, seconds=seconds)
    rate: float = outcome["messages"] / outcome["seconds"]
    return rate


def _cost(sides: Stage, seconds: float) -> float:
    """The share of a core that the node takes."""
    before = sides.hub.call("cpu", WAIT)
    time.sleep(seconds)
    used: float = sides.hub.call("cpu", WAIT) - before
    return used / seconds


TRIAL = Trial("hostile", "one peer that floods, and fifty others", _cases, _run)
