"""
Proofs: what somebody has signed for somebody else, so that a third party can tell without trusting either.

A signature covers what is signed, the network and a statement (:mod:`crust.wire.proofs`); behind these three it makes a
proof. On the wire go statement and signature alone.

**Ids.** Each of 16 bytes, and none twice in one session and direction. A receiver must tell that without remembering
millions of them, so they have an order: ::

    mark 6 | number 9 | priority 1          of a message
    mark 6 | random 6 | transfer 4          of a file

The mark is derived from the session, so a proof of one session is none in another. Numbers of one priority grow, by
random steps: whoever sees two proofs does not learn how many messages were between them. Messages of one priority
arrive in order, so the receiver remembers the last number of each; those of different priorities differ in the end.

Everything here is a function of its arguments, or a small state that its owner guards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .. import limits
from ..addresses import PeerId
from ..exceptions import MalformedMessage, ProofError, RemoteProtocolError
from ..values import dataclass
from ..wire import proofs as wire
from .keys import hash32, is_signed

if TYPE_CHECKING:
    from .identity import KeyPair

__all__ = ["Growing", "Numbers", "Proof", "Signatory", "evidence_of", "file_id", "session_mark", "verify_proof"]

Randomness = Callable[[int], bytes]
_MARK_SIZE, _NUMBER_SIZE = 6, 9
_STEP_SIZE = 4  # bytes of the random step from one number to the next
_START_SIZE = 8
_NETWORK = 32
_EVIDENCE_FROM, _EVIDENCE_FRONT = 2 * limits.PEER_ID_SIZE, limits.PROOF_ID_SIZE + 8  # id and time


@dataclass(frozen=True)
class Proof:
    """What a proof says, after its signature was found right."""

    kind: str
    """``message`` or ``file``."""
    sender: PeerId
    """Who signed it."""
    receiver: PeerId
    """For whom."""
    time: float
    """When, in seconds since the epoch, as the sender says."""
    id: bytes
    """16 bytes. The sender gives no two things the same, whoever they are for: two proofs with one id are one."""
    size: int
    """Bytes of the message or of the file."""
    digest: str
    """BLAKE2b-256 of the message or of the file, in hex: compare it with that of the file at hand."""
    data: bytes | None
    """The message; None of a file."""
    name: str | None
    """What the sender called the file, not made harmless; None of a message."""
    network_id: bytes
    """The network that it was said in: 32 bytes, BLAKE2b-256 of ``b"crust/1 network\\0"`` and the network's name."""


def verify_proof(proof: bytes) -> Proof:
    """
    Check a proof. Needs no node, no network and no secret, and is thread-safe.

    Args:
        proof: ``NewMessage.proof``, ``FileReceived.proof``, or what a ``.crust-proof`` file has.

    Raises:
        TypeError: It is not bytes.
        ProofError: It is no proof, or was changed, or somebody else signed it; the text says which.
    """
    if not isinstance(proof, (bytes, bytearray, memoryview)):
        raise TypeError(f"a proof is bytes, not {type(proof).__name__}")
    proof = bytes(proof)
    mark = next((mark for mark in (wire.MESSAGE_MARK, wire.FILE_MARK) if proof.startswith(mark)), None)
    if mark is None:
        raise ProofError("these bytes are no proof: they begin with neither 'crust/1 message' nor 'crust/1 file'")
    network_id = proof[len(mark) : len(mark) + _NETWORK]
    try:
        body, signature = wire.split_signed_untrusted(proof[len(mark) + _NETWORK :])
        statement: wire.MessageStatement | wire.FileStatement
        if mark == wire.MESSAGE_MARK:
            statement = wire.parse_message_statement_untrusted(body)
        else:
            statement = wire.parse_file_statement_untrusted(body)
    except MalformedMessage as error:
        raise ProofError(f"this proof is damaged: {error}") from error
    if not is_signed(statement.sender, proof[: -limits.SIGNATURE_SIZE], signature):
        raise ProofError(
            f"the signature is not that of {PeerId(statement.sender)}: the proof was changed, or somebody else made it"
        )
    return _shown(statement, network_id)


def _shown(statement: wire.MessageStatement | wire.FileStatement, network_id: bytes) -> Proof:
    sender, receiver = PeerId(statement.sender), PeerId(statement.receiver)
    time = statement.time / 1000
    if isinstance(statement, wire.MessageStatement):
        data = statement.payload
        digest = hash32(data).hex()
        return Proof("message", sender, receiver, time, statement.id, len(data), digest, data, None, network_id)
    size, digest, name = statement.size, statement.digest.hex(), statement.name
    return Proof("file", sender, receiver, time, statement.id, size, digest, None, name, network_id)


def evidence_of(signed: bytes) -> bytes:
    """What of a signed message is kept beside its payload, until somebody wants the proof: 88 bytes."""
    return signed[_EVIDENCE_FROM : _EVIDENCE_FROM + _EVIDENCE_FRONT] + signed[-limits.SIGNATURE_SIZE :]


