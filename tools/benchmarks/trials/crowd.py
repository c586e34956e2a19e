"""
crowd: a node with as many peers as it is meant for, heartbeats on, one in a hundred talking.

The peers are light ones (``peers/light_peer``), so that the node has a processor for itself and all are there within a
minute. In turn: all connect; nobody says a word for about one heartbeat; the talkers each send ten messages a second,
which the node answers, and both ways count; the node is closed with everybody still connected. A session
that is lost, or suspended, or whose link seems dead to either side, is counted, and so is what close() leaves behind.
"""

from __future__ import annotations

import time
from typing import Any

from ..contract import WAIT, percentile
from ..peers import Contestant
from ..results import Case, Metric, Target, Trial
from ..stage import Settings, affordable, stage

__all__ = ["TRIAL"]

_CONNECT = Metric("time to connect all", "s", higher_is_better=False)
_MEMORY = Metric("idle", "KiB/peer", higher_is_better=False)
_EFFORT = Metric("effort while idle", "% of a processor", higher_is_better=False)
_P50 = Metric("p50", "ms", higher_is_better=False, aside=True)
_P99 = Metric("p99 of a message", "ms", higher_is_better=False)
_LOST = Metric("sessions lost or suspected", "", higher_is_better=False)
_CLOSE = Metric("time to close", "s", higher_is_better=False)
_LEFT = Metric("threads and descriptors left", "", higher_is_better=False)
_PEERS = {"gevent": 10_000, "threads": 1000}
_KIB = {"gevent": 32.0, "threads": 40.0}
_BOUNDS = {_P99.name: 50.0, _CLOSE.name: 5.0, _LOST.name: 0.0, _LEFT.name: 0.0}
_TALKING = 100  # one in so many
_INTERVAL = 0.1
_IDLE = 22.0  # seconds: about one heartbeat of everybody
_SECONDS = 20.0
_CONNECT_WITHIN = 600.0
_CLOSE_WITHIN = 60.0


def _cases(settings: Settings) -> list[Case]:
    return [_case(mode, settings) for mode in ("threads", "gevent")]


def _case(mode: str, settings: Settings) -> Case:
    peers = settings.connections or (100 if settings.quick else _PEERS[mode])
    bounds = {**_BOUNDS, _MEMORY.name: _KIB[mode]}

    def target(contestant: str, metric: str) -> Target | None:
        if peers != _PEERS[mode] or "silent" in contestant or metric not in bounds:
            return None
        return Target(bounds[metric], relative=False)

    return Case(
        test="crowd",
        title=f"{peers:,} peers, {max(1, peers // _TALKING)} talking, {mode}",
        where={"peers": peers, "mode": mode},
        metrics=(_CONNECT, _MEMORY, _EFFORT, _P99, _P50, _LOST, _CLOSE, _LEFT),
        contestants=(f"crust-crowd-{mode}", f"crust-crowd-silent-{mode}"),
        rounds=1,
        target=target,
    )


def _run(settings: Settings, case: Case, contestant: Contestant) -> dict[str, Any]:
    wanted = case.where["peers"]
    peers = affordable(wanted)
    idle = min(_IDLE, settings.seconds) if settings.quick else settings.settle or _IDLE
    seconds = settings.seconds if settings.quick else max(settings.seconds, _SECONDS)
    with stage(settings, contestant, "stamp", placement="split", peers=peers + 1, spokes_mode="threads") as sides:
        sides.listen()
        sides.dial(1)
        sides.settle(min(1.0, settings.seconds))
        sides.hub.call("watch", WAIT)
        before = sides.hub.call("memory", WAIT)
        began = time.perf_counter()
        sides.dial(peers)
        figures: dict[str, Any] = {_CONNECT.name: time.perf_counter() - began}
        sides.settle(min(1.0, settings.seconds))
        used, began = sides.hub.call("cpu", WAIT), time.perf_counter()
        time.sleep(idle)
        figures[_EFFORT.name] = 100 * (sides.hub.call("cpu", WAIT) - used) / (time.perf_counter() - began)
        figures[_MEMORY.name] = (sides.hub.call("memory", WAIT) - before) / peers
        order = {"talkers": max(1, peers // _TALKING), "interval": _INTERVAL, "seconds": seconds}
        times = sorted(sides.spokes[0].call("talk", seconds + 2 * WAIT, **order))
        figures[_P50.name] = percentile(times, 0.5) * 1e3
        figures[_P99.name] = percentile(times, 0.99) * 1e3
        losses = sides.spokes[0].call("losses", WAIT)
        broken = sides.hub.call("watched", WAIT)["broken"]
        figures[_LOST.name] = max(losses["lost"], broken) + losses["suspected"]
        closing = sides.hub.call("close_in", _CLOSE_WITHIN + WAIT, timeout=_CLOSE_WITHIN)
        figures[_CLOSE.name] = closing["seconds"]
        remains = sides.hub.call("remains", WAIT)
        figures[_LEFT.name] = max(remains["threads"], 0) + max(remains["descriptors"], 0)
        if not closing["clean"]:
            raise RuntimeError("close() has left something running")
    if losses["why"]:
        figures["note"] = "lost: " + "; ".join(losses["why"])
    if peers != wanted:
        figures["note"] = f"only {peers} peers: the limit of descriptors allows no more (ulimit -Hn)"
    return figures


TRIAL = Trial("crowd", "10,000 peers on gevent and 1,000 on threads, 1 % talking", _cases, _run)
