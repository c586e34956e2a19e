"""
signed: small signed messages one way to one peer that takes no others (``signing.require_signed``): other nodes charge
their peers for signatures. Messages a second, beside the signatures that PyNaCl verifies.
"""

from __future__ import annotations

from ..contract import ROUND_TRIP, WAIT
from ..peers import Contestant
from ..results import Case, Metric, Reference, Target, Trial
from ..stage import Settings, stage
from .common import CRUST_THREADS, PLACED, size_text

__all__ = ["TRIAL"]

_RATE = Metric("rate", "messages/s")
_BARE = "nacl"
_PLACEMENT = "split"
_TITLE = f"{size_text(ROUND_TRIP)} to 1 peer, {PLACED[_PLACEMENT]}"
_SHARE = 0.7  # of what PyNaCl alone verifies
_WARM_UP = 0.2  # of the time of a measurement


def _cases(settings: Settings) -> list[Case]:
    return [
        Case(
            test="signed",
            title=_TITLE,
            where={"size": ROUND_TRIP, "placement": _PLACEMENT},
            metrics=(_RATE,),
            contestants=(*CRUST_THREADS, "crust-gevent-callback", "crust-gevent-pull", _BARE),
            reference=lambda contestant: Reference("PyNaCl alone", _BARE, _TITLE),
            target=lambda contestant, metric: Target(_SHARE) if contestant != _BARE else None,
        )
    ]


def _run(settings: Settings, case: Case, contestant: Contestant) -> dict[str, float]:
    patience = settings.seconds + 2 * WAIT
    with stage(settings, contestant, "signed", placement=_PLACEMENT) as sides:
        sides.listen()
        sides.dial()
        if contestant.name == _BARE:
            return {_RATE.name: sides.spokes[0].call("verify", patience, size=ROUND_TRIP, seconds=settings.seconds)}
        sides.spokes[0].call("sink", WAIT, size=ROUND_TRIP)
        sides.hub.call("stream_signed", patience, size=ROUND_TRIP, seconds=settings.seconds * _WARM_UP)
        done = sides.hub.call("stream_signed", patience, size=ROUND_TRIP, seconds=settings.seconds)
        return {_RATE.name: done["messages"] / done["seconds"]}


TRIAL = Trial("signed", "small signed messages one way, beside PyNaCl's signatures", _cases, _run)
