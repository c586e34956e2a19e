"""Finds threads, descriptors and network namespaces that a test left behind."""

from __future__ import annotations

import gc
import os
import threading

from tests.natlab import names
from tests.support.waiting import eventually

GRACE = 2.0  # seconds for what is ending already
PREFIXES = ("crust-", "proxy-", "test-")

Snapshot = tuple[frozenset[threading.Thread], frozenset[tuple[int, str]], frozenset[str]]


def threads() -> frozenset[threading.Thread]:
    """The threads of crust and of the tests that run now."""
    return frozenset(each for each in threading.enumerate() if each.name.startswith(PREFIXES))


def descriptors() -> frozenset[tuple[int, str]]:
    """The open descriptors with what they stand for; none where the system does not tell (not Linux)."""
    found = set()
    try:
        numbers = os.listdir("/proc/self/fd")
    except OSError:
        return frozenset()
    for number in numbers:
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except OSError:  # the descriptor of the listing itself
            continue
        if not target.startswith(("/dev/", "/proc/", "anon_inode:[eventfd]")):
            found.add((int(number), target))
    return frozenset(found)


def snapshot() -> Snapshot:
    """What is there now."""
    return threads(), descriptors(), frozenset(names.own())


def check(before: Snapshot) -> None:
    """Fail if there is more than ``before``, after a short grace."""

    def left() -> tuple[list[str], list[tuple[int, str]], list[str]]:
        return (
            sorted(each.name for each in threads() - before[0]),
            sorted(descriptors() - before[1]),
            sorted(set(names.own()) - before[2]),
        )

    def clean() -> bool:
        return left() == ([], [], [])

    if eventually(clean, 0.05):
        return
    gc.collect()  # what hangs in a reference cycle is closed by its finaliser, with a warning that fails the test
    if not eventually(clean, GRACE):
        leaked_threads, leaked_descriptors, leaked_namespaces = left()
        raise AssertionError(
            f"left behind: threads {leaked_threads}, descriptors {leaked_descriptors}, namespaces {leaked_namespaces}"
        )
