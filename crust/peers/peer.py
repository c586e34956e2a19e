"""What the application holds of a peer: one session, dead for ever after ``LostPeer``."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import queue
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from .. import limits
from ..addresses import PeerId
from ..exceptions import CrustError, LocalProtocolError, PeerLost, Timeout
from ..paths import Attempt, Path
from ..values import dataclass
from ..wire.frames import Goodbye, GoodbyeCode
from ..wire.handshake import Capability
from .messages import CONFIG, Configured, Handed, NewMessage, Wait
from .session import Delivery, State
from .transfer import short_text

if TYPE_CHECKING:
    import os

    from ..crypto.proofs import Signatory
    from ..runtime.clock import Clock, Queue
    from ..runtime.flusher import IoLoop
    from .conversation import Conversation
    from .dialer import Dialer
    from .echoes import Echo, Echoes
    from .file_contract import FileSent

__all__ = ["Peer", "PeerHost", "PeerStats"]

_OVERHEAD = limits.MESSAGE_OVERHEAD
_ONCE = (True,)  # the first argument of one call of the inbox's get()
_MESSAGE = 0  # wire kind of the application's messages
_Item = tuple[bytes, int] | tuple[bytes, int, bytes]  # data, priority; evidence, if it was signed


@dataclass(frozen=True)
class PeerStats:
    """Counts since the session began."""

    messages_sent: int
    """Messages accepted by ``send``, unacknowledged ones included."""

    messages_received: int
    """Messages that arrived whole, file transfers included."""

    bytes_sent: int
    """Bytes on the wire of all links that have carried the session, headers and resends included."""

    bytes_received: int
    """The same, received."""

    unacknowledged_messages: int
    """Messages queued or under way."""

    unacknowledged_bytes: int
    """Their size with overheads."""

    unread_bytes: int
    """Bytes that wait for the application, with overheads."""

    rtt: float | None
    """Round trip in seconds, smoothed; None until measured."""


class PeerHost(Protocol):
    """What a peer needs of its node."""

    clock: Clock
    io: IoLoop
    dialer: Dialer
    echoes: Echoes
    signatory: Signatory

    def consumes_messages(self) -> str:
        """Who takes new messages instead of inboxes, in words; empty if nobody does."""

    def send_file(
        self,
        peer: Peer,
        path: str | os.PathLike[str],
        name: str | None,
        progress: Callable[[int, int], object] | None,
        timeout: float | None,
        sign: bool,
    ) -> FileSent:
        """See :meth:`Peer.send_file`."""


class Peer:
    """
    The other side of one session. Made by the service; every method is thread-safe.

    Compare peers of different sessions by :attr:`id`.
    """

    __slots__ = ("__weakref__", "_conversation", "_handed", "_held", "_host", "_inbox", "_plain_max", "id")

    def __init__(self, host: PeerHost, conversation: Conversation) -> None:
        self._host = host
        self._conversation = conversation
        self._plain_max = conversation.plain_max
        # Of items; None: the session is over. Made for the first one who needs it (guarded by the conversation's lock):
        # nodes with callbacks never do, and on greenlets an empty one takes more than two KiB.
        self._inbox: Queue | None = None
        # Between the inbox and the hands of who called recv(); guarded by the conversation's lock, see _take().
        self._held: collections.deque[_Item | None] | None = None
        self._handed: Handed | None = None
        self.id: PeerId = conversation.peer_id
        """Who it is, proven."""

    def __repr__(self) -> str:
        return f"<Peer {self.id.short}… {self.state}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Peer is a live session and cannot be pickled; pass its id (peer.id) instead")

    # --- what it is ---------------------------------------------------------------------------------------------------

    @property
    def role(self) -> str:
        """``node`` or ``client``, as the other side says."""
        return self._conversation.role.name.lower()

    @property
    def inbound(self) -> bool:
        """True if the other side began this session."""
        return self._conversation.inbound

    @property
    def state(self) -> str:
        """``connected``, ``suspended`` (no link at the moment; it may come back) or ``lost`` (over)."""
        state = self._conversation.session.state
        return "connected" if state is State.NEW else state.value

    @property
    def path(self) -> Path | None:
        """The way data takes, with the round trip as measured last; the last one while suspended."""
        path = self._conversation.path
        rtt = self._conversation.session.srtt
        return path if path is None or rtt is None else dataclasses.replace(path, rtt=rtt)

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """What was tried last to reach it, and to reach it by a better path: 64 attempts at most, the newest last."""
        return self._host.dialer.attempts_for(self._conversation)

    @property
    def relays(self) -> bool:
        """True if it carries data between peers of its that have no better path to each other."""
        return bool(self._conversation.capabilities & Capability.RELAY)

    @property
    def address(self) -> str | None:
        """The other side's endpoint on the present path, as text."""
        path = self._conversation.path
        return None if path is None else path.remote

    @property
    def max_message_size(self) -> int:
        """Longest message that both sides accept, in bytes."""
        return self._conversation.max_message_size

    def stats(self) -> PeerStats:
        """A snapshot of the session's counters."""
        conversation = self._conversation
        conversation.check_fork()
        with conversation.lock:
            sent, received = conversation.bytes_carried()
            outbox, inbox = conversation.session.outbox, conversation.session.inbox
            return PeerStats(
                messages_sent=outbox.accepted[0],
                messages_received=conversation.messages_received,
                bytes_sent=sent,
                bytes_received=received,
                unacknowledged_messages=outbox.held_messages,
                unacknowledged_bytes=outbox.held_bytes,
                unread_bytes=inbox.used,
                rtt=conversation.session.srtt,
            )

    def echo(
        self, transport: str, port: int, token: bytes | None = None, *, timeout: float = limits.ECHO_TIMEOUT
    ) -> Echo:
        """
        Have the peer send something to our address, as it sees that, from a port of its own that it has not used: what
        gets in shows whom our router lets in. It does so a few times a minute.

        Args:
            transport: ``udp``: three datagrams, each a Binding success response of STUN with ``token`` as transaction
                and our address; ``tcp``: a connection, which it closes at once.
            port: Which port of ours, as seen from outside; at least 1,024, and not the one that the link uses.
            token: 12 bytes; None: random ones.
            timeout: Seconds to wait for its answer.

        Returns:
            What came of it, as the peer says.

        Raises:
            ValueError: ``transport``, ``port`` or ``token`` cannot be.
            EchoRefused: The peer does not do it; the text has its reason.
            Timeout: No answer in time, or no link to ask by.
            PeerLost, ServiceClosed: The session is over.
        """
        return self._host.echoes.ask(self._conversation, transport, port, token, timeout)

    # --- sending ------------------------------------------------------------------------------------------------------

    def send(
        self, data: bytes | bytearray | memoryview, *, priority: int = 1, sign: bool = False, timeout: Wait = CONFIG
    ) -> int:
        """
        Queue one message; it goes out at once if the way is free.

        It arrives once, in order among messages of its priority, or its number is in ``LostPeer.unacknowledged``.
        While the peer is suspended, messages wait for its return.

        Args:
            data: Up to :attr:`max_message_size` bytes; not copied if it is ``bytes``.
            priority: 0 (most urgent) to 255. Messages of ``session.drop.min_priority`` and less urgent may be dropped
                if they wait too long.
            sign: Sign it, so that the receiver has a proof of it that convinces others; ``signing.sign_all`` does so
                always. It may be 156 bytes shorter then.
            timeout: How long to wait for room in the send buffer; 0: not at all. Inside a callback it never waits.

        Returns:
            The message's number in this session, from 0.

        Raises:
            TypeError: ``data`` is a ``str`` or another type.
            ValueError: ``priority`` is out of range.
            MessageTooLarge: More than both sides accept.
            LocalProtocolError: The peer takes only messages that are signed, or none that are.
            WouldBlock: No room, and it may not wait; go on at ``SendReady``.
            Timeout: No room in time. In these cases nothing was queued.
            PeerLost: The session is over.
            ServiceClosed: The node is closed.

        An exception from outside (KeyboardInterrupt, a signal handler's, a timeout of greenlets) may end it at any
        moment. The message is then queued or it is not: see :attr:`accepted`.
        """
        if type(data) is not bytes:
            data = _as_bytes(data)
        if sign or len(data) > self._plain_max:
            return self._send_other(data, priority, sign, timeout)
        return self._conversation.send(data, priority, _MESSAGE, timeout)

    def _send_other(self, data: bytes, priority: int, sign: bool, timeout: Wait) -> int:
        """Send what may not just go out as it is."""
        conversation = self._conversation
        if sign or self._host.signatory.signs_all:
            return conversation.send_signed(data, priority, timeout)
        conversation.check_size(len(data), signed=False)
        conversation.check_alive()
        conversation.check_plain("messages")
        return conversation.send(data, priority, _MESSAGE, timeout)

    @property
    def accepted(self) -> int:
        """
        How many messages :meth:`send` and :meth:`send_many` have queued in this session.

        After an interrupt it tells what became of the call: a message is queued whole and counted, or not at all. With
        one thread that sends to this peer, ``while peer.accepted < n: peer.send(messages[peer.accepted])``
        sends each once, however often it is interrupted and begun again.
        """
        return self._conversation.accepted()[0]

    @property
    def last_number(self) -> int:
        """The number of the last message queued, as :meth:`send` returned it, or would have; -1 if there is none."""
        return self._conversation.accepted()[1]

    def send_many(
        self,
        items: Iterable[bytes | bytearray | memoryview],
        *,
        priority: int = 1,
        sign: bool = False,
        timeout: Wait = CONFIG,
    ) -> int:
        """
        Queue many messages, cheaper than one by one.

        All are checked before the first is queued, and each is signed by itself if that is wanted. ``timeout`` is the
        wait for room for each; if it runs out, those before have been queued.

        Returns:
            The number of the last; -1 if there were none.

        Raises:
            Exception: The same as :meth:`send`.
        """
        messages = [item if type(item) is bytes else _as_bytes(item) for item in items]
        conversation = self._conversation
        sign = sign or self._host.signatory.signs_all
        for message in messages:
            if sign or len(message) > self._plain_max:
                conversation.check_size(len(message), signed=sign)
        if not 0 <= priority <= 255:
            raise ValueError(f"priority must be 0 (most urgent) to 255, not {priority}")
        conversation.check_fork()
        if sign:
            number = -1
            for message in messages:
                number = conversation.send_signed(message, priority, timeout)
            return number
        if messages:
            conversation.check_plain("messages")
        wait = conversation.send_timeout if isinstance(timeout, Configured) else timeout
        return conversation.send_many(messages, priority, _MESSAGE, wait)

    def flush(self, timeout: Wait = CONFIG) -> None:
        """
        Wait until everything sent so far has been acknowledged: stored by the peer's session, not yet handled by its
        application.

        Raises:
            Timeout: Not in time; the messages stay queued.
            PeerLost, ServiceClosed: It is over.
            LocalProtocolError: Called from a callback, where it could wait for itself.
        """
        wait = self._conversation.send_timeout if isinstance(timeout, Configured) else timeout
        self._conversation.drain(wait)

    def send_file(
        self,
        path: str | os.PathLike[str],
        *,
        name: str | None = None,
        sign: bool = False,
        progress: Callable[[int, int], object] | None = None,
        timeout: float | None = None,
    ) -> FileSent:
        """
        Send a file and wait until the other side has stored and checked it.

        Survives lost links as messages do. Other messages go on meanwhile.

        Args:
            path: A regular file.
            name: What to call it over there; its own name if None.
            sign: Sign its content, size and name, so that the receiver has a proof of them that convinces others;
                ``signing.sign_all`` does so always.
            progress: Called on this thread with bytes sent and bytes in all.
            timeout: Seconds for all of it; None: no limit.

        Returns:
            Name, size and checksum.

        Raises:
            FileRefused: The other side does not want it.
            TransferError: It failed on either side; the text says where.
            OSError: The file cannot be read.
            Timeout: Not done in time. The other side keeps nothing of it, unless all was sent and only its word is
                missing: the text says which.
            PeerLost, ServiceClosed: As for :meth:`send`.
            LocalProtocolError: Called from a callback, which it would block; or the peer takes only files that are
                signed, or none that are.
        """
        return self._host.send_file(self, path, name, progress, timeout, sign)

    # --- receiving ----------------------------------------------------------------------------------------------------

    def recv(self, timeout: float | None = None) -> bytes:
        """
        The next message's data.

        Messages that arrived before the session ended can still be read.

        Args:
            timeout: Seconds to wait; None: no limit; 0: only what is there.

        Raises:
            Timeout: None came in time.
            PeerLost: The session is over and everything has been read.
            ServiceClosed: The node is closed and everything has been read.
            LocalProtocolError: A ``NewMessage`` callback or stream takes the messages.

        An exception from outside (KeyboardInterrupt, a signal handler's, a timeout of greenlets) may end it at any
        moment; the message is then still there for the next call. What crust cannot guard is the way from its return
        into your variable. On CPython 3.11 and newer nothing can strike there if you call the method directly (not
        through ``functools.partial``, ``map`` and the like, nor under a tracer); on 3.10 a signal may, and the message
        is lost to you, as the result of any function would be.
        """
        return self._take(timeout)[0]

    def recv_message(self, timeout: float | None = None) -> NewMessage:
        """Like :meth:`recv`, with priority, and with the proof of a message that was signed."""
        item = self._take(timeout)
        return NewMessage(self, item[0], item[1], self._proof(item[0], item[2]) if len(item) > 2 else None)

    def _proof(self, data: bytes, evidence: bytes) -> bytes:
        return self._host.signatory.proof_of(self.id.public_key, evidence, data)

    def __iter__(self) -> Iterator[bytes]:
        """Messages as they come; ends when the other side, or we, ended the session in order, else raises PeerLost."""
        while True:
            try:
                yield self.recv()
            except PeerLost as error:
                if error.reason in ("closed", "disconnected"):
                    return
                raise

    def _take(self, timeout: float | None) -> _Item:
        consumer = self._host.consumes_messages()
        if consumer:
            raise LocalProtocolError(
                f"{consumer} takes this node's messages, so recv() would never see one; use one or the other"
            )
        # An interrupt must not find a message that has left one place and not come to the next. So it goes from the
        # queue into ``_held`` inside one call that runs no bytecode, from there to ``_handed`` and to the caller by
        # plain statements in a row.
        conversation = self._conversation
        wait = None if timeout is None else max(0.0, timeout)
        while True:
            held = self._held
            if self._handed is None and not held:
                if held is None:
                    held = self._hold()
                get = self._inbox.get  # type: ignore[union-attr]  # who holds has an inbox
                # (The object that this gives ``held`` is the same.)
                try:
                    held += map(get, _ONCE) if wait is None else map(get, _ONCE, (wait,))
                except queue.Empty:
                    raise Timeout(f"no message from peer {self.id} within {timeout} s") from None
            conversation.credit(None, self)
            handed = self._handed
            if handed is not None:
                self._handed = None
                item: _Item = handed[0]
                return item
            if held and held[0] is None:
                raise self._over()

    def _hold(self) -> collections.deque[_Item | None]:
        with self._conversation.lock:  # two threads may come here at once
            self._open_inbox()
            held = self._held
            if held is None:  # an empty one may be somebody else's, who waits for what comes into it
                held = self._held = collections.deque()
            return held

    def _over(self) -> CrustError:
        inbox = self._inbox
        if inbox is not None and inbox.empty():
            inbox.put(None)  # for others who wait
        return self._conversation.error_of_end()

    # --- for the node -------------------------------------------------------------------------------------------------

    def _open_inbox(self) -> Queue:
        """The inbox, which is there from then on (the conversation's lock is held)."""
        inbox = self._inbox
        if inbox is None:
            inbox = self._inbox = self._host.clock.queue()
        return inbox

    def _deliver(self, deliveries: list[Delivery]) -> None:
        """Put messages into the inbox (the conversation's lock is held)."""
        put = self._open_inbox().put
        for _, priority, messages, _, evidence in deliveries:
            if evidence is not None:
                put((messages[0], priority, evidence))
                continue
            for data in messages:
                put((data, priority))
        self._conversation.shelved_locked(deliveries)

    def _give_back(self, deliveries: list[Delivery]) -> None:
        """Messages that a callback leaves to the inbox: behind what waits there, before the session's end."""
        with self._conversation.lock:
            waiting = self._unread()
            inbox = self._open_inbox()
            over = False
            with contextlib.suppress(queue.Empty):
                inbox.get(block=False)
                over = True
            self._deliver([*waiting, *deliveries])
            if over:
                inbox.put(None)

    @property
    def _has_unread(self) -> bool:
        inbox = self._inbox
        return bool(self._handed or self._held or (inbox is not None and not inbox.empty()))

    def _unread(self) -> list[Delivery]:
        """Take what is in the inbox, for a consumer that comes late (the conversation's lock is held)."""
        handed, self._handed = self._handed, None
        items = []
        if handed is not None:  # a recv() was interrupted
            self._conversation.take_back_locked(handed)
            items.append(handed[0])
        while self._held and self._held[0] is not None:
            items.append(self._held.popleft())
        inbox = self._inbox
        while inbox is not None and not inbox.empty():
            try:
                item = inbox.get(block=False)
            except queue.Empty:
                break
            if item is None:
                inbox.put(None)
                break
            items.append(item)
        return [
            Delivery(_MESSAGE, item[1], (item[0],), len(item[0]) + _OVERHEAD, item[2] if len(item) > 2 else None)
            for item in items
        ]

    def _abandon(self) -> None:
        """In a forked child: nothing can be read any more (takes no lock)."""
        self._held = self._handed = None
        inbox = self._inbox = self._host.clock.queue()
        inbox.put(None)

    def _weakly(self) -> Callable[[Conversation], Peer]:
        """
        What finds it for as long as somebody has it, and from then on makes another one, whose inbox is empty: for what
        crust has yet to say of a session that is over.
        """
        known, host = weakref.ref(self), self._host

        def find(conversation: Conversation) -> Peer:
            peer = known()
            if peer is None:
                peer = Peer(host, conversation)
                peer._open_inbox().put(None)
            return peer

        return find

    def _end(self) -> None:
        with self._conversation.lock:
            self._open_inbox().put(None)

    # --- ending -------------------------------------------------------------------------------------------------------

    def disconnect(self, reason: str = "") -> bool:
        """
        End the session on both sides: they hear ``LostPeer``. What was not yet acknowledged is in ours; :meth:`flush`
        first if it matters. Never blocks.

        For ten minutes neither side's node dials the other by itself; :meth:`crust.Service.connect` does.

        Args:
            reason: Why, in words for the other side: its ``LostPeer.text``. At most 200 bytes of UTF-8 are sent.

        Returns:
            False if it was over already.
        """
        conversation = self._conversation
        conversation.check_fork()
        goodbye = Goodbye(GoodbyeCode.DISCONNECTED, short_text(reason))
        return self._host.io.shielded(lambda: conversation.end("disconnected", goodbye))


def _as_bytes(data: Any) -> bytes:
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    hint = "; encode it first, for example data.encode()" if isinstance(data, str) else ""
    raise TypeError(f"a message must be bytes, bytearray or memoryview, not {type(data).__name__}{hint}")

