"""
Sealed probes: the datagrams by which two ends find out between which of their addresses something gets through.

::

    first    1 byte, 0x80 to 0xff, random otherwise: neither STUN nor µTP
    tag      8 bytes, the same in all probes of one direction of one attempt
    iv       12 bytes, random
    sealed   AEAD(key, iv, associated data = first and tag): kind u8, nonce 8 bytes, echo 8 bytes, random padding

Key and tag are derived from a key of one direction of one attempt, and the method's name. So a probe is told from
strangers' datagrams by a look into a table; one that is sent back to its sender has a tag that nobody there expects;
and one that was recorded is worth nothing later, nor at another address, where it can only be answered: whoever answers
for an address must repeat the nonce that was sent to that address, and cannot read it.

No clock; randomness is an argument.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

from ... import limits
from ...crypto.keys import CHACHA20_POLY1305, hash32
from ...exceptions import MalformedMessage
from ...values import dataclass
from ...wire.fields import Definition, build_all, checked, choice, construct, parse_all, typed

__all__ = ["NO_ECHO", "PROBE_MAX", "Kind", "Message", "ProbeOpener", "ProbeSealer", "expected_tag", "tag_of"]

_CIPHER = CHACHA20_POLY1305
_TAG = limits.PUNCH_TAG_SIZE
_NONCE = limits.PUNCH_NONCE_SIZE
_HEAD = 1 + _TAG
_IV = _HEAD + _CIPHER.nonce_size
_BODY_MAX = 1 + 2 * _NONCE + limits.PUNCH_PADDING_MAX
PROBE_MAX = _IV + _BODY_MAX + _CIPHER.tag_size
"""Bytes of the longest probe."""
PROBE_MIN = PROBE_MAX - limits.PUNCH_PADDING_MAX
NO_ECHO = bytes(_NONCE)
"""Nothing is repeated."""


class Kind(enum.IntEnum):
    """What a probe is for."""

    PROBE = 0
    """Answer this."""
    ANSWER = 1
    """I got yours, which ``echo`` is of."""
    NOMINATE = 2
    """Let us take this way. The leading end says it."""
    CONFIRM = 3
    """We do."""


@dataclass(frozen=True)
class Message:
    """What a probe says."""

    kind: Kind
    nonce: bytes
    """8 random bytes, other ones in each probe, never all zero."""
    echo: bytes = NO_ECHO
    """The nonce that this answers."""
    padding: bytes = b""


_KNOWN: Definition = checked(construct.Bytes(_NONCE), lambda nonce: nonce != NO_ECHO, "a nonce is not all zero")
_MESSAGE: Definition = typed(
    Message,
    "kind" / choice(construct.Int8ub, Kind),
    "nonce" / _KNOWN,
    "echo" / construct.Bytes(_NONCE),
    "padding" / construct.GreedyBytes,
)
_PROBE: Definition = construct.Struct(
    "first" / checked(construct.Int8ub, lambda first: first >= 0x80, "the first byte is below 0x80"),
    "tag" / construct.Bytes(_TAG),
    "iv" / construct.Bytes(_CIPHER.nonce_size),
    "sealed" / construct.GreedyBytes,
)


def tag_of(key: bytes, method: str) -> bytes:
    """The tag of the probes of one direction: ``key`` is ``Context.key_in`` for those that come."""
    return hash32(b"crust/1 punch tag " + method.encode(), key=key)[:_TAG]


def _key_of(key: bytes, method: str) -> bytes:
    return hash32(b"crust/1 punch key " + method.encode(), key=key)


def expected_tag(data: bytes | memoryview) -> bytes | None:
    """Where a probe has its tag; None if that datagram cannot be a probe."""
    if not PROBE_MIN <= len(data) <= PROBE_MAX or data[0] < 0x80:
        return None
    return bytes(data[1:_HEAD])


class ProbeSealer:
    """
    Makes the probes of one direction.

    Args:
        key: ``Context.key_out``.
        method: The name of the method.
        random: So many random bytes.
    """

    __slots__ = ("_key", "_random", "_tag")

    def __init__(self, key: bytes, method: str, random: Callable[[int], bytes]) -> None:
        self._key = _key_of(key, method)
        self._tag = tag_of(key, method)
        self._random = random

    def nonce(self) -> bytes:
        """A new one."""
        while (nonce := self._random(_NONCE)) == NO_ECHO:
            pass
        return nonce

    def seal(self, kind: Kind, nonce: bytes, echo: bytes = NO_ECHO) -> bytes:
        """The datagram."""
        noise = self._random(2)
        first, size = 0x80 | noise[0], noise[1] % (limits.PUNCH_PADDING_MAX + 1)
        head = bytes((first,)) + self._tag
        iv = self._random(_CIPHER.nonce_size)
        message = build_all(_MESSAGE, Message(kind, nonce, echo, self._random(size)), "a probe")
        probe = {"first": first, "tag": self._tag, "iv": iv, "sealed": _CIPHER.seal(self._key, iv, head, message)}
        return build_all(_PROBE, probe, "a probe")


class ProbeOpener:
    """
    Reads the probes of the other direction.

    Args:
        key: ``Context.key_in``.
        method: The name of the method.
    """

    __slots__ = ("_key", "tag")

    def __init__(self, key: bytes, method: str) -> None:
        self._key = _key_of(key, method)
        self.tag = tag_of(key, method)
        """Of all of them."""

    def parse_probe_untrusted(self, data: bytes) -> Message:
        """
        What the other end says.

        Raises:
            MalformedMessage: It does not; these bytes are somebody else's, or were changed.
        """
        if expected_tag(data) != self.tag:
            raise MalformedMessage("a datagram without the tag of this attempt's probes")
        probe = parse_all(_PROBE, data, "a probe", PROBE_MAX)
        plain = _CIPHER.open(self._key, bytes(probe.iv), data[:_HEAD], bytes(probe.sealed))
        message: Message = parse_all(_MESSAGE, plain, "a probe", _BODY_MAX)
        return message
