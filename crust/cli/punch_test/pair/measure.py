"""Round trip and throughput of the path that a session has now: bounded in time and in bytes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import crust

from .meeting import Measurement
from .messages import CHUNK, LOAD_MAX
from .talk import Talk

__all__ = ["measure"]

_PINGS = 7
_PING_PATIENCE = 5.0  # seconds
_PINGS_SECONDS = 3.0  # for all of them
_FIRST = 4 * CHUNK  # bytes of the first load; each has twice as many as the last
_LONG = 0.7  # seconds that a load takes which is long enough to tell
_SECONDS = 3.0  # for all loads in one direction
_LOAD_PATIENCE = 20.0
_RELAY_LOAD = 8 * CHUNK  # the largest one that another's server has to carry


def measure(talk: Talk) -> Measurement | None:
    """
    How good the path is. None if the session left it meanwhile.

    Raises:
        NotOurLanguage, crust.CrustError: As `Talk`.
    """
    path = talk.peer.path
    if path is None:
        return None
    before = talk.volume
    rtt = _round_trip(talk)
    most = _RELAY_LOAD if path.path_class == "relay" else LOAD_MAX
    sent = _rate(talk.load, most)
    received = _rate(talk.ask_for_load, most)
    now = talk.peer.path
    if now is None or (now.path_class, now.remote) != (path.path_class, path.remote):
        return None
    return Measurement(path.path_class, path.remote, rtt, sent, received, talk.volume - before)


def _round_trip(talk: Talk) -> float | None:
    found: list[float] = []
    end = time.monotonic() + _PINGS_SECONDS
    while len(found) < _PINGS and time.monotonic() < end:
        try:
            found.append(talk.ping(_PING_PATIENCE))
        except crust.Timeout:
            break
    return statistics.median(found) if found else None


def _rate(load: Callable[[int, float], float], most: int) -> float | None:
    """Bytes a second of the longest load: the receiver counts from its first part, so a round trip does not matter."""
    rate = None
    size = _FIRST
    began = time.monotonic()
    while size <= most and time.monotonic() < began + _SECONDS:
        start = time.monotonic()
        try:
            took = load(size, _LOAD_PATIENCE)
        except crust.Timeout:
            break
        if took > 0:
            rate = (size - CHUNK) / took
        if time.monotonic() - start > _LONG:
            break
        size *= 2
    return rate
