"""Whom the tests of handshakes let meet."""

from __future__ import annotations

import dataclasses
import random

from crust.crypto.handshake import HandshakeConfig, Responder, SaltMemory, Secret, derive_secret
from crust.crypto.identity import KeyPair
from crust.wire.handshake import Aead, Introduction, Manner, Purpose, Role

ALICE, BOB, CAROL = (KeyPair(bytes([number]) * 32) for number in (1, 2, 3))
NETWORK = bytes(32)
OPEN: tuple[Secret, ...] = ()
OLD, NEW = derive_secret(b"o" * 32), derive_secret(b"n" * 32)
BOTH_AEADS = (Aead.AEGIS_256, Aead.CHACHA20_POLY1305)
SEEN = ("192.0.2.7", 5483)


def config(key_pair: KeyPair, secrets: tuple[Secret, ...] = OPEN, **changes: object) -> HandshakeConfig:
    return dataclasses.replace(HandshakeConfig(key_pair, NETWORK, secrets, BOTH_AEADS), **changes)  # type: ignore[arg-type]


def introduction(key_pair: KeyPair) -> Introduction:
    return Introduction(
        peer_id=key_pair.peer_id.public_key,
        role=Role.NODE,
        purpose=Purpose.CONNECT,
        manner=Manner.DIRECT,
        capabilities=0,
        incarnation=bytes(16),
        observed=SEEN,
        window=1000,
        max_message=500,
        resume=None,
    )


def responder_of(configuration: HandshakeConfig, seed: int = 2, salts: SaltMemory | None = None) -> Responder:
    return Responder(
        configuration, random.Random(seed).randbytes, salts=salts if salts is not None else SaltMemory()
    )