class Signatory:
    """
    A node as one that signs, and to whom others sign. Immutable; may be shared by threads.

    Args:
        keys: Its key pair.
        network_id: 32 bytes.
        signs_all: Whatever its application sends, it signs.
        takes_signed_only: It refuses what is not.
    """

    __slots__ = ("_file_text", "_keys", "_message_text", "own_id", "signs_all", "takes_signed_only")

    def __init__(
        self, keys: KeyPair, network_id: bytes, *, signs_all: bool = False, takes_signed_only: bool = False
    ) -> None:
        self._keys = keys
        self.own_id = keys.peer_id.public_key
        self.signs_all = signs_all
        self.takes_signed_only = takes_signed_only
        self._message_text = wire.MESSAGE_MARK + network_id
        self._file_text = wire.FILE_MARK + network_id

    def sign_message(self, receiver: bytes, number: bytes, time: int, payload: bytes) -> bytes:
        """
        A message as it goes out: statement and signature.

        Args:
            receiver: Peer id, 32 bytes.
            number: Its id.
            time: Milliseconds since the epoch.

        Raises:
            IdentityError: The key has been cleared.
        """
        statement = wire.MessageStatement(self.own_id, receiver, number, time, payload)
        body = wire.build_message_statement(statement)
        return body + self._keys.sign(self._message_text + body)

    def open_message(self, sender: bytes, signed: bytes) -> wire.MessageStatement:
        """
        What a peer has signed for us.

        Raises:
            MalformedMessage: It is no signed message, was not signed by the peer, or not for us.
        """
        body, signature = wire.split_signed_untrusted(signed)
        statement = wire.parse_message_statement_untrusted(body)
        self._check(statement, sender, self._message_text + body, signature)
        return statement

    def proof_of(self, sender: bytes, evidence: bytes, payload: bytes) -> bytes:
        """The proof of a message that :meth:`open_message` has opened; see :func:`evidence_of`."""
        length = len(payload).to_bytes(4, "big")
        when, signature = evidence[:_EVIDENCE_FRONT], evidence[_EVIDENCE_FRONT:]
        return b"".join((self._message_text, sender, self.own_id, when, length, payload, signature))

    def sign_file(self, receiver: bytes, number: bytes, time: int, size: int, digest: bytes, name: str) -> bytes:
        """
        What goes out at the end of a file: statement and signature.

        Raises:
            IdentityError: The key has been cleared.
        """
        body = wire.build_file_statement(
            wire.FileStatement(self.own_id, receiver, number, time, size, digest, name)
        )
        return body + self._keys.sign(self._file_text + body)

    def open_file(self, sender: bytes, signed: bytes) -> tuple[wire.FileStatement, bytes]:
        """
        What a peer has signed of a file for us, and the proof of it.

        Raises:
            MalformedMessage: It is none, was not signed by the peer, or not for us.
        """
        body, signature = wire.split_signed_untrusted(signed)
        statement = wire.parse_file_statement_untrusted(body)
        self._check(statement, sender, self._file_text + body, signature)
        return statement, self._file_text + signed

    def _check(
        self, statement: wire.MessageStatement | wire.FileStatement, sender: bytes, text: bytes, signature: bytes
    ) -> None:
        if statement.sender != sender:
            raise MalformedMessage("it is signed by somebody else than who sent it")
        if statement.receiver != self.own_id:
            raise MalformedMessage("it is signed for somebody else")
        if not is_signed(sender, text, signature):
            raise MalformedMessage("its signature is wrong")


# --- ids --------------------------------------------------------------------------------------------------------------


def session_mark(session_id: bytes) -> bytes:
    """What the ids of a session begin with."""
    return hash32(b"crust/1 signed" + session_id)[:_MARK_SIZE]


def file_id(session_id: bytes, random: bytes, transfer: int) -> bytes:
    """The id of a file: ``random`` has 6 bytes."""
    return session_mark(session_id) + random + transfer.to_bytes(4, "big")


class Numbers:
    """
    The ids of the messages that one side of a session signs. Its owner guards it.

    Args:
        session_id: 16 bytes.
        random: So many random bytes.
    """

    __slots__ = ("_mark", "_number", "_random")

    def __init__(self, session_id: bytes, random: Randomness) -> None:
        self._mark = session_mark(session_id)
        self._random = random
        self._number = int.from_bytes(random(_START_SIZE), "big")

    def next(self, priority: int) -> bytes:
        """The next one."""
        self._number += 1 + int.from_bytes(self._random(_STEP_SIZE), "big")
        return self._mark + self._number.to_bytes(_NUMBER_SIZE, "big") + bytes((priority,))


class Growing:
    """
    What is new among the ids of a peer's messages. Its owner guards it; remembers one id for each priority.

    Args:
        session_id: 16 bytes.
    """

    __slots__ = ("_last", "_mark")

    def __init__(self, session_id: bytes) -> None:
        self._mark = session_mark(session_id)
        self._last: dict[int, bytes] = {}

    def take(self, number: bytes, priority: int) -> None:
        """
        Raises:
            RemoteProtocolError: It does not belong to this session or priority, or is not new.
        """
        if not number.startswith(self._mark):
            raise RemoteProtocolError("a signed message of another session")
        if number[-1] != priority:
            raise RemoteProtocolError(f"a signed message for priority {number[-1]} that came with {priority}")
        if number <= self._last.get(priority, b""):
            raise RemoteProtocolError("a signed message that repeats, or overtakes, an earlier one")
        self._last[priority] = number
