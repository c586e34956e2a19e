"""
The worked example of docs/wire-format.md, computed: one conversation from fixed keys and fixed randomness.

``python -m tests.support.wire_example`` prints the block for the document.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from typing import Any, TypeAlias

from crust.addresses import ConnectionInfo, Contact, Endpoint, network_id
from crust.crypto import handshake, proofs, records
from crust.crypto.identity import KeyPair
from crust.crypto.keys import hash32
from crust.discovery.gossip.record import make_record
from crust.wire import frames, gossip, transfer
from crust.wire import handshake as wire

CALLER_SEED = bytes(range(0x00, 0x20))
CALLEE_SEED = bytes(range(0x20, 0x40))
CALLER_EPHEMERAL = bytes(range(0x40, 0x60))
CALLEE_EPHEMERAL = bytes(range(0x60, 0x80))
SALT = bytes(range(0x80, 0x90))
SESSION_ID = bytes(range(0xA0, 0xB0))
CALLER_INCARNATION = bytes(range(0xB0, 0xC0))
CALLEE_INCARNATION = bytes(range(0xC0, 0xD0))
NETWORK_SECRET = bytes(range(0xE0, 0x100))
PADDING = b"pad"
AEAD = wire.Aead.CHACHA20_POLY1305

Values: TypeAlias = dict[str, Any]
"""Bytes or text by name, in the order of the document."""


def fixed_random(ephemeral: bytes) -> Callable[[int], bytes]:
    """Gives each use of randomness its fixed bytes; what is asked for is told by its size."""
    given = {1: bytes((len(PADDING),)), len(PADDING): PADDING, 16: SALT, 32: ephemeral}
    return lambda size: given[size]


def _config(pair: KeyPair, secrets: tuple[handshake.Secret, ...] = ()) -> handshake.HandshakeConfig:
    return handshake.HandshakeConfig(pair, network_id("example"), secrets, (int(AEAD),))


def example() -> Values:
    """Every value of the example by its name in the document."""
    caller, callee = KeyPair(CALLER_SEED), KeyPair(CALLEE_SEED)
    values: Values = {
        "caller.seed": CALLER_SEED,
        "caller.public": caller.peer_id.public_key,
        "caller.id": str(caller.peer_id),
        "caller.x25519": caller.dh_public,
        "caller.ephemeral": CALLER_EPHEMERAL,
        "callee.seed": CALLEE_SEED,
        "callee.public": callee.peer_id.public_key,
        "callee.id": str(callee.peer_id),
        "callee.x25519": callee.dh_public,
        "callee.ephemeral": CALLEE_EPHEMERAL,
    }
    contact = Contact(
        callee.peer_id, [Endpoint("tcp", "192.0.2.7", 5483), Endpoint("tcp", "2001:db8::7", 5483)]
    )
    values["callee.contact"] = str(contact)
    values["callee.info"] = str(ConnectionInfo(contact, network_id("example")))
    values["network"] = network_id("example")
    values["salt"] = SALT
    _handshake(values, caller, callee)
    return values


def _handshake(values: Values, caller: KeyPair, callee: KeyPair) -> None:
    initiator = handshake.Initiator(_config(caller), callee.peer_id, fixed_random(CALLER_EPHEMERAL))
    responder = handshake.Responder(
        _config(callee), fixed_random(CALLEE_EPHEMERAL), salts=handshake.SaltMemory()
    )
    values["mask"] = handshake._mask(SALT, callee.peer_id, handshake.NO_GATE)
    hello = wire.Hello((1,), network_id("example"), (int(AEAD),))
    values["hello"] = wire.build_hello(hello)
    values["payload.1"] = wire.pad_payload(wire.build_hello(hello), PADDING)
    values["stream.1"] = initiator.start()
    assert responder.receive(values["stream.1"]) == [handshake.HelloReceived(hello)]
    accepted = wire.Accepted(1, AEAD, ("192.0.2.1", 40000))
    values["accepted"] = wire.build_answer(accepted)
    values["stream.2"] = responder.answer(("192.0.2.1", 40000))
    assert initiator.receive(values["stream.2"]) == [handshake.AnswerReceived(accepted)]
    introduction = wire.Introduction(
        peer_id=caller.peer_id.public_key,
        role=wire.Role.NODE,
        purpose=wire.Purpose.CONNECT,
        manner=wire.Manner.DIRECT,
        capabilities=int(wire.Capability.FILES),
        incarnation=CALLER_INCARNATION,
        observed=("192.0.2.7", 5483),
        window=8388608,
        max_message=2097152,
        resume=None,
    )
    values["introduction"] = wire.build_introduction(introduction)
    values["stream.3"] = initiator.introduce(introduction)
    assert responder.receive(values["stream.3"]) == [
        handshake.IntroductionReceived(introduction, caller.peer_id)
    ]
    result = initiator.result
    assert result is not None and responder.result is not None
    assert (result.send_key, result.hash) == (responder.result.receive_key, responder.result.hash)
    values["hash"] = result.hash
    values["key.caller"] = result.send_key
    values["key.callee"] = result.receive_key
    _records(values, result)
    _closed_network(values, caller, callee)
    _gossip(values, caller, callee)
    _signed(values, caller, callee)


def _records(values: Values, result: handshake.HandshakeResult) -> None:
    callee = records.RecordSealer(result.receive_key, result.hash, result.aead)
    opener = records.RecordOpener(result.receive_key, result.hash, result.aead)
    values["record_key.callee"] = callee._key
    values["length_key.callee"] = callee._length_key
    values["export_key.callee"] = records.export_key(result.receive_key, result.hash)
    values["welcome"] = frames.build_record([_welcome()], padding=3)
    values["record.0"] = callee.seal(values["welcome"])
    values["batch"] = frames.build_batch(0, 0, 1, [b"hello", b"world"])
    values["record.1"] = callee.seal(values["batch"])
    values["piece"] = frames.build_piece(2, 0, 1, 0, True, False, 70000, b"a long message b")
    values["record.2"] = callee.seal(values["piece"])
    values["key_update"] = frames.build_record([frames.KeyUpdate()])
    values["record.3"] = callee.seal(values["key_update"])
    callee.update_key()
    values["record_key.callee.next"] = callee._key
    values["ping"] = frames.build_record([frames.Ack(0, 8388608), frames.Ping(1)])
    values["record.4"] = callee.seal(values["ping"])
    aegis = records.RecordSealer(result.receive_key, result.hash, int(wire.Aead.AEGIS_256))
    values["aegis.record_key.callee"] = aegis._key
    values["aegis.record.0"] = aegis.seal(values["batch"])
    for number, name in enumerate(("welcome", "batch", "piece", "key_update", "ping")):
        assert list(opener.receive(values[f"record.{number}"])) == [values[name]]
        if name == "key_update":
            opener.update_key()


def _welcome() -> frames.Welcome:
    return frames.Welcome(
        role=wire.Role.NODE,
        capabilities=int(wire.Capability.FILES),
        session_id=SESSION_ID,
        outcome=frames.Outcome.FRESH,
        next=0,
        window=8388608,
        max_message=2097152,
        use=1,
        incarnation=CALLEE_INCARNATION,
    )


def _closed_network(values: Values, caller: KeyPair, callee: KeyPair) -> None:
    """The first bytes of the same call in a network with a secret."""
    secret = handshake.derive_secret(NETWORK_SECRET)
    initiator = handshake.Initiator(
        _config(caller, (secret,)), callee.peer_id, fixed_random(CALLER_EPHEMERAL)
    )
    values["secret"] = NETWORK_SECRET
    values["secret.psk"] = secret.psk
    values["secret.gate"] = secret.gate
    values["secret.stream.1"] = initiator.start()


def _gossip(values: Values, caller: KeyPair, callee: KeyPair) -> None:
    """What the callee tells of itself, introduced by the caller, and how it is announced."""
    endpoint = Endpoint("tcp", "192.0.2.7", 5483)
    via = [Contact(caller.peer_id, [Endpoint("utp", "2001:db8::1", 5483)])]
    record = make_record(
        callee, network_id("example"), wall=1_800_000_000, endpoints=[endpoint], via=via, is_public=True
    )
    assert record is not None
    values["node.record"] = record.data
    items = ((record.prefix, record.version),)
    values["announce"] = frames.build_record([gossip.Announce(items)])
    values["summary"] = frames.build_record([gossip.Summary((1 << 64) - 1, True, (record.mix,))])


def _signed(values: Values, caller: KeyPair, callee: KeyPair) -> None:
    """What the callee signs for the caller."""
    network, to, time = network_id("example"), caller.peer_id.public_key, 1_800_000_000_000
    signatory = proofs.Signatory(callee, network)
    number = proofs.session_mark(SESSION_ID) + (1).to_bytes(9, "big") + b"\1"
    values["signed.message"] = signatory.sign_message(to, number, time, b"hello")
    receiver = proofs.Signatory(caller, network)
    evidence = proofs.evidence_of(values["signed.message"])
    values["signed.proof"] = receiver.proof_of(callee.peer_id.public_key, evidence, b"hello")
    assert proofs.verify_proof(values["signed.proof"]).data == b"hello"
    number = proofs.file_id(SESSION_ID, bytes(range(0xF0, 0xF6)), 1)
    signed = signatory.sign_file(to, number, time, 5, hash32(b"hello"), "hello.txt")
    values["signed.file"] = transfer.build_transfer(transfer.SignedEnd(1, signed))


def as_text(values: Values) -> str:
    """The block of the document: ``name = value``, hex for bytes, long values on lines of their own."""
    lines = []
    for name, value in values.items():
        text = value.hex() if isinstance(value, bytes) else value
        if len(name) + 3 + len(text) <= 100:
            lines.append(f"{name} = {text}")
        else:
            lines.append(f"{name} =")
            lines += textwrap.wrap(
                text, 96, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(as_text(example()))
