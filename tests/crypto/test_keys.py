"""The primitives: vectors from their standards, bounds, and refusal of what must not pass."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import nacl.bindings
import nacl.exceptions
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crust.crypto import keys
from crust.crypto.keys import AEGIS_256, CHACHA20_POLY1305, CIPHERS, Cipher
from crust.exceptions import MalformedMessage
from crust.wire.handshake import Aead

# The points of low order of Curve25519, in the encodings below p (https://cr.yp.to/ecdh.html#validate).
LOW_ORDER = [
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
]

PORTABLE = [
    keys._portable(
        nacl.bindings.crypto_aead_aegis256_encrypt, nacl.bindings.crypto_aead_aegis256_decrypt, 32
    ),
    keys._portable(
        nacl.bindings.crypto_aead_chacha20poly1305_ietf_encrypt,
        nacl.bindings.crypto_aead_chacha20poly1305_ietf_decrypt,
        16,
    ),
]

both_ciphers = pytest.mark.parametrize("cipher", CIPHERS.values(), ids=lambda cipher: cipher.name)


def test_x25519_vector() -> None:
    """RFC 7748 section 6.1."""
    a = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    b = bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
    public_a = bytes.fromhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
    public_b = bytes.fromhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
    shared = bytes.fromhex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")
    assert (keys.x25519_public(a), keys.x25519_public(b)) == (public_a, public_b)
    assert keys.dh(a, public_b) == keys.dh(b, public_a) == shared


def test_ed25519_vector() -> None:
    """RFC 8032 section 7.1, test 1."""
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    assert keys.ed25519_public(seed) == public


@pytest.mark.parametrize(
    ("seed", "public", "message", "signature"),
    [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
            "d25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
            "387b2eaeb4302aeeb00d291612bb0c00",
        ),
    ],
)
def test_signature_vectors(seed: str, public: str, message: str, signature: str) -> None:
    """RFC 8032 section 7.1, tests 1 and 2."""
    assert keys.sign(bytes.fromhex(seed), bytes.fromhex(public), bytes.fromhex(message)).hex() == signature
    assert keys.is_signed(bytes.fromhex(public), bytes.fromhex(message), bytes.fromhex(signature))


@pytest.mark.parametrize("opens", [keys._opener(), keys._opens_portably], ids=["direct", "portable"])
def test_a_signature_fits_one_key_one_message_and_every_bit_of_it(
    opens: Callable[[bytes, bytes], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is no key, or no signature, signs nothing; nothing is raised for what strangers send."""
    monkeypatch.setattr(keys, "_opens", opens)
    seed, message = bytes(range(32)), b"message"
    public = keys.ed25519_public(seed)
    signature = keys.sign(seed, public, message)
    assert keys.is_signed(public, message, signature)
    for bit in range(8 * len(signature)):
        changed = (int.from_bytes(signature, "big") ^ 1 << bit).to_bytes(64, "big")
        assert not keys.is_signed(public, message, changed)
    assert not keys.is_signed(public, message + b"s", signature)
    assert not keys.is_signed(keys.ed25519_public(bytes(32)), message, signature)
    for key in (b"", public[:31], public + b"\0", *LOW_ORDER, b"\xff" * 32):
        assert not keys.is_signed(key, message, signature)
    for short in (b"", signature[:63], signature + b"\0"):
        assert not keys.is_signed(public, message, short)


def test_chacha20_poly1305_vector() -> None:
    """RFC 8439 section 2.8.2."""
    key = bytes(range(0x80, 0xA0))
    nonce = bytes.fromhex("070000004041424344454647")
    associated = bytes.fromhex("50515253c0c1c2c3c4c5c6c7")
    text = (
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
        b"sunscreen would be it."
    )
    sealed = CHACHA20_POLY1305.seal(key, nonce, associated, text)
    assert sealed[:16].hex() == "d31a8d34648e60db7b86afbc53ef7ec2"
    assert sealed[-16:].hex() == "1ae10b594f09e26a7e902ecbd0600691"


def test_aegis_256_vector() -> None:
    """draft-irtf-cfrg-aegis-aead, AEGIS-256 test vector 1, with the 256-bit tag."""
    key = bytes.fromhex("1001" + "00" * 30)
    nonce = bytes.fromhex("100002" + "00" * 29)
    sealed = AEGIS_256.seal(key, nonce, b"", bytes(16))
    assert sealed[:16].hex() == "754fc3d8c973246dcc6d741412a4b236"
    assert sealed[16:].hex() == "1181a1d18091082bf0266f66297d167d2e68b845f61a3b0527d31fc7b7b89f13"


