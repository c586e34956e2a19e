"""What a transport has made and what is still in use: for the end of the transport, and for the child of a fork."""

from __future__ import annotations

import threading
import weakref
from typing import Generic, TypeVar

__all__ = ["Living"]

T = TypeVar("T")


class Living(Generic[T]):
    """Things of one kind, as long as anybody else keeps them. Thread-safe."""

    __slots__ = ("_all", "_closed", "_lock")

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards what follows; a set must not grow while it is read
        self._all: weakref.WeakSet[T] = weakref.WeakSet()
        self._closed = False

    def __len__(self) -> int:
        return len(self._all)

    def add(self, one: T) -> bool:
        """Remember it; False if :meth:`close` has been called: then it must not live on."""
        with self._lock:
            if self._closed:
                return False
            self._all.add(one)
            return True

    def all(self) -> list[T]:
        """Those that live."""
        with self._lock:
            return list(self._all)

    def close(self) -> list[T]:
        """Those that live; no more are added from now on."""
        with self._lock:
            self._closed = True
            return list(self._all)

    def abandon(self) -> list[T]:
        """In a forked child: those of the parent (takes no lock, since a thread that is gone may hold it)."""
        self._lock = threading.Lock()
        return list(self._all)
