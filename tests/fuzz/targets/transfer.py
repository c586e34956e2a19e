"""Messages about files, and both ends of a transfer with another end that sends any of them.

A message parses by the quick way and by the definition alike, or is MalformedMessage, and builds the same bytes again.
A lie ends a transfer and raises nothing: no more is written than was offered, in order; what is over stays so; what
people see is printable, and the name that a file gets is one of a plain file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from crust import limits
from crust.peers.transfer import FileReceiver, FileSender, ReceiverState, SenderState
from crust.runtime.files import safe_name
from crust.wire import transfer as wire
from tests.fuzz.codecs import agree
from tests.fuzz.source import Source, noise

ROUNDS = 400
TOKENS = [bytes((kind,)) + bytes(3) + b"\7" for kind in range(1, 9)] + [b"../", b"\0", b"CON", b"\xe2\x80\xae"]


def run(data: bytes) -> None:
    message = agree(wire.parse_transfer_untrusted, wire.parse_transfer_by_definition_untrusted, data)
    if message is not None:
        assert wire.build_transfer(message) == data == wire.build_transfer_by_definition(message)
        if isinstance(message, wire.Offer):
            _name(message.name)
    source = Source(data)
    if source.chance():
        _receive(source)
    else:
        _send(source)


def _name(offered: str) -> None:
    name = safe_name(offered)
    assert name and name not in (".", "..") and not set(name) & set("/\\\0:") and name.isprintable()
    assert len(name.encode()) <= 255 and safe_name(name) == name


def _message(source: Source, near: int) -> wire.TransferMessage:
    kind = source.number(0, 7)
    if kind <= 2:
        return wire.FileData(7, source.near(near), source.some(60) or b"x")
    if kind == 3:
        return wire.Progress(7, source.near(near))
    if kind == 4:
        return wire.Fail(7, source.some(20).decode("latin-1"))
    if kind == 5:
        return wire.Refuse(7, source.some(20).decode("latin-1"))
    return source.pick((wire.Accept(7), wire.Done(7), wire.End(7, bytes(32)), wire.Offer(7, 1, "x")))


def _receive(source: Source) -> None:
    offer = wire.Offer(7, source.number(0, 200), "name")
    end = FileReceiver(offer)
    written = bytearray()
    for _ in range(40):
        if not source:
            break
        was = end.state
        step = source.number(0, 9)
        if step == 0 and was is ReceiverState.OFFERED:
            end.accept()
        elif step == 1 and was is ReceiverState.COMPLETE:
            end.finish()
        elif step == 2:
            end.give_up("enough")
        elif step == 3:
            written += end.receive(wire.End(7, hashlib.blake2b(written, digest_size=32).digest()))
        else:
            written += end.receive(_message(source, end.received))
        assert was not in (ReceiverState.DONE, ReceiverState.REFUSED, ReceiverState.FAILED) or end.state is was
        assert len(written) == end.received <= offer.size and end.reason.isprintable()
        assert end.digest == hashlib.blake2b(written, digest_size=32).digest()
        if end.state in (ReceiverState.COMPLETE, ReceiverState.DONE):
            assert len(written) == offer.size
        for each in end.messages_to_send():
            assert wire.parse_transfer_untrusted(wire.build_transfer(each)) == each


def _send(source: Source) -> None:
    end = FileSender(7, source.number(0, 200), "name")
    for _ in range(40):
        if not source:
            break
        was = end.state
        step = source.number(0, 5)
        if step == 0 and end.room:
            end.send_data(bytes(source.number(1, end.room)))
        elif step == 1 and was is SenderState.SENDING and end.sent == end.size:
            end.send_end()
        elif step == 2:
            end.give_up("enough")
        else:
            end.receive(_message(source, end.confirmed))
        assert was not in (SenderState.DONE, SenderState.REFUSED, SenderState.FAILED) or end.state is was
        assert end.confirmed <= end.sent <= end.size and end.reason.isprintable()
        assert 0 <= end.room <= limits.FILE_IN_FLIGHT
        for each in end.messages_to_send():
            assert wire.parse_transfer_untrusted(wire.build_transfer(each)) == each


def seeds() -> Iterable[bytes]:
    messages: list[wire.TransferMessage] = [
        wire.Offer(7, 10, "a name.txt"),
        wire.Offer(7, 10, "../../\x1b[0m\u202eCON.txt"),
        wire.Accept(7),
        wire.Refuse(7, "no"),
        wire.FileData(7, 0, b"content"),
        wire.End(7, bytes(32)),
        wire.Progress(7, 5),
        wire.Done(7),
        wire.Fail(7, "no room"),
    ]
    for message in messages:
        yield wire.build_transfer(message)
    yield bytes((1, 5, 0, 9, 0, 120, 5)) + b"12345" + bytes((3, 1))
    yield bytes((0, 5, 5, 6, 0, 0, 4, 1, 5, 6, 1))
    yield from noise(10, 120)
