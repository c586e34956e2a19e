"""One end of a circuit keeps the contract of connections, whatever the introducer and its own user do."""

from __future__ import annotations

import collections
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crust import limits
from crust.addresses import Endpoint, PeerId
from crust.exceptions import LocalProtocolError
from crust.peers.circuits.connection import CircuitConnection
from crust.peers.circuits.words import CircuitEnded
from crust.wire.frames import (
    CircuitAccept,
    CircuitClose,
    CircuitCredit,
    CircuitData,
    CircuitFrame,
    CircuitOffer,
    CircuitOpen,
    CircuitReason,
)

TARGET = PeerId(b"t" * 32)
CREDIT = limits.CIRCUIT_CREDIT
OBSERVED = ("192.0.2.9", 5483)


class Sink:
    """Hears what a connection pushes, and checks that it comes as promised."""

    def __init__(self) -> None:
        self.data = b""
        self.ends: list[OSError | None] = []
        self.busy = False
        self.on_data: Callable[[], object] = lambda: None

    def data_received(self, data: memoryview) -> None:
        assert not self.busy and not self.ends and len(data)
        self.busy = True
        self.data += data
        self.on_data()
        self.busy = False

    def connection_lost(self, error: OSError | None) -> None:
        assert not self.busy and not self.ends
        self.ends.append(error)


class World:
    """A circuit's end without a link: what it says, and an I/O thread that runs when the test wants."""

    running = True

    def __init__(self, *, offer: CircuitOffer | None = None, relays: bool = True, objection: str = "") -> None:
        self.soon: collections.deque[Any] = collections.deque()
        self.wanting = False
        self.forgotten = 0
        self.answered = 0
        self.lost = 0
        outer = SimpleNamespace(local=Endpoint("tcp", "127.0.0.1", 1), remote=Endpoint("tcp", "192.0.2.1", 2))
        legs: Any = SimpleNamespace(link=SimpleNamespace(connection=outer), freight=self, forget=self._forget)
        io: Any = self
        self.end = CircuitConnection(
            io,
            legs,
            target=None if offer is not None else TARGET,
            relays=relays,
            offer=offer,
            on_accepted=lambda connection: objection,
            on_answered=lambda connection: self._count("answered"),
            on_lost=lambda connection: self._count("lost"),
        )
        self.end.number = 7
        self.sink = Sink()

    def _count(self, name: str) -> None:
        setattr(self, name, getattr(self, name) + 1)

    def _forget(self, number: int, end: object) -> None:
        assert (number, end) == (7, self.end)
        self.forgotten += 1

    def wants(self, source: object, *, soon: bool = False) -> None:
        assert source is self.end
        self.wanting = True

    def flush_soon(self, target: Any) -> None:
        self.soon.append(target)

    def call_later(self, delay: float, callback: object) -> Any:
        return SimpleNamespace(cancel=lambda: None)

    def turn(self) -> None:
        """The I/O thread runs."""
        while self.soon:
            self.soon.popleft().flush()

    def said(self) -> list[CircuitFrame]:
        """What goes out, all of it."""
        frames = []
        if self.wanting:
            self.wanting = False
            while (frame := self.end.next_frame()) is not None:
                frames.append(frame)
        return frames


def caller(**changes: Any) -> World:
    """One that has been accepted, and has said `hi`."""
    world = World(**changes)
    world.end.run(world.sink)
    assert world.end.send(b"hi") == 2
    assert world.said() == [CircuitOpen(7, TARGET.public_key, True, b"hi")]
    world.end.receive(CircuitAccept(7, OBSERVED, True, b"yes"))
    return world


def callee(data: bytes = b"hi") -> World:
    world = World(offer=CircuitOffer(7, OBSERVED, True, data))
    world.end.run(world.sink)
    return world


# --- beginning --------------------------------------------------------------------------------------------------------


