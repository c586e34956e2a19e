"""
What the three handshake messages carry, encrypted by Noise (docs/wire-format.md, "Handshake").

On the wire a payload is ``u16 length of body | body | 0 to 255 bytes of padding``.

=======  =========  ==================================================================================
message  direction  body
=======  =========  ==================================================================================
1        caller →   :class:`Hello`: what the caller offers; nothing about who calls
2        ← callee   :class:`Accepted` or :class:`Refused`
3        caller →   :class:`Introduction`: who calls, and what for
=======  =========  ==================================================================================
"""

from __future__ import annotations

import enum
from typing import TypeAlias

from .. import limits
from ..exceptions import MalformedMessage
from ..values import dataclass
from .codec import Address, build, parse_all

__all__ = [
    "Accepted",
    "Aead",
    "Answer",
    "Capability",
    "DenialCode",
    "Hello",
    "Introduction",
    "Purpose",
    "Refused",
    "Resume",
    "Role",
    "build_answer",
    "build_hello",
    "build_introduction",
    "pad_payload",
    "parse_answer_untrusted",
    "parse_hello_untrusted",
    "parse_introduction_untrusted",
    "unpad_payload_untrusted",
]


class Role(enum.IntEnum):
    """What a peer is in the network."""

    NODE = 0
    """Takes part in everything."""
    CLIENT = 1
    """Connects to nodes; is not offered to others."""


class Purpose(enum.IntEnum):
    """What a call is for. It decides the event at the other side, not the rights."""

    CONNECT = 0
    BOOTSTRAP = 1


class Aead(enum.IntEnum):
    """Ciphers for records."""

    AEGIS_256 = 1
    CHACHA20_POLY1305 = 2


class DenialCode(enum.IntEnum):
    """Why a call is refused."""

    VERSION = 1
    """No protocol version, or no AEAD, in common."""
    NETWORK = 2
    """The caller is of another network."""
    ROLE = 3
    """This role, id or address is not on the lists of those allowed."""
    BANNED = 4
    BUSY = 5
    """Full; alternates may be suggested."""
    SELF = 6
    """The caller is the callee."""
    NOT_ACCEPTING = 7
    """No bootstrapping here."""
    DUPLICATE = 8
    """There is a session with a working link already."""
    CLOSING = 9


class Capability(enum.IntFlag):
    """Bits of the ``capabilities`` fields. Bits that this version does not know are kept, and mean nothing to it."""

    FILES = 1 << 0
    """Takes messages of kind 1, file transfer."""


@dataclass(frozen=True, slots=True)
class Hello:
    """Body of message 1: an offer. Versions and AEADs that this version does not know are welcome in it."""

    versions: tuple[int, ...]
    """1 to 16 protocol versions, each once, in order of preference."""
    network_id: bytes
    """32 bytes."""
    aeads: tuple[int, ...]
    """1 to 16 ciphers, each once, in order of preference; see :class:`Aead`."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """Body of message 2: the call goes on."""

    version: int
    """The protocol version, one of those offered."""
    aead: Aead
    """The cipher for records, one of those offered."""
    observed: Address | None
    """Where the callee sees the caller; None if that says nothing."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Body of message 2: the call ends here."""

    code: DenialCode


Answer: TypeAlias = Accepted | Refused


@dataclass(frozen=True, slots=True)
class Resume:
    """A request to go on with a session."""

    session_id: bytes
    """16 bytes."""
    next: int
    """Number of the first chunk that the caller has not received."""


@dataclass(frozen=True, slots=True)
class Introduction:
    """Body of message 3: who calls, and what for."""

    peer_id: bytes
    """The caller's Ed25519 public key, 32 bytes. That it fits the handshake's static key is not checked here."""
    role: Role
    purpose: Purpose
    capabilities: int
    """Bits of :class:`Capability`, and maybe others."""
    incarnation: bytes
    """16 random bytes that name this run of the caller's node."""
    observed: Address | None
    """Where the caller sees the callee: the address it dialled; None if that says nothing."""
    window: int
    """Bytes of messages, overheads included, that the caller will buffer."""
    max_message: int
    """Length of the longest message that the caller takes, in bytes."""
    resume: Resume | None = None


# --- payloads ---------------------------------------------------------------------------------------------------------


def pad_payload(body: bytes, padding: bytes) -> bytes:
    """
    A payload: the body behind its length, then ``padding``, 0 to 255 bytes whose values do not matter.

    Raises:
        ValueError: The body or the padding is too long.
    """
    if len(padding) > limits.HANDSHAKE_PADDING_MAX:
        raise ValueError(
            f"{len(padding)} bytes of padding; at most {limits.HANDSHAKE_PADDING_MAX} are allowed"
        )
    return build("PAYLOAD", {"body": body, "padding": padding}, "handshake payload")


def unpad_payload_untrusted(payload: bytes) -> bytes:
    """
    The body of a payload.

    Raises:
        MalformedMessage: The length is wrong, or the padding too long.
    """
    parsed = parse_all("PAYLOAD", payload, "handshake payload", limits.HANDSHAKE_MESSAGE_MAX)
    if len(parsed.padding) > limits.HANDSHAKE_PADDING_MAX:
        raise MalformedMessage(
            f"handshake payload has {len(parsed.padding)} bytes of padding, more than are allowed"
        )
    body: bytes = parsed.body
    return body


def build_hello(hello: Hello) -> bytes:
    """Bytes of the body of message 1."""
    return build("HELLO", hello, "Hello")


def parse_hello_untrusted(body: bytes) -> Hello:
    """Body of message 1; raises :exc:`~crust.MalformedMessage`."""
    hello: Hello = parse_all("HELLO", body, "Hello", limits.HANDSHAKE_MESSAGE_MAX)
    return hello


def build_answer(answer: Answer) -> bytes:
    """Bytes of the body of message 2."""
    return build("ANSWER", answer, "Answer")


def parse_answer_untrusted(body: bytes) -> Answer:
    """Body of message 2; raises :exc:`~crust.MalformedMessage`."""
    answer: Answer = parse_all("ANSWER", body, "Answer", limits.HANDSHAKE_MESSAGE_MAX)
    return answer


def build_introduction(introduction: Introduction) -> bytes:
    """Bytes of the body of message 3."""
    return build("INTRODUCTION", introduction, "Introduction")


def parse_introduction_untrusted(body: bytes) -> Introduction:
    """Body of message 3; raises :exc:`~crust.MalformedMessage`."""
    introduction: Introduction = parse_all("INTRODUCTION", body, "Introduction", limits.HANDSHAKE_MESSAGE_MAX)
    return introduction
