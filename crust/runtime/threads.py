"""
Threads that are named, joined and never lost, in both worlds: native threads, or greenlets after gevent's
monkey patching.

Rules that the rest of crust relies on:

* ``import threading`` and friends as modules, attributes looked up at call time; no lock is made at import.
* A socket's reader is woken by :func:`close_socket` (``shutdown`` first: ``close`` alone does not wake a
  native thread), a selector by a :class:`Waker`.
* One reader per socket; gevent refuses a second one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import socket
import sys
import threading
import time
import traceback
import types
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from ..exceptions import ForkedError, LocalProtocolError
from .beginning import start_greenlet

__all__ = [
    "CrashHook",
    "Deadline",
    "Spawn",
    "Threads",
    "Waker",
    "abandon_selector",
    "abandon_socket",
    "after_fork_in_child",
    "are_dear",
    "check_patching",
    "close_socket",
    "contained",
    "fork_generation",
    "forked_error",
    "forward_interrupt",
    "is_interruptible",
    "log_crash",
    "mode",
    "spawn",
    "stack_of",
]

CrashHook = Callable[[str, BaseException], object]
"""Called with the thread's name and the exception that ended it, on that thread."""

_STARTS = 3  # of one thread: interrupts may strike greenlets that have not begun
_PATCH_TARGETS = ("socket", "threading", "queue", "time", "select")
_logger = logging.getLogger("crust.runtime")


class Spawn(Protocol):
    """How a part of crust gets a thread: :meth:`Threads.spawn`, or :func:`spawn` itself."""

    def __call__(self, name: str, target: Callable[..., object], *args: object) -> threading.Thread:
        """Start ``target(*args)`` on a new thread and return it."""


def log_crash(name: str, error: BaseException) -> None:
    """The crash hook of last resort: an ERROR line with the traceback."""
    _logger.error("%s ended with an unexpected error", name, exc_info=error)


def spawn(
    name: str, target: Callable[..., object], *args: object, on_crash: CrashHook = log_crash
) -> threading.Thread:
    """
    Start ``target(*args)`` on a named daemon thread.

    Args:
        name: Shown in logs and debuggers; ``crust-`` is put before it if missing.
        on_crash: Gets an exception that ends the thread, which is then over; nothing is raised further.

    Raises:
        RuntimeError: The system cannot start another thread.
    """
    for _ in range(_STARTS):
        thread = _Worker(name, target, args, on_crash).start()
        if thread is not None:
            return thread
    raise RuntimeError(f"interrupts struck {name} {_STARTS} times before it began")


class _Worker:
    """What one thread does, and whether it has begun."""

    __slots__ = ("args", "begun", "generation", "name", "on_crash", "target")

    def __init__(
        self, name: str, target: Callable[..., object], args: tuple[object, ...], on_crash: CrashHook
    ) -> None:
        self.generation = _generation
        self.name = name if name.startswith("crust-") else f"crust-{name}"
        self.target = target
        self.args = args
        self.on_crash = on_crash
        self.begun = False

    def start(self) -> threading.Thread | None:
        """The thread, running; None if it was struck before it began."""
        thread = threading.Thread(target=self.run, name=self.name, daemon=True)
        _starting.add(thread)
        try:
            if mode() == "gevent":
                return thread if start_greenlet(thread, self.struck, forward_interrupt) else None
            thread.start()
            return thread
        finally:
            _starting.discard(thread)

    def run(self) -> None:
        """On the thread."""
        _run(self)

    def struck(self, error: BaseException | None) -> bool:
        """On the thread: that has come out of :meth:`run`, or before its end. True if it is seen to."""
        if error is None or not forward_interrupt(error):
            return False
        if not self.begun:
            _run(self)
        return True


def _nothing(*_: object) -> None:
    """What a thread does that has done all."""


