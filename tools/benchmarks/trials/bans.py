"""
bans: how long it takes to ban so many connected peers by one call; seconds.

Until ``ban`` has returned, and until the application has been told of each peer, once, that it is lost; on the other
side every node must have heard the reason.
"""

from __future__ import annotations

from typing import Any

from ..contract import WAIT
from ..peers import Contestant
from ..results import Case, Metric, Target, Trial
from ..stage import Settings, affordable, stage
from .common import spokes_mode
from .conns import processes_for

__all__ = ["TRIAL"]

TOLD = Metric("until all are told", "s", higher_is_better=False)
CALL = Metric("the call", "s", higher_is_better=False)
_SETTLE = 0.5  # seconds for late work of the dialling


def _cases(settings: Settings) -> list[Case]:
    peers = settings.connections or (20 if settings.quick else 1000)
    return [
        Case(
            test="bans",
            title=f"{peers:,} peers, {mode}",
            where={"peers": peers, "mode": mode},
            metrics=(TOLD, CALL),
            contestants=(f"crust-{mode}-callback",),
            rounds=2,
            target=lambda _, metric: Target(1.0, relative=False) if metric == TOLD.name else None,
        )
        for mode in ("threads", "gevent")
    ]


def _run(settings: Settings, case: Case, contestant: Contestant) -> dict[str, Any]:
    wanted = case.where["peers"]
    peers = affordable(wanted)
    with stage(
        settings,
        contestant,
        "stream",
        placement="free",
        peers=peers,
        processes=processes_for(peers),
        spokes_mode=spokes_mode(contestant, peers),
    ) as sides:
        sides.listen()
        sides.dial(peers)
        sides.each("hear_ends", WAIT, [{}] * len(sides.spokes))
        sides.settle(_SETTLE)
        found = sides.hub.call("ban_all", WAIT)
        ends = sides.each("ends", WAIT, [{"expected": share} for share in sides.shares(peers)])
    if found["told"] != peers or ends != [["banned"] * share for share in sides.shares(peers)]:
        raise RuntimeError(f"{peers} banned, {found['told']} losses told; the other sides heard {ends!r:.200}")
    note = "" if peers == wanted else f"only {peers} peers: the limit of descriptors allows no more (ulimit -Hn)"
    return {TOLD.name: found["seconds"], CALL.name: found["call"], "note": note}


TRIAL = Trial("bans", "how soon all of many peers that are banned are gone", _cases, _run)
