"""
The primitives, by name: X25519, the Ed25519 conversions, BLAKE2b and two AEADs.

This is the only module that touches PyNaCl. Everything here is a pure function of its arguments: no clock, no file and
no randomness of its own. All functions may be called from any thread.

Sources: X25519 is RFC 7748, Ed25519 RFC 8032, ChaCha20-Poly1305 RFC 8439, BLAKE2b RFC 7693, AEGIS-256
draft-irtf-cfrg-aegis-aead (with the 256-bit tag).
"""

from __future__ import annotations

import functools
import hashlib
import importlib
from collections.abc import Callable, Sequence
from typing import Any

from nacl import bindings
from nacl.exceptions import CryptoError

from ..exceptions import MalformedMessage
from ..limits import SIGNATURE_SIZE
from ..values import dataclass
from ..wire.handshake import Aead

__all__ = [
    "AEGIS_256",
    "CHACHA20_POLY1305",
    "CIPHERS",
    "KEY_SIZE",
    "Cipher",
    "choose_aead",
    "dh",
    "ed25519_public",
    "ed25519_to_x25519",
    "ed25519_to_x25519_private",
    "hash32",
    "is_signed",
    "sign",
    "supported_aeads",
    "x25519_public",
]

KEY_SIZE = 32  # bytes of every key here: X25519, Ed25519 (seed and public), both AEADs, keyed BLAKE2b

Seal = Callable[[bytes, bytes, bytes, bytes], bytes]
SealInto = Callable[[bytes, bytes, bytes, bytes, bytearray, int], None]
Open = Callable[[bytes, bytes, bytes, "bytes | bytearray | memoryview"], bytes]
OpenInto = Callable[[bytes, bytes, bytes, "bytes | bytearray | memoryview", bytearray], None]
_Functions = tuple[Seal, SealInto, Open, OpenInto]


def hash32(data: bytes, key: bytes = b"") -> bytes:
    """BLAKE2b with a 32-byte result; ``key`` is at most 64 bytes."""
    return hashlib.blake2b(data, digest_size=32, key=key).digest()


# --- curves ----------------------------------------------------------------------------------------------------------


def x25519_public(private: bytes) -> bytes:
    """The public key of a 32-byte X25519 private key."""
    _check_key(private)
    return bindings.crypto_scalarmult_base(private)


def dh(private: bytes, public: bytes) -> bytes:
    """
    X25519 of our private and their public key, 32 bytes each.

    Raises:
        MalformedMessage: The result is all zero, because ``public`` is a point of low order (RFC 7748 section 6.1).
    """
    _check_key(private)
    _check_key(public)
    try:
        return bindings.crypto_scalarmult(private, public)
    except CryptoError as error:
        raise MalformedMessage("the other side's X25519 key is a point of low order") from error


def ed25519_public(seed: bytes) -> bytes:
    """The Ed25519 public key of a 32-byte seed."""
    _check_key(seed)
    return bindings.crypto_sign_seed_keypair(seed)[0]


@functools.lru_cache(maxsize=1024)  # 48 microseconds; the same peers come again
def ed25519_to_x25519(public: bytes) -> bytes:
    """
    The X25519 public key that belongs to an Ed25519 public key.

    The map forgets the sign of x: two Ed25519 keys share each X25519 key. Whoever relies on it must bind the Ed25519
    key as well.

    Raises:
        ValueError: ``public`` is not a point of the curve's main subgroup, so nobody can hold its private key.
    """
    _check_key(public)
    try:
        return bindings.crypto_sign_ed25519_pk_to_curve25519(public)
    except CryptoError as error:
        raise ValueError("these 32 bytes are not an Ed25519 public key") from error


def sign(seed: bytes, public: bytes, message: bytes) -> bytes:
    """
    The Ed25519 signature, 64 bytes, by the key of a 32-byte seed.

    Args:
        public: The public key of that seed and of no other: with another one, the signature gives the secret away.
    """
    _check_key(seed)
    _check_key(public)
    return bindings.crypto_sign(message, seed + public)[:SIGNATURE_SIZE]


