"""
Log records of threads that must not wait: they are made where the thing happened and handled on the
dispatcher.

The application's handlers are application code: a slow one (a full disk, a syslog server) must freeze no
peer, and one that raises must end nothing of what had something to say.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import sys
import threading
import traceback
from typing import Any, Protocol

from .. import limits
from .threads import forward_interrupt

__all__ = ["NodeLog", "RateLimited"]


class _Poster(Protocol):
    """The part of :class:`crust.runtime.dispatcher.Dispatcher` that is needed here."""

    @property
    def running(self) -> bool: ...

    def on_dispatcher(self) -> bool: ...

    def post(self, call: Any, *args: Any) -> None: ...


class NodeLog:
    """
    A logger for one node. All methods may be called from any thread; none runs a handler except on the
    dispatcher (or on the calling thread while no dispatcher runs).

    At most :data:`crust.limits.LOG_BACKLOG` records wait; more are dropped, and a line says how many.

    Args:
        logger: Where the records go.
        dispatcher: Runs the handlers.
    """

    def __init__(self, logger: logging.Logger, dispatcher: _Poster) -> None:
        self.logger = logger
        self._dispatcher = dispatcher
        self._lock = threading.Lock()  # guards the two counts
        self._waiting = 0
        self._dropped = 0
        self.dropped = 0
        """Records dropped since the start."""

    def debug(self, message: str, *args: object) -> None:
        """Log at DEBUG; ``args`` are put in by ``%``."""
        self._log(logging.DEBUG, message, args, None)

    def info(self, message: str, *args: object) -> None:
        """Log at INFO."""
        self._log(logging.INFO, message, args, None)

    def warning(self, message: str, *args: object) -> None:
        """Log at WARNING."""
        self._log(logging.WARNING, message, args, None)

    def error(self, message: str, *args: object, exc_info: BaseException | None = None) -> None:
        """Log at ERROR, with the traceback of ``exc_info`` if given."""
        self._log(logging.ERROR, message, args, exc_info)

    def exception(self, message: str, *args: object) -> None:
        """Log at ERROR with the traceback of the exception being handled."""
        self._log(logging.ERROR, message, args, sys.exc_info()[1])

    def is_enabled_for(self, level: int) -> bool:
        """True if a record of this level would be handled: ask before work that only the log needs."""
        return self.logger.isEnabledFor(level)

    def _log(self, level: int, message: str, args: tuple[object, ...], error: BaseException | None) -> None:
        if not self.logger.isEnabledFor(level):
            return
        caller = sys._getframe(2)
        exc_info = None if error is None else (type(error), error, error.__traceback__)
        record = self.logger.makeRecord(
            self.logger.name,
            level,
            caller.f_code.co_filename,
            caller.f_lineno,
            message,
            args,
            exc_info,
            caller.f_code.co_name,
        )
        if not self._dispatcher.running or self._dispatcher.on_dispatcher():
            self._give(record)
            return
        with self._lock:
            if self._waiting >= limits.LOG_BACKLOG:
                self._dropped += 1
                self.dropped += 1
                return
            self._waiting += 1
        self._dispatcher.post(self._handle, _settled(record))

    def _handle(self, record: logging.LogRecord) -> None:
        with self._lock:
            self._waiting -= 1
            dropped, self._dropped = self._dropped, 0
        self._give(record)
        if dropped:
            self.warning("%d log records were dropped: the log handlers are too slow", dropped)

    def _give(self, record: logging.LogRecord) -> None:
        """To the handlers. What one raises is shown as logging itself shows what most of them raise."""
        try:
            self.logger.handle(record)
        except BaseException as error:
            if not isinstance(error, Exception) and not self._dispatcher.on_dispatcher():
                raise  # it has struck the caller's thread, and may be meant for it
            if not forward_interrupt(error) and logging.raiseExceptions and sys.stderr is not None:
                with contextlib.suppress(OSError, ValueError):  # ValueError: the program has closed it
                    traceback.print_exception(error)


def _settled(record: logging.LogRecord) -> logging.LogRecord:
    """
    The record with its text made now, while its arguments are what they were, and without frames to keep
    alive.
    """
    record.msg, record.args = record.getMessage(), None
    if record.exc_info:
        record.exc_text = logging.Formatter().formatException(record.exc_info)
        record.exc_info = None
    return record


class RateLimited:
    """
    Lets one line per key through in each interval and counts the rest, so that an attack cannot fill the
    disk.

    Remembers the :data:`crust.limits.LOG_KEYS` keys seen last. Thread-safe.

    Args:
        interval: Seconds between two lines of one key.
    """

    def __init__(self, interval: float) -> None:
        self.interval = interval
        self._lock = threading.Lock()  # guards _seen
        self._seen: collections.OrderedDict[object, list[float]] = collections.OrderedDict()

    def permit(self, key: object, now: float) -> int | None:
        """
        May a line about ``key`` be logged at ``now`` (seconds, any clock that never goes back)?

        Returns:
            None if not; else how many lines were held back since the last one.
        """
        with self._lock:
            entry = self._seen.get(key)
            if entry is not None and now - entry[0] < self.interval:
                entry[1] += 1
                return None
            held_back = 0 if entry is None else int(entry[1])
            self._seen[key] = [now, 0]
            self._seen.move_to_end(key)
            if len(self._seen) > limits.LOG_KEYS:
                self._seen.popitem(last=False)
            return held_back