@given(st.binary(min_size=32, max_size=32))
def test_both_conversions_agree(seed: bytes) -> None:
    """The converted private key belongs to the converted public key."""
    private = keys.ed25519_to_x25519_private(seed)
    assert keys.x25519_public(private) == keys.ed25519_to_x25519(keys.ed25519_public(seed))


@pytest.mark.parametrize("point", LOW_ORDER, ids=lambda point: point.hex()[:8])
def test_points_of_low_order_are_malformed(point: bytes) -> None:
    """A DH whose result does not depend on our key is refused."""
    with pytest.raises(MalformedMessage):
        keys.dh(os.urandom(32), point)


@pytest.mark.parametrize("public", [bytes(32), b"\x01" + bytes(31), b"\x02" + bytes(31), b"\xff" * 32])
def test_what_is_no_ed25519_key_does_not_convert(public: bytes) -> None:
    """Points of small order, and bytes that are no point."""
    with pytest.raises(ValueError):
        keys.ed25519_to_x25519(public)


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33)])
def test_keys_of_another_length_never_reach_c_code(key: bytes) -> None:
    """Each function checks before libsodium reads."""
    good = bytes(31) + b"\x01"
    for call in (
        keys.x25519_public,
        keys.ed25519_public,
        keys.ed25519_to_x25519,
        keys.ed25519_to_x25519_private,
    ):
        with pytest.raises(ValueError):
            call(key)
    for pair in ((key, good), (good, key)):
        with pytest.raises(ValueError):
            keys.dh(*pair)


@both_ciphers
@pytest.mark.parametrize("wrong", ["key", "nonce"])
def test_aeads_refuse_keys_and_nonces_of_another_length(cipher: Cipher, wrong: str) -> None:
    """Too short or too long by one."""
    for change in (-1, 1):
        key = bytes(32 + (change if wrong == "key" else 0))
        nonce = bytes(cipher.nonce_size + (change if wrong == "nonce" else 0))
        with pytest.raises(ValueError):
            cipher.seal(key, nonce, b"", b"x")
        with pytest.raises(ValueError):
            cipher.open(key, nonce, b"", bytes(100))
        with pytest.raises(ValueError):
            cipher.seal_into(key, nonce, b"", b"x", bytearray(100), 0)
        with pytest.raises(ValueError):
            cipher.open_into(key, nonce, b"", bytes(100), bytearray(100))


@both_ciphers
@given(data=st.data())
def test_open_reverses_seal_and_agrees_with_pynacl(cipher: Cipher, data: Any) -> None:
    """The fast path and PyNaCl's public functions give the same bytes, from bytes and from views."""
    key = data.draw(st.binary(min_size=32, max_size=32))
    nonce = data.draw(st.binary(min_size=cipher.nonce_size, max_size=cipher.nonce_size))
    associated = data.draw(st.binary(max_size=40))
    plaintext = data.draw(st.binary(max_size=300))
    seal, seal_into, open_, open_into = PORTABLE[0 if cipher is AEGIS_256 else 1]
    sealed = cipher.seal(key, nonce, associated, plaintext)
    assert len(sealed) == len(plaintext) + cipher.tag_size
    assert sealed == seal(key, nonce, associated, plaintext)
    assert open_(key, nonce, associated, sealed) == plaintext
    for form in (sealed, bytearray(sealed), memoryview(b"??" + sealed)[2:]):
        assert cipher.open(key, nonce, associated, form) == plaintext
    for into, out_of in ((cipher.seal_into, cipher.open_into), (seal_into, open_into)):
        target = bytearray(b"?" * (len(sealed) + 7))
        into(key, nonce, associated, plaintext, target, 5)
        assert target == b"?????" + sealed + b"??"
        opened = bytearray(b"?" * (len(plaintext) + 3))
        out_of(key, nonce, associated, memoryview(target)[5:-2], opened)
        assert opened == plaintext + b"???"


