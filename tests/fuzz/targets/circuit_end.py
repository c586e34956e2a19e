"""One end of a circuit, as caller and as called, with an introducer that sends any frames in any order.

No exception reaches its reader. The user gets bytes that were sent, in order, and one end, and nothing after it; no
more waits in it than the credit; what is sent ends with one CIRCUIT_CLOSE at the most.
"""

from __future__ import annotations

from collections.abc import Iterable

from crust import limits
from crust.peers.circuits.words import CircuitEnded
from crust.wire.frames import (
    CircuitAccept,
    CircuitClose,
    CircuitCredit,
    CircuitData,
    CircuitOffer,
    CircuitReason,
)
from tests.fuzz.source import Source, noise
from tests.peers.circuits.test_connection import World

ROUNDS = 200
SIZE_MAX = 1024

_SIZES = (1, 100, limits.CIRCUIT_DATA_MAX)


def run(data: bytes) -> None:
    source = Source(data)
    offer = CircuitOffer(7, None, source.chance(), b"hi") if source.chance() else None
    world = World(offer=offer, relays=source.chance(), objection="no" if not source.number(0, 9) else "")
    end = world.end
    arrived = bytearray(b"hi" if offer else b"")
    started = closes = 0
    for _ in range(80):
        if not source:
            break
        step = source.number(0, 11)
        if step == 0 and not started:
            started = 1
            end.run(world.sink)
        elif step <= 3:
            part = bytes((len(arrived) & 0xFF,)) * source.pick(_SIZES)
            arrived += part
            end.receive(CircuitData(7, part))
        elif step == 4:
            part = source.some(20) or b"x"
            arrived += part
            end.receive(CircuitAccept(7, source.pick((None, ("192.0.2.1", 1))), source.chance(), part))
        elif step == 5:
            end.receive(CircuitCredit(7, source.pick((1, 1000, limits.CIRCUIT_CREDIT, 0xFFFFFFFF))))
        elif step == 6 and not source.number(0, 2):
            end.receive(CircuitClose(7, source.pick(tuple(CircuitReason)), source.some(20).decode("latin-1")))
        elif step == 7:
            try:
                end.send(bytes(source.pick(_SIZES)))
            except OSError:
                pass  # it is closed
        elif step == 8:
            closes += sum(isinstance(frame, CircuitClose) for frame in world.said())
            assert closes <= 1
        elif step == 9:
            source.pick((end.pause, end.resume))()
        elif step == 10 and not source.number(0, 3):
            source.pick((end.close, end.abort, end.link_ended))()
        world.turn()
        assert len(end._in) <= limits.CIRCUIT_CREDIT and len(end._out) <= limits.CIRCUIT_QUEUE
        assert bytes(arrived).startswith(world.sink.data)
        assert len(world.sink.ends) <= 1
        assert all(isinstance(each, CircuitEnded | None) and str(each).isprintable() for each in world.sink.ends)


def seeds() -> Iterable[bytes]:
    yield bytes((0, 1, 9, 0, 7, 1, 8, 4, 3)) + b"yes" + bytes((0, 1, 1, 1, 1, 2, 7, 2, 8, 5, 1, 6, 0, 0, 0))
    yield bytes((1, 1, 1, 9, 0, 7, 1, 8, 1, 2, 1, 2, 9, 0, 1, 2, 9, 1, 8, 10, 0, 0, 8))
    yield from noise(16, 150)
