"""
TCP for plans: connections that begin on the port on which the node listens or on fresh ones, hundreds at once.

No connection has a thread: the node's I/O loop tells when one stands or has failed. The kernel sends a SYN again as
long as nobody answers, so each connection under way asks the allowance again before that may happen, and is closed if
no more may be sent. What is closed here is reset: its port is free at once.

Everything runs where the plan runs, one at a time (:meth:`crust.nat.punch.runner.Runner.happened`).
"""

from __future__ import annotations

import collections
import contextlib
import errno
import functools
import os
import socket
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from ... import limits
from ...exceptions import MalformedMessage
from ...runtime.flusher import IoLoop
from ...runtime.threads import abandon_socket
from ...runtime.timers import Timer
from ..stun.message import (
    HEADER_SIZE,
    TRANSACTION_SIZE,
    Class,
    Message,
    build_stun,
    parse_stun_untrusted,
    stun_length,
)
from .allowance import Allowance
from .contract import Action, Address, Close, Connect, Plan, Sample, Win
from .runner import Runner

__all__ = ["TcpHand", "WonTcp"]

_LINGER_RESET = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
_UNDER_WAY = {0, errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EINTR}
_SOURCES = {"tcp4": 4, "tcp6": 6}


class WonTcp(NamedTuple):
    """A connection that stands and has carried nothing yet. Whoever gets it closes it."""

    sock: socket.socket
    """Not blocking."""

    remote: Address


class _Call:
    """A connection that is open, or under way."""

    __slots__ = ("closed", "counted", "over", "resends", "sock", "stands", "timer", "to")

    def __init__(self, sock: socket.socket, to: Address, counted: bool) -> None:
        self.sock = sock
        self.to = to
        self.counted = counted
        """Its SYNs are the allowance's concern."""
        self.stands = False
        self.over = False
        """It has failed, is being closed, or has won."""
        self.closed = False
        """The I/O thread has closed it: its ports are free."""
        self.resends = 0
        """How often its SYN may have been sent again."""
        self.timer: Timer | None = None


_Settled: TypeAlias = Callable[[Plan, float, int], object]
"""Given the plan, the time, and how a connection ended up: 0 if it stands, else the errno."""


class _Question:
    """A sample under way."""

    __slots__ = ("answer", "call", "rest", "timer", "transaction")

    def __init__(self, rest: Sequence[Address]) -> None:
        self.rest = collections.deque(rest)
        """Whom to ask next."""
        self.call: _Call | None = None
        self.transaction = b""
        self.answer = b""
        self.timer: Timer | None = None


def _close(call: _Call) -> None:
    call.sock.close()
    call.closed = True


