"""Waiting for something to become true, without sleeping for a guessed time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

STEP = 0.002  # seconds between two looks


def eventually(predicate: Callable[[], object], timeout: float = 5.0) -> bool:
    """Look until ``predicate()`` is true, at most ``timeout`` seconds; whether it became true."""
    end = time.monotonic() + timeout
    pause = threading.Event()
    while not predicate():
        if time.monotonic() > end:
            return bool(predicate())
        pause.wait(STEP)
    return True


def wait_until(predicate: Callable[[], object], timeout: float = 5.0, what: str = "it") -> None:
    """Fail the test if ``predicate()`` does not become true within ``timeout`` seconds."""
    if not eventually(predicate, timeout):
        raise AssertionError(f"{what} did not happen within {timeout:g} s")
