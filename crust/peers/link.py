"""
A link: one encrypted stream to one peer, from the first byte of the handshake to the last record.

The link is the sink of a transport connection: everything it receives is handled on the connection's reader thread.
Writing is safe from any thread; nothing here ever blocks. What the bytes mean for peers and sessions is decided by the
``owner`` (while it begins) and by the ``conversation`` (once it carries one).

Stages, in order: HANDSHAKE (Noise messages), ANSWER (the caller waits for Welcome or Denied; the callee has sent
Welcome and waits for Use), OPEN (carries a conversation), DEAD.
"""

from __future__ import annotations

import enum
import os
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .. import limits
from ..addresses import PeerId
from ..crypto.handshake import (
    AnswerDenied,
    AnswerReceived,
    HelloImpossible,
    HelloReceived,
    Initiator,
    IntroductionReceived,
    Responder,
    SelfIntroduced,
)
from ..crypto.keys import CIPHERS
from ..crypto.records import RecordOpener, RecordSealer, export_key
from ..exceptions import RemoteProtocolError
from ..transports.contract import Connection
from ..transports.errors import LeftUnread
from ..wire import frames
from ..wire.handshake import Introduction, Manner
from .circuits.connection import CircuitConnection
from .circuits.words import CircuitEnded
from .link_owner import LinkOwner
from .meter import dear_words
from .scratches import SCRATCH_FROM, give_back, take_scratch
from .splitting import Splitting
from .transfer import printable

if TYPE_CHECKING:
    from ..nat.stun.door import Door
    from ..runtime.timers import Timer
    from .circuits.legs import Legs
    from .conversation import Conversation

__all__ = ["Link", "Stage"]


class Stage(enum.Enum):
    """How far a link has come."""

    HANDSHAKE = "handshake"
    ANSWER = "answer"
    OPEN = "open"
    DEAD = "dead"


