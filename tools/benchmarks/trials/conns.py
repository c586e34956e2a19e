"""
conns: what a connected, authenticated peer costs the hub in resident memory; KiB.

Measured idle, and again after a message of 64 KiB each way on every connection. What the hub's process needs anyway
(modules, pools, one connection that has been used) is subtracted.
"""

from __future__ import annotations

from typing import Any

from ..contract import WAIT
from ..peers import CONTESTANTS, Contestant
from ..results import Case, Metric, Target, Trial
from ..stage import Settings, affordable, stage
from .common import spokes_mode

__all__ = ["IDLE", "TRIAL", "USED", "measure", "processes_for"]

IDLE = Metric("idle", "KiB/peer", higher_is_better=False)
USED = Metric("after 64 KiB each way", "KiB/peer", higher_is_better=False)
_MESSAGE = 65_536
_THREADS = ("crust-threads-callback", "tcp", "ssl", "zmq", "zmq-curve", "websockets")
_UTP = ("crust-utp-callback", "crust-utp-gevent")
_GEVENT = ("crust-gevent-callback", "tcp-gevent", "ssl-gevent")
_SETTLE = 0.5  # seconds for late work, such as acknowledgements, before memory is read
_PER_PROCESS = 2000
_LIMITS = {("tcp", "threads", 1000): 40.0, ("tcp", "gevent", 10_000): 32.0, ("utp", "each", 1000): 32.0}


def processes_for(peers: int) -> int:
    """Processes that hold so many spokes; two, so that dialling keeps the hub busy, or more."""
    return 1 if peers < 100 else max(2, -(-peers // _PER_PROCESS))


def _cases(settings: Settings) -> list[Case]:
    few, many = settings.connections, settings.connections
    if settings.quick:
        few, many = few or 10, many or 20
    return [
        _case("threads", few or 1000, _THREADS, 2),
        _case("each", few or 1000, _UTP, 2, "utp"),
        _case("gevent", many or 10_000, _GEVENT, 1),
    ]


def _case(mode: str, peers: int, contestants: tuple[str, ...], rounds: int, transport: str = "tcp") -> Case:
    limit = _LIMITS.get((transport, mode, peers))

    def target(contestant: str, metric: str) -> Target | None:
        if limit is None or not CONTESTANTS[contestant].library.startswith("crust"):
            return None
        if transport == "utp" and metric != IDLE.name:
            return None  # what they keep after use is told, and nothing was promised of it
        return Target(limit, relative=False)

    return Case(
        test="conns",
        title=f"{peers:,} peers, {mode}" if transport == "tcp" else f"{peers:,} peers over µTP",
        where={"peers": peers, "mode": mode, "transport": transport},
        metrics=(IDLE, USED),
        contestants=contestants,
        rounds=rounds,
        target=target,
    )


def _run(settings: Settings, case: Case, contestant: Contestant) -> dict[str, Any]:
    return measure(settings, contestant, case.where["peers"], settings.settle or min(_SETTLE, settings.seconds))


def measure(settings: Settings, contestant: Contestant, wanted: int, settle: float) -> dict[str, Any]:
    """
    Both figures.

    Args:
        wanted: Peers, or as many as the system allows.
        settle: Seconds for late work before memory is read.
    """
    peers = affordable(wanted)
    with stage(
        settings,
        contestant,
        "echo",
        placement="free",
        peers=peers + 1,
        size=_MESSAGE,
        processes=processes_for(peers),
        spokes_mode=spokes_mode(contestant, peers),
    ) as sides:
        patience = WAIT + 0.1 * peers
        everyone = [{"size": _MESSAGE}] * len(sides.spokes)
        sides.listen()
        sides.dial(1)
        sides.spokes[0].call("exchange", WAIT, size=_MESSAGE)
        sides.settle(settle)
        before = sides.hub.call("memory", WAIT)
        sides.dial(peers)
        sides.settle(settle)
        idle = sides.hub.call("memory", WAIT)
        sides.each("exchange", patience, everyone)
        sides.settle(min(_SETTLE, settle))
        used = sides.hub.call("memory", WAIT)
        left = sides.hub.call("connections", WAIT)
    if left < peers:
        raise RuntimeError(f"{peers - left} of {peers} connections were lost meanwhile")
    note = "" if peers == wanted else f"only {peers} peers: the limit of descriptors allows no more (ulimit -Hn)"
    return {IDLE.name: (idle - before) / peers, USED.name: (used - before) / peers, "note": note}


TRIAL = Trial("conns", "resident memory of a connected peer", _cases, _run)