@both_ciphers
def test_nothing_is_written_beyond_the_target(cipher: Cipher) -> None:
    """A buffer that is too small by one byte, or a place outside of it, is refused on both paths."""
    key, nonce, text = bytes(32), bytes(cipher.nonce_size), b"text"
    sealed = cipher.seal(key, nonce, b"", text)
    _, seal_into, _, open_into = PORTABLE[0 if cipher is AEGIS_256 else 1]
    for into, out_of in ((cipher.seal_into, cipher.open_into), (seal_into, open_into)):
        for size, at in ((len(sealed) - 1, 0), (len(sealed), 1), (len(sealed) + 9, -1), (0, 0)):
            target = bytearray(size)
            with pytest.raises(ValueError):
                into(key, nonce, b"", text, target, at)
            assert target == bytes(size)
        with pytest.raises(ValueError):
            out_of(key, nonce, b"", sealed, bytearray(len(text) - 1))


@both_ciphers
def test_any_change_is_malformed(cipher: Cipher) -> None:
    """One bit in ciphertext, tag, nonce, key or associated data; a cut; nothing at all. On both paths."""
    key, nonce = os.urandom(32), os.urandom(cipher.nonce_size)
    sealed = cipher.seal(key, nonce, b"ad", b"plaintext")
    flip = lambda text, at: text[:at] + bytes((text[at] ^ 1,)) + text[at + 1 :]  # noqa: E731
    bad = [(key, nonce, b"ad", flip(sealed, at)) for at in range(len(sealed))]
    bad += [(key, nonce, b"ad", sealed[:size]) for size in range(len(sealed))]
    bad += [
        (flip(key, 5), nonce, b"ad", sealed),
        (key, flip(nonce, 5), b"ad", sealed),
        (key, nonce, b"aD", sealed),
    ]
    _, _, open_, open_into = PORTABLE[0 if cipher is AEGIS_256 else 1]
    for arguments in bad:
        for call in (cipher.open, open_):
            with pytest.raises(MalformedMessage):
                call(*arguments)
        for into in (cipher.open_into, open_into):
            with pytest.raises(MalformedMessage):
                into(*arguments, bytearray(100))


def test_hash32_is_blake2b_256() -> None:
    """The digest of "abc" that BLAKE2b-256 has everywhere, and a key makes another."""
    assert keys.hash32(b"abc").hex() == "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319"
    assert keys.hash32(b"abc", key=b"k") != keys.hash32(b"abc")


def test_aegis_is_offered_only_where_the_processor_has_aes(monkeypatch: pytest.MonkeyPatch) -> None:
    """libsodium's refusal of AES-256-GCM tells; ChaCha20-Poly1305 is always there."""

    def refuse(*arguments: object) -> bytes:
        raise nacl.exceptions.UnavailableError

    monkeypatch.setattr(nacl.bindings, "crypto_aead_aes256gcm_encrypt", refuse)
    assert keys.supported_aeads() == (Aead.CHACHA20_POLY1305,)
    monkeypatch.setattr(nacl.bindings, "crypto_aead_aes256gcm_encrypt", lambda *arguments: b"")
    assert keys.supported_aeads() == (Aead.AEGIS_256, Aead.CHACHA20_POLY1305)


@pytest.mark.parametrize(
    ("offered", "own", "chosen"),
    [
        ((1, 2), (1, 2), Aead.AEGIS_256),
        ((2, 1), (1, 2), Aead.AEGIS_256),
        ((2,), (1, 2), Aead.CHACHA20_POLY1305),
        ((1, 2), (2,), Aead.CHACHA20_POLY1305),
        ((77, 1, 2), (1, 2), Aead.AEGIS_256),
        ((77,), (1, 2), None),
    ],
)
def test_the_best_aead_that_both_do_well_is_chosen(
    offered: tuple[int, ...], own: tuple[int, ...], chosen: Aead | None
) -> None:
    """AEGIS-256 if both offer it, unknown numbers ignored."""
    assert keys.choose_aead(offered, own) == chosen


def test_without_pynacls_inside_the_public_functions_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    """A PyNaCl that is built differently costs speed, nothing else."""

    def missing(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr(keys.importlib, "import_module", missing)
    cipher = keys._cipher(Aead.AEGIS_256, "AEGIS-256", "aegis256", 32, 32)
    sealed = cipher.seal(bytes(32), bytes(32), b"", b"text")
    assert sealed == AEGIS_256.seal(bytes(32), bytes(32), b"", b"text")
    assert cipher.open(bytes(32), bytes(32), b"", memoryview(sealed)) == b"text"
