"""
busy: 10,000 peers of one node on greenlets, one in a hundred talking, heartbeats on.

The talkers each send ten messages a second, which the hub answers. Both ways count: the seconds from the moment a
message was to be sent until the application on the other side had it (the clock is one for all processes). Then the
hub is closed, with everybody still connected.
"""

from __future__ import annotations

from typing import Any

from ..contract import WAIT, percentile
from ..peers import Contestant
from ..results import Case, Metric, Target, Trial
from ..stage import Settings, affordable, stage
from .common import spokes_mode
from .conns import processes_for

__all__ = ["TRIAL"]

_P50 = Metric("p50", "ms", higher_is_better=False, aside=True)
_P99 = Metric("p99 of a message", "ms", higher_is_better=False)
_CLOSE = Metric("time to close", "s", higher_is_better=False)
_PEERS = 10_000
_TALKING = 100  # one in so many
_INTERVAL = 0.1
_SECONDS = 20.0  # about one heartbeat of everybody
_LIMITS = {_P99.name: 50.0, _CLOSE.name: 5.0}
_CLOSE_WITHIN = 60.0


def _cases(settings: Settings) -> list[Case]:
    peers = settings.connections or (100 if settings.quick else _PEERS)

    def target(contestant: str, metric: str) -> Target | None:
        if peers != _PEERS or contestant != "crust-gevent-callback" or metric not in _LIMITS:
            return None
        return Target(_LIMITS[metric], relative=False)

    return [
        Case(
            test="busy",
            title=f"{peers:,} peers, {max(1, peers // _TALKING)} talking, gevent",
            where={"peers": peers, "mode": "gevent"},
            metrics=(_P99, _P50, _CLOSE),
            contestants=("crust-gevent-callback", "tcp-gevent", "ssl-gevent"),
            rounds=1,
            target=target,
        )
    ]


def _run(settings: Settings, case: Case, contestant: Contestant) -> dict[str, Any]:
    wanted = case.where["peers"]
    peers = affordable(wanted)
    seconds = settings.seconds if settings.quick else max(settings.seconds, _SECONDS)
    with stage(
        settings,
        contestant,
        "stamp",
        placement="split",
        peers=peers,
        processes=processes_for(peers),
        spokes_mode=spokes_mode(contestant, peers),
    ) as sides:
        sides.listen()
        sides.dial()
        sides.settle(min(1.0, settings.seconds))
        talkers = [
            {"talkers": count, "interval": _INTERVAL, "seconds": seconds}
            for count in sides.shares(max(len(sides.spokes), peers // _TALKING))
        ]
        times = sorted(sum(sides.each("talk", seconds + 2 * WAIT, talkers), []))
        figures: dict[str, Any] = {
            _P50.name: percentile(times, 0.5) * 1e3,
            _P99.name: percentile(times, 0.99) * 1e3,
        }
        if contestant.library.startswith("crust"):
            left = sides.hub.call("connections", WAIT)
            closing = sides.hub.call("close_in", _CLOSE_WITHIN + WAIT, timeout=_CLOSE_WITHIN)
            figures[_CLOSE.name] = closing["seconds"]
            if left < peers or not closing["clean"]:
                raise RuntimeError(f"{left} of {peers} peers were left; closed cleanly: {bool(closing['clean'])}")
    if peers != wanted:
        figures["note"] = f"only {peers} peers: the limit of descriptors allows no more (ulimit -Hn)"
    return figures


TRIAL = Trial("busy", "10,000 peers on gevent, 1 % talking", _cases, _run)
