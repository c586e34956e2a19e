"""
The one thread of a node that runs timers, writes what could not be written at once, and watches for room to
write.

Other threads hand it work through deques, which need no lock, and wake it only when it sleeps: a busy node
pays no system call for that. Before it sleeps it publishes a :class:`Nap` and looks at the deques once more;
who adds work looks at the nap afterwards. Whatever the order, one of the two sees the other.
"""

from __future__ import annotations

import collections
import selectors
import socket
import threading
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from .. import limits
from .threads import (
    CrashHook,
    Spawn,
    Waker,
    abandon_selector,
    fork_generation,
    forward_interrupt,
    is_interruptible,
    log_crash,
)
from .timers import Timer, TimerCallback, TimerHeap
from .waiting import Latch

__all__ = ["Flushable", "IoLoop", "Nap"]

R = TypeVar("R")


class Flushable(Protocol):
    """Something with bytes to write: a link."""

    def flush(self) -> None:
        """Write what can be written now. Called on the I/O thread; must not block."""


class Nap:
    """One sleep of the I/O thread."""

    __slots__ = ("until", "woken")

    def __init__(self, until: float) -> None:
        self.until = until
        self.woken = False


class IoLoop:
    """
    Flusher and timer of one node. All public methods may be called from any thread, unless said otherwise.

    The thread blocks only in the selector, which the waker, the next timer or
    :data:`crust.limits.IO_SLEEP_MAX` ends; :meth:`stop` therefore ends it at once. Callbacks must not block.
    One that raises is reported to ``on_crash`` and the loop goes on.

    Args:
        on_crash: Gets ``"crust-io"`` and the exception of a callback that raised; without it the crash is logged.
        clock: Seconds that never go back.
    """

    def __init__(self, on_crash: CrashHook | None = None, clock: Callable[[], float] | None = None) -> None:
        self.now: Callable[[], float] = clock or time.monotonic
        self._on_crash = on_crash or log_crash
        self._flushes: collections.deque[Flushable] = collections.deque()
        self.flushes = self._flushes
        """
        Whose ``flush()`` the I/O thread runs next. To append is one C call, which an exception handler can rely on even
        if it is interrupted itself; the thread looks here every ``IO_SLEEP_MAX`` seconds, and after :meth:`rouse`. All
        others use :meth:`flush_soon`.
        """
        self._new_timers: collections.deque[Timer] = collections.deque()
        self._requests: collections.deque[Callable[[], object]] = collections.deque()
        self._timers = TimerHeap()
        self._watched: dict[socket.socket, Callable[[], object]] = {}
        self._nap: Nap | None = None
        self._waker: Waker | None = None
        self._selector: selectors.BaseSelector | None = None
        self._running = False
        self._stopping = False
        self._ident: int | None = None
        self._generation = fork_generation()

    # --- life -----------------------------------------------------------------------------------------------

    def start(self, spawn: Spawn) -> None:
        """Start the thread ``crust-io``. Once only. What was handed over before is done then."""
        self._waker = Waker()
        try:
            self._selector = selectors.DefaultSelector()
            self._running = True
            spawn("crust-io", self._run)
        except BaseException:
            self._running = False
            self._waker.close()
            if self._selector is not None:
                self._selector.close()
                self._selector = None
            raise

    def stop(self) -> None:
        """
        End the thread soon, without running timers and flushes that wait. Idempotent; join it by its
        ``Threads``.
        """
        self._stopping = True
        if self._waker is not None:
            self._waker.wake()

    def abandon(self) -> None:
        """In a forked child: close the copies of the descriptors; do nothing more (takes no lock)."""
        self._stopping = True
        self._running = False
        self._ident = None
        self._nap = None
        self._requests.clear()
        self._flushes.clear()
        self._new_timers.clear()
        self._watched = {}
        selector, self._selector = self._selector, None
        abandon_selector(selector)
        if self._waker is not None:
            self._waker.abandon()

    @property
    def running(self) -> bool:
        """True from start until the thread has ended."""
        return self._running

    def on_io_thread(self) -> bool:
        """True if the calling thread is the loop's."""
        return threading.get_ident() == self._ident

    # --- work -----------------------------------------------------------------------------------------------

    def call_at(self, when: float, callback: TimerCallback) -> Timer:
        """Run ``callback(now)`` on the I/O thread when the clock says ``when`` (at once if that is past)."""
        timer = Timer(when, callback)
        self._new_timers.append(timer)
        nap = self._nap
        if nap is not None and when < nap.until:
            self._rouse(nap)
        return timer

    def call_later(self, delay: float, callback: TimerCallback) -> Timer:
        """Like :meth:`call_at`, ``delay`` seconds from now."""
        return self.call_at(self.now() + delay, callback)

    def flush_soon(self, target: Flushable) -> None:
        """
        Run ``target.flush()`` on the I/O thread, once for each call.

        The caller keeps a flag so that it asks once until ``flush`` has begun; nothing is merged here.
        """
        self._flushes.append(target)
        nap = self._nap
        if nap is not None:
            self._rouse(nap)

    def rouse(self) -> None:
        """Make the thread look at once at what it has been given."""
        nap = self._nap
        if nap is not None:
            self._rouse(nap)

    def shielded(self, call: Callable[[], R]) -> R:
        """
        Run ``call()`` where no exception can strike from outside, and wait for what it returns or raises.

        If the wait is interrupted, the call is carried out all the same. It must not block.
        """
        if not is_interruptible() or self.on_io_thread():
            return call()
        outcome: list[tuple[R | None, BaseException | None]] = []
        over = Latch()

        def run() -> None:
            try:
                outcome.append((call(), None))
            except BaseException as error:  # for the caller, who waits
                outcome.append((None, error))
            finally:
                over.set()

        self._request(run)
        over.wait()
        result, error = outcome[0]
        if error is not None:
            raise error
        return result  # type: ignore[return-value]  # there was no error, so it is the result

    def call_soon(self, call: Callable[[], object]) -> None:
        """Run ``call()`` on the I/O thread after what was asked of it before; here, if the thread has ended."""
        self._request(call)

    def wait_writable(self, sock: socket.socket, callback: Callable[[], object]) -> None:
        """
        Run ``callback()`` once on the I/O thread when ``sock`` has room or is dead.

        A second call for the same socket before that replaces the callback. Call :meth:`forget` before
        closing it.
        """
        self._request(lambda: self._watch(sock, callback))

    def wait_readable(self, sock: socket.socket, callback: Callable[[], object]) -> None:
        """
        The same when there is something to read, or ``sock`` is dead. For short questions: what comes often has a
        reader of its own. Not while :meth:`wait_writable` waits for that socket.
        """
        self._request(lambda: self._watch(sock, callback, selectors.EVENT_READ))

    def forget(self, sock: socket.socket, then: Callable[[], object] | None = None) -> None:
        """
        Stop watching ``sock``, then run ``then()``, usually the closing of the socket.

        Never blocks: on the I/O thread, or when it has ended, all is done on return; else a moment later.
        """
        self._request(lambda: self._unwatch(sock, then))

    def _request(self, request: Callable[[], object]) -> None:
        if self._ident is not None and self.on_io_thread():
            self._guarded(request)
            return
        self._requests.append(request)
        if not self._running:  # not started, or just ended: nobody else would do it
            self._run_requests()
            return
        nap = self._nap
        if nap is not None:
            self._rouse(nap)

    def _rouse(self, nap: Nap) -> None:
        # The flag belongs to this one nap: set late, it cannot silence a wake for the next.
        if not nap.woken and self._waker is not None:
            self._waker.wake()
            nap.woken = True

    # --- the thread -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        waker, selector = self._waker, self._selector
        assert waker is not None and selector is not None
        selector.register(waker.fileno(), selectors.EVENT_READ, None)
        self._ident = threading.get_ident()
        try:
            while self._goes_on():
                try:
                    self._turn(selector, waker)
                except KeyboardInterrupt as error:
                    if not forward_interrupt(error):
                        raise
        finally:
            self._end(selector, waker)

    def _goes_on(self) -> bool:
        return not self._stopping and fork_generation() == self._generation

    def _turn(self, selector: selectors.BaseSelector, waker: Waker) -> None:
        turn_ends = 0.0
        while self._goes_on():
            self._run_timers()
            self._run_requests()
            self._run_flushes()
            if not (self._flushes or self._requests or self._new_timers):
                self._sleep(selector, waker)
                turn_ends = time.monotonic() + limits.TURN_SECONDS
            elif time.monotonic() >= turn_ends:
                time.sleep(limits.TURN_PAUSE)  # greenlets run only when somebody lets them
                if self._watched:
                    self._poll(selector, waker, 0.0)
                turn_ends = time.monotonic() + limits.TURN_SECONDS

    def _sleep(self, selector: selectors.BaseSelector, waker: Waker) -> None:
        now = self.now()
        due = self._timers.next_due()
        until = now + limits.IO_SLEEP_MAX if due is None else min(due, now + limits.IO_SLEEP_MAX)
        self._nap = Nap(until)
        if self._stopping or self._flushes or self._requests or self._new_timers:
            self._nap = None
            return
        self._poll(selector, waker, max(0.0, until - now))

    def _poll(self, selector: selectors.BaseSelector, waker: Waker, timeout: float) -> None:
        ready = selector.select(timeout)
        self._nap = None
        for key, _ in ready:
            if key.data is None:
                waker.drain()
                continue
            callback = self._watched.pop(key.data, None)
            if callback is not None:
                selector.unregister(key.data)
                self._guarded(callback)

    def _run_timers(self) -> None:
        while self._new_timers:
            self._timers.add(self._new_timers.popleft())
        now = self.now()
        for _ in range(len(self._timers)):  # a timer that adds itself again waits for the next turn
            callback = self._timers.pop_due(now)
            if callback is None:
                return
            try:
                callback(now)
            except Exception as error:
                self._on_crash("crust-io", error)

    def _run_requests(self) -> None:
        for _ in range(len(self._requests)):
            try:
                request = self._requests.popleft()
            except IndexError:  # only when ended: several threads may come here then
                return
            self._guarded(request)

    def _run_flushes(self) -> None:
        turn_ends = time.monotonic() + limits.TURN_SECONDS
        for _ in range(len(self._flushes)):
            self._guarded(self._flushes.popleft().flush)
            if time.monotonic() >= turn_ends:
                return

    def _guarded(self, callback: Callable[[], object]) -> None:
        try:
            callback()
        except Exception as error:
            self._on_crash("crust-io", error)

    def _watch(
        self, sock: socket.socket, callback: Callable[[], object], event: int = selectors.EVENT_WRITE
    ) -> None:
        if self._selector is None:  # ended: the owner learns of it by its own closing
            return
        if sock not in self._watched:
            if len(self._watched) >= limits.SELECT_MAX and isinstance(self._selector, selectors.SelectSelector):
                self.call_later(limits.SELECT_RETRY, lambda now: self._watch(sock, callback, event))
                return
            try:
                self._selector.register(sock, event, sock)
            except (OSError, ValueError):  # closed already, or no room for it: let the owner write, and see
                # Not here: the owner may have asked with a lock held that the callback takes. And not in the next
                # turn: while there is no room, each would lead to another.
                self.call_later(limits.SELECT_RETRY, lambda now: callback())
                return
        self._watched[sock] = callback

    def _unwatch(self, sock: socket.socket, then: Callable[[], object] | None) -> None:
        if self._watched.pop(sock, None) is not None and self._selector is not None:
            self._selector.unregister(sock)
        if then is not None:
            then()

    def _end(self, selector: selectors.BaseSelector, waker: Waker) -> None:
        self._ident = None
        self._selector = None
        self._watched.clear()
        self._running = False  # from here on requests run where they are made
        self._run_requests()
        self._flushes.clear()
        selector.close()
        waker.close()
