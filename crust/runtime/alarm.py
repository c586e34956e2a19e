"""One timer that is moved whenever its owner's next time is another one."""

from __future__ import annotations

from .flusher import IoLoop
from .timers import Timer, TimerCallback

__all__ = ["Alarm"]


class Alarm:
    """
    What drives a core without I/O sets it to what the core says is due next. Not thread-safe: for one thread, or under
    a lock of its owner. It keeps no callback but that of a timer to come, so it never keeps its owner alive for longer.

    It rings on the I/O thread, which may leave the work to another one. Whoever does the work says :meth:`rang` first,
    and sets it again after: until then the time counts as set, and setting it again does not ring twice.

    Args:
        io: Whose timers are used.
    """

    __slots__ = ("_io", "_timer", "due")

    def __init__(self, io: IoLoop) -> None:
        self._io = io
        self._timer: Timer | None = None
        self.due: float | None = None
        """When it rings, on the clock of ``io``; None: it is not set."""

    def set(self, due: float | None, ring: TimerCallback) -> None:
        """Ring then, and at no other time; None: do not ring. Nothing changes if it is set to that time already."""
        if due == self.due:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self.due = None, due  # in one step, for whoever only looks whether it is set
        if due is not None:
            self._timer = self._io.call_at(due, ring)

    def set_by(self, due: float, ring: TimerCallback) -> None:
        """Ring then, unless it is set to ring before; infinity: no need to ring."""
        if due < (float("inf") if self.due is None else self.due):
            self.set(due, ring)

    def rang(self) -> None:
        """What it has rung for is being done; another time that it has been set to meanwhile counts no more."""
        self.cancel()

    def cancel(self) -> None:
        """Do not ring. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.due = None
