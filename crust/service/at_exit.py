"""Services that still run when the interpreter ends are closed then, so that their peers hear goodbye."""

from __future__ import annotations

import atexit
import weakref
from typing import Protocol

from .. import limits
from ..runtime.threads import Deadline

__all__ = ["close_at_exit"]


class _Closable(Protocol):
    def close(self, timeout: float | None) -> bool: ...


_services: weakref.WeakSet[_Closable] = weakref.WeakSet()


def close_at_exit(service: _Closable) -> None:
    """Close ``service`` at the end of the interpreter, if it still exists; best effort, all in ``ATEXIT_TIMEOUT``."""
    if not _services:
        atexit.register(_close_all)
    _services.add(service)


def _close_all() -> None:
    deadline = Deadline(limits.ATEXIT_TIMEOUT)
    for service in list(_services):
        service.close(deadline.remaining())
