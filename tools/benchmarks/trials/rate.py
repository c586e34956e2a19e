"""rate: small messages one way to one peer, and in turn to many; messages a second."""

from __future__ import annotations

from ..contract import ROUND_TRIP
from ..peers import Contestant
from ..results import Case, Metric, Reference, Target, Trial
from ..stage import Settings
from .common import ALL, PLACED, size_text, stream

__all__ = ["TRIAL"]

_RATE = Metric("rate", "messages/s")
_EFFORT = Metric("effort", "CPU µs", higher_is_better=False, aside=True)
_SPREAD = {50: 0.7, 500: 0.4}  # peers, and how much of the rate to one peer should be left
_PLACEMENT = "split"


def _title(peers: int) -> str:
    return f"{size_text(ROUND_TRIP)} to {peers} peer{'s' * (peers > 1)}, {PLACED[_PLACEMENT]}"


def _cases(settings: Settings) -> list[Case]:
    return [_case(peers) for peers in ((1, 5) if settings.quick else (1, *_SPREAD))]


def _case(peers: int) -> Case:
    def reference(contestant: str) -> Reference:
        if peers == 1:
            return Reference("pyzmq plain", "zmq", _title(1))
        return Reference("the same to 1 peer", contestant, _title(1))

    def target(contestant: str, metric: str) -> Target | None:
        if contestant != "crust-threads-callback":
            return None
        return Target(1.0) if peers == 1 else Target(_SPREAD[peers]) if peers in _SPREAD else None

    return Case(
        test="rate",
        title=_title(peers),
        where={"size": ROUND_TRIP, "peers": peers, "placement": _PLACEMENT},
        metrics=(_RATE, _EFFORT),
        contestants=ALL,
        reference=reference,
        target=target,
    )


def _run(settings: Settings, case: Case, contestant: Contestant) -> dict[str, float]:
    done = stream(settings, contestant, _PLACEMENT, ROUND_TRIP, case.where["peers"])
    return {_RATE.name: done.messages / done.seconds, _EFFORT.name: done.cpu / done.messages * 1e6}


TRIAL = Trial("rate", "small messages one way, to 1, 50 and 500 peers", _cases, _run)
