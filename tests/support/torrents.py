"""A torrent of random bytes, and just enough of BitTorrent's peer protocol (BEP 3) to move it over a stream."""

from __future__ import annotations

import hashlib
import random
import struct
from collections.abc import Iterator

from crust.transports.blocking import BlockingStream

BLOCK = 16_384
TIMEOUT = 30.0  # seconds without a byte
_PIPELINE = 64  # blocks asked for before the first of them has come
_PROTOCOL = b"\x13BitTorrent protocol" + bytes(8)  # no extension of the protocol
_CHOKE, _UNCHOKE, _INTERESTED, _BITFIELD, _REQUEST, _PIECE = 0, 1, 2, 5, 6, 7


class Torrent:
    """One file of random bytes, the same for the same seed."""

    name = "data.bin"

    def __init__(self, size: int, piece_size: int = 131_072, seed: int = 1) -> None:
        self.data = random.Random(seed).randbytes(size)
        self.pieces = [self.data[start : start + piece_size] for start in range(0, size, piece_size)]
        self.digests = [hashlib.sha1(piece).digest() for piece in self.pieces]
        info = {"length": size, "name": self.name, "piece length": piece_size, "pieces": b"".join(self.digests)}
        self.info_hash = hashlib.sha1(bencoded(info)).digest()
        self.file = bencoded({"info": info})
        """What stands in a .torrent file."""

    def blocks(self) -> Iterator[tuple[int, int, int]]:
        """The piece, the offset in it and the length of every block."""
        for number, piece in enumerate(self.pieces):
            for start in range(0, len(piece), BLOCK):
                yield number, start, min(BLOCK, len(piece) - start)


def bencoded(value: object) -> bytes:
    """Numbers, text, bytes and dicts as BEP 3 writes them."""
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return b"%d:%b" % (len(value), value)
    assert isinstance(value, dict)
    return b"d" + b"".join(bencoded(key) + bencoded(value[key]) for key in sorted(value)) + b"e"


def fetch(stream: BlockingStream, torrent: Torrent) -> None:
    """Get every piece from the peer; an AssertionError names one whose SHA-1 is not the torrent's."""
    _shake_hands(stream, torrent)
    stream.sendall(_message(_INTERESTED), TIMEOUT)
    wanted = torrent.blocks()
    pieces = [bytearray(len(piece)) for piece in torrent.pieces]
    missing = sum(map(len, pieces))
    unchoked = False
    while missing:
        kind, body = _receive(stream)
        if kind == _UNCHOKE and not unchoked:
            unchoked = True
            _ask(stream, wanted, _PIPELINE)
        elif kind == _PIECE:
            number, start = struct.unpack_from(">II", body)
            block = memoryview(body)[8:]
            pieces[number][start : start + len(block)] = block
            missing -= len(block)
            _ask(stream, wanted, 1)
        assert kind != _CHOKE, "the other end stopped serving"
    for number, (piece, digest) in enumerate(zip(pieces, torrent.digests, strict=True)):
        assert hashlib.sha1(piece).digest() == digest, f"piece {number} is damaged"


def _ask(stream: BlockingStream, wanted: Iterator[tuple[int, int, int]], count: int) -> None:
    requests = [_message(_REQUEST, struct.pack(">III", *block)) for _, block in zip(range(count), wanted, strict=False)]
    stream.sendall(b"".join(requests), TIMEOUT)


def serve(stream: BlockingStream, torrent: Torrent) -> int:
    """Give the peer what it asks for, until it ends the stream; the number of blocks."""
    _shake_hands(stream, torrent)
    bits = "1" * len(torrent.pieces)
    bits += "0" * (-len(bits) % 8)
    stream.sendall(_message(_BITFIELD, int(bits, 2).to_bytes(len(bits) // 8, "big")), TIMEOUT)
    served = 0
    while True:
        try:
            kind, body = _receive(stream)
        except EOFError:
            return served
        if kind == _INTERESTED:
            stream.sendall(_message(_UNCHOKE), TIMEOUT)
        elif kind == _REQUEST:
            number, start, size = struct.unpack(">III", body)
            stream.sendall(_message(_PIECE, body[:8], torrent.pieces[number][start : start + size]), TIMEOUT)
            served += 1


def _shake_hands(stream: BlockingStream, torrent: Torrent) -> None:
    stream.sendall(_PROTOCOL + torrent.info_hash + b"-XX0000-" + b"0" * 12, TIMEOUT)
    answer = stream.recv_exactly(68, TIMEOUT)
    assert answer[:20] == _PROTOCOL[:20]
    assert answer[28:48] == torrent.info_hash, "the other end has another torrent"


def _message(kind: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">IB", len(body) + 1, kind) + body


def _receive(stream: BlockingStream) -> tuple[int, bytes]:
    """The next message that is not a sign of life. EOFError: there is none."""
    while True:
        (size,) = struct.unpack(">I", stream.recv_exactly(4, TIMEOUT))
        if size:
            body = stream.recv_exactly(size, TIMEOUT)
            return body[0], body[1:]
