"""Services that still run when the interpreter ends are closed then, so that their peers hear goodbye."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from typing import Protocol

from .. import limits
from ..runtime.threads import Deadline

__all__ = ["close_at_exit"]


class _Closable(Protocol):
    def close(self, timeout: float | None) -> bool: ...


_deadline: Deadline | None = None  # of all services together, from the first one's turn on


def close_at_exit(service: _Closable) -> Callable[[], None]:
    """
    Close ``service`` at the end of the interpreter: best effort, for all of them together in ``ATEXIT_TIMEOUT``.

    It takes its turn like any exit handler: those that the application registers later run before it. Until then, or
    until what is returned has been called, it is kept alive.

    Returns:
        Calls it off.
    """

    def close() -> None:
        global _deadline
        if _deadline is None:
            _deadline = Deadline(limits.ATEXIT_TIMEOUT)
        service.close(_deadline.remaining())

    def call_off() -> None:
        if _deadline is None:  # else the handlers run
            atexit.unregister(close)

    atexit.register(close)
    return call_off
