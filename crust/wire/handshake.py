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
import functools
import ipaddress
import struct
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
    "Manner",
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


class Manner(enum.IntEnum):
    """How the caller's link came to be: with the transport it makes the path's class (``crust.Path.path_class``)."""

    DIRECT = 0
    PUNCHED = 1
    PREDICTED = 2
    BIRTHDAY = 3
    RELAY = 4


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

    ECHO = 1 << 1
    """Takes ECHO_REQUEST."""

    CIRCUITS = 1 << 2
    """Takes CIRCUIT_OPEN, and introduces its peers to each other."""

    RELAY = 1 << 3
    """Its circuits carry an application's data, too."""

    TRAVERSAL = 1 << 4
    """Takes CIRCUIT_OFFER, CANDIDATES, SIGNAL and ECHO_PORTS."""

    GOSSIP = 1 << 5
    """Takes the frames from SUMMARY to FOUND."""

    SIGNED = 1 << 6
    """Takes messages of kind 2, which are signed, and SIGNED_OFFER and SIGNED_END in file transfer."""

    SIGNED_ONLY = 1 << 7
    """Takes no others from applications, and no other files."""


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
    manner: Manner
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

# Each function first takes a short way, made of :mod:`struct`, through what is common and certainly right; whatever it
# will not take (None) goes the definition's way, which also knows the error. The tests hold the two equal, on valid and
# on broken input. A connection is set up in half the time that the definitions alone would take.

_ACCEPTED_HEAD = struct.Struct(">BHB")  # type, version, aead
_INTRODUCTION_HEAD = struct.Struct(f">{limits.PEER_ID_SIZE}sBBBI{limits.INCARNATION_SIZE}s")
_INTRODUCTION_TAIL = struct.Struct(">IIB")  # window, max_message, whether resume follows
_RESUME = struct.Struct(f">{limits.SESSION_ID_SIZE}sQ")
_PORT = struct.Struct(">H")
_ROLES = {int(role): role for role in Role}
_PURPOSES = {int(purpose): purpose for purpose in Purpose}
_MANNERS = {int(manner): manner for manner in Manner}
_AEADS = {int(aead): aead for aead in Aead}
_SIZES = {0: 0, 4: 4, 6: 16}  # of the IP address, by family


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
    if len(body) < 1 << 16:
        return _PORT.pack(len(body)) + body + padding
    return build("PAYLOAD", {"body": body, "padding": padding}, "handshake payload")


def unpad_payload_untrusted(payload: bytes) -> bytes:
    """
    The body of a payload.

    Raises:
        MalformedMessage: The length is wrong, or the padding too long.
    """
    if 2 <= len(payload) <= limits.HANDSHAKE_MESSAGE_MAX:
        end = 2 + _PORT.unpack_from(payload)[0]
        if 0 <= len(payload) - end <= limits.HANDSHAKE_PADDING_MAX:
            return payload[2:end]
    parsed = parse_all("PAYLOAD", payload, "handshake payload", limits.HANDSHAKE_MESSAGE_MAX)
    if len(parsed.padding) > limits.HANDSHAKE_PADDING_MAX:
        raise MalformedMessage(
            f"handshake payload has {len(parsed.padding)} bytes of padding, more than are allowed"
        )
    body: bytes = parsed.body
    return body


@functools.lru_cache(maxsize=64)  # of one network and version, all are the same
def build_hello(hello: Hello) -> bytes:
    """Bytes of the body of message 1."""
    return build("HELLO", hello, "Hello")


@functools.lru_cache(maxsize=64)
def parse_hello_untrusted(body: bytes) -> Hello:
    """Body of message 1; raises :exc:`~crust.MalformedMessage`."""
    hello: Hello = parse_all("HELLO", body, "Hello", limits.HANDSHAKE_MESSAGE_MAX)
    return hello


def build_answer(answer: Answer) -> bytes:
    """Bytes of the body of message 2."""
    return _quick_accepted(answer) or build("ANSWER", answer, "Answer")


def parse_answer_untrusted(body: bytes) -> Answer:
    """Body of message 2; raises :exc:`~crust.MalformedMessage`."""
    answer: Answer = _read_accepted(body) or parse_all("ANSWER", body, "Answer", limits.HANDSHAKE_MESSAGE_MAX)
    return answer