def test_the_first_bytes_open_it() -> None:
    """The rest waits for consent, and who waits for room is told then."""
    world = World()
    world.end.run(world.sink)
    assert world.said() == []
    first = bytes(20_000)
    assert world.end.send(first) == limits.CIRCUIT_DATA_MAX
    (opened,) = world.said()
    assert isinstance(opened, CircuitOpen) and len(opened.data) == limits.CIRCUIT_DATA_MAX
    assert world.end.send(b"more") == 0
    room: list[bool] = []
    world.end.when_writable(lambda: room.append(True))
    world.turn()
    assert room == []
    assert world.end.observed is None
    world.end.receive(CircuitAccept(7, OBSERVED, False, b"yes"))
    assert (world.end.observed, world.end.relays, world.sink.data) == (OBSERVED, False, b"yes")
    world.turn()
    assert room == [True]
    assert world.end.send(b"more") == 4
    assert world.said() == [CircuitData(7, b"more")]


def test_the_first_bytes_are_consent() -> None:
    """Of the callee, who learns where the caller is."""
    world = callee()
    assert (world.sink.data, world.end.observed, world.end.relays) == (b"hi", OBSERVED, True)
    assert world.end.send(b"welcome") == 7
    assert world.said() == [CircuitAccept(7, None, True, b"welcome")]
    assert world.answered == 1


@pytest.mark.parametrize("how", ["close", "abort"])
def test_without_consent_it_is_refused(how: str) -> None:
    """And the sink hears the end a moment later."""
    world = callee()
    getattr(world.end, how)()
    (close,) = world.said()
    assert isinstance(close, CircuitClose) and close.reason is CircuitReason.REFUSED
    assert (world.sink.ends, world.answered) == ([], 1)
    world.turn()
    assert (world.sink.ends, world.lost, world.forgotten >= 1) == ([None], 1, True)


def test_it_starts_once() -> None:
    world = caller()
    with pytest.raises(LocalProtocolError):
        world.end.run(Sink())


def test_what_came_before_the_start_waits() -> None:
    """Also the end."""
    world = World(offer=CircuitOffer(7, None, True, b"early"))
    world.end.receive(CircuitClose(7, CircuitReason.CLOSED))
    world.end.start(world.sink, lambda name, target, *args: pytest.fail("it needs no thread"))
    assert world.sink.data == b""
    world.turn()
    assert (world.sink.data, world.sink.ends) == (b"early", [None])


def test_ended_before_the_start() -> None:
    """The sink hears it all the same."""
    world = World()
    world.end.abort()
    assert world.said() == []
    world.end.run(world.sink)
    assert world.sink.ends == [None]


# --- credit -----------------------------------------------------------------------------------------------------------


def test_no_more_is_sent_than_there_is_credit_for() -> None:
    """Whoever waits for more goes on when it comes."""
    world = caller()
    sent = 2
    while size := world.end.send(bytes(30_000)):
        sent += size
        for frame in world.said():
            assert isinstance(frame, CircuitData) and len(frame.data) <= limits.CIRCUIT_DATA_MAX
    assert sent == CREDIT
    room: list[bool] = []
    world.end.when_writable(lambda: room.append(True))
    world.turn()
    assert room == []
    world.end.receive(CircuitCredit(7, 1000))
    world.turn()
    assert room == [True]
    assert world.end.send(bytes(30_000)) == 1000


def test_credit_comes_back_in_steps() -> None:
    """As the sink takes what arrives."""
    world = caller()
    granted = 0
    for _ in range(40):
        world.end.receive(CircuitData(7, bytes(16_000)))
        for frame in world.said():
            assert isinstance(frame, CircuitCredit) and frame.size >= limits.CIRCUIT_CREDIT_STEP
            granted += frame.size
    assert 40 * 16_000 - limits.CIRCUIT_CREDIT_STEP < granted <= 40 * 16_000 + 3


