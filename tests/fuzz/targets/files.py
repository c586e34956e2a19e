"""Files of a node that others may have written: the bootstrap cache, the list of mappings, identities, secrets.

Each is read, or refused with the error that says so, without the secret; what was read of the cache and of an identity
is written to the same again; ports, times and addresses are ones that can be.
"""

from __future__ import annotations

import io
import math
import pathlib
from collections.abc import Iterable
from typing import Any

from crust.addresses import Contact, Endpoint, PeerId
from crust.crypto.identity import KeyPair, decode_network_secrets, generate_network_secret_text
from crust.discovery.cache.core import Entry
from crust.discovery.cache.form import build_cache, parse_cache_untrusted
from crust.exceptions import IdentityError
from crust.nat.mapping import journal
from crust.wire.labelled import UnusableFile

ROUNDS = 200
TOKENS = [b'"contact"', b'"seen"', b'"failures"', b'"around"', b'"nodes"', b"1e999", b"-1", b"NaN", b"Infinity"]
TOKENS += [b"null", b"true", b"seed: ", b"id: ", b"9" * 30, b'"\\ud800"', b'"external"', b'"until"', b"[[[["]

_NETWORK, _WALL = bytes(32), 1_800_000_000.0



def run(data: bytes) -> None:
    _cache(data)
    _mappings(data)
    text = data.decode("utf-8", "replace")
    try:
        pair = KeyPair.decode(text)
    except IdentityError as error:
        assert str(error)
    else:
        assert KeyPair.decode(pair.encode()).peer_id == pair.peer_id
    try:
        secrets = decode_network_secrets(text)
    except IdentityError as error:
        assert str(error)
    else:
        assert len(set(secrets)) == len(secrets) in (1, 2) and {len(secret) for secret in secrets} == {32}


def _cache(data: bytes) -> None:
    try:
        entries, others = parse_cache_untrusted(data, _NETWORK, _WALL)
    except UnusableFile as error:
        assert str(error)
        return
    assert others >= 0 and all(0 <= each.seen <= _WALL and each.contact.endpoints for each in entries)
    again, none = parse_cache_untrusted(build_cache(entries, _NETWORK, _WALL), _NETWORK, _WALL)
    assert (again, none) == (entries, 0)


def _mappings(data: bytes) -> None:
    entries = _read(data)
    for entry in entries:
        ask = entry.leftover.ask
        assert 0 < ask.external <= 65535 and 0 < ask.wanted.port <= 65535 and ask.lifetime >= 0
        assert not math.isnan(entry.until)


def _read(data: bytes) -> list[Any]:
    """As the list of mappings is read, but not from a disk."""
    real = getattr(journal, "open", open)
    journal.open = lambda *arguments: io.BytesIO(data)  # type: ignore[attr-defined]
    try:
        return list(journal._read(pathlib.Path("mappings")))
    finally:
        if real is open:
            del journal.open  # type: ignore[attr-defined]


def seeds() -> Iterable[bytes]:
    peer = PeerId(bytes([1]) * 32)
    contact = Contact(peer, [Endpoint.parse("tcp://203.0.113.9:5483"), Endpoint.parse("utp://[2001:db8::9]:1")])
    yield build_cache([Entry(contact, _WALL - 9, 2, "192.168.1.0/24"), Entry(contact, 5.0, 0, "")], _NETWORK, _WALL)
    yield KeyPair(bytes([3]) * 32).encode().encode()
    yield generate_network_secret_text(lambda size: bytes(size)).encode()
    yield (
        b'{"version": 1, "mappings": [{"gateway": "192.168.1.1", "local": "192.168.1.10", "by": "pcp",'
        b' "protocol": "tcp", "port": 4711, "external": 4711, "lifetime": 3600,'
        b' "nonce": "000102030405060708090a0b", "until": 1.5e9}]}'
    )
