"""One node per process, for programs that fork."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NoReturn

from .. import limits
from ..runtime.threads import after_fork_in_child
from .service import Service

__all__ = ["ProcessLocal"]


class ProcessLocal:
    """
    A node for each process that asks for one: made and started at the first :meth:`get`, and again in a forked child.

    A node cannot be shared with a forked child (see :exc:`crust.ForkedError`), and where a program forks is often up to
    a server: Celery, gunicorn, multiprocessing. So keep the recipe instead of the node::

        node = crust.ProcessLocal(lambda: crust.Service(crust.Config.load("crust.yaml")))

        def task(contact: str) -> None:
            node.get().connect(contact).send(b"done")

    Each process is another peer then, and needs an identity of its own: leave ``identity.file`` out (a fresh one each
    time), or let the factory choose a file by worker. With one file for all, every process but the first gets
    IdentityInUse. Let workers listen on port 0 or not at all.

    Thread-safe. Making one does nothing, so a module may do it at import.

    Args:
        factory: Makes a service; started or not. Called without arguments, in the process that needs it.
    """

    def __init__(self, factory: Callable[[], Service]) -> None:
        self._factory = factory
        self._lock = threading.RLock()  # guards these; held while one is made, so that there is only one
        self._made: Service | None = None
        self._running: Service | None = None
        after_fork_in_child(self, _forget)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a ProcessLocal stands for the node of the process that asks and cannot be pickled; "
            "keep it at the top of a module, which every process imports"
        )

    def get(self) -> Service:
        """
        This process's node, running. A node that has been closed is replaced by a new one.

        Raises:
            Exception: What the factory and ``Service.start`` raise; the next call tries again.
        """
        service = self._running
        if service is not None and not service.closed:
            return service
        with self._lock:
            service = self._made
            if service is None or service.closed:
                # Remembered before it runs: if an interrupt ends this call, the next one goes on with it.
                service = self._made = self._factory()
            self._running = service.__enter__()
            return service

    def close(self, timeout: float | None = limits.CLOSE_TIMEOUT) -> bool:
        """
        Close this process's node, if there is one; see :meth:`crust.Service.close`. :meth:`get` makes another.

        Returns:
            True if nothing is left running.
        """
        with self._lock:
            service, self._made, self._running = self._made, None, None
        return True if service is None else service.close(timeout)


def _forget(local: ProcessLocal) -> None:
    """In a forked child: the node is the parent's, and a thread that is gone may hold the lock."""
    local._lock = threading.RLock()
    local._made = local._running = None
