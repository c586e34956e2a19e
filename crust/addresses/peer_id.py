"""The name of a peer, and its text form."""

from __future__ import annotations

import base64
import functools
import hashlib

from .. import limits
from .text import check_text, fail, quoted

__all__ = ["PeerId", "parse_peer_id"]

_PEER_ID_LENGTH = 56  # characters: 35 bytes in base32 leave no spare bits, so an id has one spelling only
_BASE32 = frozenset("abcdefghijklmnopqrstuvwxyz234567")
_LOOKALIKE = {"0": "o", "1": "l", "8": "b", "9": "g"}


@functools.total_ordering
class PeerId:
    """
    The name of a peer: its Ed25519 public key. Ids are ordered by their bytes.

    Whether the key is a usable curve point is not checked here but by the identity and the handshake.

    Args:
        public_key: 32 bytes (RFC 8032 section 5.1.5). Another length is a ``ValueError``.
    """

    __slots__ = ("_public_key",)

    _public_key: bytes

    def __init__(self, public_key: bytes) -> None:
        if not isinstance(public_key, bytes):
            raise TypeError(f"a public key is bytes, found {type(public_key).__name__}")
        if len(public_key) != limits.PEER_ID_SIZE:
            raise ValueError(f"a public key has {limits.PEER_ID_SIZE} bytes, found {len(public_key)}")
        object.__setattr__(self, "_public_key", public_key)

    @classmethod
    def parse(cls, text: str) -> PeerId:
        """
        Read the 56 characters that ``str`` gives; upper case is taken too.

        Raises:
            ContactSyntaxError: wrong length, a character that ids never contain, or a typo (the checksum tells).
        """
        check_text("peer id", text)
        return parse_peer_id(text, 0, len(text))

    @property
    def public_key(self) -> bytes:
        """The 32 bytes."""
        return self._public_key

    @property
    def short(self) -> str:
        """The first 8 characters: enough for a log line, not for security."""
        return str(self)[:8]

    def __str__(self) -> str:
        return base64.b32encode(self._public_key + _checksum(self._public_key)).decode("ascii").lower()

    def __repr__(self) -> str:
        return f"<PeerId {self.short}…>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PeerId):
            return NotImplemented
        return self._public_key == other._public_key

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, PeerId):
            return NotImplemented
        return self._public_key < other._public_key

    def __hash__(self) -> int:
        return hash(self._public_key)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"PeerId cannot be changed: {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"PeerId cannot be changed: {name}")

    def __reduce__(self) -> tuple[object, ...]:
        return (PeerId, (self._public_key,))


def _checksum(public_key: bytes) -> bytes:
    digest = hashlib.blake2b(b"crust/1 peer id\0" + public_key, digest_size=32).digest()
    return digest[: limits.PEER_ID_CHECKSUM_SIZE]


def parse_peer_id(text: str, start: int, end: int) -> PeerId:
    """Read ``text[start:end]``; columns in errors count from the start of ``text``."""
    for index in range(start, end):
        character = text[index]
        if not character.isascii() or character.lower() not in _BASE32:
            hint = f"; did you mean {_LOOKALIKE[character]!r}?" if character in _LOOKALIKE else ""
            message = f"peer id: {quoted(character)} does not occur in peer ids, only a-z and 2-7 do{hint}"
            raise fail(message, text, index)
    length = end - start
    if length != _PEER_ID_LENGTH:
        message = f"peer id: {length} characters, expected {_PEER_ID_LENGTH}; was it copied whole?"
        raise fail(message, text, start + min(length, _PEER_ID_LENGTH))
    raw = base64.b32decode(text[start:end].upper())
    public_key, checksum = raw[: limits.PEER_ID_SIZE], raw[limits.PEER_ID_SIZE :]
    if checksum != _checksum(public_key):
        raise fail("peer id: mistyped, the checksum in its last characters does not match", text, start)
    return PeerId(public_key)
