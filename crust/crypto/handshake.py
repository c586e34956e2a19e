"""
The handshake of a stream: who is who, which version, which AEAD (docs/wire-format.md, "Handshake").

Noise XK (XKpsk3 in a network with a secret) with prologue ``"crust/1\\0" || responder id || gate``, in three messages::

    caller                                             responder
      salt(16) | length 1 | message 1: Hello        ->
                                                    <-   length 2 | message 2: Accepted or Refused
      length 3 | message 3: Introduction            ->   first record: Welcome or Denied

Lengths are u16 and at most 1,024. ``SHAKE128("crust/1 mask" || salt || responder id || gate)`` is XORed over length 1,
the first 32 bytes of message 1 (the ephemeral key, whose top bit would show), length 2, the first 32 bytes of message 2
and length 3, in that order. The rest is AEAD ciphertext. So no byte is constant, and who does not know the responder's
id (and the network's secret) can neither read a length nor get an answer. Any fault in message 1, and a salt seen
before, is a HelloImpossible: there is nothing to send, and what follows is read in silence, up to as many bytes as any
message 1 can have. Who makes up bytes sees the same of every responder, but for the time that a key agreement takes
where they are as long as they would say there.

A payload is ``u16 length | body | 0–255 random bytes``; the bodies are defined in ``crust.wire.handshake``.

The conversion from Ed25519 to the X25519 keys of Noise forgets a sign, so two ids share each X25519 key. Therefore the
full ids are bound: the responder's by the prologue, the caller's by message 3, where it must convert to the static key
that Noise has proven.

Two secrets may be valid at once while they are exchanged: the responder tries each, newest first, and answers under the
one that fits.

Both classes are sans-IO, take their randomness as an argument, and are not thread-safe. What may happen when is in
``INITIATOR_TABLE`` and ``RESPONDER_TABLE``; anything else is refused in one place, ``_Side._advance``.
"""

from __future__ import annotations

import abc
import enum
import hashlib
import os
from collections.abc import Callable
from typing import NamedTuple

from .. import limits
from ..addresses import PeerId
from ..exceptions import ContactSyntaxError, LocalProtocolError, MalformedMessage
from ..wire import handshake as wire
from .agreement import (
    NO_GATE,
    AnswerDenied,
    AnswerReceived,
    Event,
    HandshakeConfig,
    HandshakeResult,
    HelloImpossible,
    HelloReceived,
    IntroductionReceived,
    SaltMemory,
    Secret,
    SelfIntroduced,
    derive_secret,
)
from .keys import KEY_SIZE, choose_aead, ed25519_to_x25519
from .noise import TAG_SIZE, HandshakeState

__all__ = [
    "INITIATOR_TABLE",
    "NO_GATE",
    "RESPONDER_TABLE",
    "AnswerDenied",
    "AnswerReceived",
    "Event",
    "HandshakeConfig",
    "HandshakeResult",
    "HelloImpossible",
    "HelloReceived",
    "Initiator",
    "IntroductionReceived",
    "Responder",
    "SaltMemory",
    "Secret",
    "SelfIntroduced",
    "derive_secret",
    "end_of_hello",
    "looks_like_stun_request",
]

Random = Callable[[int], bytes]

_PROLOGUE = b"crust/1\0"
_STUN_REQUEST, _STUN_COOKIE = b"\x00\x01", b"\x21\x12\xa4\x42"  # its bytes 0 and 1, 4 to 7: RFC 8489 section 5
_LENGTH_SIZE = 2
_HEAD_SIZE = limits.SALT_SIZE + _LENGTH_SIZE
_HELLO_MAX = _HEAD_SIZE + limits.HANDSHAKE_MESSAGE_MAX  # salt, length, and the longest message 1
_SEEN_BEFORE = "this message 1 has been here before"
_NOT_FOR_US = "this is no message 1 for us"

# Where in the mask each message's length and key lie. Message 3 begins with an encrypted key: it needs no mask.
_MASK_SIZE = 70
_LENGTH_MASKS = (slice(0, 2), slice(34, 36), slice(68, 70))
_KEY_MASKS = (slice(2, 34), slice(36, 68), slice(0, 0))

# The shortest that each message can be: its keys, and a tag for each encrypted part.
_SHORTEST = (KEY_SIZE + TAG_SIZE, KEY_SIZE + TAG_SIZE, KEY_SIZE + 2 * TAG_SIZE)


# --- the state machines -----------------------------------------------------------------------------------------------


