"""What several tests share."""

from __future__ import annotations

from ..contract import WAIT
from ..peers import Contestant
from ..stage import Settings, stage

__all__ = ["ALL", "CRUST_THREADS", "PLACED", "size_text", "stream"]

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
PLACED = {
    "one": "both sides on one processor",
    "split": "each side on its half of the processors",
    "free": "not pinned",
}

_WARM_UP = 0.2  # of the time of a measurement


def size_text(size: int) -> str:
    """64 KiB, 1 MiB, 100 B."""
    for unit, name in ((1_048_576, "MiB"), (1024, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} B"


def stream(
    settings: Settings, contestant: Contestant, placement: str, size: int, peers: int = 1
) -> tuple[float, float]:
    """Messages one way, from the hub to all spokes in turn: how many, and in how many seconds."""
    with stage(settings, contestant, "stream", placement=placement, peers=peers, size=size) as sides:
        sides.listen()
        sides.dial()
        sides.spokes[0].call("sink", WAIT, size=size)
        patience = settings.seconds + 2 * WAIT
        sides.hub.call("stream", patience, size=size, seconds=settings.seconds * _WARM_UP)
        outcome = sides.hub.call("stream", patience, size=size, seconds=settings.seconds)
        return outcome["messages"], outcome["seconds"]
