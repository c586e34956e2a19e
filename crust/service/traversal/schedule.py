"""
When to look for a better path again (sans-IO).

From a relay: after ``UPGRADE_FIRST`` and ``UPGRADE_SECOND`` seconds, then every ``UPGRADE_MIN`` to ``UPGRADE_MAX``.
From other paths that are not TCP: the latter only. What goes over TCP and no relay stays: nothing is better by far.
"""

from __future__ import annotations

from collections.abc import Callable

from ... import limits

__all__ = ["Schedule"]


class Schedule:
    """
    For one session. Not thread-safe.

    Args:
        uniform: A random number in [0, 1) at each call.
    """

    __slots__ = ("_tried", "_uniform")

    def __init__(self, uniform: Callable[[], float]) -> None:
        self._uniform = uniform
        self._tried = 0  # attempts since the path was another

    def moved(self) -> None:
        """The session has another path, or the network is another."""
        self._tried = 0

    def delay(self, path_class: str) -> float | None:
        """Seconds from the end of an attempt to the next one; None: there is nothing to be had."""
        if path_class.endswith("-tcp"):
            return None
        self._tried += 1
        first = (limits.UPGRADE_FIRST, limits.UPGRADE_SECOND)
        if path_class == "relay" and self._tried <= len(first):
            return first[self._tried - 1] * (1 + limits.JITTER * (2 * self._uniform() - 1))
        return limits.UPGRADE_MIN + self._uniform() * (limits.UPGRADE_MAX - limits.UPGRADE_MIN)
