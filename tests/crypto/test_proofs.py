"""Proofs: whoever holds one can tell who said what to whom, and nobody can make or change one."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable

import pytest

from crust import limits
from crust.addresses import PeerId, network_id
from crust.crypto.identity import KeyPair
from crust.crypto.keys import hash32
from crust.crypto.proofs import (
    Growing,
    Numbers,
    Proof,
    Signatory,
    evidence_of,
    file_id,
    session_mark,
    verify_proof,
)
from crust.exceptions import CrustError, IdentityError, MalformedMessage, ProofError, RemoteProtocolError
from crust.wire.proofs import FILE_MARK, MESSAGE_MARK

ALICE, BOB, MALLORY = (KeyPair.from_seed(bytes([number] * 32)) for number in (1, 2, 3))
NETWORK = network_id("somewhere")
TIME = 1_800_000_000_123
ID = bytes(range(16))
SESSION = b"session" + bytes(9)


def key(pair: KeyPair) -> bytes:
    return pair.peer_id.public_key


def of_message(payload: bytes = b"I owe you 7", sender: KeyPair = ALICE, network: bytes = NETWORK) -> bytes:
    signed = Signatory(sender, network).sign_message(key(BOB), ID, TIME, payload)
    receiver = Signatory(BOB, network)
    receiver.open_message(key(sender), signed)
    return receiver.proof_of(key(sender), evidence_of(signed), payload)


def of_file(sender: KeyPair = ALICE) -> bytes:
    signed = Signatory(sender, NETWORK).sign_file(key(BOB), ID, TIME, 5, hash32(b"hello"), "letter.txt")
    return Signatory(BOB, NETWORK).open_file(key(sender), signed)[1]


PROOFS: dict[str, Callable[[], bytes]] = {"message": of_message, "file": of_file}


def test_what_a_message_proves() -> None:
    """Everything that was signed, readable by anybody."""
    proof = verify_proof(of_message())
    expected = hash32(b"I owe you 7").hex()
    assert proof == Proof(
        "message", ALICE.peer_id, BOB.peer_id, TIME / 1000, ID, 11, expected, b"I owe you 7", None, NETWORK
    )


def test_what_a_file_proves() -> None:
    """Digest, size and name; the content stays where it is."""
    proof = verify_proof(of_file())
    expected = hash32(b"hello").hex()
    assert proof == Proof(
        "file", ALICE.peer_id, BOB.peer_id, TIME / 1000, ID, 5, expected, None, "letter.txt", NETWORK
    )


@pytest.mark.parametrize("payload", [b"", b"x", bytes(100_000)])
def test_messages_of_every_size(payload: bytes) -> None:
    """Of nothing, too; and 156 bytes more go over the wire."""
    assert verify_proof(of_message(payload)).data == payload
    signed = Signatory(ALICE, NETWORK).sign_message(key(BOB), ID, TIME, payload)
    assert len(signed) == len(payload) + 156


@pytest.mark.parametrize("make", PROOFS.values(), ids=PROOFS.keys())
def test_every_bit_counts(make: Callable[[], bytes]) -> None:
    """Whichever is turned: mark, network, ids, time, length, what was said, signature."""
    proof = bytearray(make())
    for bit in range(8 * len(proof)):
        proof[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ProofError):
            verify_proof(bytes(proof))
        proof[bit // 8] ^= 1 << bit % 8
    verify_proof(proof)


@pytest.mark.parametrize("make", PROOFS.values(), ids=PROOFS.keys())
def test_every_byte_counts(make: Callable[[], bytes]) -> None:
    """None may be missing in front, in between or at the end, and none may be added."""
    proof = make()
    for position in range(len(proof)):
        for changed in (proof[:position], proof[position + 1 :], proof[:position] + proof[position + 1 :]):
            with pytest.raises(ProofError):
                verify_proof(changed)
    for longer in (proof + b"\0", b"\0" + proof, proof[:100] + b"\0" + proof[100:]):
        with pytest.raises(ProofError):
            verify_proof(longer)


def fields(proof: bytes) -> dict[str, bytes]:
    """A proof of a message, taken apart."""
    sizes = {"mark": 16, "network": 32, "sender": 32, "receiver": 32, "id": 16, "time": 8, "length": 4}
    sizes["payload"] = len(proof) - sum(sizes.values()) - 64
    sizes["signature"] = 64
    ends = list(itertools.accumulate(sizes.values(), initial=0))
    return {name: proof[start:end] for name, start, end in zip(sizes, ends, ends[1:], strict=False)}


@pytest.mark.parametrize(
    "name", ["mark", "network", "sender", "receiver", "id", "time", "length", "payload", "signature"]
)
def test_no_field_fits_another_proof(name: str) -> None:
    """A field of another, valid proof in its place: who signed this did not sign that."""
    ours = fields(of_message())
    other = Signatory(MALLORY, network_id(None))
    signed = other.sign_message(key(ALICE), bytes(16), TIME + 1, b"I owe you 70")
    theirs = fields(Signatory(ALICE, network_id(None)).proof_of(key(MALLORY), evidence_of(signed), b"I owe you 70"))
    theirs["mark"] = FILE_MARK
    assert ours[name] != theirs[name]
    with pytest.raises(ProofError):
        verify_proof(b"".join({**ours, name: theirs[name]}.values()))


def test_who_changes_the_sender_needs_that_key() -> None:
    """A forger who signs by himself is named as the sender."""
    assert verify_proof(of_message(sender=MALLORY)).sender == MALLORY.peer_id
    with pytest.raises(ProofError, match=f"the signature is not that of {ALICE.peer_id}"):
        parts = fields(of_message(sender=MALLORY))
        verify_proof(b"".join({**parts, "sender": key(ALICE)}.values()))


@pytest.mark.parametrize(
    ("proof", "text"),
    [
        (b"", "no proof"),
        (b"crust/1 record\0" + bytes(300), "no proof"),
        (b"hello world" * 30, "no proof"),
        (MESSAGE_MARK, "damaged"),
        (MESSAGE_MARK + bytes(200), "damaged|signature"),
        (FILE_MARK + bytes(300), "damaged|signature"),
    ],
)
def test_what_is_no_proof(proof: bytes, text: str) -> None:
    """The error says so, and is a ValueError, too."""
    with pytest.raises(ProofError, match=text) as caught:
        verify_proof(proof)
    assert isinstance(caught.value, ValueError) and isinstance(caught.value, CrustError)


def test_only_bytes_are_proofs() -> None:
    """Views, too."""
    verify_proof(memoryview(of_message()))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not str"):
        verify_proof("proof")  # type: ignore[arg-type]


def test_small_keys_sign_nothing() -> None:
    """A point of low order as the sender, for which some signatures fit every text, is refused."""
    for low in (bytes(32), b"\1" + bytes(31)):
        for signature in (bytes(64), low + bytes(32)):
            parts = {**fields(of_message()), "sender": low, "signature": signature}
            with pytest.raises(ProofError):
                verify_proof(b"".join(parts.values()))


# --- between two nodes ------------------------------------------------------------------------------------------------


def test_what_a_receiver_takes() -> None:
    """Only what the peer of the session signed, for this node, in this network, with a right signature."""
    alice, bob = Signatory(ALICE, NETWORK), Signatory(BOB, NETWORK)
    signed = alice.sign_message(key(BOB), ID, TIME, b"x")
    file = alice.sign_file(key(BOB), ID, TIME, 1, bytes(32), "x")
    assert bob.open_message(key(ALICE), signed).payload == b"x"
    assert bob.open_file(key(ALICE), file)[0].name == "x"
    for open_it, data in ((bob.open_message, signed), (bob.open_file, file)):
        with pytest.raises(MalformedMessage, match="somebody else than who sent it"):
            open_it(key(MALLORY), data)
        with pytest.raises(MalformedMessage, match="signature is wrong"):
            open_it(key(ALICE), data[:-1] + bytes([data[-1] ^ 1]))
        for short in (b"", data[:64], data[:-1]):
            with pytest.raises(MalformedMessage):
                open_it(key(ALICE), short)
    for other in (Signatory(MALLORY, NETWORK), Signatory(ALICE, NETWORK)):
        with pytest.raises(MalformedMessage, match="for somebody else"):
            other.open_message(key(ALICE), signed)
    with pytest.raises(MalformedMessage, match="signature is wrong"):
        Signatory(BOB, network_id(None)).open_message(key(ALICE), signed)
    with pytest.raises(MalformedMessage):
        bob.open_file(key(ALICE), signed)
    with pytest.raises(MalformedMessage):
        bob.open_message(key(ALICE), file)


def test_the_proof_is_what_was_received() -> None:
    """Put together again from what is kept beside the payload, byte by byte."""
    signed = Signatory(ALICE, NETWORK).sign_message(key(BOB), ID, TIME, b"payload")
    assert len(evidence_of(signed)) == 88
    proof = Signatory(BOB, NETWORK).proof_of(key(ALICE), evidence_of(signed), b"payload")
    assert proof == MESSAGE_MARK + NETWORK + signed


def test_a_key_that_was_cleared_signs_no_more() -> None:
    """IdentityError."""
    pair = KeyPair.generate()
    signatory = Signatory(pair, NETWORK)
    pair.clear()
    with pytest.raises(IdentityError):
        signatory.sign_message(key(BOB), ID, TIME, b"x")


def test_a_signature_is_the_keys_own() -> None:
    """As made by the seed alone, whatever is remembered beside it: a signature with another key would betray it."""
    assert PeerId(ALICE.sign(b"x")[:32]) != ALICE.peer_id
    assert ALICE.sign(b"x") == KeyPair.from_seed(bytes([1] * 32)).sign(b"x")


# --- ids --------------------------------------------------------------------------------------------------------------


def test_ids_of_messages_grow_and_are_taken_once() -> None:
    """Each is new, in its session and with its priority; repeated, or from before, it is not."""
    numbers, growing = Numbers(SESSION, os.urandom), Growing(SESSION)
    given = [(numbers.next(priority), priority) for priority in (1, 0, 1, 255, 0, 1)]
    assert all(len(number) == limits.PROOF_ID_SIZE for number, _ in given)
    for number, priority in sorted(given, key=lambda pair: pair[1]):  # the urgent ones overtake
        growing.take(number, priority)
    for number, priority in given:
        for other in (priority, priority ^ 1):
            with pytest.raises(RemoteProtocolError):
                growing.take(number, other)
    growing.take(numbers.next(1), 1)


def test_one_number_for_each_priority_is_no_way_around() -> None:
    """The priority is part of the id."""
    number, growing = Numbers(SESSION, os.urandom).next(7), Growing(SESSION)
    for priority in range(256):
        if priority != 7:
            with pytest.raises(RemoteProtocolError, match="for priority 7"):
                growing.take(number, priority)
    growing.take(number, 7)


def test_an_id_of_another_session_is_not_new() -> None:
    """What was said in one session cannot be said again in the next by whoever kept it."""
    number = Numbers(b"another session!", os.urandom).next(1)
    with pytest.raises(RemoteProtocolError, match="another session"):
        Growing(SESSION).take(number, 1)


def test_the_steps_between_ids_are_random() -> None:
    """They say nothing of how many messages were in between, but never stand still."""
    numbers = Numbers(SESSION, os.urandom)
    values = [int.from_bytes(numbers.next(1), "big") for _ in range(50)]
    steps = {later - earlier for earlier, later in itertools.pairwise(values)}
    assert len(steps) == 49 and min(steps) > 0
    far = Numbers(SESSION, lambda size: b"\xff" * size).next(1)  # nor does the first one
    assert int.from_bytes(far[6:15], "big") == (1 << 64) + (1 << 32) - 1
    still = Numbers(SESSION, bytes)
    assert still.next(1) < still.next(1)


def test_the_id_of_a_file() -> None:
    """It has the session and the number of the transfer."""
    number = file_id(SESSION, b"random", 7)
    assert number == session_mark(SESSION) + b"random" + b"\0\0\0\7"
    assert len(number) == limits.PROOF_ID_SIZE
