"""
flood: one process sends datagrams that mean nothing to the UDP port of a node, as fast as it can.

Twenty peers of that node are connected over µTP meanwhile, and talk. Told is how many datagrams a second that process
has sent, how long anybody else in the node's process had to wait for a turn at worst, and how many connections broke.
"""

from __future__ import annotations

from typing import Any

from ..contract import WAIT, percentile
from ..peers import Contestant
from ..results import Case, Metric, Target, Trial
from ..stage import Settings, stage

__all__ = ["TRIAL"]

_SENT = Metric("stray datagrams", "1/s")
_STALL = Metric("worst stall", "ms", higher_is_better=False)
_BEFORE = Metric("worst stall before", "ms", higher_is_better=False, aside=True)
_P99 = Metric("p99 of a message", "ms", higher_is_better=False, aside=True)
_BROKEN = Metric("connections broken", "", higher_is_better=False)
_LIMITS = {_SENT.name: 50_000.0, _STALL.name: 50.0, _BROKEN.name: 0.0}
_PEERS = 20
_INTERVAL = 0.1
_SECONDS = 5.0


def _cases(settings: Settings) -> list[Case]:
    return [
        Case(
            test="flood",
            title=f"{_PEERS} peers talking over µTP",
            where={"peers": _PEERS},
            metrics=(_SENT, _STALL, _BEFORE, _P99, _BROKEN),
            contestants=("crust-utp-callback", "crust-utp-gevent"),
            rounds=2,
            target=lambda contestant, metric: Target(_LIMITS[metric], relative=False) if metric in _LIMITS else None,
        )
    ]


def _run(settings: Settings, case: Case, contestant: Contestant) -> dict[str, Any]:
    seconds = settings.seconds if settings.quick else max(settings.seconds, _SECONDS)
    with stage(settings, contestant, "stamp", placement="split", peers=_PEERS, processes=2) as sides:
        sides.listen()
        talking, flooding = sides.spokes
        talking.call("dial", 2 * WAIT, address=sides.address, count=_PEERS)
        sides.hub.call("wait_for", WAIT, count=_PEERS)
        talk = {"talkers": _PEERS, "interval": _INTERVAL, "seconds": seconds}
        sides.hub.call("watch", WAIT)
        talking.call("talk", seconds + 2 * WAIT, **talk)
        before = sides.hub.call("watched", WAIT)
        sides.hub.call("watch", WAIT)
        talking.begin("talk", **talk)
        flood = flooding.call("flood", seconds + 2 * WAIT, address=sides.address, seconds=seconds)
        times = sorted(talking.result("talk", seconds + 2 * WAIT))
        during = sides.hub.call("watched", WAIT)
        left = sides.hub.call("connections", WAIT)
    return {
        _SENT.name: flood["datagrams"] / flood["seconds"],
        _STALL.name: during["stall"] * 1e3,
        _BEFORE.name: before["stall"] * 1e3,
        _P99.name: percentile(times, 0.99) * 1e3,
        _BROKEN.name: max(during["broken"], _PEERS - left),
    }


TRIAL = Trial("flood", "a flood of stray datagrams on a node's UDP port", _cases, _run)
