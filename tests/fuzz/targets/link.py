"""One encrypted link, as caller and as called, whose proven other end seals what it likes, on a line that damages it.

No fault of ours is reported, and no exception reaches the reader. Frames of the session arrive as they were sent, in
order, and none after a fault; what concerns the link itself arrives only when it may; after the end nothing is written;
the owner or the conversation hears of the end once, with a reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from unittest import mock

from crust import limits
from crust.addresses import Endpoint
from crust.crypto.handshake import HandshakeConfig, Initiator, IntroductionReceived, Responder, SaltMemory
from crust.crypto.records import RecordSealer
from crust.peers.link import _SESSION_TYPES, Link, Stage
from crust.wire import frames
from crust.wire.handshake import Introduction, Role
from tests.fuzz.source import Source, noise
from tests.fuzz.targets.frames import seeds as records_of_frames
from tests.fuzz.targets.handshake import _introduction, _random
from tests.support.handshakes import ALICE, BOB, BOTH_AEADS

ROUNDS = 80
SIZE_MAX = 1024

_UPDATE = frames.build_record([frames.KeyUpdate()])
_RECORDS = [record for record in records_of_frames() if record != _UPDATE]
_WELCOME = frames.Welcome(Role.NODE, 0, bytes(16), frames.Outcome.FRESH, 0, 1000, 1000, 1, bytes(16))
_CONFIGS = [HandshakeConfig(keys, bytes(32), (), BOTH_AEADS) for keys in (ALICE, BOB)]


class _Connection:
    """The transport: it takes all that is written, unless it is full."""

    transport = "tcp"
    local = remote = Endpoint("tcp", "192.0.2.7", 5483)

    def __init__(self) -> None:
        self.written = bytearray()
        self.ended = self.full = False

    def send(self, data: Any) -> int:
        assert not self.ended, "something was written after the end"
        if self.full:
            return 0
        self.written += data
        return len(data)

    def when_writable(self, callback: Callable[[], object]) -> None:
        self.writable = callback

    def close(self) -> None:
        self.ended = True

    abort = close


class _Owner:
    """The owner of the link, and what is heard of its conversation, once it has one."""

    def __init__(self) -> None:
        self.link: Link
        self.records: list[list[frames.Frame]] = []
        self.lost = 0
        self.faults: list[BaseException] = []

    def link_hello(self, link: Link) -> None:
        assert link.inbound and link.stage is Stage.HANDSHAKE

    def link_spoke(self, link: Link) -> None:
        assert link.inbound and not link.greeted and link.spoken

    def link_answered(self, link: Link) -> None:
        link.introduce(_introduction(False))

    def link_introduced(self, link: Link, introduction: Introduction) -> None:
        assert link.inbound and introduction.peer_id == ALICE.peer_id.public_key
        link.write_control(_WELCOME)

    def _open(self, link: Link) -> None:
        assert link.stage is Stage.ANSWER
        link.stage = Stage.OPEN
        conversation = mock.MagicMock()  # it takes whatever else a link tells its conversation
        conversation.receive.side_effect = self.receive
        conversation.violated.side_effect = self.violated
        conversation.link_lost.side_effect = self.link_lost
        conversation.receive_control.side_effect = self.receive_control
        conversation.meter.is_overdrawn = False
        link.conversation = conversation

    def link_welcomed(self, link: Link, welcome: frames.Welcome) -> None:
        assert not link.inbound
        self._open(link)

    def link_used(self, link: Link, decision: int) -> None:
        assert link.inbound and decision
        self._open(link)

    def link_denied(self, link: Link, code: Any, text: str, alternates: tuple[str, ...]) -> None:
        assert not link.inbound and len(alternates) <= 8

    def link_lost(self, link: Link) -> None:
        self.lost += 1
        assert link.verdict and link.error

    def receive(self, link: Link, records: list[list[frames.Frame]], now: float) -> None:
        assert link.stage is Stage.OPEN and not link.verdict
        self.records += records

    def receive_control(self, link: Link, frame: frames.Frame) -> bool:
        assert not isinstance(frame, (frames.Batch, frames.Piece, frames.Ack))
        return not isinstance(frame, (frames.Welcome, frames.Denied, frames.Use))

    def violated(self, link: Link, error: Exception) -> None:
        assert str(error)
        link.fail("failed", str(error))


def _begun(called: bool) -> tuple[Link, _Owner, _Connection, RecordSealer]:
    """A link whose handshake is over, and what the other end seals with."""
    connection, owner = _Connection(), _Owner()
    inner: Any = connection
    if called:
        ours: Any = Responder(_CONFIGS[1], _random("ours"), salts=SaltMemory(4))
        theirs: Any = Initiator(_CONFIGS[0], BOB.peer_id, _random("theirs"))
    else:
        ours = Initiator(_CONFIGS[0], BOB.peer_id, _random("ours"))
        theirs = Responder(_CONFIGS[1], _random("theirs"), salts=SaltMemory(4))
    link = Link(inner, ours, owner, owner.faults.append, lambda: 1000.0, None if called else BOB.peer_id)
    owner.link = link
    link.begin()
    if called:
        link.data_received(theirs.start())
        theirs.receive(bytes(connection.written))
        link.data_received(theirs.introduce(_introduction(False)))
    else:
        theirs.receive(bytes(connection.written))
        connection.written.clear()
        link.data_received(theirs.answer(None))
        (event,) = theirs.receive(bytes(connection.written))
        assert isinstance(event, IntroductionReceived)
    result = theirs.result
    assert link.stage is Stage.ANSWER and not link.verdict
    return link, owner, connection, RecordSealer(result.send_key, result.hash, result.aead)


def run(data: bytes) -> None:
    source = Source(data)
    called = source.chance()
    link, owner, connection, sealer = _begun(called)
    expected: list[list[frames.Frame]] = []
    """Records of the session that were sent on a link that stands, until a fault."""
    clean, lost = True, False
    for _ in range(30):
        if not source or lost:
            break
        step = source.number(0, 9)
        if step == 0:
            stream = sealer.seal(frames.build_record([frames.Use(1) if called else _WELCOME]))
        elif step <= 4:
            plaintext = source.pick(_RECORDS)
            stream = sealer.seal(plaintext)
            if clean and link.stage is Stage.OPEN and plaintext[0] in _SESSION_TYPES:
                expected.append(frames.parse_record_untrusted(plaintext))
        elif step == 5:
            stream = sealer.seal(source.damaged(source.pick(_RECORDS)) or b"\0")
            clean = False
        elif step == 6:
            stream = sealer.seal(_UPDATE)
            sealer.update_key()
        elif step == 7:
            stream = source.damaged(sealer.seal(source.pick(_RECORDS))) if source.chance() else source.some(40)
            clean = False
        elif step == 8:
            connection.full = not connection.full
            link.write([b"\5" + bytes(4)], 1000.0)
            if not connection.full and link.blocked:
                connection.writable()
            continue
        else:
            lost = not source.number(0, 3)
            if lost:
                link.connection_lost(None)
            continue
        at = source.number(0, len(stream))
        for part in (stream[:at], stream[at:]):
            if not connection.ended:  # no transport hands on anything after that
                link.data_received(part)
        assert len(stream) <= limits.RECORD_PLAINTEXT_MAX + 100
        if link.verdict:
            break
    assert not owner.faults, f"an internal error: {owner.faults}"
    if not lost:
        link.connection_lost(None)
    assert owner.records[: len(expected)] == expected
    assert not clean or owner.records == expected
    assert link.verdict and link.stage is Stage.DEAD
    assert owner.lost == 1
    assert not owner.faults


def seeds() -> Iterable[bytes]:
    for called in (0, 1):
        yield bytes((called, 0, 255, 1, 0, 9, 1, 5, 0, 6, 0, 1, 7, 3))
        yield bytes((called,)) + bytes((0, 0)) + b"".join(bytes((1, index, 0)) for index in range(len(_RECORDS)))
    yield from noise(16, 120)
