"""
The sending half of a conversation, for messages that are signed.

A message is signed on the thread that sends it, and neither the session's lock nor the I/O thread waits for that. What
makes ids grow in the order in which messages are queued (:mod:`crust.crypto.proofs`) is a lock around both; nobody
waits for room with it held, so it is never held for longer than a signature takes. Who finds no room draws another id,
and signs anew, when there is some: what was not queued has left no trace.

Order of locks: signing, conversation.
"""

from __future__ import annotations

import os
import threading

from .. import limits
from ..crypto.proofs import Numbers
from ..exceptions import IdentityError, LocalProtocolError, MessageTooLarge
from ..wire.frames import Kind
from ..wire.handshake import Capability
from ..wire.proofs import MESSAGE_OVERHEAD
from .lanes import Signed
from .messages import Configured
from .sending import BUDGET_POLL, NEVER, Sending

__all__ = ["SignedSending"]

_FITS = 65_536  # a longer message is not signed before there is room for it


class SignedSending(Sending):
    """What :class:`~crust.peers.conversation.Conversation` does with messages that are signed. Thread-safe."""

    __slots__ = ("_numbers", "_signing", "capabilities", "max_message_size", "session_id")

    session_id: bytes
    capabilities: int
    max_message_size: int

    def _begin_signing(self) -> None:
        self._signing = threading.Lock()
        self._numbers: Numbers | None = None  # made for the first one

    @property
    def plain_max(self) -> int:
        """Bytes of the longest message that goes out as it is, without being signed; -1 if none does."""
        if self._host.signatory.signs_all or self.capabilities & Capability.SIGNED_ONLY:
            return -1
        return self.max_message_size

    def check_plain(self, what: str) -> None:
        """
        Raises:
            LocalProtocolError: The other side takes only what is signed.
        """
        if self.capabilities & Capability.SIGNED_ONLY:
            raise LocalProtocolError(
                f"peer {self.peer_id} takes only {what} that are signed: send with sign=True "
                "(`crust send --sign`), or set signing.sign_all"
            )

    def check_signed(self, what: str) -> None:
        """
        Raises:
            LocalProtocolError: The other side cannot take what is signed.
        """
        if not self.capabilities & Capability.SIGNED:
            raise LocalProtocolError(
                f"peer {self.peer_id} takes no signed {what}: its program cannot, or not in this version; "
                "send without sign=True, and without signing.sign_all"
            )

    def check_size(self, size: int, *, signed: bool) -> None:
        """
        Raises:
            MessageTooLarge: A message of ``size`` bytes is longer than both sides accept.
        """
        most = self.max_message_size - (MESSAGE_OVERHEAD if signed else 0)
        if size > most:
            how = f" when signed, which takes {MESSAGE_OVERHEAD} more" if signed else ""
            raise MessageTooLarge(
                f"a message of {size} bytes is too large: at most {max(0, most)} are allowed{how}, by "
                "session.max_message_size here and at the peer; split it, or use send_file"
            )

    def send_signed(self, data: bytes, priority: int, timeout: float | None | Configured) -> int:
        """
        Sign ``data``, queue it and write it if that can be done at once; see :meth:`crust.Peer.send`.

        Raises:
            ValueError: No such priority.
            LocalProtocolError: The other side takes no signed messages, or none of that size.
        """
        if not 0 <= priority <= limits.PRIORITY_MAX:
            raise ValueError(f"priority must be 0 (most urgent) to {limits.PRIORITY_MAX}, not {priority}")
        self.check_alive()
        self.check_signed("messages")
        self.check_size(len(data), signed=True)
        size = len(data) + MESSAGE_OVERHEAD
        wait = self.send_timeout if isinstance(timeout, Configured) else timeout
        deadline: float | None = None
        while True:
            with self._signing:
                if size <= _FITS or self._room(size):
                    number = self._queue(Signed(self._sign(data, priority)), priority)
                    if number >= 0:
                        return number
            if deadline is None:
                deadline = NEVER if wait is None else self._now() + wait
            self._await_room(size, wait, deadline)

    def _sign(self, data: bytes, priority: int) -> bytes:
        if self._numbers is None:
            self._numbers = Numbers(self.session_id, os.urandom)
        host = self._host
        try:
            number, time = self._numbers.next(priority), int(host.wall() * 1000)
            return host.signatory.sign_message(self.peer_id.public_key, number, time, data)
        except IdentityError:
            self.check_alive()  # the node has been closed meanwhile, which says more
            raise

    def _queue(self, message: Signed, priority: int) -> int:
        """Queue it, and write it if that can be done at once; its number, or -1 if there is no room."""
        try:
            with self.lock:
                self._outbox.signs = True
                number, again = self._push(message, priority, Kind.MESSAGE)
                if again:
                    self._streaming = True  # the next one is being signed by then: they go out together, a moment later
            if again:
                self._host.io.flush_soon(self)
        except BaseException:
            self._host.io.flushes.append(self)
            self._host.io.rouse()
            raise
        return number

    def _room(self, size: int) -> bool:
        with self.lock:
            return self._outbox.has_room(size)

    def _await_room(self, size: int, timeout: float | None, deadline: float) -> None:
        """The buffer is full: wait, or say so."""
        must_not_wait = timeout == 0 or self._host.on_dispatcher()
        outbox = self._outbox
        sleeper = None
        try:
            while True:
                with self.lock:
                    self._wake_up_locked(sleeper)
                    self._check_alive_locked()
                    if not (self._host.budget.over and outbox.held_messages):
                        outbox.max_bytes = self._max_bytes
                        if outbox.has_room(size):
                            return
                    remaining = deadline - self._now()
                    if must_not_wait or remaining <= 0:
                        raise self._no_room(must_not_wait, timeout, Kind.MESSAGE)
                    self._ask_for_room_locked()
                    sleeper = self._sleep_locked()
                self._sleep(sleeper, min(remaining, BUDGET_POLL if self._host.budget.over else NEVER))
        except BaseException:  # ours or an interrupt's: a flush too many does no harm
            self._host.io.flushes.append(self)
            self._host.io.rouse()
            raise
