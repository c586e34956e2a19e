"""Requests to one router that wait for their answers, and when each is sent again. Sans-IO."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable

__all__ = ["Exchanges"]


@dataclasses.dataclass
class _Exchange:
    data: bytes
    due: float
    """When it is sent again, or given up."""
    interval: float
    left: int
    """How often it may still be sent."""


class Exchanges:
    """Requests on their way, each under a key; a new one replaces the one of its key. Not thread-safe."""

    def __init__(self) -> None:
        self._open: dict[Hashable, _Exchange] = {}

    def __contains__(self, key: Hashable) -> bool:
        return key in self._open

    def __len__(self) -> int:
        return len(self._open)

    def add(self, key: Hashable, data: bytes, now: float, *, sends: int, interval: float) -> None:
        """Send ``data`` now, and again after ``interval`` seconds and each time twice as long, ``sends`` times."""
        self._open[key] = _Exchange(data, now, interval, sends)

    def answered(self, key: Hashable) -> bool:
        """There is an answer: stop sending. False if nothing of that key waits for one."""
        return self._open.pop(key, None) is not None

    def clear(self) -> list[Hashable]:
        """Give all up; their keys."""
        keys = list(self._open)
        self._open.clear()
        return keys

    def get_timer(self) -> float | None:
        """When :meth:`poll` has something to do; None: never."""
        return min((each.due for each in self._open.values()), default=None)

    def poll(self, now: float) -> tuple[list[bytes], list[Hashable]]:
        """What is to be sent now, and the keys of those that nobody has answered."""
        datagrams: list[bytes] = []
        expired: list[Hashable] = []
        for key, each in list(self._open.items()):
            if each.due > now:
                continue
            if not each.left:
                del self._open[key]
                expired.append(key)
                continue
            datagrams.append(each.data)
            each.left -= 1
            each.due = now + each.interval
            each.interval *= 2
        return datagrams, expired
