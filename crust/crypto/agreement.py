"""
What goes into a handshake and what comes out of it: values, and the memory of salts.

Nothing here shows a key in its ``repr``, or lets one be pickled.
"""

from __future__ import annotations

import collections
import dataclasses
import threading
from typing import NamedTuple, NoReturn

from .. import limits
from ..addresses import PeerId
from ..values import dataclass
from ..wire import handshake as wire
from .identity import KeyPair
from .keys import hash32

__all__ = [
    "NO_GATE",
    "AnswerDenied",
    "AnswerReceived",
    "Event",
    "HandshakeConfig",
    "HandshakeResult",
    "HelloImpossible",
    "HelloReceived",
    "IntroductionReceived",
    "SaltMemory",
    "Secret",
    "SelfIntroduced",
    "derive_secret",
    "same_key",
]

NO_GATE = bytes(32)  # the gate of a network without a secret


class Secret(NamedTuple):
    """What a closed network shares, derived from its secret by ``derive_secret``."""

    psk: bytes
    """32 bytes mixed into the handshake's keys."""

    gate: bytes
    """32 bytes without which message 1 cannot even be recognised."""

    def __repr__(self) -> str:
        return "Secret(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("what a closed network shares is secret and cannot be pickled")


def derive_secret(network_secret: bytes) -> Secret:
    """Psk and gate of a network secret of 32 bytes (docs/wire-format.md, "Identity")."""
    return Secret(hash32(b"psk", key=network_secret), hash32(b"gate", key=network_secret))


def same_key(one: PeerId, other: PeerId) -> bool:
    """
    Whether two ids convert to the same X25519 key: they are equal, or differ in the sign bit alone. Only one owner can
    have both.
    """
    ours, theirs = one.public_key, other.public_key
    return ours[:-1] == theirs[:-1] and not (ours[-1] ^ theirs[-1]) & 0x7F


@dataclass(frozen=True)
class HandshakeConfig:
    """What one node brings to all its handshakes."""

    key_pair: KeyPair
    """Our identity."""

    network_id: bytes
    """32 bytes; nodes of different networks refuse each other."""

    secrets: tuple[Secret, ...]
    """Of a closed network, newest first; empty for an open one."""

    aeads: tuple[int, ...]
    """What we offer and accept, best first: ``keys.supported_aeads()``."""

    versions: tuple[int, ...] = (limits.PROTOCOL_VERSION,)
    """Versions of the protocol that we speak."""

    def clear_secrets(self) -> None:
        """In a forked child: forget what the network shares, for this node alone has read it."""
        object.__setattr__(self, "secrets", ())


@dataclass(frozen=True)
class HandshakeResult:
    """What a handshake leaves behind."""

    send_key: bytes = dataclasses.field(repr=False)
    """32 bytes for ``RecordSealer``."""

    receive_key: bytes = dataclasses.field(repr=False)
    """32 bytes for ``RecordOpener``."""

    hash: bytes
    """64 bytes, the same on both sides and in no other handshake."""

    aead: int
    """The AEAD agreed on, a ``crust.wire.handshake.Aead``."""

    peer_id: PeerId
    """Who is at the other end, proven."""

    version: int
    """The version of the protocol agreed on."""

    def __reduce__(self) -> NoReturn:
        raise TypeError("the keys of a link are secret and cannot be pickled")


@dataclass(frozen=True)
class HelloReceived:
    """The responder has a valid message 1: call ``answer``."""

    hello: wire.Hello


@dataclass(frozen=True)
class HelloImpossible:
    """
    What came cannot be a message 1 for the responder: send nothing, and go on reading, for as long as somebody else
    would be waited for. Else when the stream is closed shows whose it is.
    """

    why: str


@dataclass(frozen=True)
class AnswerReceived:
    """The responder is who we called and accepts: call ``introduce``."""

    accepted: wire.Accepted


@dataclass(frozen=True)
class AnswerDenied:
    """The responder is who we called and refuses; the stream is over."""

    code: wire.DenialCode


@dataclass(frozen=True)
class IntroductionReceived:
    """The caller is proven to be ``peer_id``; the responder's ``result`` is set."""

    introduction: wire.Introduction
    peer_id: PeerId


@dataclass(frozen=True)
class SelfIntroduced:
    """The caller is ourselves; ``result`` is set, so that ``Denied(SELF)`` can be sent as the first record."""

    introduction: wire.Introduction


Event = HelloReceived | HelloImpossible | AnswerReceived | AnswerDenied | IntroductionReceived | SelfIntroduced


class SaltMemory:
    """
    The last 2^16 salts with which a valid message 1 came, against its replay. Thread-safe; one a node.

    Args:
        capacity: How many are remembered; the oldest go first.
    """

    __slots__ = ("_lock", "_order", "_seen", "forgotten")

    def __init__(self, capacity: int = limits.SALT_MEMORY) -> None:
        self._lock = threading.Lock()  # guards both
        self._order: collections.deque[bytes] = collections.deque(maxlen=capacity)
        self._seen: set[bytes] = set()
        self.forgotten = 0
        """How many have made room for others."""

    def __contains__(self, salt: bytes) -> bool:
        return salt in self._seen

    def __len__(self) -> int:
        return len(self._order)

    def add(self, salt: bytes) -> bool:
        """Remember ``salt``; False if it already was."""
        with self._lock:
            if salt in self._seen:
                return False
            if len(self._order) == self._order.maxlen:
                self._seen.discard(self._order[0])
                self.forgotten += 1
            self._order.append(salt)
            self._seen.add(salt)
            return True