def is_signed(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether that Ed25519 key has signed the message. False for bytes that are no key, or no signature, too."""
    if len(public) != KEY_SIZE or len(signature) != SIGNATURE_SIZE:
        return False
    return _opens(signature + message, public)


def _opener() -> Callable[[bytes, bytes], bool]:
    """Whether a signature with its message behind it is right; straight on libsodium if that is there, as `_direct`."""
    try:
        sodium = importlib.import_module("nacl._sodium")
        verify, null = sodium.lib.crypto_sign_open, sodium.ffi.NULL
    except (ImportError, AttributeError):
        return _opens_portably

    def opens(signed: bytes, public: bytes) -> bool:
        return not verify(null, null, signed, len(signed), public)  # nobody needs the message again

    return opens


def _opens_portably(signed: bytes, public: bytes) -> bool:
    try:
        bindings.crypto_sign_open(signed, public)
    except CryptoError:
        return False
    return True


_opens = _opener()


def ed25519_to_x25519_private(seed: bytes) -> bytes:
    """The X25519 private key that belongs to an Ed25519 seed."""
    _check_key(seed)
    return bindings.crypto_sign_ed25519_sk_to_curve25519(bindings.crypto_sign_seed_keypair(seed)[1])


def _check_key(key: bytes) -> None:
    # libsodium reads 32 bytes wherever the pointer leads, and PyNaCl does not always look.
    if len(key) != KEY_SIZE:
        raise ValueError(f"a key is {KEY_SIZE} bytes")


# --- AEADs -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cipher:
    """One AEAD. The tag follows the ciphertext."""

    aead: Aead
    """Its number on the wire."""

    name: str
    """What people call it."""

    nonce_size: int
    """Bytes."""

    tag_size: int
    """Bytes that the ciphertext is longer than the plaintext."""

    seal: Seal
    """``seal(key, nonce, associated_data, plaintext) -> ciphertext``. Never twice with one key and nonce."""

    seal_into: SealInto
    """``seal_into(key, nonce, associated_data, plaintext, target, at)``: the ciphertext goes into ``target`` from
    ``at`` on. Raises ValueError if it has no room for it."""

    open: Open
    """``open(key, nonce, associated_data, ciphertext) -> plaintext``; raises MalformedMessage if anything differs from
    what was sealed. The ciphertext may be a view: it is not copied."""

    open_into: OpenInto
    """``open_into(key, nonce, associated_data, ciphertext, target)``: the same, the plaintext going to the beginning of
    ``target``. Raises ValueError if it has no room for it."""


def _direct(encrypt: Any, decrypt: Any, sodium: Any, nonce_size: int, tag_size: int) -> _Functions:
    """
    Straight on libsodium.

    PyNaCl's own functions clear the output before it is overwritten, want the input as bytes and look twice at every
    argument: 3.4 microseconds a call where these take 0.9. What keeps the C side within bounds is checked here: the
    sizes of key, nonce and target; the other sizes are taken from the objects themselves.
    """
    ffi = sodium.ffi
    allocate = ffi.new_allocator(should_clear_after_alloc=False)
    array = ffi.typeof("unsigned char[]")
    from_buffer, to_buffer, null = ffi.from_buffer, ffi.buffer, ffi.NULL

    def check(key: bytes, nonce: bytes) -> None:
        if len(key) != KEY_SIZE or len(nonce) != nonce_size:
            raise ValueError(f"the key must be {KEY_SIZE} and the nonce {nonce_size} bytes")

    def seal(key: bytes, nonce: bytes, associated: bytes, plaintext: bytes) -> bytes:
        check(key, nonce)
        size = len(plaintext)
        out = allocate(array, size + tag_size)
        if encrypt(out, null, plaintext, size, associated, len(associated), null, nonce, key):
            raise ValueError("libsodium refused to encrypt")
        result: bytes = to_buffer(out)[:]
        return result

    def seal_into(
        key: bytes, nonce: bytes, associated: bytes, plaintext: bytes, target: bytearray, at: int
    ) -> None:
        check(key, nonce)
        size = len(plaintext)
        out = from_buffer(target)
        if at < 0 or at + size + tag_size > len(out):
            raise ValueError("the target has no room for the ciphertext")
        if encrypt(out + at, null, plaintext, size, associated, len(associated), null, nonce, key):
            raise ValueError("libsodium refused to encrypt")

    def open_(
        key: bytes, nonce: bytes, associated: bytes, ciphertext: bytes | bytearray | memoryview
    ) -> bytes:
        check(key, nonce)
        source = from_buffer(ciphertext)
        size = len(source)
        if size < tag_size:
            raise MalformedMessage(_TOO_SHORT)
        out = allocate(array, size - tag_size)
        if decrypt(out, null, null, source, size, associated, len(associated), nonce, key):
            raise MalformedMessage(_WRONG)
        result: bytes = to_buffer(out)[:]
        return result

    def open_into(
        key: bytes,
        nonce: bytes,
        associated: bytes,
        ciphertext: bytes | bytearray | memoryview,
        target: bytearray,
    ) -> None:
        check(key, nonce)
        source = from_buffer(ciphertext)
        size = len(source)
        if size < tag_size:
            raise MalformedMessage(_TOO_SHORT)
        out = from_buffer(target)
        if size - tag_size > len(out):
            raise ValueError("the target has no room for the plaintext")
        if decrypt(out, null, null, source, size, associated, len(associated), nonce, key):
            raise MalformedMessage(_WRONG)

    return seal, seal_into, open_, open_into


def _portable(encrypt: Any, decrypt: Any, tag_size: int) -> _Functions:
    """On PyNaCl's public functions, for a PyNaCl that is built differently inside."""

    def seal(key: bytes, nonce: bytes, associated: bytes, plaintext: bytes) -> bytes:
        result: bytes = encrypt(plaintext, associated, nonce, key)
        return result

    def seal_into(
        key: bytes, nonce: bytes, associated: bytes, plaintext: bytes, target: bytearray, at: int
    ) -> None:
        end = at + len(plaintext) + tag_size
        if at < 0 or end > len(target):
            raise ValueError("the target has no room for the ciphertext")
        memoryview(target)[at:end] = seal(key, nonce, associated, plaintext)

    def open_(
        key: bytes, nonce: bytes, associated: bytes, ciphertext: bytes | bytearray | memoryview
    ) -> bytes:
        if len(ciphertext) < tag_size:
            raise MalformedMessage(_TOO_SHORT)
        try:
            result: bytes = decrypt(bytes(ciphertext), associated, nonce, key)
        except CryptoError as error:
            raise MalformedMessage(_WRONG) from error
        return result

    def open_into(
        key: bytes,
        nonce: bytes,
        associated: bytes,
        ciphertext: bytes | bytearray | memoryview,
        target: bytearray,
    ) -> None:
        size = len(ciphertext) - tag_size
        if size > len(target):
            raise ValueError("the target has no room for the plaintext")
        plaintext = open_(key, nonce, associated, ciphertext)
        memoryview(target)[:size] = plaintext

    return seal, seal_into, open_, open_into


_TOO_SHORT = "a ciphertext is shorter than its tag"
_WRONG = "a ciphertext does not authenticate"


def _cipher(aead: Aead, name: str, function: str, nonce_size: int, tag_size: int) -> Cipher:
    try:
        sodium = importlib.import_module("nacl._sodium")
        encrypt = getattr(sodium.lib, f"crypto_aead_{function}_encrypt")
        decrypt = getattr(sodium.lib, f"crypto_aead_{function}_decrypt")
        functions = _direct(encrypt, decrypt, sodium, nonce_size, tag_size)
    except (ImportError, AttributeError):
        encrypt = getattr(bindings, f"crypto_aead_{function}_encrypt")
        decrypt = getattr(bindings, f"crypto_aead_{function}_decrypt")
        functions = _portable(encrypt, decrypt, tag_size)
    return Cipher(aead, name, nonce_size, tag_size, *functions)


AEGIS_256 = _cipher(Aead.AEGIS_256, "AEGIS-256", "aegis256", 32, 32)
CHACHA20_POLY1305 = _cipher(Aead.CHACHA20_POLY1305, "ChaCha20-Poly1305", "chacha20poly1305_ietf", 12, 16)
CIPHERS: dict[int, Cipher] = {cipher.aead: cipher for cipher in (AEGIS_256, CHACHA20_POLY1305)}


def supported_aeads() -> tuple[int, ...]:
    """
    The AEADs that this machine does well, best first.

    AEGIS-256 only where the processor has AES instructions (in software it is slow and leaks through the cache), which
    libsodium tells by whether it agrees to do AES-256-GCM. ChaCha20-Poly1305 always.
    """
    try:
        bindings.crypto_aead_aes256gcm_encrypt(b"", None, bytes(12), bytes(KEY_SIZE))
    except CryptoError:
        return (Aead.CHACHA20_POLY1305,)
    return (Aead.AEGIS_256, Aead.CHACHA20_POLY1305)


def choose_aead(offered: Sequence[int], own: Sequence[int]) -> int | None:
    """The first of ``own`` (best first) that is also ``offered``; None if there is none."""
    return next((aead for aead in own if aead in offered), None)