def _run(worker: _Worker) -> None:
    generation, name, on_crash = worker.generation, worker.name, worker.on_crash
    if generation != _generation:
        return  # (a greenlet that has not begun before the fork)
    try:
        greenlet: Any = sys.modules.get("greenlet")
        if greenlet is not None and mode() == "gevent":
            _greenlets[threading.current_thread()] = weakref.ref(greenlet.getcurrent())
        worker.begun = True
        worker.target(*worker.args)
    except BaseException as error:  # the end of the thread: whatever it was must reach somebody
        if generation != _generation or worker.struck(error):
            return  # (a greenlet that a forked child has inherited stumbles over what was taken from it)
        try:
            on_crash(name, error)
        except Exception:
            _logger.exception("the crash hook failed for %s", name)
    finally:
        worker.target, worker.args = _nothing, ()  # who remembers the thread for a while keeps nothing of its work
        if generation != _generation:
            # At the fork threading forgot this greenlet; asking who we are makes it known again, so that it can end.
            threading.current_thread()


_greenlets: weakref.WeakKeyDictionary[threading.Thread, weakref.ref[Any]] = weakref.WeakKeyDictionary()


def stack_of(thread: threading.Thread) -> str:
    """Where a thread of crust is now, as a traceback's lines; empty if it has ended, or that cannot be told."""
    frame: types.FrameType | None
    if thread is threading.current_thread():
        frame = sys._getframe(1)
    elif not thread.is_alive():
        frame = None
    elif mode() == "gevent":
        reference = _greenlets.get(thread)
        greenlet = reference() if reference is not None else None
        frame = greenlet.gr_frame if greenlet is not None else None  # it is suspended, since we run
    else:
        frame = sys._current_frames().get(thread.ident or 0)
    return "" if frame is None else "".join(traceback.format_stack(frame))


class Threads:
    """
    The threads of one node. Thread-safe.

    Args:
        on_crash: Gets the name and exception of a thread that ended with one; without it the crash is logged.
    """

    def __init__(self, on_crash: CrashHook | None = None) -> None:
        self.on_crash: CrashHook = on_crash or log_crash
        self._lock = threading.Lock()  # guards _threads and _prune_at
        self._threads: set[threading.Thread] = set()
        self._prune_at = 32

    def spawn(self, name: str, target: Callable[..., object], *args: object) -> threading.Thread:
        """Like :func:`spawn`, and remembered for :meth:`alive` and :meth:`join`."""
        with self._lock:
            if len(self._threads) >= self._prune_at:
                self._threads = set(filter(threading.Thread.is_alive, self._threads))
                self._prune_at = len(self._threads) * 9 // 8 + 32  # one that has ended keeps a kilobyte
            # Started under the lock, so that join() never meets a thread that has not begun.
            thread = spawn(name, target, *args, on_crash=self._crashed)
            self._threads.add(thread)
        return thread

    def has_current(self) -> bool:
        """Whether the calling thread is one of these, so that waiting for all of them would be waiting for itself."""
        with self._lock:
            return threading.current_thread() in self._threads

    def alive(self) -> list[str]:
        """Names of the threads that still run, sorted."""
        return sorted(thread.name for thread in self._running())

    def stacks(self) -> list[tuple[str, str]]:
        """Name of each thread that still runs, sorted, and where it is now, as a traceback's lines."""
        return sorted((thread.name, stack_of(thread)) for thread in self._running())

    def join(self, deadline: Deadline, but: Iterable[str] = ()) -> list[str]:
        """
        Wait for all threads but the calling one and those named in ``but``, also for those that start meanwhile.

        Returns:
            Names of the threads still running when the deadline came, sorted; empty if none.
        """
        me = threading.current_thread()
        left_out = frozenset(but)
        while True:
            others = [each for each in self._running() if each is not me and each.name not in left_out]
            if not others or deadline.expired:
                return sorted(thread.name for thread in others)
            for each in others:  # then all anew: a look at those that are left after each would be quadratic
                each.join(deadline.remaining())

    def _running(self) -> list[threading.Thread]:
        with self._lock:
            threads = list(self._threads)
        return [thread for thread in threads if thread.is_alive()]

    def _crashed(self, name: str, error: BaseException) -> None:
        self.on_crash(name, error)


