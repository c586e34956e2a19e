"""Waiting for something to become true, without sleeping for a guessed time."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

STEP = 0.002  # seconds between two looks
LOOK = 0.05  # seconds between two looks at how busy the machine is
MOST = 12.0  # times as long as on an idle machine, at most
STRIDE = 0.5  # seconds between two looks that count at most, where looks follow each other at once


class Patience:
    """
    So many seconds of a machine that has a processor for whoever wants to run: where four want to run on two
    processors, they are twice as long. What a test is not to wait for stays as short as it was on an idle machine.

    Args:
        seconds: So many.
        stride: How many count between two looks, at most: if there are more the machine has stood still, and all that
            is waited for with it.
    """

    def __init__(self, seconds: float, stride: float = float("inf")) -> None:
        self._left = seconds
        self._stride = stride
        self._end = time.monotonic() + MOST * seconds
        self._looked = time.monotonic()

    @property
    def left(self) -> float:
        """Seconds that are left at least; not above 0: it is over."""
        now = time.monotonic()
        if now - self._looked >= LOOK or self._left <= now - self._looked:
            self._left -= min(now - self._looked, self._stride) / _crowd()
            self._looked = now
        return min(self._left, self._end - now)


def busy() -> float:
    """How many times as long something may take as on an idle machine: for upper bounds that a test measures."""
    lately = os.getloadavg()[0] / (os.cpu_count() or 1) if hasattr(os, "getloadavg") else 1.0
    return max(_crowd(), lately)


def _crowd() -> float:
    """How many want to run on each processor at this moment; 1 at least."""
    try:
        with open("/proc/loadavg") as file:
            running = int(file.read().split()[3].partition("/")[0])
    except OSError:  # not Linux
        running = int(os.getloadavg()[0]) if hasattr(os, "getloadavg") else 1
    return max(1.0, running / (os.cpu_count() or 1))


def eventually(predicate: Callable[[], object], timeout: float = 5.0) -> bool:
    """Look until ``predicate()`` is true, for ``timeout`` seconds of patience; whether it became true."""
    patience = Patience(timeout, STRIDE)
    pause = threading.Event()
    while not predicate():
        if patience.left <= 0:
            return bool(predicate())
        pause.wait(STEP)
    return True


def wait_until(predicate: Callable[[], object], timeout: float = 5.0, what: str = "it") -> None:
    """Fail the test if ``predicate()`` does not become true within ``timeout`` seconds of patience."""
    if not eventually(predicate, timeout):
        raise AssertionError(f"{what} did not happen within {timeout:g} s")
