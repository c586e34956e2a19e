"""What several tests share."""

from __future__ import annotations

import importlib.util
from typing import NamedTuple

from ..contract import ROUND_TRIP, WAIT
from ..peers import Contestant
from ..stage import Settings, stage

__all__ = ["ALL", "CRUST_THREADS", "OVER_TCP", "PLACED", "Streamed", "ping", "size_text", "spokes_mode", "stream"]

CRUST_THREADS = ("crust-threads-callback", "crust-threads-pull")
ALL = (
    *CRUST_THREADS,
    "crust-gevent-callback",
    "crust-gevent-pull",
    "tcp",
    "ssl",
    "zmq",
    "zmq-curve",
    "websockets",
)
OVER_TCP = {
    "crust-utp-callback": "crust-threads-callback",
    "crust-utp-pull": "crust-threads-pull",
    "crust-utp-gevent": "crust-gevent-callback",
    "crust-utp-ethernet": "crust-threads-callback",
    "crust-utp-plain": "crust-threads-callback",
}
"""crust over µTP, each way, and the same over TCP."""
PLACED = {
    "one": "both sides on one processor",
    "split": "each side on its half of the processors",
    "free": "not pinned",
}

_WARM_UP = 0.2  # of the time of a measurement
_MANY = 100


def size_text(size: int) -> str:
    """64 KiB, 1 MiB, 100 B."""
    for unit, name in ((1_048_576, "MiB"), (1024, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} B"


def spokes_mode(contestant: Contestant, peers: int) -> str:
    """
    How the spokes are held: as the hub; but many nodes of crust on greenlets, if there are any.

    It is the hub that is measured. In life its peers have machines of their own; here a few hundred nodes with three
    threads each would measure how one processor switches between threads.
    """
    if contestant.library.startswith("crust") and peers > _MANY and importlib.util.find_spec("gevent") is not None:
        return "gevent"
    return contestant.mode


class Streamed(NamedTuple):
    """What a stream came to."""

    messages: float
    seconds: float
    cpu: float
    """Seconds of processor time, both sides together."""


def stream(settings: Settings, contestant: Contestant, placement: str, size: int, peers: int = 1) -> Streamed:
    """Messages one way, from the hub to all spokes in turn."""
    with stage(
        settings,
        contestant,
        "stream",
        placement=placement,
        peers=peers,
        size=size,
        spokes_mode=spokes_mode(contestant, peers),
    ) as sides:
        sides.listen()
        sides.dial()
        sides.spokes[0].call("sink", WAIT, size=size)
        patience = settings.seconds + 2 * WAIT
        sides.hub.call("stream", patience, size=size, seconds=settings.seconds * _WARM_UP)
        before = sides.cpu()
        outcome = sides.hub.call("stream", patience, size=size, seconds=settings.seconds)
        return Streamed(outcome["messages"], outcome["seconds"], sides.cpu() - before)


def ping(settings: Settings, contestant: Contestant, placement: str) -> dict[str, float]:
    """A small message to and fro: ``p50`` and ``p99`` in microseconds, ``effort`` in those of processor time."""
    with stage(settings, contestant, "echo", placement=placement) as sides:
        sides.listen()
        sides.dial()
        before = sides.cpu()
        times: dict[str, float] = sides.spokes[0].call(
            "ping", settings.seconds + 2 * WAIT, size=ROUND_TRIP, seconds=settings.seconds
        )
        return {**times, "effort": (sides.cpu() - before) / times["round_trips"] * 1e6}
