"""Noise XK and XKpsk3 against the published vectors and against an independent implementation."""

from __future__ import annotations

import json
import pathlib
import random
from collections.abc import Callable
from typing import Any

import pytest
from noise.connection import Keypair, NoiseConnection

from crust.crypto.keys import x25519_public
from crust.crypto.noise import CipherState, HandshakeState
from crust.exceptions import LocalProtocolError, MalformedMessage

VECTORS = json.loads((pathlib.Path(__file__).parents[1] / "vectors" / "noise.json").read_text())["vectors"]
PSK = bytes(range(32))


def source(seed: int) -> Callable[[int], bytes]:
    return random.Random(seed).randbytes


def states(psk: bytes | None = None, prologue: bytes = b"p") -> tuple[HandshakeState, HandshakeState]:
    """An initiator and a responder that know each other."""
    a, b = source(1)(32), source(2)(32)
    initiator = HandshakeState(True, a, x25519_public(a), x25519_public(b), prologue, psk, source(3))
    responder = HandshakeState(False, b, x25519_public(b), None, prologue, psk, source(4))
    return initiator, responder


def run(initiator: HandshakeState, responder: HandshakeState) -> None:
    for writer, reader in ((initiator, responder), (responder, initiator), (initiator, responder)):
        assert reader.read_message(writer.write_message(b"payload")) == b"payload"


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["protocol_name"])
def test_published_vectors(vector: dict[str, Any]) -> None:
    """Every message, the handshake hash and the transport messages are those of the published vectors."""
    hexed = {
        key: bytes.fromhex(value)
        for key, value in vector.items()
        if isinstance(value, str) and key != "protocol_name"
    }
    psk = bytes.fromhex(vector["init_psks"][0]) if "init_psks" in vector else None
    static = hexed["init_static"]
    initiator = HandshakeState(
        True,
        static,
        x25519_public(static),
        hexed["init_remote_static"],
        hexed["init_prologue"],
        psk,
        lambda size: hexed["init_ephemeral"],
    )
    static = hexed["resp_static"]
    responder = HandshakeState(
        False,
        static,
        x25519_public(static),
        None,
        hexed["resp_prologue"],
        psk,
        lambda size: hexed["resp_ephemeral"],
    )
    turns = [(initiator, responder), (responder, initiator), (initiator, responder)]
    messages = vector["messages"]
    for (writer, reader), message in zip(turns, messages[:3], strict=True):
        payload, expected = bytes.fromhex(message["payload"]), bytes.fromhex(message["ciphertext"])
        assert writer.write_message(payload) == expected
        assert reader.read_message(expected) == payload
    assert initiator.finished and responder.finished
    assert initiator.hash == responder.hash == hexed["handshake_hash"]
    assert responder.remote_static == x25519_public(hexed["init_static"])
    assert initiator.split() == responder.split()
    # The transport messages go on in turn: the responder's first, as the third handshake message was the initiator's.
    forward, back = (CipherState(key) for key in initiator.split())
    for cipher, message in zip((back, forward, back), messages[3:], strict=True):
        assert cipher.encrypt(b"", bytes.fromhex(message["payload"])).hex() == message["ciphertext"]


@pytest.mark.parametrize("psk", [None, PSK], ids=["XK", "XKpsk3"])
@pytest.mark.parametrize("we_initiate", [True, False])
def test_interoperates_with_an_independent_implementation(we_initiate: bool, psk: bytes | None) -> None:
    """noiseprotocol (PyPI) and ours complete a handshake in both roles, and have the same hash and keys."""
    ours, theirs = source(5)(32), source(6)(32)
    name = "Noise_XKpsk3_25519_ChaChaPoly_BLAKE2b" if psk else "Noise_XK_25519_ChaChaPoly_BLAKE2b"
    other = NoiseConnection.from_name(name.encode())
    other.set_prologue(b"prologue")
    if psk:
        other.set_psks(psk)
    other.set_keypair_from_private_bytes(Keypair.STATIC, theirs)
    if we_initiate:
        other.set_as_responder()
    else:
        other.set_as_initiator()
        other.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, x25519_public(ours))
    other.start_handshake()
    remote = x25519_public(theirs) if we_initiate else None
    mine = HandshakeState(we_initiate, ours, x25519_public(ours), remote, b"prologue", psk, source(7))
    for number in range(3):
        payload = b"message %d" % number
        if (number % 2 == 0) == we_initiate:
            assert bytes(other.read_message(mine.write_message(payload))) == payload
        else:
            assert mine.read_message(bytes(other.write_message(payload))) == payload
    assert mine.finished and other.handshake_finished
    assert mine.hash == other.get_handshake_hash()
    assert mine.remote_static == x25519_public(theirs)
    forward, back = mine.split()
    sending, receiving = (forward, back) if we_initiate else (back, forward)
    assert other.decrypt(CipherState(sending).encrypt(b"", b"hello")) == b"hello"
    assert CipherState(receiving).decrypt(b"", other.encrypt(b"hello")) == b"hello"