class Deadline:
    """
    One timeout shared by several steps.

    Args:
        timeout: Seconds from now; None never expires.
        now: The clock; None: ``time.monotonic``.
    """

    __slots__ = ("_end", "_now")

    def __init__(self, timeout: float | None, now: Callable[[], float] | None = None) -> None:
        self._now = now or time.monotonic
        self._end = None if timeout is None else self._now() + timeout

    def remaining(self) -> float | None:
        """Seconds left, at least 0; None if it never expires. Fit for any ``timeout=`` argument."""
        if self._end is None:
            return None
        return max(0.0, self._end - self._now())

    @property
    def expired(self) -> bool:
        """True once the time is up."""
        return self._end is not None and self._now() >= self._end


class Waker:
    """
    Wakes a thread that sits in a selector: register ``fileno()`` for reading.

    :meth:`wake` and :meth:`close` may be called from any thread, also after :meth:`close`.
    """

    __slots__ = ("_lock", "_reader", "_writer")

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        # Guards closing against a wake on its way: its byte must not go to a stranger who got the same
        # descriptor.
        self._lock = threading.Lock()

    def fileno(self) -> int:
        """The descriptor that becomes readable."""
        return self._reader.fileno()

    def wake(self) -> None:
        """Make the selector return, now or at its next wait. Several wakes may be seen as one."""
        with self._lock, contextlib.suppress(OSError):  # full: it wakes anyway; closed: nobody waits
            self._writer.send(b"\0")

    def drain(self) -> None:
        """Forget the wakes so far. Only the thread that waits calls this."""
        with contextlib.suppress(OSError):
            while len(self._reader.recv(4096)) == 4096:
                pass

    def abandon(self) -> None:
        """In a forked child: close the copies of the descriptors, and nothing else."""
        self._lock = threading.Lock()
        abandon_socket(self._writer)
        abandon_socket(self._reader)

    def close(self) -> None:
        """Free the descriptors. Unregister from the selector first. Idempotent."""
        with self._lock:
            self._writer.close()
        self._reader.close()


def close_socket(sock: socket.socket) -> None:
    """
    Shut down, then close, ignoring errors.

    A reader blocked on this TCP socket ends: it sees EOF (threads) or OSError (gevent) and must take both
    alike.
    """
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(OSError):
        sock.close()


def abandon_socket(sock: socket.socket) -> None:
    """
    In a forked child: close the copy of the descriptor, without a word to the other side.

    The object is left without one, so that neither it nor its finaliser ever closes a stranger's.
    """
    with contextlib.suppress(OSError):
        descriptor = sock.fileno()
        if descriptor < 0:
            return
        if mode() == "gevent":
            # Its os.close() waits for the event loop, which still watches the descriptor. The socket is gone at once
            # all the same if something harmless takes its place; or, without a descriptor for that, nothing.
            try:
                null = os.open(os.devnull, os.O_RDONLY)
            except OSError:
                os.closerange(descriptor, descriptor + 1)
            else:
                os.dup2(null, descriptor, inheritable=False)
                os.closerange(null, null + 1)
        sock.detach()
        os.close(descriptor)


def abandon_selector(selector: selectors.BaseSelector | None) -> None:
    """
    In a forked child: close the copy of the selector's descriptor; what it watches for the parent stays watched.

    A selector of greenlets has none, and its greenlet, which the child has inherited, lets go of it by itself.
    """
    if selector is not None and mode() == "threads":
        selector.close()


# --- gevent's monkey patching -------------------------------------------------------------------------------


def _patched() -> frozenset[str]:
    """Those of the modules crust lives on that gevent has patched; gevent itself is never imported here."""
    monkey: Any = sys.modules.get("gevent.monkey")
    if monkey is None:
        return frozenset()
    return frozenset(name for name in _PATCH_TARGETS if monkey.is_module_patched(name))


_patched_at_import = _patched()

_ADVICE = (
    "Put `from gevent import monkey; monkey.patch_all()` at the very top of the program's first module, before "
    "any other import (or start it with `python -m gevent.monkey program.py`); with gunicorn's gevent worker, "
    "do not import the application before the worker is patched."
)