class Link:
    """
    One encrypted stream.

    Args:
        connection: The transport's connection, not yet started.
        handshake: Our side of the handshake; the type decides whether we are caller or callee.
        owner: See :class:`LinkOwner`.
        report: Called with an exception that must not happen: it is logged and surfaced.
        now: The node's clock.
        peer_id: Whom we call (caller only).
        manner: How the stream came to be (caller only; a callee is told).
    """

    __slots__ = (
        "__weakref__",
        *("_beginning", "_closing", "_exports", "_handshake", "_hello_sent", "_lock", "_now", "_opener", "_owner"),
        *("_pending", "_renewed", "_report", "_sealer", "_splitting"),
        "burst",
        "bytes_received",
        "bytes_sent",
        "cipher",
        "circuit",
        "circuits",
        "connection",
        "conversation",
        "door",
        "error",
        "greeted",
        "handshake_timer",
        "inbound",
        "introduction",
        "manner",
        "misheard",
        "observed",
        "owner_data",
        "peer_id",
        "rtt",
        "since",
        "spoken",
        "stage",
        "verdict",
    )

    def __init__(
        self,
        connection: Connection,
        handshake: Initiator | Responder,
        owner: LinkOwner,
        report: Callable[[BaseException], None],
        now: Callable[[], float],
        peer_id: PeerId | None = None,
        manner: Manner = Manner.DIRECT,
    ) -> None:
        self.connection = connection
        self.circuit = connection if isinstance(connection, CircuitConnection) else None
        """The connection, if it is a circuit: to that peer through another one."""
        self.circuits: Legs | None = None
        """The circuits that others have over this link, if any had."""
        self.inbound = isinstance(handshake, Responder)
        self.stage = Stage.HANDSHAKE
        self.peer_id = peer_id
        self.conversation: Conversation | None = None
        self.introduction: Introduction | None = None
        self.manner = manner
        self.owner_data: object = None
        """Whatever the owner wants to remember about this link."""
        self.handshake_timer: Timer
        """Ends the link if it takes too long to begin; set by the owner."""
        self.observed: tuple[str, int] | None = None
        """Our own address as the callee sees it."""
        self.greeted = False
        """The caller's message 1 was valid (callee only)."""
        self.spoken = False
        """The caller has said something (callee only)."""
        self.misheard = ""
        """Why it will never be a message 1, for the log alone: who calls must not notice (callee only)."""
        self.door: Door | None = None
        """Looks at what comes before the handshake; set by the owner (callee only)."""
        self.cipher = ""
        self.rtt: float | None = None
        self.since = 0.0
        self.verdict = ""
        """Why the link ended, in a word of ``crust.Attempt``; empty while it lives."""
        self.error = ""
        self.bytes_received = 0
        self.bytes_sent = 0
        self.burst = 1
        """How many large records should be written together: more, the longer all is taken at once."""
        self._handshake: Initiator | Responder | None = handshake
        self._owner = owner
        self._renewed = False
        self._report = report
        self._now = now
        self._hello_sent = 0.0
        self._splitting = Splitting(connection)
        self._sealer: RecordSealer | None = None
        self._opener: RecordOpener | None = None
        self._exports: tuple[bytes, bytes] | None = None
        self._pending: bytes = b""
        self._closing = False
        self._lock = threading.Lock()  # guards _sealer, _pending, _closing and the order of bytes on the wire
        self._beginning = threading.Lock()  # guards the caller's handshake and _opener; taken before _lock

    # --- life ---------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Say hello if we are the caller; call just before the connection starts to read."""
        if isinstance(self._handshake, Initiator):
            self._hello_sent = self._now()
            self._write_raw(self._handshake.start())

    def fail(self, verdict: str, error: str) -> None:
        """End the link because of ``error``; the reader thread then reports it. Idempotent: the first reason stays."""
        if not self.verdict:
            self.verdict, self.error = verdict, error
        self.connection.abort()

    def close(self) -> None:
        """End the link after what has been written is out."""
        if not self.verdict:
            self.verdict = "closed"
        with self._lock:
            if self._pending:
                self._closing = True
                return
        self.connection.close()

    @property
    def asked_at(self) -> float:
        """When our last handshake message went out: the other side wrote its last one after reading it."""
        return self._hello_sent

    @property
    def exports(self) -> tuple[bytes, bytes] | None:
        """
        Two secrets of 32 bytes that only the two ends know, for what we send and for what we receive outside of it: on
        circuits, once records flow; else None.
        """
        return self._exports

    def abandon(self) -> None:
        """In a forked child: forget the keys, and never write or report anything (takes no lock)."""
        self.verdict = self.verdict or "cancelled"
        self.stage = Stage.DEAD
        self._lock = threading.Lock()
        self._beginning = threading.Lock()
        self._handshake = None
        self._pending = b""
        for direction in (self._sealer, self._opener):
            if direction is not None:
                direction.forget()
        self._sealer = self._opener = None

    def flush(self) -> None:
        """End the link after a write that was interrupted (io thread)."""
        self.connection.abort()

    @property
    def address(self) -> str | None:
        """The other end's host. Of a circuit, where the introducer says that it is; None: it does not say."""
        if self.circuit is None:
            return self.connection.remote.host
        seen = self.circuit.observed
        return None if seen is None else seen[0]

    @property
    def carries_data(self) -> bool:
        """False for a circuit whose introducer, or one of whose ends, wants no application's data on it."""
        return self.circuit is None or self.circuit.relays

    def end_circuits(self) -> None:
        """Whatever others have over this link is over: it carries its session no more."""
        if self.circuits is not None:
            self.circuits.link_ended()

    @property
    def blocked(self) -> bool:
        """True while written bytes wait for the transport; the conversation then waits for ``link_writable``."""
        return bool(self._pending)

    # --- the transport's sink -----------------------------------------------------------------------------------------

    def data_received(self, data: memoryview | bytes) -> None:
        """Bytes arrived (reader thread)."""
        self.data_offered(data, may_leave=False)

    def data_offered(self, data: memoryview | bytes, may_leave: bool = True) -> int:
        """The same; gives how many were taken: what is too dear at once is left."""
        taken = len(data)
        self.bytes_received += taken
        try:
            if self._opener is not None:
                taken = self._receive_records(data, may_leave)
                self.bytes_received -= len(data) - taken
            else:
                self._receive_handshake(data)
        except RemoteProtocolError as error:
            self.fail("failed", str(error))
        except Exception as error:  # a bug of ours must not take the reader thread, and the peer, down silently
            self._report(error)
            self.fail("failed", f"internal error: {error!r}")
        return taken

    def connection_lost(self, error: OSError | None) -> None:
        """The stream ended (reader thread, once)."""
        if not self.verdict:
            verdict = error.verdict if isinstance(error, CircuitEnded) else "failed"
            if self.stage is Stage.HANDSHAKE and (error is None or isinstance(error, ConnectionResetError)):
                text = (
                    "the other side closed the connection during the handshake "
                    "(wrong key, secret or program? or it has too many callers: try again)"
                )
            else:
                text = str(error) if error is not None else "the other side closed the connection"
            self.verdict, self.error = verdict, text
        self.end_circuits()
        with self._beginning:
            self.stage = Stage.DEAD
            self._handshake = None
        with self._lock:  # the verdict keeps whoever comes later from sealing
            for direction in (self._sealer, self._opener):
                if direction is not None:
                    direction.forget()
        conversation = self.conversation
        try:
            if conversation is not None:
                conversation.link_lost(self)
            else:
                self._owner.link_lost(self)
        except Exception as failure:
            self._report(failure)

    # --- handshake ----------------------------------------------------------------------------------------------------

    def _receive_handshake(self, data: memoryview | bytes) -> None:
        if not self.inbound:
            self._advance_caller(data)
            return
        handshake = self._handshake
        if handshake is None or self.verdict:
            return
        if self.door is not None:
            answers, through = self.door.receive(data, self._now())
            if answers:
                self._write_raw(answers)
            if through is None:
                return
            self.door, data = None, through
        assert isinstance(handshake, Responder)
        self._advance_callee(handshake, data)
        if self._opener is None and handshake.result is not None and not self.verdict:
            self._open_records(handshake)

    def _advance_caller(self, data: memoryview | bytes) -> None:
        with self._beginning:
            handshake = self._handshake
            if self.verdict:
                return
            events = handshake.receive(data) if isinstance(handshake, Initiator) else None
        if events is None:  # we were introduced just now, on another thread
            self._receive_records(data)
            return
        for event in events:
            if isinstance(event, AnswerDenied):
                self._owner.link_denied(self, event.code, "", ())
                self.fail("denied", f"refused: {event.code.name.lower()}")
                return
            if isinstance(event, AnswerReceived):
                self.rtt = self._now() - self._hello_sent
                self.observed = event.accepted.observed
                self._owner.link_answered(self)

    def introduce(self, introduction: Introduction) -> bool:
        """
        Say who we are, after ``link_answered`` (caller only; any thread).

        Returns:
            False if the link has ended.
        """
        with self._beginning:
            handshake = self._handshake
            if self.verdict or not isinstance(handshake, Initiator):
                return False
            self.introduction = introduction
            message = handshake.introduce(introduction)
            self._open_records(handshake)  # before the other side can answer
            self._write_raw(message)
            return True

    def _advance_callee(self, handshake: Responder, data: memoryview | bytes) -> None:
        events = handshake.receive(data)
        if not self.spoken:
            self.spoken = True
            if not any(isinstance(event, HelloReceived) for event in events):
                self._owner.link_spoke(self)
        for event in events:
            if isinstance(event, HelloReceived):
                self.greeted = True
                self._owner.link_hello(self)
                if self.verdict:
                    return
                self._hello_sent = self._now()
                remote = self.connection.remote
                seen = remote.is_ip and self.circuit is None
                self._write_raw(handshake.answer((remote.host, remote.port) if seen else None))
                if handshake.denied is not None:
                    self.verdict = "denied"
                    self.error = f"refused: {handshake.denied.name.lower()}"
                    self.connection.close()
                    return
            elif isinstance(event, HelloImpossible):
                self.misheard = event.why
            elif isinstance(event, (IntroductionReceived, SelfIntroduced)):
                self.rtt = self._now() - self._hello_sent
                self.peer_id = PeerId(event.introduction.peer_id)
                self.introduction = event.introduction
                self.manner = event.introduction.manner if self.circuit is None else Manner.RELAY
                self.observed = event.introduction.observed

    def _open_records(self, handshake: Initiator | Responder) -> None:
        result = handshake.result
        assert result is not None
        self.cipher = CIPHERS[result.aead].name
        self._sealer = RecordSealer(result.send_key, result.hash, result.aead)
        self._opener = RecordOpener(result.receive_key, result.hash, result.aead)
        if self.connection.transport == "relay":
            self.manner = Manner.RELAY
            self._exports = export_key(result.send_key, result.hash), export_key(result.receive_key, result.hash)
        self.stage = Stage.ANSWER
        self._handshake = None
        if not self.inbound:
            return  # nothing comes before our introduction has gone out
        leftover = handshake.leftover
        assert self.introduction is not None
        self._owner.link_introduced(self, self.introduction)
        if leftover:
            self._receive_records(leftover)

    # --- records ------------------------------------------------------------------------------------------------------

    def _receive_records(self, data: memoryview | bytes, may_leave: bool = False) -> int:
        """Open what is complete; records of the session are passed on together: one lock, one post, one wake."""
        opener = self._opener
        assert opener is not None
        clock = self._now
        now = clock()
        received: list[list[frames.Frame]] = []
        violation: RemoteProtocolError | None = None
        taken, records, words = len(data), 0, 0
        scratch = take_scratch() if len(data) >= SCRATCH_FROM else None
        try:
            for plaintext in opener.receive(data, scratch):  # a bad one raises: an attacker on the path can cause that
                records += 1
                if plaintext[0] in _SESSION_TYPES and self.stage is Stage.OPEN:
                    try:
                        received.append(frames.parse_record_untrusted(plaintext))
                    except RemoteProtocolError as error:  # authentic: only the peer itself can have sent this
                        violation = error
                        break
                    words += dear_words(received[-1]) if may_leave else 0
                    if words >= limits.PIECE_WORDS:
                        taken = opener.taken
                        break
                    continue
                if received:
                    self._pass_on(received, now)
                    received = []
                if self.verdict:
                    return taken
                self._receive_control(plaintext, now)
        finally:
            if received:
                self._pass_on(received, now)
        if scratch is not None:
            give_back(scratch)
        conversation = self.conversation
        if violation is not None and conversation is not None:
            conversation.violated(self, violation)
        elif conversation is not None:
            excess = self._splitting.excess(taken, records)
            if excess:
                conversation.charge_split(excess)
            if conversation.meter.is_overdrawn:
                conversation.settle(self)
        return taken

    def _pass_on(self, received: list[list[frames.Frame]], now: float) -> None:
        if self.conversation is not None and not self.verdict:
            self.conversation.receive(self, received, now)

    def _receive_control(self, plaintext: bytes | memoryview, now: float) -> None:
        """A record about the link itself, or the end of the session."""
        try:
            received = frames.parse_record_untrusted(plaintext)
            frame = received[0]
            if len(received) > 1:
                raise RemoteProtocolError(f"{type(frame).__name__} must stand alone in its record")
            if isinstance(frame, frames.KeyUpdate) and not self._renewed:
                assert self._opener is not None
                self._opener.update_key()
                self._renewed = self.stage is Stage.ANSWER  # once before there is a session that pays for it
            elif self.stage is Stage.ANSWER:
                self._receive_answer(frame)
                self._renewed = False
            elif self.conversation is None or not self.conversation.receive_control(self, frame):
                raise RemoteProtocolError(f"{type(frame).__name__} on a link that is open already")
            if self.conversation is not None:
                self.conversation.bear(frame)
        except RemoteProtocolError as error:  # authentic: only the peer itself can have sent this
            if self.conversation is None:
                raise
            self.conversation.violated(self, error)

    def _receive_answer(self, frame: frames.Frame) -> None:
        if self.inbound:
            if not isinstance(frame, frames.Use):
                raise RemoteProtocolError(f"{type(frame).__name__} before Use")
            self._owner.link_used(self, frame.decision)
        elif isinstance(frame, frames.Welcome):
            self._owner.link_welcomed(self, frame)
        elif isinstance(frame, frames.Denied):
            self._owner.link_denied(self, frame.code, frame.text, frame.alternates)
            words = f" ({printable(frame.text)})" if frame.text else ""
            self.fail("denied", f"refused: {frame.code.name.lower()}{words}")
        else:
            raise RemoteProtocolError(f"{type(frame).__name__} before Welcome")

    # --- writing ------------------------------------------------------------------------------------------------------

    def write(self, plaintexts: Sequence[bytes], now: float) -> bool:
        """
        Seal records and send them together; never blocks.

        Args:
            plaintexts: Of at most :data:`crust.limits.RECORDS_AT_ONCE` records.

        Returns:
            False if the link is now blocked or dead. The records count as sent either way: a blocked link sends them
            later, a dead one makes the session resume.
        """
        try:
            with self._lock:
                sealer = self._sealer
                if sealer is None or self.verdict:
                    return False
                if sealer.needs_update(now, len(plaintexts)):
                    update = sealer.seal(frames.build_record([frames.KeyUpdate()]))
                    sealer.update_key()
                    self._push_locked(update)
                if len(plaintexts) == 1 and len(plaintexts[0]) < SCRATCH_FROM:
                    return self._push_locked(sealer.seal(plaintexts[0]))
                scratch = take_scratch()
                size = 0
                for plaintext in plaintexts:
                    size += sealer.seal_into(plaintext, scratch, size)
                all_out = self._push_locked(memoryview(scratch)[:size])
                give_back(scratch)
                return all_out
        except BaseException:  # interrupted: half a record may be out, so this link must never write another
            self.verdict, self.error = self.verdict or "failed", self.error or "a write was interrupted"
            self.connection.abort()
            raise

    def write_control(self, *control: frames.Frame) -> None:
        """Send control frames in a record of their own, padded by a random amount."""
        padding = int.from_bytes(os.urandom(1), "big")
        self.write((frames.build_record(control, padding),), self._now())

    def _write_raw(self, data: bytes) -> None:
        with self._lock:
            self._push_locked(data)

    def _push_locked(self, data: bytes | memoryview) -> bool:
        """Write, or keep a copy of what cannot be written now."""
        self.bytes_sent += len(data)
        if self._pending:
            self._pending += data
            return False
        try:
            accepted = self.connection.send(data)
        except LeftUnread:
            return False  # not the end yet: that may be a goodbye
        except OSError as error:
            self.fail("failed", str(error))
            return False
        if accepted == len(data):
            if self.burst < limits.RECORDS_AT_ONCE:
                self.burst += 1
            return True
        self.burst = 1  # what waits here is what an urgent message has to wait for
        self._pending = bytes(data[accepted:])
        self.connection.when_writable(self._writable)
        return False

    def _writable(self) -> None:
        """The transport has room again (io thread)."""
        with self._lock:
            data, self._pending = self._pending, b""
            if data and not self._drain_locked(data):
                return
            closing = self._closing
        if closing:
            self.connection.close()
        elif self.conversation is not None:
            self.conversation.link_writable(self)

    def _drain_locked(self, data: bytes) -> bool:
        """True when all of ``data`` is out; else the rest waits again (or the link is dead)."""
        try:
            accepted = self.connection.send(data)
        except LeftUnread:
            return False
        except OSError as error:
            self.fail("failed", str(error))
            return False
        if accepted == len(data):
            return True
        self._pending = data[accepted:]
        self.connection.when_writable(self._writable)
        return False


_T = frames.FrameType
_SESSION_TYPES = frozenset((_T.ACK, _T.PING, _T.PONG, _T.BATCH, _T.PIECE))
