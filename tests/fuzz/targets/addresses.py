"""Texts that name peers and places: ids, endpoints, contacts, connection info, networks, and the book of contacts.

Each is what it should be, or ContactSyntaxError with a column in the text; what was parsed is written in one way, which
parses to the same; and it may be shown on a terminal.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterable
from typing import Any

from crust.addresses import ConnectionInfo, Contact, Endpoint, PeerId, address_key, network_id, parse_networks
from crust.cli.book import Book, BookError
from crust.exceptions import ContactSyntaxError

ROUNDS = 500
SIZE_MAX = 2048
TOKENS = [b"tcp://", b"utp://", b"relay://", b"crust1:", b"@", b",", b"[::1]", b"%eth0", b"xn--", b"::ffff:192.0.2.7"]

_ID = PeerId(bytes([1]) * 32)


class _Book(Book):
    """One that is not on disk."""

    def __init__(self, text: str) -> None:
        super().__init__(pathlib.Path("contacts"))
        self._text = text

    def _lines(self) -> list[str]:
        return self._text.splitlines()


def _same(parse: Callable[[str], Any], text: str) -> Any:
    try:
        found = parse(text)
    except ContactSyntaxError as error:
        assert str(error)
        return None
    assert parse(str(found)) == found and str(parse(str(found))) == str(found)
    assert str(found).isprintable() and str(found).isascii()
    return found


def run(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    _same(PeerId.parse, text)
    endpoint = _same(Endpoint.parse, text)
    _same(lambda text: Endpoint.parse(text, allow_port_zero=True, allow_relay=True), text)
    _same(Contact.parse, text)
    info = _same(ConnectionInfo.parse, text)
    if endpoint is not None:
        assert endpoint.port and _same(Contact.parse, f"{_ID}@{endpoint}") is None or endpoint.is_dialable
        if endpoint.is_ip:
            assert len(address_key(endpoint.host)) in (4, 8)
    if info is not None:
        assert info.same_network(info.network_id + bytes(24))
    try:
        (network,) = parse_networks([text])
        assert parse_networks([str(network)]) == (network,)
    except ContactSyntaxError:
        pass
    try:
        contacts = _Book(text).contacts()
    except BookError as error:
        assert str(error).startswith("contacts:")
    else:
        assert all(name.split() == [name] for name in contacts)


def seeds() -> Iterable[bytes]:
    named = ("tcp://192.0.2.7:5483", "utp://[2001:db8::7]:443", "tcp://node.example.org:1")
    places = [Endpoint.parse(text) for text in named]
    contact = Contact(_ID, places)
    texts = [str(_ID), *map(str, places), str(contact), str(ConnectionInfo(contact, network_id("x")))]
    texts += ["tcp://[fe80::1%eth0]:4711", "relay://192.0.2.7:1", "192.0.2.0/24", "::ffff:192.0.2.0/120"]
    texts += ["tcp://0.0.0.0:0", f"# mine\nalice {contact}\nbob {_ID}\n"]
    return [text.encode() for text in texts]
