"""
A TCP connection that both ends may have dialled: one of the two becomes the callee.

When both ends of a punched connection have called connect(), both are callers, and both begin the handshake. So that
each recognises the other's message 1 for what it is, only half of the salt in front of it is random here, and the rest
is a keyed hash of that half, with a key that the two ends alone know (docs/wire-format.md, "Who calls"). Nobody else
can tell such a salt from a random one.

Whoever reads such a salt knows that both have called. The end with the greater id leaves out the other's message 1 and
stays caller. The other one's own message 1 was in vain: its attempt ends as one that lost a race, and the same stream,
with what has come on it, is accepted as a call. If only one end dialled, the other one accepted it on its listening
port: what comes then is a message 2, and nothing is different from any other call.
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Callable

from .. import limits
from ..addresses import Endpoint
from ..crypto.handshake import HandshakeConfig, end_of_hello, looks_like_stun_request
from ..exceptions import LocalProtocolError, MalformedMessage
from ..runtime.threads import Spawn
from ..transports.contract import Connection, Sink
from ..transports.pieces import offer
from ..wire.handshake import Manner
from .link import Link
from .race import Candidate

__all__ = ["Meeting", "candidate_for", "is_salt_of", "salt_for"]

_HALF = limits.SALT_SIZE // 2
_YIELDED = "both ends called; the other end's call goes on"


def salt_for(key_out: bytes, random: Callable[[int], bytes] = os.urandom) -> bytes:
    """
    A salt that the other end recognises.

    Args:
        key_out: The key of what goes to the other end (:attr:`crust.peers.link.Link.exports`).
        random: Source of randomness.
    """
    while True:
        nonce = random(_HALF)
        salt = nonce + _tag(key_out, nonce)
        if not looks_like_stun_request(salt):
            return salt


def is_salt_of(key_in: bytes, salt: bytes) -> bool:
    """Whether the other end made that salt with :func:`salt_for`."""
    return salt[_HALF:] == _tag(key_in, salt[:_HALF])


def _tag(key: bytes, nonce: bytes) -> bytes:
    return hashlib.blake2b(b"tcp" + nonce, key=key, digest_size=_HALF).digest()


def candidate_for(
    connection: Connection,
    keys: tuple[bytes, bytes],
    leads: bool,
    config: HandshakeConfig,
    accept: Callable[[Connection], object],
    manner: Manner,
    method: str,
) -> Candidate:
    """
    What :meth:`crust.peers.dialer.Dialer.pursue` needs to call the peer on a connection that stands already. If it
    begins no attempt, abort the connection.

    Args:
        connection: A TCP connection, not started; the attempt owns it from now on.
        keys: Of what goes to the other end, and of what comes from it (:attr:`crust.peers.link.Link.exports`).
        leads: Our id is the greater one.
        config: What our node brings to handshakes.
        accept: Takes the connection if the other end turns out to be the caller: ``Acceptor.accepted``.
        manner: How the connection came to be.
        method: The word for it in an ``Attempt``.
    """
    dialling = _Standing(Meeting(connection, keys[1], leads, config, accept))
    return Candidate(
        connection.remote, manner=manner, method=method, prepare=lambda _: dialling, salt=salt_for(keys[0])
    )


class _Standing:
    """A :class:`crust.transports.contract.Dialling` for a connection that stands already."""

    def __init__(self, meeting: Meeting) -> None:
        self.endpoint = meeting.remote
        self._meeting = meeting
        self._lock = threading.Lock()  # guards _error
        self._error: OSError | None = None

    def run(self) -> Connection:
        """See the contract. A second attempt, under another secret, finds nothing: the stream has been used."""
        with self._lock:
            error, self._error = self._error, OSError(errno.ECONNABORTED, "it was used already", str(self.endpoint))
        if error is not None:
            raise error
        return self._meeting

    def cancel(self) -> None:
        """See the contract."""
        with self._lock:
            if self._error is None:
                self._error = OSError(errno.ECANCELED, "the attempt was cancelled", str(self.endpoint))
                self._meeting.abort()


class Meeting:
    """
    The connection as the caller's link sees it, see :class:`crust.transports.contract.Connection`; and the sink of the
    real one.

    Args: see :func:`candidate_for`.
    """

    __slots__ = (
        "__weakref__",
        "_accept",
        "_buffer",
        "_config",
        "_connection",
        "_ended",
        "_key_in",
        "_leads",
        "_lock",
        "_meets",
        "_sink",
        "_through",
        "_yielded",
    )

    def __init__(
        self,
        connection: Connection,
        key_in: bytes,
        leads: bool,
        config: HandshakeConfig,
        accept: Callable[[Connection], object],
    ) -> None:
        self._connection = connection
        self._key_in = key_in
        self._leads = leads
        self._config = config
        self._accept = accept
        self._buffer = bytearray()  # the reader thread's, as all that has no lock
        self._meets = False  # what comes begins with the other end's message 1
        self._sink: Sink | None = None  # the caller's link; or, once we have yielded, the callee's
        self._through = False  # nothing is looked at any more
        self._lock = threading.Lock()  # guards the fields below
        self._ended = False  # the caller's link has ended it
        self._yielded = False  # the caller's link has nothing to say any more

    # --- for the caller's link ----------------------------------------------------------------------------------------

    @property
    def transport(self) -> str:
        """See the contract."""
        return self._connection.transport

    @property
    def local(self) -> Endpoint:
        """See the contract."""
        return self._connection.local

    @property
    def remote(self) -> Endpoint:
        """See the contract."""
        return self._connection.remote

    def start(self, sink: Sink, spawn: Spawn) -> None:
        """See the contract."""
        self._sink = sink
        self._connection.start(self, spawn)

    def run(self, sink: Sink) -> None:
        """See the contract."""
        self._sink = sink
        self._connection.run(self)

    def send(self, data: bytes | bytearray | memoryview) -> int:
        """See the contract."""
        if self._yielded:
            raise OSError(errno.EPIPE, _YIELDED, str(self.remote))
        return self._connection.send(data)

    def when_writable(self, callback: Callable[[], object]) -> None:
        """See the contract."""
        if not self._yielded:
            self._connection.when_writable(callback)

    def pause(self) -> None:
        """See the contract."""
        if not self._yielded:
            self._connection.pause()

    def resume(self) -> None:
        """See the contract."""
        if not self._yielded:
            self._connection.resume()

    def close(self) -> None:
        """See the contract."""
        if self._end():
            self._connection.close()

    def abort(self) -> None:
        """See the contract."""
        if self._end():
            self._connection.abort()

    def _end(self) -> bool:
        with self._lock:
            self._ended = True
            return not self._yielded

    def abandon(self) -> None:
        """In a forked child: forget everything, as the link does (takes no lock)."""
        self._lock = threading.Lock()
        sink, self._sink = self._sink, None
        if isinstance(sink, Link):
            sink.abandon()

    # --- the real connection's sink -----------------------------------------------------------------------------------

    def data_received(self, data: memoryview) -> None:
        """See :class:`crust.transports.contract.Sink`."""
        if self._through:
            if self._sink is not None:
                self._sink.data_received(data)
            return
        self._buffer += data
        try:
            self._look()
        except MalformedMessage as error:
            self._through = True
            if isinstance(self._sink, Link):
                self._sink.fail("failed", f"both ends called, and the other end's call is broken: {error}")
            self._connection.abort()

    def data_offered(self, data: memoryview) -> int:
        """The same, where some may be left for later."""
        if self._through and self._sink is not None:
            return offer(self._sink, data)
        self.data_received(data)
        return len(data)

    def connection_lost(self, error: OSError | None) -> None:
        """See :class:`crust.transports.contract.Sink`."""
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.connection_lost(error)

    def _look(self) -> None:
        """See who calls, as soon as that shows."""
        if len(self._buffer) < limits.SALT_SIZE:
            return
        if not self._meets and not is_salt_of(self._key_in, bytes(self._buffer[: limits.SALT_SIZE])):
            self._pass_on(0)
            return
        self._meets = True
        if not self._leads:
            self._yield()
            return
        end = end_of_hello(self._config, bytes(self._buffer))
        if end is not None:
            self._pass_on(end)

    def _pass_on(self, start: int) -> None:
        """From here on everything is the link's."""
        self._through = True
        rest, self._buffer = bytes(self._buffer[start:]), bytearray()
        if rest and self._sink is not None:
            self._sink.data_received(memoryview(rest))

    def _yield(self) -> None:
        """The other end's call goes on; ours ends."""
        link = self._sink
        with self._lock:
            if self._ended:  # nobody wants this connection any more: it is being closed
                return
            self._yielded = True
        whole = True
        if isinstance(link, Link):
            whole = not link.blocked
            link.fail("lost_race", _YIELDED)
        self._sink = None
        if link is not None:
            link.connection_lost(None)
        if not whole:  # what we answer would come in the midst of our own message 1
            self._connection.abort()
            return
        self._accept(_Yielded(self, self._connection))
        self._pass_on(0)

    def taken(self, sink: Sink) -> None:
        """The callee's link begins to read (on the reader's thread)."""
        if self._sink is not None:
            raise LocalProtocolError("this connection has been started already")
        self._sink = sink


class _Yielded:
    """The connection as the callee's link sees it; see :class:`crust.transports.contract.Connection`."""

    __slots__ = ("_connection", "_meeting", "local", "remote", "transport")

    def __init__(self, meeting: Meeting, connection: Connection) -> None:
        self._meeting = meeting
        self._connection = connection
        self.transport = connection.transport
        self.local = connection.local
        self.remote = connection.remote

    def start(self, sink: Sink, spawn: Spawn) -> None:
        """See the contract. The thread that reads already goes on."""
        self._meeting.taken(sink)

    def run(self, sink: Sink) -> None:
        """See the contract."""
        self._meeting.taken(sink)

    def send(self, data: bytes | bytearray | memoryview) -> int:
        """See the contract."""
        return self._connection.send(data)

    def when_writable(self, callback: Callable[[], object]) -> None:
        """See the contract."""
        self._connection.when_writable(callback)

    def pause(self) -> None:
        """See the contract."""
        self._connection.pause()

    def resume(self) -> None:
        """See the contract."""
        self._connection.resume()

    def close(self) -> None:
        """See the contract."""
        self._connection.close()

    def abort(self) -> None:
        """See the contract."""
        self._connection.abort()