class State(enum.Enum):
    """Where a side is. The same names serve both tables."""

    NEW = "nothing sent"
    AWAIT_HELLO = "waiting for message 1"
    DEAF = "there will be no message 1 for us; whatever comes is read in silence"
    HELLO = "message 1 is valid; our answer is due"
    AWAIT_ANSWER = "waiting for message 2"
    ACCEPTED = "message 2 accepts us; our introduction is due"
    AWAIT_INTRODUCTION = "waiting for message 3"
    DONE = "the result is there"
    DENIED = "one side refused; nothing follows"
    FAILED = "the other side broke the protocol; nothing follows"


class Step(enum.Enum):
    """What moves a side from one state to the next: what we do, and what the other side's message turned out to be."""

    START = "send message 1"
    HELLO = "message 1 is valid"
    NOISE = "what has come is no message 1 for us"
    ACCEPT = "send message 2, accepting"
    REFUSE = "send message 2, refusing"
    ACCEPTED = "message 2 accepts"
    REFUSED = "message 2 refuses"
    INTRODUCE = "send message 3"
    INTRODUCTION = "message 3 is valid"
    FAULT = "a message is not valid, or out of turn"


INITIATOR_TABLE: dict[tuple[State, Step], State] = {
    (State.NEW, Step.START): State.AWAIT_ANSWER,
    (State.AWAIT_ANSWER, Step.ACCEPTED): State.ACCEPTED,
    (State.AWAIT_ANSWER, Step.REFUSED): State.DENIED,
    (State.AWAIT_ANSWER, Step.FAULT): State.FAILED,
    (State.ACCEPTED, Step.INTRODUCE): State.DONE,
    (State.ACCEPTED, Step.FAULT): State.FAILED,
}

RESPONDER_TABLE: dict[tuple[State, Step], State] = {
    (State.AWAIT_HELLO, Step.HELLO): State.HELLO,
    (State.AWAIT_HELLO, Step.NOISE): State.DEAF,
    (State.DEAF, Step.FAULT): State.FAILED,
    (State.AWAIT_HELLO, Step.FAULT): State.FAILED,
    (State.HELLO, Step.ACCEPT): State.AWAIT_INTRODUCTION,
    (State.HELLO, Step.REFUSE): State.DENIED,
    (State.HELLO, Step.FAULT): State.FAILED,
    (State.AWAIT_INTRODUCTION, Step.INTRODUCTION): State.DONE,
    (State.AWAIT_INTRODUCTION, Step.FAULT): State.FAILED,
}


def _xor(data: bytes, mask: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(data, mask, strict=True))


def looks_like_stun_request(salt: bytes) -> bool:
    """Whether a stream that begins so would be taken for one that asks for its address."""
    return salt[:2] == _STUN_REQUEST and salt[4:8] == _STUN_COOKIE


def _mask(salt: bytes, responder: PeerId, gate: bytes) -> bytes:
    source = b"crust/1 mask" + salt + responder.public_key + gate
    return hashlib.shake_128(source).digest(_MASK_SIZE)


def _prologue(responder: PeerId, gate: bytes) -> bytes:
    return _PROLOGUE + responder.public_key + gate


