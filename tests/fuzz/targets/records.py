"""A stream of records, with key updates, that somebody on the way changes and cuts anywhere.

What is opened is the beginning of what was sealed, whole, in order and once; the first fault is MalformedMessage, and
nothing more is taken after it; without a fault all of it comes.
"""

from __future__ import annotations

from collections.abc import Iterable

from crust.crypto.keys import AEGIS_256, CHACHA20_POLY1305
from crust.crypto.records import RECORD_MAX, RecordOpener, RecordSealer
from crust.exceptions import LocalProtocolError, MalformedMessage
from tests.fuzz.source import Source, noise

_KEY, _HASH = bytes(range(32)), bytes(range(64))
_UPDATE = b"\x07"  # stands for a record that ends with KEY_UPDATE


def run(data: bytes) -> None:
    source = Source(data)
    aead = source.pick((AEGIS_256, CHACHA20_POLY1305)).aead
    sealer, opener = RecordSealer(_KEY, _HASH, aead), RecordOpener(_KEY, _HASH, aead)
    scratch = bytearray(RECORD_MAX) if source.chance() else None
    sealed, stream, records = [], b"", []
    for _ in range(source.number(0, 8)):
        plaintext = _UPDATE if source.number(0, 3) == 3 else source.some(300) or b"\0"
        sealed.append(plaintext)
        records.append(sealer.seal(plaintext))
        stream += records[-1]
        if plaintext == _UPDATE:
            sealer.update_key()
    changed = stream
    how = source.number(0, 3)
    if how == 1:
        changed = source.damaged(stream)
    elif how == 2 and records:  # one record again, or two in another order
        records.insert(source.number(0, len(records)), source.pick(records))
        changed = b"".join(records)
    elif how == 3 and records:
        del records[source.number(0, len(records) - 1)]
        changed = b"".join(records)
    opened: list[bytes] = []
    failed = False
    while changed:
        size = source.number(1, 400)
        part, changed = changed[:size], changed[size:]
        try:
            for plaintext in opener.receive(part, scratch):
                opened.append(bytes(plaintext))
                if opened[-1] == _UPDATE:
                    opener.update_key()
        except MalformedMessage:
            failed = True
            break
    assert opened == sealed[: len(opened)], "something else came out than was put in"
    if how == 0:
        assert not failed and opened == sealed
    if failed:
        try:
            list(opener.receive(b"more"))
        except LocalProtocolError:
            return
        raise AssertionError("it went on after a fault")


def seeds() -> Iterable[bytes]:
    yield b""
    yield bytes((0, 0, 3, 0, 0, 5)) + b"first" + bytes((3, 0, 0, 6)) + b"second" + bytes(8)
    yield from noise(20, 400)
