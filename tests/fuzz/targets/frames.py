"""The plaintext of a record: frames of sessions, circuits, traversal and gossip, back to back.

It is frames or MalformedMessage; the quick parser and the definitions say the same; what was parsed can be built, and
parses to itself; no more than a record's size comes out of a record.
"""

from __future__ import annotations

from collections.abc import Iterable

from crust import limits
from crust.wire import frames
from crust.wire.frames import parse_record_by_definition_untrusted, parse_record_untrusted
from crust.wire.gossip import Announce, Contents, Find, Found, Records, Request, Summary
from crust.wire.handshake import DenialCode, Role
from tests.fuzz.codecs import agree

TOKENS = [bytes((kind,)) for kind in frames.FrameType]
ROUNDS = 600


def run(data: bytes) -> None:
    found = agree(parse_record_untrusted, parse_record_by_definition_untrusted, data)
    if found is None:
        return
    assert found == parse_record_untrusted(memoryview(data))
    messages = [message for frame in found if isinstance(frame, frames.Batch) for message in frame.messages]
    assert sum(map(len, messages)) <= len(data)
    built = frames.build_record(found)
    assert len(built) <= len(data) <= limits.RECORD_PLAINTEXT_MAX
    assert parse_record_untrusted(built) == found


def seeds() -> Iterable[bytes]:
    place = frames.Place(
        frames.PlaceKind.MAPPED, frames.TransportCode.TCP, False, ("2001:db8::1", 4711)
    )
    standing = frames.Standing(frames.TransportCode.UTP, 4, 2, -1, 1024, 2048, True)
    one_each: list[frames.Frame] = [
        frames.Batch(7, 0, 1, [b"one", b"", b"three"]),
        frames.Batch(0, 1, 255, [b"same"] * 30),
        frames.Piece(9, 0, 1, 3, True, False, 70_000, b"beginning"),
        frames.Ack(5, 1 << 20),
        frames.Welcome(Role.NODE, 3, bytes(16), frames.Outcome.RESUMED, 5, 1 << 20, 1 << 21, 1, bytes(16)),
        frames.Denied(DenialCode.BUSY, "full", ("crust:" + "a" * 56,)),
        frames.Use(1),
        frames.Ping(1),
        frames.Pong(2),
        frames.KeyUpdate(),
        frames.Goodbye(frames.GoodbyeCode.CLOSED, "over"),
        frames.Retire(),
        frames.CircuitData(1, b"carried"),
        frames.CircuitCredit(1, 1000),
        frames.CircuitClose(1, frames.CircuitReason.QUOTA),
        frames.EchoRequest(1, frames.EchoTransport.UDP, 4711, bytes(12)),
        frames.EchoReply(1, frames.EchoOutcome.DENIED, "why"),
        frames.EchoPorts((4711, 4712), (4713,)),
        frames.CircuitOpen(1, bytes(32), True, b"first"),
        frames.CircuitOffer(1, ("192.0.2.7", 4711), False, b"first"),
        frames.CircuitAccept(1, None, True, b"answer"),
        frames.Candidates(1, (standing,), (place,)),
        frames.Signal(1, "punched-utp", b"body"),
        Summary(1 << 63, True, (1, 2)),
        Contents(0, 9, ((1, 2),)),
        Announce(((1, 2), (3, 4))),
        Request((1, 2)),
        Records((b"record", b"another")),
        Find(1, bytes(32)),
        Found(1, b"record", (b"nearer",)),
    ]
    for frame in one_each:
        yield frames.build_record([frame])
    yield frames.build_record(one_each, padding=9)
