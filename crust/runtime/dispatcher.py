"""
The one thread of a node that runs the application's callbacks, in order, and nothing of the application runs
elsewhere.

It blocks in its queue, which :meth:`Dispatcher.stop` ends, and in what it runs: a callback that never returns
cannot be ended, only abandoned and shown (:meth:`Dispatcher.stack`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from .. import limits
from .clock import Clock, Queue
from .threads import CrashHook, Deadline, Spawn, fork_generation, forward_interrupt, log_crash, mode, stack_of

__all__ = ["Dispatcher", "name_of"]

_Job = tuple[Callable[..., object], tuple[Any, ...]]


def name_of(callback: Callable[..., object]) -> str:
    """What to call a callback in the log: its module and qualified name, or as it describes itself."""
    try:
        name = getattr(callback, "__qualname__", None) or repr(callback)
        return f"{getattr(callback, '__module__', '?')}.{name}"
    except BaseException as error:  # that is code of the application, too
        forward_interrupt(error)
        return str(type.__getattribute__(type(callback), "__qualname__"))  # so is its metaclass


class Dispatcher:
    """
    A queue of calls and the thread ``crust-dispatcher`` that runs them. All methods may be called from any
    thread.

    The queue has no bound of its own: messages in it are bounded by receive credit, and that of sessions that are over
    by ``limits.total_buffers``, log records by :data:`crust.limits.LOG_BACKLOG`, state events by
    :data:`crust.limits.EVENTS_WAITING_MAX`.

    Args:
        on_crash: Gets the thread's name and the exception of a call that raised; without it the crash is
            logged. Those who post application code catch its exceptions themselves; this is the net below.
        clock: What to wait with; None: the system's.
    """

    def __init__(self, on_crash: CrashHook | None = None, clock: Clock | None = None) -> None:
        clock = clock or Clock()
        self._on_crash = on_crash or log_crash
        self._queue: Queue = clock.queue()  # of _Job; None ends the thread
        self._ended = clock.event()
        self._thread: threading.Thread | None = None
        self._ident: int | None = None
        self._running = False
        self._stopping = False
        self._abandoned = False
        self._current: tuple[Callable[..., object], float] | None = None
        self._generation = fork_generation()

    def start(self, spawn: Spawn) -> None:
        """Start the thread. Once only. What was posted before runs then."""
        self._running = True
        try:
            self._thread = spawn("crust-dispatcher", self._run)
        except BaseException:
            self._running = False
            raise

    def post(self, call: Callable[..., object], *args: Any) -> None:
        """Run ``call(*args)`` on the dispatcher thread after all that was posted before. Never blocks."""
        self._queue.put((call, args))

    def stop(self) -> None:
        """End the thread after what has been posted so far; what comes later never runs. Idempotent."""
        if not self._stopping:
            self._stopping = True
            self._queue.put(None)

    def abandon(self) -> None:
        """
        End the thread after the call that runs now, if any: nothing that waits is begun any more. Idempotent.
        """
        self._abandoned = True
        self.stop()

    def discard(self) -> None:
        """In a forked child: run nothing more."""
        self._abandoned = self._stopping = True
        self._running = False
        self._ident = None
        self._thread = None

    def join(self, deadline: Deadline) -> bool:
        """
        Wait for the thread's end; True if it has ended, False at the deadline or on the dispatcher itself.
        """
        thread = self._thread
        if thread is None:
            return True
        if thread is threading.current_thread():
            return False
        if self._ended.wait(deadline.remaining()):
            thread.join(limits.CLOSE_GRACE)  # it has nothing left to do
        return not thread.is_alive()

    @property
    def running(self) -> bool:
        """True while what is posted will be run."""
        return self._running and not self._stopping

    def on_dispatcher(self) -> bool:
        """True if the calling thread is the dispatcher."""
        return threading.get_ident() == self._ident

    def backlog(self) -> int:
        """Calls that wait, roughly."""
        return self._queue.qsize()

    # --- what is it doing? ----------------------------------------------------------------------------------

    def set_current(self, callback: Callable[..., object] | None, now: float = 0.0) -> None:
        """
        Say what runs now, and since when (``time.monotonic``), for :meth:`current`; None when it is over. Only what
        runs on the dispatcher calls this.
        """
        self._current = None if callback is None else (callback, now)

    def current(self) -> tuple[str, float] | None:
        """Name of the callback that runs now and when it began (``time.monotonic``); None if none does."""
        current = self._current
        return None if current is None else (name_of(current[0]), current[1])

    def stack(self) -> str:
        """Where the dispatcher thread is now, as a traceback's lines; empty if that cannot be told."""
        thread = self._thread
        return "" if thread is None or self._ident is None else stack_of(thread)

    # --- the thread -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        self._ident = threading.get_ident()
        get, on_greenlets, turn_ends = self._queue.get, mode() == "gevent", 0.0
        try:
            while fork_generation() == self._generation:
                if on_greenlets:
                    turn_ends = self._let_others_run(turn_ends)
                job: _Job | None = get()
                if job is None or self._abandoned:
                    return
                try:
                    job[0](*job[1])
                except BaseException as error:  # sys.exit() on this thread ends nothing but what called it
                    if not forward_interrupt(error):
                        self._on_crash("crust-dispatcher", error)
                job = None  # an idle dispatcher keeps no message alive
        finally:
            self._running = False
            self._ident = None
            self._ended.set()

    def _let_others_run(self, turn_ends: float) -> float:
        """Rest if the turn that ends then is over. When the next one ends; 0.0: none has begun."""
        if not self._queue.qsize():
            return 0.0  # they run while this one waits
        now = time.monotonic()
        if not turn_ends:
            return now + limits.CALLBACKS_TURN_SECONDS
        if now < turn_ends:
            return turn_ends
        time.sleep(limits.TURN_PAUSE)  # greenlets run only if we let them
        return 0.0
