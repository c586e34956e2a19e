"""A circuit that passes through us, with both of its ends sending any frames in any order.

No exception reaches a reader. What goes on is what came, in order; no more waits here than the credit of either
direction; each end hears of the end once, and both links forget it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from crust import limits
from crust.wire.frames import CircuitAccept, CircuitClose, CircuitCredit, CircuitData, CircuitReason
from tests.fuzz.source import Source, noise
from tests.peers.circuits.test_relayed import begun

ROUNDS = 200
SIZE_MAX = 1024

_SIZES = (1, 100, limits.CIRCUIT_DATA_MAX)


def run(data: bytes) -> None:
    source = Source(data)
    circuit, near, far, books = begun(lent=source.chance())
    came = {id(near): bytearray(), id(far): bytearray(b"first")}  # what is to go out there
    assert circuit.connect(1, b"first")
    circuit.ask()
    for _ in range(80):
        if not source:
            break
        leg: Any = source.pick((circuit.caller, circuit.callee))
        step = source.number(0, 8)
        if step <= 3:
            part = bytes((source.number(0, 255),)) * source.pick(_SIZES)
            came[id(leg.other.legs)] += part
            leg.receive(CircuitData(leg.number, part))
        elif step == 4:
            part = source.some(20) or b"x"
            came[id(leg.other.legs)] += part
            leg.receive(CircuitAccept(leg.number, None, source.chance(), part))
        elif step == 5:
            leg.receive(CircuitCredit(leg.number, source.pick((1, 1000, limits.CIRCUIT_CREDIT, 0xFFFFFFFF))))
        elif step == 6 and not source.number(0, 2):
            leg.receive(CircuitClose(leg.number, source.pick(tuple(CircuitReason)), "why"))
        elif step == 7:
            books.delay = source.pick((0.0, 1.0))
            leg.go_on()
        elif not source.number(0, 5):
            leg.link_ended() if source.chance() else circuit.look(1e9)
        assert len(circuit.caller.out) <= limits.CIRCUIT_CREDIT and len(circuit.callee.out) <= limits.CIRCUIT_CREDIT
    for leg in (circuit.caller, circuit.callee):
        leg.link_ended()
    for link in (near, far):
        # (said what the circuit is for, until now)
        sent = b"".join(each.data for each in link.said if hasattr(each, "data"))
        assert bytes(came[id(link)]).startswith(sent), "something else goes on than came"
        assert sum(isinstance(each, CircuitClose) for each in link.said) <= 1
        assert not link.numbers or circuit.ended_at is not None
    assert len(books.left) == 1


def seeds() -> Iterable[bytes]:
    yield bytes((1, 1, 4, 3)) + b"yes" + bytes((1, 0, 0, 65, 1, 1, 0, 66, 2, 0, 5, 1, 1, 7, 1, 1, 7, 0, 0, 6, 0, 0))
    yield from noise(16, 200)