class TcpHand:
    """
    Does :class:`~crust.nat.punch.contract.Connect`, ``Close``, ``Sample`` of ``tcp4`` and ``tcp6``, and ``Win`` for one
    runner. What it was not asked to connect is another hand's.

    A connection that fails with ``EPERM`` was not begun, or was given up, because no more SYNs may go there; one with
    ``EMFILE``, because there is no descriptor left for it.

    Args:
        runner: Whose plan it is.
        io: The node's I/O loop; running.
        allowance: How much may be sent where.
        listening: Where the node listens, as ``getsockname`` has it, by name: ``tcp4``, ``tcp6``, if it does.
        servers: Whom to ask by STUN how a TCP port is seen, best first, given a family (4 or 6). They take turns: to
            one that has just been asked, a router may remember the way. What goes to them is not the allowance's
            concern, since no peer has named them.
        won: Gets this runner and what has won; must not block. The socket is its own from then on.
    """

    def __init__(
        self,
        runner: Runner,
        io: IoLoop,
        allowance: Allowance,
        listening: Mapping[str, Address],
        servers: Callable[[int], Sequence[Address]],
        won: Callable[[Runner, WonTcp], object],
    ) -> None:
        self._runner = runner
        self._io = io
        self._allowance = allowance
        self._listening = dict(listening)
        self._servers = servers
        self._won = won
        self._calls: dict[str, _Call] = {}
        self._names: set[str] = set()  # of all calls so far
        self._closing: list[_Call] = []  # the I/O thread closes them in a moment
        self._postponed: dict[str, Connect] = {}  # until the way that they take is free
        self._questions: dict[str, _Question] = {}
        self._asked = 0

    # --- actions ------------------------------------------------------------------------------------------------------

    def does(self, action: Action, now: float) -> bool:
        """See :class:`crust.nat.punch.runner.Hand`."""
        if isinstance(action, Connect):
            self._connect(action)
        elif isinstance(action, Sample) and action.socket in _SOURCES:
            self._sample(action.socket)
        elif isinstance(action, Close) and action.name in self._names:
            self._postponed.pop(action.name, None)
            call = self._calls.pop(action.name, None)
            if call is not None:
                self._drop(call)
        elif isinstance(action, Win) and action.name in self._calls:
            call = self._calls.pop(action.name)
            call.over = True
            self._won(self._runner, WonTcp(call.sock, action.remote))
        else:
            return False
        return True

    def close(self) -> None:
        """Close all but what has won. Idempotent."""
        self._postponed = {}
        calls, self._calls = list(self._calls.values()), {}
        questions, self._questions = self._questions, {}
        for question in questions.values():
            if question.timer is not None:
                question.timer.cancel()
            if question.call is not None:
                calls.append(question.call)
        for call in calls:
            self._drop(call)

    def abandon(self) -> None:
        """In a forked child: close the copies of the descriptors (takes no lock)."""
        calls = [*self._calls.values(), *(each.call for each in self._questions.values() if each.call is not None)]
        self._calls, self._questions = {}, {}
        for call in calls:
            call.over = True
            abandon_socket(call.sock)

    def _drop(self, call: _Call) -> None:
        """Close it with a reset."""
        call.over = True
        if call.timer is not None:
            call.timer.cancel()
        with contextlib.suppress(OSError):
            call.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        self._closing.append(call)
        self._io.forget(call.sock, then=lambda: _close(call))

    def _is_free(self, to: Address) -> bool:
        """What we have closed is not in the way any more: it may be for a moment, if this is not the I/O thread."""
        self._closing = [each for each in self._closing if not each.closed]
        return all(each.to != to for each in self._closing)

    def _soon(self, again: Callable[[], object]) -> None:
        happened = self._runner.happened
        self._io.call_later(0.0, lambda _: happened(lambda plan, now: again()))

    # --- connections --------------------------------------------------------------------------------------------------

    def _connect(self, action: Connect) -> None:
        name = action.name
        self._names.add(name)
        try:
            if name in self._calls or name in self._postponed:
                raise OSError(errno.EALREADY, os.strerror(errno.EALREADY))
            if len(self._calls) >= limits.PUNCH_SOCKETS_MAX:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            if not self._is_free(action.to):
                self._postponed[name] = action
                self._soon(lambda: self._connect_at_last(action))
                return
            call = self._begin(action.to, action.source)
        except OSError as error:
            number = error.errno or errno.EIO
            self._runner.happened(lambda plan, now: plan.failed(name, number, now))
            return
        self._calls[name] = call
        self._await(call, functools.partial(self._settled, name, call))

    def _connect_at_last(self, action: Connect) -> None:
        if self._postponed.get(action.name) is action:
            del self._postponed[action.name]
            self._connect(action)

    def _settled(self, name: str, call: _Call, plan: Plan, now: float, number: int) -> None:
        if number:
            del self._calls[name]
            self._drop(call)
            plan.failed(name, number, now)
        else:
            plan.connected(name, now)

    def _begin(self, to: Address, source: str, *, counted: bool = True) -> _Call:
        """A connection under way; OSError."""
        family = socket.AF_INET6 if ":" in to[0] else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            if source:
                self._bind(sock, family, source)
            if counted and not self._allowance.syn(to[0]):
                raise OSError(errno.EPERM, "no more SYNs may go there")
            number = sock.connect_ex(to)
            if number not in _UNDER_WAY:
                raise OSError(number, os.strerror(number))
        except BaseException:
            sock.close()
            raise
        return _Call(sock, to, counted)

    def _bind(self, sock: socket.socket, family: int, source: str) -> None:
        local = self._listening.get(source)
        if local is None or (":" in local[0]) != (family == socket.AF_INET6):
            raise OSError(errno.EADDRNOTAVAIL, f"this node does not listen on {source}")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        option: int | None = getattr(socket, "SO_REUSEPORT", None)
        if option is not None:
            sock.setsockopt(socket.SOL_SOCKET, option, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(local)

    def _await(self, call: _Call, settled: _Settled) -> None:
        """Have ``settled`` called when the connection stands or has failed."""
        self._watch(call, settled)
        pause = limits.SYN_RESENDS[0] - limits.SYN_RESEND_MARGIN
        self._ask_later(call, settled, pause)

    def _watch(self, call: _Call, settled: _Settled) -> None:
        happened = self._runner.happened
        self._io.wait_writable(call.sock, lambda: happened(lambda plan, now: self._look(call, settled, plan, now)))

    def _look(self, call: _Call, settled: _Settled, plan: Plan, now: float) -> None:
        """Something has become of a connection."""
        if call.over or call.stands:
            return
        try:
            number = call.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if not number and call.sock.getsockname()[:2] == call.sock.getpeername()[:2]:
                number = errno.ECONNREFUSED  # a socket may meet itself
        except OSError as error:
            number = error.errno or errno.EIO
        if number == errno.ENOTCONN:  # nothing yet: it could not be watched for a while
            self._watch(call, settled)
            return
        if call.timer is not None:
            call.timer.cancel()
        call.stands = not number
        settled(plan, now, number)

    def _ask_later(self, call: _Call, settled: _Settled, pause: float) -> None:
        happened = self._runner.happened
        call.timer = self._io.call_later(
            pause, lambda _: happened(lambda plan, now: self._ask_again(call, settled, plan, now))
        )

    def _ask_again(self, call: _Call, settled: _Settled, plan: Plan, now: float) -> None:
        """The kernel is about to send its SYN once more: may it?"""
        if call.over or call.stands:
            return
        if call.counted and not self._allowance.syn(call.to[0]):
            settled(plan, now, errno.EPERM)
            return
        times = limits.SYN_RESENDS
        call.resends += 1
        if call.resends < len(times):
            self._ask_later(call, settled, times[call.resends] - times[call.resends - 1])

    # --- samples ------------------------------------------------------------------------------------------------------

    def _sample(self, source: str) -> None:
        """Ask one server after the other, until one answers; a question that is under way is asked anew."""
        former = self._questions.pop(source, None)
        if former is not None:
            if former.timer is not None:
                former.timer.cancel()
            if former.call is not None:
                self._drop(former.call)
        servers = self._servers(_SOURCES[source])
        first = self._asked % len(servers) if servers else 0
        self._asked += 1
        question = self._questions[source] = _Question([*servers[first:], *servers[:first]])
        happened = self._runner.happened
        question.timer = self._io.call_later(
            limits.SAMPLE_SECONDS,
            lambda _: happened(lambda plan, now: self._answered(source, question, None, plan, now)),
        )
        self._ask(source, question)

    def _ask(self, source: str, question: _Question) -> None:
        while question.rest:
            if not self._is_free(question.rest[0]):
                self._soon(lambda: self._ask_at_last(source, question))
                return
            try:
                call = question.call = self._begin(question.rest.popleft(), source, counted=False)
            except OSError:  # that way is taken, or there is none
                continue
            self._await(call, functools.partial(self._reached, source, question, call))
            return
        happened = self._runner.happened
        happened(lambda plan, now: self._answered(source, question, None, plan, now))

    def _ask_at_last(self, source: str, question: _Question) -> None:
        if self._questions.get(source) is question:
            self._ask(source, question)

    def _reached(self, source: str, question: _Question, call: _Call, plan: Plan, now: float, number: int) -> None:
        """A server's connection stands, or has failed."""
        question.transaction, question.answer = os.urandom(TRANSACTION_SIZE), b""
        try:
            if number:
                raise OSError(number, os.strerror(number))
            call.sock.send(build_stun(Message(Class.REQUEST, question.transaction)))
        except OSError:
            self._ask_another(source, question, call)
            return
        self._read_later(source, question, call)

    def _ask_another(self, source: str, question: _Question, call: _Call) -> None:
        self._drop(call)
        question.call = None
        self._ask(source, question)

    def _read_later(self, source: str, question: _Question, call: _Call) -> None:
        happened = self._runner.happened
        self._io.wait_readable(
            call.sock, lambda: happened(lambda plan, now: self._read(source, question, call, plan, now))
        )

    def _read(self, source: str, question: _Question, call: _Call, plan: Plan, now: float) -> None:
        """Bytes of an answer came, or its end."""
        if call.over:
            return
        try:
            data = call.sock.recv(limits.READ_SIZE)
            question.answer += data
            if not data:
                raise OSError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
            length = stun_length(question.answer[:HEADER_SIZE]) if len(question.answer) >= HEADER_SIZE else HEADER_SIZE
            if len(question.answer) < length:
                raise BlockingIOError
            message = parse_stun_untrusted(question.answer[:length])
        except (BlockingIOError, InterruptedError):
            self._read_later(source, question, call)
            return
        except (OSError, MalformedMessage):
            self._ask_another(source, question, call)
            return
        ours = message.class_ is Class.SUCCESS and message.transaction == question.transaction
        if ours and message.reflexive is not None:
            self._answered(source, question, message.reflexive, plan, now)
        else:
            self._ask_another(source, question, call)

    def _answered(self, source: str, question: _Question, seen: Address | None, plan: Plan, now: float) -> None:
        if self._questions.get(source) is not question:
            return
        del self._questions[source]
        if question.timer is not None:
            question.timer.cancel()
        if question.call is not None:
            self._drop(question.call)
        plan.sampled(source, seen, now)