class _Side(abc.ABC):
    """What both sides share: the table, the buffer, and masked frames."""

    table: dict[tuple[State, Step], State]

    def __init__(self, config: HandshakeConfig, state: State, random: Random) -> None:
        self.state = state
        """Where this side is."""

        self.result: HandshakeResult | None = None
        """Set when the state becomes DONE."""

        self._config = config
        self._random = random
        self._buffer = bytearray()
        self._mask = b""
        self._noise: HandshakeState | None = None

    @property
    def leftover(self) -> bytes:
        """Bytes that came after the handshake: the first of the records. Valid once the state is DONE."""
        return bytes(self._buffer) if self.state is State.DONE else b""

    def receive(self, data: bytes | memoryview) -> list[Event]:
        """
        Take bytes from the stream, any number at a time.

        Raises:
            MalformedMessage: The handshake has failed. Close the stream and send nothing.
            LocalProtocolError: The handshake is over; bytes now belong to the records.
        """
        if self.state is State.DENIED:
            return []
        if self.state in (State.DONE, State.FAILED, State.NEW):
            raise LocalProtocolError(f"this handshake takes no bytes: {self.state.value}")
        self._buffer += data
        try:
            return self._receive()
        except MalformedMessage:
            self._noise = None
            self._buffer.clear()
            self._advance(Step.FAULT)
            raise

    @abc.abstractmethod
    def _receive(self) -> list[Event]:
        """Look at the buffer; raises MalformedMessage."""

    def _advance(self, step: Step) -> None:
        try:
            self.state = self.table[self.state, step]
        except KeyError:
            raise LocalProtocolError(
                f"the handshake cannot {step.value!r} in state {self.state.value!r}"
            ) from None

    def _check(self, step: Step) -> None:
        if (self.state, step) not in self.table:
            self._advance(step)  # raises

    def _pad(self, body: bytes) -> bytes:
        return wire.pad_payload(body, self._random(self._random(1)[0]))

    def _write(self, number: int, body: bytes) -> bytes:
        """Message ``number`` (from 0) on the wire: masked length, and message with its key masked."""
        assert self._noise is not None
        message = self._noise.write_message(self._pad(body))
        if len(message) > limits.HANDSHAKE_MESSAGE_MAX:
            raise LocalProtocolError(
                f"a handshake message of {len(message)} bytes is longer than {limits.HANDSHAKE_MESSAGE_MAX}"
            )
        length = _xor(len(message).to_bytes(_LENGTH_SIZE, "big"), self._mask[_LENGTH_MASKS[number]])
        return length + self._mask_key(number, message, self._mask)

    @staticmethod
    def _mask_key(number: int, message: bytes, mask: bytes) -> bytes:
        key_mask = mask[_KEY_MASKS[number]]
        return _xor(message[: len(key_mask)], key_mask) + message[len(key_mask) :]

    @staticmethod
    def _length(number: int, masked: bytes, mask: bytes) -> int | None:
        """The length of message ``number``; None if no such message can have it."""
        high, low = _xor(masked, mask[_LENGTH_MASKS[number]])
        length = high << 8 | low
        return length if _SHORTEST[number] <= length <= limits.HANDSHAKE_MESSAGE_MAX else None

    def _take(self, number: int) -> bytes | None:
        """Message ``number`` unmasked, out of the buffer; None if it has not all arrived."""
        buffer = self._buffer
        if len(buffer) < _LENGTH_SIZE:
            return None
        length = self._length(number, bytes(buffer[:_LENGTH_SIZE]), self._mask)
        if length is None:
            raise MalformedMessage(f"handshake message {number + 1} has an impossible length")
        stop = _LENGTH_SIZE + length
        if len(buffer) < stop:
            return None
        message = bytes(buffer[_LENGTH_SIZE:stop])
        del buffer[:stop]
        return self._mask_key(number, message, self._mask)

    def _finish(self, aead: int, version: int, peer_id: PeerId) -> HandshakeResult:
        assert self._noise is not None
        forward, back = self._noise.split()
        ours, theirs = (forward, back) if isinstance(self, Initiator) else (back, forward)
        result = HandshakeResult(ours, theirs, self._noise.hash, aead, peer_id, version)
        self._noise = None
        return result


