"""A clock that only the test moves."""

from __future__ import annotations


class FakeClock:
    """Call it for the time in seconds."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> float:
        """Let time pass; the new time."""
        self.now += seconds
        return self.now
