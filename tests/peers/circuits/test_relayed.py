"""A circuit between two links: what becomes of it when it ends, and what counts as carried."""

from __future__ import annotations

from typing import Any

import pytest

from crust import limits
from crust.addresses import PeerId
from crust.peers.circuits.relayed import Leg, RelayedCircuit
from crust.wire.frames import (
    CircuitAccept,
    CircuitClose,
    CircuitCredit,
    CircuitData,
    CircuitOffer,
    CircuitReason,
)

NEAR, FAR = PeerId(bytes(32)), PeerId(bytes(31) + b"\1")


class Link:
    """One link, its circuits, and what goes out on it."""

    def __init__(self) -> None:
        this: Any = self
        self.freight = self.link = self.connection = self.remote = this
        self.is_ip = False
        self.is_deaf = False
        self.numbers: list[int] = []
        self.said: list[Any] = []

    def open(self, leg: Leg) -> int:
        return 2

    def accept(self, number: int, leg: Leg) -> bool:
        self.numbers.append(number)
        return True

    def forget(self, number: int, leg: Leg) -> None:
        self.numbers = [each for each in self.numbers if each != number]

    def wants(self, leg: Leg) -> None:
        while not self.is_deaf and (frame := leg.next_frame()):
            self.said.append(frame)


class Books:
    """Whose circuits are gone; how long an application's bytes wait."""

    def __init__(self) -> None:
        self.left: list[RelayedCircuit] = []
        self.delay = 0.0

    def now(self) -> float:
        return 0.0

    def answered(self, circuit: RelayedCircuit, wanted: bool) -> None:
        pass

    def reserve(self, circuit: RelayedCircuit, size: int) -> float:
        return self.delay

    def carried(self, size: int) -> None:
        pass

    def wake(self, leg: Leg, delay: float) -> None:
        pass

    def gone(self, circuit: RelayedCircuit) -> None:
        self.left.append(circuit)


def begun(*, lent: bool = False) -> tuple[RelayedCircuit, Any, Any, Any]:
    near: Any = Link()
    far: Any = Link()
    books: Any = Books()
    return RelayedCircuit(books, (NEAR, None), FAR, near, far, lent), near, far, books


def test_one_that_ends_before_it_is_joined() -> None:
    """As when the introducer closes at that moment: nobody hears of a circuit that has no number, nor is it begun."""
    circuit, near, far, books = begun()
    circuit.end(CircuitReason.LOST, "the introducer is shutting down")
    assert books.left == [circuit]
    assert not circuit.connect(7, b"hello")
    assert (near.said, far.said, near.numbers) == ([], [], [])


def test_one_that_ends_before_the_called_peer_has_heard_of_it() -> None:
    """The caller is told why, the called peer nothing."""
    circuit, near, far, books = begun()
    assert circuit.connect(7, b"hello") and near.numbers == [7]
    circuit.end(CircuitReason.LOST, "the introducer is shutting down")
    assert near.said == [CircuitClose(7, CircuitReason.LOST, "the introducer is shutting down")]
    assert (far.said, near.numbers, books.left) == ([], [], [circuit])


def test_one_that_ends_afterwards() -> None:
    """Both hear of it."""
    circuit, near, far, books = begun()
    assert circuit.connect(7, b"hello")
    circuit.ask()
    assert far.said == [CircuitOffer(2, None, False, b"hello")]
    circuit.end(CircuitReason.TIME, "the peer did not answer")
    assert [each.reason for each in (near.said[-1], far.said[-1])] == [CircuitReason.TIME] * 2
    assert books.left == [circuit]


def test_all_bytes_count_those_of_the_first_frames_too() -> None:
    """Else a circuit that only signals would carry more than it may."""
    for first, answer in ((1000, 0), (0, 1000), (1000, 1000)):
        circuit, near, far, books = begun()
        assert circuit.connect(7, bytes(first))
        circuit.callee.receive(CircuitAccept(2, None, False, bytes(answer)))
        left = limits.CIRCUIT_SIGNAL_BYTES - first - answer
        while left:
            size = min(left, limits.CIRCUIT_DATA_MAX)
            circuit.caller.receive(CircuitData(7, bytes(size)))
            circuit.callee.receive(CircuitCredit(2, size))
            left -= size
        assert circuit.ended_at is None
        circuit.callee.receive(CircuitData(2, b"!"))
        assert [each.said[-1].reason for each in (near, far)] == [CircuitReason.QUOTA] * 2


def test_what_waits_when_it_ends_does_not_wait_for_long() -> None:
    """A second after its end the rest is given up, however slow the rate or the link: both hear that it is over."""
    circuit, near, far, books = begun(lent=True)
    assert circuit.connect(7, b"")
    circuit.callee.receive(CircuitAccept(2, None, True, b""))
    books.delay = 60.0
    circuit.caller.receive(CircuitData(7, bytes(1000)))
    circuit.end(CircuitReason.TIME, "long enough")
    circuit.look(limits.CLOSE_LINGER - 0.1)
    assert not any(isinstance(each, CircuitClose) for each in far.said) and books.left == []
    circuit.look(limits.CLOSE_LINGER)
    assert far.said[-1] == CircuitClose(2, CircuitReason.TIME, "long enough")
    assert books.left == [circuit]


@pytest.mark.parametrize("is_accepted", [True, False])
def test_an_end_that_takes_no_last_word_keeps_nothing(is_accepted: bool) -> None:
    """Its link is blocked, or has ended since: what was lent comes back all the same, soon, once."""
    circuit, near, far, books = begun(lent=True)
    assert circuit.connect(1, b"first")
    circuit.ask()
    if is_accepted:
        circuit.callee.receive(CircuitAccept(2, None, True, b"yes"))
    near.is_deaf = far.is_deaf = True
    circuit.end(CircuitReason.TIME, "60 s")
    circuit.look(limits.CLOSE_LINGER / 2)
    assert books.left == []
    circuit.look(limits.CLOSE_LINGER)
    assert books.left == [circuit]
    near.is_deaf = False
    near.wants(circuit.caller)  # who takes it late still hears it
    assert isinstance(near.said[-1], CircuitClose)
    circuit.look(2 * limits.CLOSE_LINGER)
    circuit.callee.link_ended()
    assert books.left == [circuit]
