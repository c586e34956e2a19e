"""
The Noise Protocol Framework (https://noiseprotocol.org/noise.html, revision 34), as much of it as crust needs:
``Noise_XK_25519_ChaChaPoly_BLAKE2b`` and ``Noise_XKpsk3_25519_ChaChaPoly_BLAKE2b``.

The initiator knows the responder's static key beforehand, so its first message is already encrypted to the responder,
and its own identity goes only to a responder that has proven to be the one it called.

Sans-IO: messages in, messages out. Names follow the specification; section numbers refer to it. Not thread-safe.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable

from ..exceptions import LocalProtocolError, MalformedMessage
from .keys import CHACHA20_POLY1305, KEY_SIZE, dh, x25519_public

__all__ = [
    "HASH_SIZE",
    "MESSAGE_MAX",
    "PATTERNS",
    "TAG_SIZE",
    "CipherState",
    "HandshakeState",
    "SymmetricState",
]

HASH_SIZE = 64  # HASHLEN of BLAKE2b, section 12.8
TAG_SIZE = CHACHA20_POLY1305.tag_size
MESSAGE_MAX = 65_535  # section 3

# Section 7.5, and 9.4 for psk3: who sends what. Both have the pre-message "<- s".
PATTERNS: dict[str, tuple[tuple[str, ...], ...]] = {
    "XK": (("e", "es"), ("e", "ee"), ("s", "se")),
    "XKpsk3": (("e", "es"), ("e", "ee"), ("s", "se", "psk")),
}

# Section 5.3: which of our keys meets which of theirs, seen from the initiator and from the responder.
_DH: dict[str, tuple[tuple[str, str], tuple[str, str]]] = {
    "ee": (("e", "re"), ("e", "re")),
    "es": (("e", "rs"), ("s", "re")),
    "se": (("s", "re"), ("e", "rs")),
}


def _hkdf(chaining_key: bytes, material: bytes, outputs: int) -> list[bytes]:
    """HKDF of section 4.3: two or three outputs of 64 bytes."""
    temporary = hmac.digest(chaining_key, material, hashlib.blake2b)
    result: list[bytes] = []
    output = b""
    for number in range(1, outputs + 1):
        output = hmac.digest(temporary, output + bytes((number,)), hashlib.blake2b)
        result.append(output)
    return result


class CipherState:
    """A key and the number of messages encrypted under it (section 5.1)."""

    __slots__ = ("_key", "_nonce")

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._nonce = 0

    def encrypt(self, associated: bytes, plaintext: bytes) -> bytes:
        """EncryptWithAd: each call uses the next nonce."""
        return CHACHA20_POLY1305.seal(self._key, self._next_nonce(), associated, plaintext)

    def decrypt(self, associated: bytes, ciphertext: bytes) -> bytes:
        """DecryptWithAd: each call uses the next nonce; raises MalformedMessage."""
        return CHACHA20_POLY1305.open(self._key, self._next_nonce(), associated, ciphertext)

    def _next_nonce(self) -> bytes:
        nonce = self._nonce
        self._nonce = nonce + 1
        return bytes(4) + nonce.to_bytes(8, "little")  # section 12.3


class SymmetricState:
    """Chaining key, transcript hash and current cipher of a handshake (section 5.2)."""

    __slots__ = ("_chaining_key", "_cipher", "hash")

    def __init__(self, protocol_name: bytes) -> None:
        if len(protocol_name) > HASH_SIZE:
            protocol_name = hashlib.blake2b(protocol_name).digest()
        self.hash = protocol_name.ljust(HASH_SIZE, b"\0")
        self._chaining_key = self.hash
        self._cipher: CipherState | None = None

    def mix_hash(self, data: bytes) -> None:
        """Add ``data`` to the transcript."""
        self.hash = hashlib.blake2b(self.hash + data).digest()

    def mix_key(self, material: bytes) -> None:
        """Add the result of a DH to the keys."""
        self._chaining_key, key = _hkdf(self._chaining_key, material, 2)
        self._cipher = CipherState(key[:KEY_SIZE])

    def mix_key_and_hash(self, material: bytes) -> None:
        """Add a pre-shared key to both."""
        self._chaining_key, hashed, key = _hkdf(self._chaining_key, material, 3)
        self.mix_hash(hashed)
        self._cipher = CipherState(key[:KEY_SIZE])

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        """Encrypt (once there is a key) and add the result to the transcript."""
        data = plaintext if self._cipher is None else self._cipher.encrypt(self.hash, plaintext)
        self.mix_hash(data)
        return data

    def decrypt_and_hash(self, data: bytes) -> bytes:
        """The reverse; raises MalformedMessage."""
        plaintext = data if self._cipher is None else self._cipher.decrypt(self.hash, data)
        self.mix_hash(data)
        return plaintext

    def split(self) -> tuple[bytes, bytes]:
        """The two transport keys, 32 bytes each: initiator to responder, and back."""
        first, second = _hkdf(self._chaining_key, b"", 2)
        return first[:KEY_SIZE], second[:KEY_SIZE]


class HandshakeState:
    """
    One side of one handshake (section 5.3).

    Call ``write_message`` and ``read_message`` in turn, the initiator writing first, until ``finished``; then take
    ``hash`` and ``split``. Any error leaves the state unusable: every later call raises LocalProtocolError.

    Args:
        initiator: Which side this is.
        static: Our X25519 private key.
        static_public: The public key of ``static`` (given, because computing it takes 20 microseconds).
        remote_static: The responder's public key; given by the initiator, and only there.
        prologue: What both sides must agree on already.
        psk: 32 bytes for XKpsk3; None for XK.
        random: Source of the ephemeral key: ``random(32)``.
    """

    __slots__ = (
        "_broken",
        "_initiator",
        "_keys",
        "_pattern",
        "_psk",
        "_random",
        "_state",
        "_static_public",
        "_step",
    )

    def __init__(
        self,
        initiator: bool,
        static: bytes,
        static_public: bytes,
        remote_static: bytes | None,
        prologue: bytes,
        psk: bytes | None = None,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        if (remote_static is not None) != initiator:
            raise ValueError("in XK the initiator knows the responder's key, and the responder nobody's")
        if psk is not None and len(psk) != KEY_SIZE:
            raise ValueError(f"a psk is {KEY_SIZE} bytes")
        name = "XK" if psk is None else "XKpsk3"
        self._initiator = initiator
        self._pattern = PATTERNS[name]
        self._psk = psk
        self._random = random
        self._step = 0
        self._broken = False
        self._static_public = static_public
        self._keys = {"s": static}  # private keys e and s, public keys re and rs
        if remote_static is not None:
            self._keys["rs"] = remote_static
        self._state = SymmetricState(f"Noise_{name}_25519_ChaChaPoly_BLAKE2b".encode())
        self._state.mix_hash(prologue)
        self._state.mix_hash(static_public if remote_static is None else remote_static)

    @property
    def finished(self) -> bool:
        """True after the last message."""
        return self._step == len(self._pattern) and not self._broken

    @property
    def remote_static(self) -> bytes:
        """The other side's static public key; the responder has it after message 3."""
        return self._keys["rs"]

    @property
    def hash(self) -> bytes:
        """The handshake hash, 64 bytes: both sides have the same, and no other handshake does (section 11.2)."""
        self._check(self.finished)
        return self._state.hash

    def split(self) -> tuple[bytes, bytes]:
        """Two keys of 32 bytes: for what the initiator sends, and for what the responder sends."""
        self._check(self.finished)
        return self._state.split()

    def write_message(self, payload: bytes) -> bytes:
        """The next message, with ``payload`` encrypted at its end."""
        self._check(self._step < len(self._pattern) and (self._step % 2 == 0) == self._initiator)
        self._broken = True  # until the end is reached
        state = self._state
        parts = []
        for token in self._pattern[self._step]:
            if token == "e":
                self._keys["e"] = self._random(KEY_SIZE)
                public = x25519_public(self._keys["e"])
                parts.append(public)
                self._mix_ephemeral(public)
            elif token == "s":
                parts.append(state.encrypt_and_hash(self._static_public))
            else:
                self._mix_token(token)
        parts.append(state.encrypt_and_hash(payload))
        message = b"".join(parts)
        if len(message) > MESSAGE_MAX:
            raise ValueError(f"a Noise message is at most {MESSAGE_MAX} bytes")
        self._step += 1
        self._broken = False
        return message

    def read_message(self, message: bytes) -> bytes:
        """
        The payload of the other side's next message.

        Raises:
            MalformedMessage: It is not one, or not meant for us; the handshake is over.
        """
        self._check(self._step < len(self._pattern) and (self._step % 2 == 1) == self._initiator)
        self._broken = True
        if len(message) > MESSAGE_MAX:
            raise MalformedMessage(f"a Noise message is at most {MESSAGE_MAX} bytes")
        state = self._state
        position = 0
        for token in self._pattern[self._step]:
            if token in ("e", "s"):
                size = KEY_SIZE + (TAG_SIZE if token == "s" else 0)
                part = message[position : position + size]
                if len(part) != size:
                    raise MalformedMessage("a Noise message ends within a key")
                position += size
                if token == "e":
                    self._keys["re"] = part
                    self._mix_ephemeral(part)
                else:
                    self._keys["rs"] = state.decrypt_and_hash(part)
            else:
                self._mix_token(token)
        payload = state.decrypt_and_hash(message[position:])
        self._step += 1
        self._broken = False
        return payload

    def _mix_ephemeral(self, public: bytes) -> None:
        self._state.mix_hash(public)
        if self._psk is not None:
            self._state.mix_key(public)  # section 9.2: with a psk, "e" also goes into the key

    def _mix_token(self, token: str) -> None:
        if token == "psk":
            if self._psk is None:
                raise LocalProtocolError("this Noise pattern needs a pre-shared key")
            self._state.mix_key_and_hash(self._psk)
            return
        ours, theirs = _DH[token][0 if self._initiator else 1]
        self._state.mix_key(dh(self._keys[ours], self._keys[theirs]))

    def _check(self, allowed: bool) -> None:
        if self._broken:
            raise LocalProtocolError("this Noise handshake has failed; start a new one")
        if not allowed:
            raise LocalProtocolError("a Noise handshake takes its messages in turn, and three of them")