class Initiator(_Side):
    """
    The calling side: ``start``, ``receive`` until AnswerReceived, ``introduce``; then ``result`` is set.

    Args:
        config: What our node brings.
        responder: Whom we call.
        random: Source of salt, ephemeral key and padding.
        secret_index: Which of the network's secrets to use: 0 is the newest. A responder that does not have it yet
            closes the stream without a word; a caller with two may then try 1.
        salt: 16 bytes that nobody can tell from random ones, and that come only once; None: random ones.

    Raises:
        ContactSyntaxError: Nobody can hold the key of ``responder``.
    """

    table = INITIATOR_TABLE

    def __init__(
        self,
        config: HandshakeConfig,
        responder: PeerId,
        random: Random = os.urandom,
        *,
        secret_index: int = 0,
        salt: bytes | None = None,
    ) -> None:
        super().__init__(config, State.NEW, random)
        self._salt = salt
        try:
            remote_static = ed25519_to_x25519(responder.public_key)
        except ValueError as error:
            raise ContactSyntaxError(
                f"{responder} is well-formed but no key: nobody can answer to it. Ask for the id again",
                str(responder),
            ) from error
        psk, gate = config.secrets[secret_index] if config.secrets else (None, NO_GATE)
        self._responder = responder
        self._gate = gate
        self._accepted: wire.Accepted | None = None
        self._noise = HandshakeState(
            True,
            config.key_pair.dh_private,
            config.key_pair.dh_public,
            remote_static,
            _prologue(responder, gate),
            psk,
            random,
        )

    def start(self) -> bytes:
        """Salt and message 1."""
        self._check(Step.START)
        salt = self._salt or self._random(limits.SALT_SIZE)
        while looks_like_stun_request(salt):  # it would be answered as one
            salt = self._random(limits.SALT_SIZE)
        self._mask = _mask(salt, self._responder, self._gate)
        hello = wire.Hello(self._config.versions, self._config.network_id, self._config.aeads)
        data = salt + self._write(0, wire.build_hello(hello))
        self._advance(Step.START)
        return data

    def introduce(self, introduction: wire.Introduction) -> bytes:
        """Message 3, which tells the responder who we are; ``result`` is set."""
        self._check(Step.INTRODUCE)
        assert self._accepted is not None
        data = self._write(2, wire.build_introduction(introduction))
        self.result = self._finish(self._accepted.aead, self._accepted.version, self._responder)
        self._advance(Step.INTRODUCE)
        return data

    def _receive(self) -> list[Event]:
        if self.state is State.ACCEPTED:
            raise MalformedMessage("the responder spoke before we introduced ourselves")
        message = self._take(1)
        if message is None:
            return []
        assert self._noise is not None
        payload = wire.unpad_payload_untrusted(self._noise.read_message(message))
        answer = wire.parse_answer_untrusted(payload)
        if isinstance(answer, wire.Refused):
            self._noise = None
            self._advance(Step.REFUSED)
            return [AnswerDenied(answer.code)]
        if answer.version not in self._config.versions or answer.aead not in self._config.aeads:
            raise MalformedMessage("the responder chose a version or an AEAD that we did not offer")
        if self._buffer:
            raise MalformedMessage("the responder spoke before we introduced ourselves")
        self._accepted = answer
        self._advance(Step.ACCEPTED)
        return [AnswerReceived(answer)]


class _Candidate(NamedTuple):
    """One secret under which message 1 may have been written."""

    psk: bytes | None
    gate: bytes
    mask: bytes
    length: int


