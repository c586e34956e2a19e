"""What a transport has made and what is still in use: for the end of the transport, and for the child of a fork."""

from __future__ import annotations

import threading
import weakref
from typing import Generic, TypeVar

from .contract import Dialling, Listener

__all__ = ["Living", "Openings"]

T = TypeVar("T")
D = TypeVar("D", bound=Dialling)
L = TypeVar("L", bound=Listener)


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


class Openings(Generic[D, L]):
    """The dials and the listeners of a transport: all that new connections come from. Thread-safe."""

    __slots__ = ("dials", "listeners")

    def __init__(self) -> None:
        self.dials: Living[D] = Living()
        self.listeners: Living[L] = Living()

    def dialling(self, dialling: D) -> D:
        """A new dial; it is cancelled already if this has been closed."""
        if not self.dials.add(dialling):
            dialling.cancel()
        return dialling

    def listener(self, listener: L) -> L:
        """A new listener; it is closed already if this has been."""
        if not self.listeners.add(listener):
            listener.close()
        return listener

    def close(self) -> None:
        """End them all, and those that come later."""
        for listener in self.listeners.close():
            listener.close()
        for dialling in self.dials.close():
            dialling.cancel()
