"""
STUN on the UDP sockets of a node: who asks there is answered from the address that was asked, and what we ask leaves
from the very socket that the answer is about.

A datagram is taken only if its head is one of STUN (cookie and length) and it is a request, or answers a question of
ours that went out by that socket to that address, or is expected by its transaction: the head of an answer is a
possible head of µTP.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Sequence

from ... import limits
from ...exceptions import MalformedMessage
from ...runtime.flusher import IoLoop
from ...transports.udp import Address, Source, UdpHub
from ...transports.utp.burst import single_burst
from .message import TRANSACTION_SIZE, Class, Message, looks_like_stun, parse_stun_untrusted
from .responder import Responder
from .transaction import Transaction

__all__ = ["Question", "UdpStun"]

_REQUEST = b"\x00\x01"


class Question:
    """A question under way. Thread-safe."""

    def __init__(
        self,
        asker: UdpStun,
        hub: UdpHub,
        address: Address,
        transaction: Transaction,
        on_end: Callable[[Question], object],
    ) -> None:
        self.hub = hub
        self.address = address
        self.transaction = transaction
        """What it came to; still while the question is under way."""
        self.on_end = on_end
        self._asker = asker

    def cancel(self) -> None:
        """Give it up: ``on_end`` hears nothing more. Idempotent."""
        self._asker._forget(self)


class UdpStun:
    """
    Thread-safe.

    Args:
        io: The node's I/O loop, for the timers.
        responder: Answers the questions of others.
    """

    def __init__(self, io: IoLoop, responder: Responder) -> None:
        self._io = io
        self._responder = responder
        self._lock = threading.Lock()  # guards _asked and the transactions in it
        self._asked: dict[bytes, Question] = {}
        self._expected: dict[bytes, Callable[[], object]] = {}
        self._closed = False

    # --- questions ----------------------------------------------------------------------------------------------------

    def ask(
        self,
        hub: UdpHub,
        address: Address,
        on_end: Callable[[Question], object],
        schedule: Sequence[float] | None = None,
        timeout: float | None = None,
    ) -> Question:
        """
        Ask whoever is at ``address`` for our own, as seen over the socket of ``hub``.

        Args:
            on_end: Gets the question when its transaction has finished, once, on the hub's or the I/O thread.
            schedule: Seconds from now when it is sent; None: :data:`crust.limits.STUN_SCHEDULE`.
            timeout: Seconds from now until nobody has answered; None: :data:`crust.limits.STUN_TIMEOUT`.
        """
        now = self._io.now()
        request = Message(Class.REQUEST, os.urandom(TRANSACTION_SIZE))
        transaction = Transaction(request, now, schedule or limits.STUN_SCHEDULE, timeout or limits.STUN_TIMEOUT)
        question = Question(self, hub, address, transaction, on_end)
        with self._lock:
            if not self._closed:
                self._asked[request.transaction] = question
        self._step(question, now)
        return question

    def _step(self, question: Question, now: float) -> None:
        """Send what is due, and see to the next time."""
        transaction = question.transaction
        with self._lock:
            if transaction.id not in self._asked:
                return
            data = transaction.handle_timer(now)
            if transaction.finished:
                del self._asked[transaction.id]
            due = transaction.get_timer()
        if data is not None:
            try:
                question.hub.transmit(single_burst(data), question.address, None)
            except OSError as error:
                if question.hub.closed:
                    self._fail(question, str(error))
                    return  # else it may be about an earlier datagram, or a network that comes back
        if due is not None:
            self._io.call_at(due, lambda later: self._step(question, later))
        elif transaction.finished:
            question.on_end(question)

    def _fail(self, question: Question, error: str) -> None:
        if self._forget(question):
            question.transaction.fail(error)
            question.on_end(question)

    def _forget(self, question: Question) -> bool:
        with self._lock:
            return self._asked.pop(question.transaction.id, None) is not None

    def expect(self, token: bytes, on_arrival: Callable[[], object] | None) -> None:
        """Call ``on_arrival()`` (a hub's thread) when an answer comes that has that transaction; None: no more."""
        with self._lock:
            if on_arrival is None or self._closed:
                self._expected.pop(token, None)
            else:
                self._expected[token] = on_arrival

    def close(self) -> None:
        """Give up all questions; answers to others go on until the sockets close. Idempotent."""
        with self._lock:
            self._closed = True
            self._asked.clear()
            self._expected.clear()

    def abandon(self) -> None:
        """In a forked child: forget everything (takes no lock)."""
        self._lock = threading.Lock()
        self._closed = True
        self._asked, self._expected = {}, {}

    # --- what arrives -------------------------------------------------------------------------------------------------

    def arrived(self, hub: UdpHub, data: memoryview, address: Address, source: Source | None, now: float) -> bool:
        """For :attr:`crust.transports.udp.UdpHub.stun`."""
        if not looks_like_stun(data):
            return False
        if data[:2] == _REQUEST:
            answer = self._responder.answer(data, (str(address[0]).partition("%")[0], int(address[1])), now)
            if answer is None:
                return False  # so that it counts as what it is, a stranger's: there may be a flood of them
            with contextlib.suppress(OSError):  # lost on the way, as it were
                hub.transmit(single_burst(answer), address, source)
            return True
        token = bytes(data[8:20])
        expecting = self._expected.get(token)
        if expecting is not None:
            expecting()
            return True
        question = self._asked.get(token)
        if question is None or question.hub is not hub or question.address[:2] != address[:2]:
            return False
        try:
            message = parse_stun_untrusted(data)
        except MalformedMessage:
            return True  # another one may come, until the time is over
        with self._lock:
            ended = self._asked.get(message.transaction) is question and question.transaction.receive(message, now)
            if ended:
                del self._asked[message.transaction]
        if ended:
            question.on_end(question)
        return True
