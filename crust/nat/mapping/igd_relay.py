"""
A relay on loopback between miniupnpc and the router: what bounds that library, and what ends its calls.

It has no thread: it lives in the selector of whoever has a :class:`~crust.nat.mapping.line.Line`. The library, on its
own thread, connects to it as to the router. Each such connection is one exchange: the request is read, made to the
router, the whole answer read within bounds of size and time, and only then given to the library. Closing the relay ends
the library's call at once.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import selectors
import socket
from collections.abc import Callable

from ... import limits
from ...runtime.threads import abandon_socket, close_socket
from .igd_http import LOOPBACK, Answer, Route

__all__ = ["Relay"]

_READ_MAX = 16_384
_UNDER_WAY = {0, errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EINTR}


class Relay:
    """
    The relay of one router's line. For one thread.

    Args:
        local: Our address towards the router.
        selector: Where it is watched; the data of each key is what to call.
        now: The clock.
        may_read: Whether some more of a router's answer is looked at.

    Raises:
        OSError: There is no socket for it.
    """

    def __init__(
        self,
        local: str,
        selector: selectors.BaseSelector,
        now: Callable[[], float],
        may_read: Callable[[], bool],
    ) -> None:
        self.local = local
        self.selector = selector
        self.now = now
        self.may_read = may_read
        self._route: Route | None = None
        self._exchanges: list[_Exchange] = []
        self._listening = False
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            self._listener.setblocking(False)
            self._listener.bind((LOOPBACK, 0))
            self._listener.listen(limits.IGD_EXCHANGES_MAX)
            self.port: int = self._listener.getsockname()[1]
        except BaseException:
            self._listener.close()
            raise

    def begin(self, route: Route) -> None:
        """A call to that router follows. Who has connected before it is a stranger."""
        self._send_away()
        self._route, route.trouble = route, ""
        self.selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._listening = True

    def end(self) -> None:
        """The call is over: nobody is let in, and what is under way is ended."""
        self._stop_listening()
        for exchange in list(self._exchanges):
            exchange.close()
        self._route = None

    def close(self) -> None:
        """Let go of all of it; a call that waits for an answer comes back without."""
        if self._route is not None:
            self._route.closed = True
        self.end()
        self._send_away()
        close_socket(self._listener)

    def abandon(self) -> None:
        """In a forked child: close the copies of the descriptors."""
        abandon_socket(self._listener)
        for exchange in self._exchanges:
            exchange.abandon()

    def get_timer(self) -> float | None:
        """When :meth:`handle_timer` is due; None: never."""
        return min((each.due() for each in self._exchanges), default=None)

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        for exchange in list(self._exchanges):
            if now >= exchange.due():
                exchange.time_is_up(now)

    def forget(self, exchange: _Exchange) -> None:
        """It is over."""
        self._exchanges.remove(exchange)

    def _send_away(self) -> None:
        """Those who wait to be let in."""
        with contextlib.suppress(OSError):
            for _ in range(2 * limits.IGD_EXCHANGES_MAX):
                _hang_up(self._listener.accept()[0])

    def _stop_listening(self) -> None:
        if self._listening:
            self._listening = False
            self.selector.unregister(self._listener)

    def _accept(self) -> None:
        if self._route is None:  # the call ended a moment ago
            return
        try:
            library, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:  # no descriptors: it would be readable all the time; the library waits five seconds for nothing
            self._stop_listening()
            return
        if len(self._exchanges) >= limits.IGD_EXCHANGES_MAX:
            # The library has one at a time, and asks at once: those that have not asked are strangers.
            idle = next((each for each in self._exchanges if not each.has_asked), None)
            if idle is None:
                _hang_up(library)
                return
            idle.close()
        exchange = _Exchange(self, self._route, library)
        self._exchanges.append(exchange)
        exchange.start()


class _Exchange:
    """One request of the library's and its answer. Of its two sockets one at a time is watched."""

    def __init__(self, relay: Relay, route: Route, library: socket.socket) -> None:
        self._relay = relay
        self._route = route
        self._library = library
        self._router: socket.socket | None = None
        self._watched: socket.socket | None = None
        self._request = b""
        self._out = b""
        self._answer = Answer()
        self._heard = relay.now()  # the last of the answer
        self._ends = self._heard + limits.IGD_ANSWER_TIME
        self._closed = False

    def start(self) -> None:
        """Read the request."""
        self._library.setblocking(False)
        self._turn(lambda: self._watch(self._library, selectors.EVENT_READ, self._read_request))

    def due(self) -> float:
        """When :meth:`time_is_up` is to be called."""
        if self._answer.tells_end or not self._answer.has_body:
            return self._ends
        return min(self._ends, self._heard + limits.IGD_ANSWER_QUIET)

    @property
    def has_asked(self) -> bool:
        """Whether the request has come, and is one that is carried."""
        return bool(self._out) or self._router is not None

    def time_is_up(self, now: float) -> None:
        """Some routers neither close the connection nor say how long their answer is: what has come is all."""
        if self._answer.is_over:  # the library does not take it
            self.close()
        elif self._answer.has_body and now >= self._heard + limits.IGD_ANSWER_QUIET:
            self._answer.end()
            self._turn(self._answered)
        else:
            began = self._answer.has_begun
            self._fail("its answer does not come to an end" if began else "it did not answer in time")

    def close(self) -> None:
        """Of both ends; the library's call goes on without an answer."""
        if self._closed:
            return
        self._closed = True
        self._unwatch()
        _hang_up(self._library)
        self._close_router()
        self._relay.forget(self)

    def abandon(self) -> None:
        """In a forked child."""
        abandon_socket(self._library)
        if self._router is not None:
            abandon_socket(self._router)

    # --- steps --------------------------------------------------------------------------------------------------------

    def _turn(self, step: Callable[[], object]) -> None:
        if self._closed:  # in the same round of the selector
            return
        try:
            step()
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._fail("it could not be reached" if not self._answer.has_begun else "its answer broke off")

    def _watch(self, sock: socket.socket, events: int, step: Callable[[], object]) -> None:
        self._unwatch()
        self._relay.selector.register(sock, events, functools.partial(self._turn, step))
        self._watched = sock

    def _unwatch(self) -> None:
        sock, self._watched = self._watched, None
        if sock is not None:
            self._relay.selector.unregister(sock)

    def _fail(self, trouble: str) -> None:
        if self._router is not None:  # else it is none of the router's
            self._route.trouble = trouble
        self.close()

    def _close_router(self) -> None:
        if self._router is not None:
            close_socket(self._router)

    def _read_request(self) -> None:
        data = self._library.recv(_READ_MAX)
        self._request += data
        if not data or len(self._request) > limits.IGD_REQUEST_MAX:
            self.close()
            return
        try:
            carried = self._route.carry(self._request)
        except ValueError:
            self.close()
            return
        if carried is None:
            return
        port, self._out = carried
        if port:
            self._connect(port)
        else:
            self._watch(self._library, selectors.EVENT_WRITE, self._write)

    def _connect(self, port: int) -> None:
        self._route.trouble = ""
        self._router = router = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        router.setblocking(False)
        router.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, limits.IGD_ANSWER_MAX // 4)
        router.bind((self._relay.local, 0))  # the address that it is to lead its port to: some insist on that
        number = router.connect_ex((self._route.host, port))
        if number not in _UNDER_WAY:
            raise OSError(number, "connect")
        self._watch(router, selectors.EVENT_WRITE, self._send)

    def _send(self) -> None:
        assert self._router is not None
        self._out = self._out[self._router.send(self._out) :]  # in one packet: some take no other
        if not self._out:
            self._watch(self._router, selectors.EVENT_READ, self._read_answer)

    def _read_answer(self) -> None:
        assert self._router is not None
        if not self._relay.may_read():
            return
        try:
            data = self._router.recv(_READ_MAX)
        except ConnectionResetError:
            if not self._answer.has_body:
                raise
            data = b""  # some end so, with our request half read; what has come is all, as it is for the library
        self._heard = self._relay.now()
        if data:
            self._answer.feed(data)
        else:
            self._answer.end()
        if self._answer.trouble:
            self._fail(self._answer.trouble)
        elif self._answer.is_over:
            self._answered()

    def _answered(self) -> None:
        self._unwatch()
        self._close_router()
        if self._request.startswith(b"GET"):
            self._route.text = self._answer.body
        self._out = self._answer.response()
        self._watch(self._library, selectors.EVENT_WRITE, self._write)

    def _write(self) -> None:
        self._out = self._out[self._library.send(self._out) :]
        if not self._out:
            self.close()


def _hang_up(library: socket.socket) -> None:
    """Close it; with what it has sent unread it would be told of a reset, and write that to the program's stderr."""
    with contextlib.suppress(OSError):
        library.setblocking(False)
        library.recv(_READ_MAX)
    close_socket(library)