def test_a_pause_withholds_credit() -> None:
    """So the sender stops; what came meanwhile is handed on afterwards, by the I/O thread."""
    world = caller()
    world.end.pause()
    for _ in range(16):
        world.end.receive(CircuitData(7, b"x" * 16_000))
    assert (world.sink.data, world.said()) == (b"yes", [])
    world.end.resume()
    assert world.sink.data == b"yes"
    world.turn()
    assert world.sink.data == b"yes" + b"x" * 256_000
    (credit,) = world.said()
    assert isinstance(credit, CircuitCredit) and credit.size == 256_003


def test_what_waited_is_handed_on_in_pieces() -> None:
    """A pause counts after the first of them."""
    world = caller()
    world.end.pause()
    for _ in range(16):
        world.end.receive(CircuitData(7, b"x" * 16_000))
    world.sink.on_data = world.end.pause
    world.end.resume()
    world.turn()
    assert len(world.sink.data) == 3 + limits.PIECE_BEGUN


def test_what_a_sink_leaves_comes_again() -> None:
    """Before what came later; the sender gets credit for it only then."""
    world = caller()
    stream = bytes(range(256)) * 800

    def offered(data: memoryview) -> int:
        world.sink.data_received(data[: len(data) // 3])
        world.end.receive(CircuitData(7, stream[received(1000) : received()]))
        if len(world.sink.data) > 100_000:
            world.end.pause()
        return len(data) // 3

    came = 0

    def received(more: int = 0) -> int:
        nonlocal came
        before, came = came, min(len(stream), came + more)
        return before

    world.sink.data_offered = offered  # type: ignore[attr-defined]
    world.end.pause()
    for _ in range(10):
        world.end.receive(CircuitData(7, stream[received(16_000) : received()]))
    world.end.resume()
    world.turn()
    assert 3 + 100_000 < len(world.sink.data) < came
    granted = sum(frame.size for frame in world.said() if isinstance(frame, CircuitCredit))
    assert granted <= len(world.sink.data)
    world.end.resume()
    while len(world.sink.data) < 3 + came:
        world.end.resume()
        world.turn()
    assert world.sink.data == b"yes" + stream[:came]


def test_more_than_the_credit_ends_it() -> None:
    """With a word to the introducer, and one to the sink."""
    world = caller()
    world.end.pause()
    for _ in range(17):
        world.end.receive(CircuitData(7, bytes(16_000)))
    (close,) = world.said()
    assert isinstance(close, CircuitClose) and close.reason is CircuitReason.PROTOCOL
    world.turn()
    (error,) = world.sink.ends
    assert isinstance(error, CircuitEnded) and "more than the credit" in str(error)


# --- the end ----------------------------------------------------------------------------------------------------------


def test_close_lets_out_what_was_sent() -> None:
    """Then the other side is told; what arrives meanwhile is thrown away."""
    world = caller()
    world.end.send(b"last")
    world.end.close()
    world.end.receive(CircuitData(7, b"too late"))
    assert world.sink.data == b"yes"
    assert world.said() == [CircuitData(7, b"last"), CircuitClose(7, CircuitReason.CLOSED)]
    world.turn()
    assert (world.sink.ends, world.lost) == ([None], 1)
    with pytest.raises(OSError, match="closed"):
        world.end.send(b"x")


def test_abort_lets_out_nothing() -> None:
    """It never calls the sink itself: who aborts may hold a lock that the sink takes."""
    world = caller()
    world.end.send(b"last")
    world.end.abort()
    assert world.sink.ends == []
    assert world.said() == [CircuitClose(7, CircuitReason.CLOSED)]
    world.turn()
    assert world.sink.ends == [None]


@pytest.mark.parametrize(
    ("reason", "text", "verdict", "words"),
    [
        (CircuitReason.NOT_LINKED, "not at the moment", "unreachable", "has no link to that peer (not at the moment)"),
        (CircuitReason.BUSY, "", "refused", "the introducer has too many circuits"),
        (CircuitReason.QUOTA, "65536 bytes", "failed", "as much as its introducer allows (65536 bytes)"),
        (CircuitReason.REFUSED, "a\x1b[2Jb", "failed", "the circuit was refused (a"),
    ],
)
def test_the_end_has_words(reason: CircuitReason, text: str, verdict: str, words: str) -> None:
    """Those of the introducer are shown, without what a terminal might obey."""
    world = World()
    world.end.run(world.sink)
    world.end.send(b"hi")
    world.said()
    world.end.receive(CircuitClose(7, reason, text))
    (error,) = world.sink.ends
    assert isinstance(error, CircuitEnded)
    assert error.verdict == verdict and words in str(error) and str(error).isprintable()
    assert (world.said(), world.forgotten >= 1) == ([], True)


def test_an_orderly_end_is_no_error() -> None:
    """As with every transport."""
    world = caller()
    world.end.receive(CircuitData(7, b"bye"))
    world.end.receive(CircuitClose(7, CircuitReason.CLOSED))
    assert (world.sink.data, world.sink.ends) == (b"yesbye", [None])


def test_the_link_ends() -> None:
    """The sink hears it on the I/O thread: sessions' locks may be held."""
    world = caller()
    world.end.link_ended()
    assert world.sink.ends == []
    world.turn()
    (error,) = world.sink.ends
    assert isinstance(error, CircuitEnded) and "ours to the introducer" in str(error)


def test_what_is_not_wanted_after_all() -> None:
    """Such as a banned address: nothing of what came with it is handed on."""
    world = World(objection="banned here")
    world.end.run(world.sink)
    world.end.send(b"hi")
    world.said()
    world.end.receive(CircuitAccept(7, OBSERVED, True, b"yes"))
    world.turn()
    (error,) = world.sink.ends
    assert (world.sink.data, str(error)) == (b"", "the circuit was refused (banned here)")
    assert [type(frame) for frame in world.said()] == [CircuitClose]


def test_a_forked_childs_copy() -> None:
    """Says nothing, hands on nothing, and names its sink."""
    world = caller()
    world.end.send(b"the parent's")
    assert world.end.abandon() is world.sink
    world.end.receive(CircuitData(7, b"too"))
    world.end.close()
    world.turn()
    assert (world.said(), world.sink.data, world.sink.ends) == ([], b"yes", [])


ACTIONS = (
    *("send", "turn", "say", "pause", "resume", "close", "abort", "link", "writable"),
    *(CircuitData(7, b"abc"), CircuitData(7, bytes(16_384)), CircuitCredit(7, 1), CircuitAccept(7, None, True, b"")),
    *(CircuitClose(7, CircuitReason.CLOSED), CircuitClose(7, CircuitReason.LOST, "x")),
)


@given(st.booleans(), st.booleans(), st.lists(st.sampled_from(ACTIONS), max_size=40))
def test_whatever_happens(calls: bool, aborts_inside: bool, actions: list[Any]) -> None:
    """The sink hears the end exactly once and last, in turns; nothing is said after CIRCUIT_CLOSE; little is held."""
    world = World() if calls else callee()
    if calls:
        world.end.run(world.sink)
    if aborts_inside:
        world.sink.on_data = world.end.abort
    said: list[CircuitFrame] = []
    for action in actions:
        if action == "send":
            try:
                world.end.send(bytes(50_000))
            except OSError:
                assert world.end._wish or world.end._stage.value == "over"
        elif action == "turn":
            world.turn()
        elif action == "say":
            said += world.said()
        elif action == "link":
            world.end.link_ended()
        elif action == "writable":
            world.end.when_writable(lambda: None)
        elif isinstance(action, str):
            getattr(world.end, action)()
        else:
            world.end.receive(action)
        assert len(world.end._in) <= CREDIT and len(world.end._out) <= limits.CIRCUIT_QUEUE
    world.end.abort()
    world.turn()
    said += world.said()
    world.turn()
    assert len(world.sink.ends) == 1 and world.lost >= 1
    closes = [number for number, frame in enumerate(said) if isinstance(frame, CircuitClose)]
    assert closes in ([], [len(said) - 1])
