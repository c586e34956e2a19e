"""
circuits: sessions that go through a third node, or began there.

What such a peer costs while idle, as in ``conns``, when nobody looks for a better path any more; a round trip, big
messages and the first message over a relay, beside the same directly; and what 64 relayed streams do to the relay's own
session with somebody else. The relay has a process of its own, so that three share the processors.
"""

from __future__ import annotations

from typing import Any

from ..contract import ROUND_TRIP, WAIT, percentile
from ..peers import Contestant
from ..results import Case, Metric, Reference, Target, Trial
from ..stage import Settings, stage
from .common import PLACED, ping, size_text, stream
from .conns import IDLE, USED, measure

__all__ = ["TRIAL"]

_SPEED = Metric("speed", "MB/s")
_EFFORT = Metric("effort", "MB/CPU s", aside=True)
_MEDIAN = Metric("p50", "µs", higher_is_better=False)
_TAIL = Metric("p99", "µs", higher_is_better=False, aside=True)
_EFFORT_OF_ONE = Metric("effort", "CPU µs", higher_is_better=False, aside=True)
_FIRST = Metric("p50", "ms", higher_is_better=False)
_LATE_FIRST = Metric("p99", "ms", higher_is_better=False, aside=True)
_WORSE = Metric("p99, times as long as without", "", higher_is_better=False)
_WITHOUT = Metric("p99 without", "µs", higher_is_better=False, aside=True)
_WITH = Metric("p99 with", "µs", higher_is_better=False, aside=True)

_DIRECTLY = {"crust-relay-callback": "crust-threads-callback", "crust-relay-gevent": "crust-gevent-callback"}
_KEPT = {
    "threads": ("crust-threads-callback", "crust-relay-callback", "crust-moved-callback", "crust-punched-callback"),
    "gevent": ("crust-gevent-callback", "crust-relay-gevent", "crust-moved-gevent", "crust-punched-gevent"),
}
_PEERS = 500
_LIMITS = {"threads": 40.0, "gevent": 32.0}  # KiB for an idle peer
_SETTLE = 22.0  # seconds: a search for a better path has ended by then
_MESSAGE = 65_536
_STREAMS = 64
_CALLS = 50
_PAUSE = 0.03  # seconds between calls: an introducer takes 50 a second of one peer


def _cases(settings: Settings) -> list[Case]:
    placements = ("split",) if settings.quick else ("split", "one")
    return [
        *(_idle(mode, settings) for mode in _KEPT),
        *(_round_trip(placement) for placement in placements),
        *(_bulk(placement) for placement in placements),
        _first(),
        _beside("introduce-as-usual", "as much as a relay lends by default", settings),
        _beside("introduce", "as fast as they go", settings),
    ]


def _idle(mode: str, settings: Settings) -> Case:
    peers = settings.connections or (4 if settings.quick else _PEERS)

    def target(contestant: str, metric: str) -> Target | None:
        return Target(_LIMITS[mode], relative=False) if peers == _PEERS and metric == IDLE.name else None

    where = {"figure": "memory", "peers": peers, "mode": mode}
    return Case("circuits", f"{peers:,} peers, {mode}", where, (IDLE, USED), _KEPT[mode], 1, target=target)


def _beside_direct(title: str, where: dict[str, Any], *metrics: Metric) -> Case:
    def reference(contestant: str) -> Reference:
        return Reference("the same directly", _DIRECTLY.get(contestant, contestant), title)

    contestants = (*_DIRECTLY.values(), *_DIRECTLY)
    return Case("circuits", title, where, metrics, contestants, reference=reference)


def _round_trip(placement: str) -> Case:
    where = {"figure": "round trip", "size": ROUND_TRIP, "placement": placement}
    title = f"round trip, {size_text(ROUND_TRIP)}, {PLACED[placement]}"
    return _beside_direct(title, where, _MEDIAN, _TAIL, _EFFORT_OF_ONE)


def _bulk(placement: str) -> Case:
    where = {"figure": "bulk", "size": _MESSAGE, "placement": placement}
    return _beside_direct(f"bulk, {size_text(_MESSAGE)}, {PLACED[placement]}", where, _SPEED, _EFFORT)


def _first() -> Case:
    where = {"figure": "first message", "size": ROUND_TRIP, "placement": "split"}
    return _beside_direct(f"connect until the first message is there, {PLACED['split']}", where, _FIRST, _LATE_FIRST)


def _beside(role: str, rate: str, settings: Settings) -> Case:
    streams = 4 if settings.quick else _STREAMS
    return Case(
        test="circuits",
        title=f"another session's round trip while {streams} streams are relayed, {rate}",
        where={"figure": "another session", "streams": streams, "role": role},
        metrics=(_WORSE, _WITHOUT, _WITH),
        contestants=tuple(_DIRECTLY),
        rounds=2,
    )


def _run(settings: Settings, case: Case, contestant: Contestant) -> dict[str, Any]:
    figure = case.where["figure"]
    if figure == "memory":
        settle = settings.settle or (min(_SETTLE, settings.seconds) if settings.quick else _SETTLE)
        return measure(settings, contestant, case.where["peers"], settle)
    if figure == "round trip":
        return ping(settings, contestant, case.where["placement"])
    if figure == "bulk":
        done = stream(settings, contestant, case.where["placement"], _MESSAGE)
        megabytes = done.messages * _MESSAGE / 1e6
        return {_SPEED.name: megabytes / done.seconds, _EFFORT.name: megabytes / done.cpu}
    if figure == "first message":
        return _run_first(settings, contestant)
    return _run_beside(settings, case, contestant)


def _run_first(settings: Settings, contestant: Contestant) -> dict[str, float]:
    calls = 3 if settings.quick else _CALLS
    with stage(settings, contestant, "stamp", placement="split", peers=0) as sides:
        sides.listen()
        order = {"address": sides.address, "count": calls, "pause": _PAUSE}
        times = sorted(sides.spokes[0].call("meet", calls + WAIT, **order))
    return {_FIRST.name: percentile(times, 0.5) * 1e3, _LATE_FIRST.name: percentile(times, 0.99) * 1e3}


def _run_beside(settings: Settings, case: Case, contestant: Contestant) -> dict[str, float]:
    streams, role = case.where["streams"], case.where["role"]
    seconds = settings.seconds if settings.quick else max(settings.seconds, 3.0)
    order = {"size": ROUND_TRIP, "seconds": seconds}
    with stage(
        settings, contestant, "stream", placement="free", peers=streams, processes=2, introducer=role
    ) as sides:
        sides.listen()
        relayed, other = sides.spokes
        relayed.call("dial", 2 * WAIT, address=sides.address, count=streams)
        sides.hub.call("wait_for", WAIT, count=streams)
        relayed.call("sink", WAIT, size=_MESSAGE)
        other.call("dial_introducer", WAIT, address=sides.address)
        sides.settle(min(1.0, seconds))
        without = other.call("ping", seconds + 2 * WAIT, **order)["p99"]
        sides.hub.call("pour", WAIT, size=_MESSAGE)
        sides.settle(min(1.0, seconds))
        during = other.call("ping", seconds + 2 * WAIT, **order)["p99"]
    return {_WORSE.name: during / without, _WITHOUT.name: without, _WITH.name: during}


TRIAL = Trial("circuits", "through a relay, and moved away from it: memory, speed, what it costs others", _cases, _run)