@pytest.mark.parametrize("psk", [None, PSK], ids=["XK", "XKpsk3"])
@pytest.mark.parametrize("number", range(3))
def test_every_changed_byte_is_noticed_and_ends_the_handshake(number: int, psk: bytes | None) -> None:
    """A message with any byte changed is malformed, and the state takes nothing afterwards, not even the right one."""
    initiator, responder = states(psk)
    size = 0
    position = 0
    while position == 0 or position < size:
        initiator, responder = states(psk)
        turns = [(initiator, responder), (responder, initiator), (initiator, responder)]
        for writer, reader in turns[:number]:
            reader.read_message(writer.write_message(b"payload"))
        writer, reader = turns[number]
        message = writer.write_message(b"payload")
        size = len(message)
        changed = bytearray(message)
        changed[position] ^= 0x80
        with pytest.raises(MalformedMessage):
            reader.read_message(bytes(changed))
        with pytest.raises(LocalProtocolError):
            reader.read_message(message)
        assert not reader.finished
        position += 1


@pytest.mark.parametrize("number", range(3))
def test_every_truncation_is_malformed(number: int) -> None:
    """A message cut anywhere is malformed."""
    size = 1000
    kept = 0
    while kept < size:
        initiator, responder = states(PSK)
        turns = [(initiator, responder), (responder, initiator), (initiator, responder)]
        for writer, reader in turns[:number]:
            reader.read_message(writer.write_message(b"payload"))
        writer, reader = turns[number]
        message = writer.write_message(b"payload")
        size = len(message)
        with pytest.raises(MalformedMessage):
            reader.read_message(message[:kept])
        kept += 1


def test_a_low_order_ephemeral_key_is_malformed() -> None:
    """An all-zero DH result fails."""
    _, responder = states()
    with pytest.raises(MalformedMessage, match="low order"):
        responder.read_message(bytes(32) + bytes(32))


def test_another_prologue_fails_at_message_1() -> None:
    """What the prologue says is part of what both sides prove."""
    initiator, _ = states(prologue=b"one")
    _, responder = states(prologue=b"two")
    with pytest.raises(MalformedMessage):
        responder.read_message(initiator.write_message(b""))


def test_another_psk_fails() -> None:
    """Who lacks the pre-shared key does not get through."""
    initiator, _ = states(PSK)
    _, responder = states(bytes(32))
    with pytest.raises(MalformedMessage):
        run(initiator, responder)


def test_the_initiator_notices_a_responder_with_another_key() -> None:
    """Only the holder of the called key can read message 1."""
    initiator, _ = states()
    key = source(9)(32)
    impostor = HandshakeState(False, key, x25519_public(key), None, b"p", None, source(4))
    with pytest.raises(MalformedMessage):
        impostor.read_message(initiator.write_message(b""))


def test_messages_go_in_turn() -> None:
    """A call out of turn is refused, and does no harm."""
    initiator, responder = states()
    with pytest.raises(LocalProtocolError):
        initiator.read_message(bytes(100))
    with pytest.raises(LocalProtocolError):
        responder.write_message(b"")
    with pytest.raises(LocalProtocolError):
        initiator.split()
    with pytest.raises(LocalProtocolError):
        _ = initiator.hash
    run(initiator, responder)
    with pytest.raises(LocalProtocolError):
        initiator.write_message(b"")
    with pytest.raises(LocalProtocolError):
        responder.read_message(b"")


def test_ephemeral_keys_make_each_handshake_different() -> None:
    """The same two parties get other keys each time: what is recorded today stays secret if a key leaks tomorrow."""
    a, b = source(1)(32), source(2)(32)
    seen = set()
    for _ in range(3):
        initiator = HandshakeState(True, a, x25519_public(a), x25519_public(b), b"")
        responder = HandshakeState(False, b, x25519_public(b), None, b"")
        run(initiator, responder)
        seen |= {initiator.hash, *initiator.split()}
    assert len(seen) == 9


def test_overlong_messages_are_refused() -> None:
    """A Noise message has at most 65,535 bytes."""
    initiator, responder = states()
    with pytest.raises(MalformedMessage):
        responder.read_message(bytes(65_536))
    with pytest.raises(ValueError):
        initiator.write_message(bytes(65_536))


def test_keys_must_fit_the_role() -> None:
    """XK: the initiator brings the responder's key, the responder brings none; a psk has 32 bytes."""
    key = source(1)(32)
    public = x25519_public(key)
    with pytest.raises(ValueError):
        HandshakeState(True, key, public, None, b"")
    with pytest.raises(ValueError):
        HandshakeState(False, key, public, public, b"")
    with pytest.raises(ValueError):
        HandshakeState(False, key, public, None, b"", b"short")
