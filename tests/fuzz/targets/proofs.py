"""Proofs of signed messages and files: from a third party's disk, and as they come from the peer.

Bytes are a proof, or ProofError; nothing that its sender did not sign is one, not with one bit changed. What a peer has
signed for us opens, and the proof that is made of it is right and says the same; what it signed for others, or what
somebody else signed, is MalformedMessage.
"""

from __future__ import annotations

from collections.abc import Iterable

from crust.crypto.identity import KeyPair
from crust.crypto.proofs import Signatory, evidence_of, verify_proof
from crust.exceptions import MalformedMessage, ProofError
from crust.wire import proofs as wire

ROUNDS = 150
SIZE_MAX = 1024
TOKENS = [wire.MESSAGE_MARK, wire.FILE_MARK]

_ALICE, _BOB = KeyPair(bytes([1]) * 32), KeyPair(bytes([2]) * 32)
_NETWORK, _ID, _TIME = bytes(32), bytes(range(16)), 1_800_000_000_000
_FROM, _TO = Signatory(_ALICE, _NETWORK), Signatory(_BOB, _NETWORK)
_ALICE_ID, _BOB_ID = _ALICE.peer_id.public_key, _BOB.peer_id.public_key


def _message(payload: bytes) -> bytes:
    return _FROM.sign_message(_BOB_ID, _ID, _TIME, payload)


def _file(name: str) -> bytes:
    return _FROM.sign_file(_BOB_ID, _ID, _TIME, 7, bytes(32), name)


_KNOWN_MESSAGE, _KNOWN_FILE = _message(b"payload"), _file("name.txt")
_KNOWN = {_KNOWN_MESSAGE, _KNOWN_FILE}
_PROOFS = {wire.MESSAGE_MARK + _NETWORK + _KNOWN_MESSAGE, wire.FILE_MARK + _NETWORK + _KNOWN_FILE}


def run(data: bytes) -> None:
    try:
        proof = verify_proof(data)
    except ProofError as error:
        assert str(error)
    else:
        assert data in _PROOFS and proof.sender == _ALICE.peer_id, "a proof that nobody has signed"
    for open_ in (_TO.open_message, _TO.open_file):
        try:
            open_(_ALICE_ID, data)
        except MalformedMessage as error:
            assert str(error)
        else:
            assert data in _KNOWN, "a signature that nobody has made"
    _what_a_peer_signs(data)


def _what_a_peer_signs(payload: bytes) -> None:
    signed = _message(payload)
    statement = _TO.open_message(_ALICE_ID, signed)
    assert statement.payload == payload
    proof = verify_proof(_TO.proof_of(_ALICE_ID, evidence_of(signed), payload))
    assert (proof.data, proof.sender, proof.receiver) == (payload, _ALICE.peer_id, _BOB.peer_id)
    # Any statement, rightly signed: it opens only if it is whole, of that peer, and for us.
    body = payload
    for mark, open_ in ((wire.MESSAGE_MARK, _TO.open_message), (wire.FILE_MARK, _TO.open_file)):
        authentic = body + _ALICE.sign(mark + _NETWORK + body)
        try:
            open_(_ALICE_ID, authentic)
        except MalformedMessage:
            continue
        assert body[:32] == _ALICE_ID and _BOB_ID in body
        assert verify_proof(mark + _NETWORK + authentic).receiver == _BOB.peer_id


def seeds() -> Iterable[bytes]:
    yield from sorted(_PROOFS)
    yield from sorted(_KNOWN)
    yield _KNOWN_MESSAGE[:-64]
    yield _KNOWN_FILE[:-64]
    yield wire.build_message_statement(wire.MessageStatement(_ALICE_ID, _ALICE_ID, _ID, _TIME, b""))
