"""
The sockets that a traversal opens for itself: one thread reads them all, and lives as long as there is one.

Who may block on what, and what ends it: the thread ``crust-punch`` blocks in a selector, ended by its waker. It alone
closes the sockets, or hands one over, so that nothing is closed under it; sending goes past it.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import selectors
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from ... import limits
from ...runtime.threads import CrashHook, Spawn, Waker, abandon_selector, abandon_socket
from ...transports.udp_offload import hop_limit

__all__ = ["PunchSockets"]

_READ = 2048  # bytes; what is longer is neither a probe nor an answer to a question of ours
_TTL_OPTIONS = {4: ("IPPROTO_IP", "IP_TTL"), 6: ("IPPROTO_IPV6", "IPV6_UNICAST_HOPS")}


class PunchSockets:
    """
    Named UDP sockets. Thread-safe.

    Args:
        spawn: Makes the thread.
        arrived: Gets a socket's name, a datagram and where it came from, on the thread; must not block.
        on_crash: Gets what ``arrived`` raised.
    """

    def __init__(
        self,
        spawn: Spawn,
        arrived: Callable[[str, bytes, tuple[Any, ...]], object],
        on_crash: CrashHook,
    ) -> None:
        self._spawn = spawn
        self._arrived = arrived
        self._on_crash = on_crash
        self._lock = threading.Lock()  # guards what follows
        self._sockets: dict[str, tuple[socket.socket, int]] = {}
        self._todo: collections.deque[Callable[[selectors.BaseSelector], object]] = collections.deque()
        self._waker: Waker | None = None  # there while the thread is
        self._selector: selectors.BaseSelector | None = None

    def __len__(self) -> int:
        return len(self._sockets)

    def __contains__(self, name: str) -> bool:
        return name in self._sockets

    def family(self, name: str) -> int:
        """4 or 6; 0 if there is no such socket."""
        found = self._sockets.get(name)
        return 0 if found is None else found[1]

    def open(self, name: str, family: int) -> None:
        """
        Open a socket of a port chosen by the system, 4 or 6.

        Raises:
            OSError: There is none to be had (EMFILE), no thread for it (EAGAIN), or no such family.
        """
        kind = socket.AF_INET6 if family == 6 else socket.AF_INET
        sock = socket.socket(kind, socket.SOCK_DGRAM)
        try:
            if family == 6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(("::" if family == 6 else "0.0.0.0", 0))
            sock.setblocking(False)
            with self._lock:
                if name in self._sockets:
                    raise OSError(errno.EEXIST, f"there is a socket {name}")
                self._start_locked()
                self._sockets[name] = sock, family
                self._ask_locked(lambda selector: self._watch(selector, name, sock))
        except BaseException:
            sock.close()
            raise

    def send(self, name: str, data: bytes, address: tuple[Any, ...], ttl: int | None = None) -> None:
        """Send now, or never: what the system refuses is lost as if on the way."""
        found = self._sockets.get(name)
        if found is None:
            return
        sock, family = found
        plain: Any = getattr(sock, "_sock", sock)  # the one inside never waits, in either world
        with contextlib.suppress(OSError):
            if ttl is None:
                plain.sendto(data, address)
            elif hasattr(plain, "sendmsg"):
                plain.sendmsg([data], [hop_limit(family == 6, ttl)], 0, address)
            else:
                self._send_short(plain, data, address, ttl, family)

    @staticmethod
    def _send_short(plain: Any, data: bytes, address: tuple[Any, ...], ttl: int, family: int) -> None:
        """Where a single datagram cannot be given a hop limit: the socket, which nobody shares, is."""
        level, option = (getattr(socket, name) for name in _TTL_OPTIONS[family])
        before = plain.getsockopt(level, option)
        plain.setsockopt(level, option, ttl)
        try:
            plain.sendto(data, address)
        finally:
            plain.setsockopt(level, option, before)

    def close(self, name: str) -> None:
        """Close that one, if it is there."""
        self._end([name], None)

    def give(self, name: str, taker: Callable[[socket.socket], object]) -> None:
        """
        Call ``taker`` with that socket, which is no longer read here and blocks again, on the thread; it belongs to the
        taker. Nothing happens if there is none.
        """
        self._end([name], taker)

    def close_all(self) -> None:
        """Close what is there; the thread ends. Never blocks; idempotent."""
        self._end(list(self._sockets), None)

    def abandon(self) -> None:
        """In a forked child: close the copies of the descriptors (takes no lock)."""
        self._lock = threading.Lock()
        self._todo = collections.deque()
        selector, self._selector = self._selector, None
        abandon_selector(selector)
        if self._waker is not None:
            self._waker.abandon()
            self._waker = None
        for sock, _ in self._sockets.values():
            abandon_socket(sock)
        self._sockets = {}

    def _end(self, names: list[str], taker: Callable[[socket.socket], object] | None) -> None:
        with self._lock:
            ended = [found[0] for name in names if (found := self._sockets.pop(name, None)) is not None]
            if ended:
                self._ask_locked(lambda selector: self._unwatch(selector, ended, taker))

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _start_locked(self) -> None:
        if self._waker is not None:
            return
        waker = Waker()
        selector: selectors.BaseSelector | None = None
        try:
            selector = selectors.DefaultSelector()
            selector.register(waker.fileno(), selectors.EVENT_READ, None)
            self._waker, self._selector = waker, selector
            self._spawn("crust-punch", self._run, selector, waker)
        except BaseException as error:
            self._waker = self._selector = None
            if selector is not None:
                selector.close()
            waker.close()
            if isinstance(error, RuntimeError):
                raise OSError(errno.EAGAIN, f"no thread to read a UDP socket with: {error}") from error
            raise

    def _ask_locked(self, request: Callable[[selectors.BaseSelector], object]) -> None:
        self._todo.append(request)
        if self._waker is not None:
            self._waker.wake()

    def _run(self, selector: selectors.BaseSelector, waker: Waker) -> None:
        try:
            while self._goes_on(selector, waker):
                turn_ends = time.monotonic() + limits.TURN_SECONDS
                for key, _ in selector.select():
                    if key.data is None:
                        waker.drain()
                    else:
                        self._read(key.data, key.fileobj)
                    if time.monotonic() >= turn_ends:
                        time.sleep(limits.TURN_PAUSE)  # other greenlets run only when somebody lets them
                        turn_ends = time.monotonic() + limits.TURN_SECONDS
        finally:
            if self._selector is selector:  # else a forked child has closed its copy
                with self._lock:
                    self._waker = self._selector = None
                selector.close()
                waker.close()

    def _goes_on(self, selector: selectors.BaseSelector, waker: Waker) -> bool:
        """Do what was asked for; False once no socket is left, and another thread is started for the next one."""
        while True:
            with self._lock:
                if self._selector is not selector:
                    return False
                if not self._todo:
                    if self._sockets:
                        return True
                    self._waker = self._selector = None
                    break
                request = self._todo.popleft()
            request(selector)
        selector.close()
        waker.close()
        return False

    @staticmethod
    def _watch(selector: selectors.BaseSelector, name: str, sock: socket.socket) -> None:
        # No room for it, or select() takes no more: it sends, and hears nothing.
        with contextlib.suppress(OSError, ValueError):
            selector.register(sock, selectors.EVENT_READ, name)

    def _unwatch(
        self,
        selector: selectors.BaseSelector,
        ended: list[socket.socket],
        taker: Callable[[socket.socket], object] | None,
    ) -> None:
        for sock in ended:
            with contextlib.suppress(KeyError, ValueError):
                selector.unregister(sock)
            if taker is None:
                sock.close()
                continue
            sock.setblocking(True)
            try:
                taker(sock)
            except Exception as error:  # the others are still to be read
                self._on_crash("crust-punch", error)

    def _read(self, name: str, sock: Any) -> None:
        """What waits in one socket, up to a share; errors by ICMP are about what went to others, and end nothing."""
        plain: Any = getattr(sock, "_sock", sock)
        for _ in range(limits.PUNCH_READS):
            try:
                data, address = plain.recvfrom(_READ)
            except OSError:
                return
            try:
                self._arrived(name, data, address)
            except Exception as error:  # one attempt's trouble is not the others'
                self._on_crash("crust-punch", error)
