"""
Looking up names. The system's resolver can neither be interrupted nor told a deadline, so it runs on threads that a
dial, and a node that closes, may leave behind: daemons that hold nothing of either but the queue for the answer.
"""

from __future__ import annotations

import _socket
import collections
import errno
import queue
import socket
import threading
from collections.abc import Callable
from typing import Any

from .. import limits
from ..addresses import Endpoint
from ..runtime.threads import Deadline, spawn

__all__ = ["Answers", "Lookup", "Resolver", "look_up", "read"]

Answers = queue.SimpleQueue[Any]
"""Gets what :func:`look_up` returns, or the exception that it raised."""


class Resolver:
    """
    The look-ups of one node. Thread-safe.

    At most :data:`crust.limits.LOOKUPS_MAX` run at once, each on a thread ``crust-resolve``; the rest wait their turn.
    Of each name the first :data:`crust.limits.NAME_ADDRESSES_MAX` addresses of IPv4 and of IPv6 are told, of those that
    one node can have.

    Args:
        look_up: Asks the system; for tests.
    """

    def __init__(self, look_up: Callable[[Endpoint], list[Any]] | None = None) -> None:
        self._ask = look_up
        self.bites: Callable[[str], object] = lambda limit: None
        """Told the name of a limit that has bitten; any thread, must be quick."""
        self._lock = threading.Lock()  # guards what follows
        self._wanted: collections.deque[tuple[Endpoint, Answers]] = collections.deque()
        self._threads = 0

    def begin(self, endpoint: Endpoint, answers: Answers) -> None:
        """
        Look up the name of ``endpoint``; the answer comes into ``answers``. Does not wait.

        Raises:
            OSError: There is no thread to be had.
        """
        with self._lock:
            self._wanted.append((endpoint, answers))
            if self._threads >= limits.LOOKUPS_MAX:
                self.bites("LOOKUPS_MAX")
                return
            try:
                spawn("crust-resolve", self._work)
            except RuntimeError as error:
                self._wanted.pop()
                raise OSError(errno.EAGAIN, f"no thread to look its name up: {error}", str(endpoint)) from error
            self._threads += 1

    def withdraw(self, answers: Answers) -> None:
        """Nobody waits for that answer any more: begin it no more. Harmless when it is there."""
        with self._lock:
            for request in self._wanted:
                if request[1] is answers:
                    self._wanted.remove(request)
                    return

    def abandon(self) -> None:
        """In a forked child: forget everything (takes no lock)."""
        self._lock = threading.Lock()
        self._wanted = collections.deque()

    def _work(self) -> None:
        request = self._next()
        while request is not None:
            endpoint, answers = request
            try:
                answers.put(self._few(_possible((self._ask or look_up)(endpoint), endpoint)))
            except (OSError, UnicodeError, LookupError) as error:  # LookupError: the codec for names cannot be loaded
                answers.put(error)
            request = self._next()

    def _few(self, found: list[Any]) -> list[Any]:
        """
        The first ones of each family. Whoever has a name may have it stand for thousands of others' addresses, and all
        that refuse would be dialled one after the other.
        """
        seen: collections.Counter[int] = collections.Counter()
        few = []
        for each in found:
            seen[each[0]] += 1
            if seen[each[0]] <= limits.NAME_ADDRESSES_MAX:
                few.append(each)
        if len(few) < len(found):
            self.bites("NAME_ADDRESSES_MAX")
        return few

    def _next(self) -> tuple[Endpoint, Answers] | None:
        with self._lock:
            if self._wanted:
                return self._wanted.popleft()
            self._threads -= 1
            return None


def _possible(found: list[Any], endpoint: Endpoint) -> list[Any]:
    """
    Those where one node can be. A name may stand for a group too, and what is sent there goes to all of a LAN: as with
    addresses that are written in digits, it is not dialled.
    """
    hosts = (str(each[4][0]).partition("%")[0] for each in found)
    possible = [
        each
        for each, host in zip(found, hosts, strict=True)
        if Endpoint(endpoint.transport, host, endpoint.port).is_dialable
    ]
    if found and not possible:
        text = "the name stands for no address that one node can have, but for groups, or none: check it"
        raise OSError(errno.EADDRNOTAVAIL, text, str(endpoint))
    return possible


class Lookup:
    """
    The addresses of one endpoint, for one dial, which may be cancelled meanwhile. Thread-safe.

    Args:
        resolver: For names; an address needs none.
        timeout: Seconds, for the error's text.
    """

    def __init__(self, resolver: Resolver, endpoint: Endpoint, timeout: float) -> None:
        self._resolver = resolver
        self._endpoint = endpoint
        self._timeout = timeout
        self._lock = threading.Lock()  # guards the fields below
        self._cancelled = False
        self._names: Answers | None = None

    def cancel(self) -> None:
        """Make :meth:`run` raise soon, or at once if it has not begun. Idempotent."""
        with self._lock:
            self._cancelled = True
            if self._names is not None:
                self._names.put(None)

    def check(self) -> None:
        """Raise OSError (ECANCELED) after :meth:`cancel`."""
        if self._cancelled:
            raise OSError(errno.ECANCELED, "the attempt was cancelled", str(self._endpoint))

    def run(self, deadline: Deadline) -> list[Any]:
        """
        The addresses to try, as ``getaddrinfo`` gives them; blocks if it is a name.

        Raises:
            OSError: There are none, not in time, or :meth:`cancel` was called.
        """
        if self._endpoint.is_ip:
            self.check()
            return read(self._endpoint)
        with self._lock:
            self.check()
            names: Answers = queue.SimpleQueue()
            self._names = names
        self._resolver.begin(self._endpoint, names)
        try:
            answer = names.get(timeout=deadline.remaining())
        except queue.Empty:
            text = f"its name could not be looked up within {self._timeout:g} s"
            raise OSError(errno.ETIMEDOUT, text, str(self._endpoint)) from None
        finally:
            self._resolver.withdraw(names)
        self.check()
        if isinstance(answer, Exception):
            text = f"its name could not be looked up: {getattr(answer, 'strerror', None) or answer}"
            raise OSError(errno.EHOSTUNREACH, text, str(self._endpoint)) from answer
        addresses: list[Any] = answer
        return addresses


def read(endpoint: Endpoint) -> list[Any]:
    """The address that is written there in digits, as ``getaddrinfo`` gives it; OSError if this system knows none."""
    try:
        # The C function itself: gevent's has digits, too, wait for one of its ten threads, and while the system's
        # resolver is silent names have them all. Nothing dials then, and no dial can be cancelled.
        found = _socket.getaddrinfo(*_question(endpoint), socket.AI_NUMERICHOST)
    except socket.gaierror as error:  # what this system does not know is its family, or its scope
        raise OSError(errno.EAFNOSUPPORT, error.strerror or str(error), str(endpoint)) from error
    return list(dict.fromkeys(found))


def look_up(endpoint: Endpoint) -> list[Any]:
    """The addresses of a name as ``getaddrinfo`` gives them, each once; OSError: none. Blocks."""
    try:
        found = socket.getaddrinfo(*_question(endpoint), 0)
    except RuntimeError as error:  # gevent asks on a thread of its own, and none is to be had
        raise OSError(errno.EAGAIN, f"no thread to look it up: {error}", str(endpoint)) from error
    return list(dict.fromkeys(found))


def _question(endpoint: Endpoint) -> tuple[str, int, int, int, int]:
    return endpoint.host, endpoint.port, socket.AF_UNSPEC, socket.SOCK_STREAM, 0