def mode() -> str:
    """``gevent`` if threads are greenlets in this process, else ``threads``."""
    return "gevent" if "threading" in _patched() else "threads"


def are_dear() -> bool:
    """True if a thread costs what the system's cost, some 0.3 ms; a greenlet costs a tenth of that."""
    return mode() == "threads"


def is_interruptible() -> bool:
    """
    True if exceptions may strike the calling thread from outside: those of signal handlers the main thread, timeouts of
    greenlets any of them.
    """
    return threading.current_thread() is threading.main_thread() or mode() == "gevent"


def forward_interrupt(error: BaseException) -> bool:
    """
    Give a KeyboardInterrupt that struck a greenlet of crust to the main greenlet, where the program expects it.

    Returns:
        True if that was done, and the caller goes on; False if the error is something else.
    """
    hub: Any = sys.modules.get("gevent.hub")
    if hub is None or mode() != "gevent" or not isinstance(error, KeyboardInterrupt):
        return False
    hub.get_hub().handle_system_error(type(error), error)
    return True


@contextlib.contextmanager
def contained(log: Callable[..., object], message: str, *args: object) -> Iterator[None]:
    """
    Whatever code of the application raises in here ends nothing but that code, ``SystemExit`` and other exceptions that
    are no ``Exception`` too: it may be running on a thread on which others wait.

    Args:
        log: Called with the message and its arguments while the exception is handled, unless the program hears of it.
    """
    try:
        yield
    except BaseException as error:
        if not forward_interrupt(error):
            log(message, *args)


def check_patching() -> None:
    """
    Refuse to start in a process that gevent has patched late or in part: it would hang, and say nothing.

    Raises:
        LocalProtocolError: With what is wrong and how to put it right.
    """
    now = _patched()
    _judge_patching(now, _patched_at_import)


def _judge_patching(now: Iterable[str], at_import: Iterable[str]) -> None:
    patched, before = set(now), set(at_import)
    missing = [name for name in _PATCH_TARGETS if name not in patched]
    if patched and missing:
        raise LocalProtocolError(
            f"gevent has patched {', '.join(sorted(patched))} but not {', '.join(missing)}: threads and sockets "
            f"would wait for each other for ever. Patch all of them. {_ADVICE}"
        )
    if patched != before:
        raise LocalProtocolError(
            "gevent's monkey patching came after crust was imported: locks and sockets made before it block the "
            f"whole process. {_ADVICE}"
        )


# --- fork ---------------------------------------------------------------------------------------------------

_generation = 0
_starting: set[threading.Thread] = set()
_fork_hooks: weakref.WeakKeyDictionary[Any, Callable[[Any], None]] = weakref.WeakKeyDictionary()


def fork_generation() -> int:
    """
    How many forks lie between the first import of crust and this process.

    A thread of crust, inherited as a greenlet by a forked child, compares it with what it was at its start,
    and ends.
    """
    return _generation


def forked_error(owner: int) -> ForkedError:
    """What a child hears that uses what it inherited from process ``owner``."""
    return ForkedError(
        f"this node belongs to process {owner}, and this is process {os.getpid()}, forked from it: make a node of its "
        "own after the fork (crust.ProcessLocal does that)"
    )


def after_fork_in_child(owner: Any, hook: Callable[[Any], None]) -> None:
    """
    Run ``hook(owner)`` in each child forked while ``owner`` lives.

    The hook may set flags and close descriptors; it must take no lock, since a thread that is gone may hold
    it. Pass a function, not a bound method of ``owner``, which would keep it alive.
    """
    _fork_hooks[owner] = hook


def _forked() -> None:
    global _generation
    _generation += 1
    if _starting and mode() == "gevent":
        # At the fork threading forgot them, but their greenlets begin in the child too, and look themselves up there.
        vars(threading)["_limbo"].update({each: each for each in _starting})
    for owner, hook in list(_fork_hooks.items()):
        try:
            hook(owner)
        except Exception:
            _logger.exception("could not let go of what fork() copied")


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_forked)