class Responder(_Side):
    """
    The side that is called: ``receive`` until HelloReceived, ``answer``, ``receive`` until IntroductionReceived; then
    ``result`` is set. After HelloImpossible it takes what any message 1 may have of bytes, and then fails.

    Args:
        config: What our node brings.
        random: Source of ephemeral key and padding.
        salts: The node's memory of salts.
    """

    table = RESPONDER_TABLE

    def __init__(self, config: HandshakeConfig, random: Random = os.urandom, *, salts: SaltMemory) -> None:
        super().__init__(config, State.AWAIT_HELLO, random)
        self.denied: wire.DenialCode | None = None
        """Why ``answer`` refused, if it did."""

        self._salts = salts
        self._candidates: list[_Candidate] | None = None
        self._hello: wire.Hello | None = None
        self._accepted: wire.Accepted | None = None

    def answer(self, observed: tuple[str, int] | None) -> bytes:
        """
        Message 2: accepts, or refuses with VERSION or NETWORK (then ``denied`` is set).

        Args:
            observed: IP address and port at which we see the caller; None if that says nothing (behind a relay).
        """
        self._check(Step.ACCEPT)
        assert self._hello is not None
        hello, config = self._hello, self._config
        version = max(set(hello.versions) & set(config.versions), default=None)
        aead = choose_aead(hello.aeads, config.aeads)
        answer: wire.Accepted | wire.Refused
        if version is None or aead is None:
            # All versions so far require ChaCha20-Poly1305, so no common AEAD is no common version either.
            self.denied = wire.DenialCode.VERSION
            answer = wire.Refused(self.denied)
        elif hello.network_id != config.network_id:
            self.denied = wire.DenialCode.NETWORK
            answer = wire.Refused(self.denied)
        else:
            answer = self._accepted = wire.Accepted(version, wire.Aead(aead), observed)
        data = self._write(1, wire.build_answer(answer))
        self._advance(Step.ACCEPT if self.denied is None else Step.REFUSE)
        return data

    def _receive(self) -> list[Event]:
        if self.state is State.HELLO:
            raise MalformedMessage("the caller spoke before our answer")
        if self.state is State.AWAIT_INTRODUCTION:
            return self._receive_introduction()
        if len(self._buffer) > _HELLO_MAX:
            raise MalformedMessage(_NOT_FOR_US)
        return self._receive_hello() if self.state is State.AWAIT_HELLO else []

    def _receive_hello(self) -> list[Event]:
        buffer = self._buffer
        if len(buffer) < _HEAD_SIZE:
            return []
        salt = bytes(buffer[: limits.SALT_SIZE])
        if self._candidates is None:
            if salt in self._salts:
                return self._turn_deaf(_SEEN_BEFORE)
            self._candidates = self._find_candidates(salt, bytes(buffer[limits.SALT_SIZE : _HEAD_SIZE]))
        arrived = len(buffer) - _HEAD_SIZE
        waiting = []
        for candidate in self._candidates:
            if candidate.length > arrived:
                waiting.append(candidate)
            elif candidate.length == arrived:  # more cannot be: the caller has to wait for our answer
                hello = self._try(candidate, bytes(buffer[_HEAD_SIZE:]))
                if hello is not None:
                    return self._accept_hello(hello, candidate, salt)
        if not waiting:
            return self._turn_deaf(_NOT_FOR_US)
        self._candidates = waiting
        return []

    def _turn_deaf(self, why: str) -> list[Event]:
        self._candidates = self._noise = None
        self._advance(Step.NOISE)
        return [HelloImpossible(why)]

    def _find_candidates(self, salt: bytes, masked_length: bytes) -> list[_Candidate]:
        own_id = self._config.key_pair.peer_id
        secrets: tuple[tuple[bytes | None, bytes], ...] = self._config.secrets or ((None, NO_GATE),)
        found = []
        for psk, gate in secrets:
            mask = _mask(salt, own_id, gate)
            length = self._length(0, masked_length, mask)
            if length is not None:
                found.append(_Candidate(psk, gate, mask, length))
        return found

    def _try(self, candidate: _Candidate, masked: bytes) -> wire.Hello | None:
        """The Hello in message 1, if it was written under the candidate's secret, to us."""
        keys = self._config.key_pair
        noise = HandshakeState(
            False,
            keys.dh_private,
            keys.dh_public,
            None,
            _prologue(keys.peer_id, candidate.gate),
            candidate.psk,
            self._random,
        )
        try:
            payload = noise.read_message(self._mask_key(0, masked, candidate.mask))
            hello = wire.parse_hello_untrusted(wire.unpad_payload_untrusted(payload))
        except MalformedMessage:
            return None
        self._noise = noise
        return hello

    def _accept_hello(self, hello: wire.Hello, candidate: _Candidate, salt: bytes) -> list[Event]:
        if not self._salts.add(salt):  # it may have come on another stream meanwhile
            return self._turn_deaf(_SEEN_BEFORE)
        self._mask = candidate.mask
        self._candidates = None
        self._buffer.clear()
        self._hello = hello
        self._advance(Step.HELLO)
        return [HelloReceived(hello)]

    def _receive_introduction(self) -> list[Event]:
        message = self._take(2)
        if message is None:
            return []
        assert self._noise is not None and self._accepted is not None
        payload = wire.unpad_payload_untrusted(self._noise.read_message(message))
        introduction = wire.parse_introduction_untrusted(payload)
        static = self._noise.remote_static
        try:
            claimed = ed25519_to_x25519(introduction.peer_id)
        except ValueError as error:
            raise MalformedMessage("the caller's id is no key") from error
        if claimed != static:
            raise MalformedMessage("the caller's id is not the one that its key proves")
        peer_id = PeerId(introduction.peer_id)
        self.result = self._finish(self._accepted.aead, self._accepted.version, peer_id)
        self._advance(Step.INTRODUCTION)
        # Compared as X25519 keys: the id that shares ours (with the other sign) can only be ourselves, too.
        if static == self._config.key_pair.dh_public:
            return [SelfIntroduced(introduction)]
        return [IntroductionReceived(introduction, peer_id)]


def end_of_hello(config: HandshakeConfig, data: bytes) -> int | None:
    """
    Where a message 1 for us ends, its salt included, in bytes after which more may follow already.

    Args:
        config: What our node brings.
        data: What has come so far.

    Returns:
        None: not all of it has come.

    Raises:
        MalformedMessage: It is no message 1 for us.
    """
    if len(data) < _HEAD_SIZE:
        return None
    reader = Responder(config, salts=SaltMemory(1))
    waiting = False
    for candidate in reader._find_candidates(data[: limits.SALT_SIZE], data[limits.SALT_SIZE : _HEAD_SIZE]):
        end = _HEAD_SIZE + candidate.length
        if len(data) < end:
            waiting = True
        elif reader._try(candidate, data[_HEAD_SIZE:end]) is not None:
            return end
    if not waiting:
        raise MalformedMessage(_NOT_FOR_US)
    return None