def build_introduction(introduction: Introduction) -> bytes:
    """Bytes of the body of message 3."""
    return _quick_introduction(introduction) or build("INTRODUCTION", introduction, "Introduction")


def parse_introduction_untrusted(body: bytes) -> Introduction:
    """Body of message 3; raises :exc:`~crust.MalformedMessage`."""
    introduction: Introduction = _read_introduction(body) or parse_all(
        "INTRODUCTION", body, "Introduction", limits.HANDSHAKE_MESSAGE_MAX
    )
    return introduction


def _quick_accepted(answer: Answer) -> bytes | None:
    if type(answer) is not Accepted or type(answer.aead) is not Aead:
        return None
    try:
        return _ACCEPTED_HEAD.pack(0, answer.version, answer.aead) + _quick_address(answer.observed)
    except (struct.error, ValueError):
        return None


def _read_accepted(body: bytes) -> Accepted | None:
    try:
        kind, version, aead = _ACCEPTED_HEAD.unpack_from(body)
        observed, end = _read_address(body, _ACCEPTED_HEAD.size)
        if kind == 0 and end == len(body):
            return Accepted(version, _AEADS[aead], observed)
    except (struct.error, LookupError, ValueError):
        pass
    return None


def _quick_introduction(introduction: Introduction) -> bytes | None:
    given = introduction
    try:
        head = _INTRODUCTION_HEAD.pack(
            given.peer_id,
            _ROLES[given.role],
            _PURPOSES[given.purpose],
            _MANNERS[given.manner],
            given.capabilities,
            given.incarnation,
        )
        tail = _INTRODUCTION_TAIL.pack(given.window, given.max_message, given.resume is not None)
        resume = b"" if given.resume is None else _RESUME.pack(given.resume.session_id, given.resume.next)
        address = _quick_address(given.observed)
    except (struct.error, LookupError, ValueError, TypeError, AttributeError):
        return None
    if len(given.peer_id) != limits.PEER_ID_SIZE or len(given.incarnation) != limits.INCARNATION_SIZE:
        return None  # struct would cut them, or fill them up
    if given.resume is not None and len(given.resume.session_id) != limits.SESSION_ID_SIZE:
        return None
    return head + address + tail + resume


def _read_introduction(body: bytes) -> Introduction | None:
    try:
        peer_id, role, purpose, manner, capabilities, incarnation = _INTRODUCTION_HEAD.unpack_from(body)
        observed, at = _read_address(body, _INTRODUCTION_HEAD.size)
        window, max_message, given = _INTRODUCTION_TAIL.unpack_from(body, at)
        at += _INTRODUCTION_TAIL.size
        resume = None
        if given == 1:
            resume = Resume(*_RESUME.unpack_from(body, at))
            at += _RESUME.size
        elif given:
            return None
        known = Introduction(
            peer_id,
            _ROLES[role],
            _PURPOSES[purpose],
            _MANNERS[manner],
            capabilities,
            incarnation,
            observed,
            window,
            max_message,
            resume,
        )
    except (struct.error, LookupError, ValueError):
        return None
    return known if at == len(body) else None


def _quick_address(address: Address | None) -> bytes:
    if address is None:
        return bytes(3)
    return _ip_bytes(address[0]) + _PORT.pack(address[1])


def _read_address(body: bytes, at: int) -> tuple[Address | None, int]:
    end = at + 1 + _SIZES[body[at]]
    port: int = _PORT.unpack_from(body, end)[0]
    if body[at] == 0:
        if port:
            raise ValueError("a port without an address")
        return None, end + 2
    return (_ip_text(body[at + 1 : end]), port), end + 2


@functools.lru_cache(maxsize=256)
def _ip_bytes(host: str) -> bytes:
    """Family and address."""
    ip = ipaddress.ip_address(host.partition("%")[0])
    if ip.version == 6 and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return bytes((ip.version,)) + ip.packed


@functools.lru_cache(maxsize=256)
def _ip_text(packed: bytes) -> str:
    ip = ipaddress.ip_address(packed)
    if ip.version == 6 and ip.ipv4_mapped is not None:
        raise ValueError("an IPv4 address is written as one, not as IPv6")
    return str(ip)
