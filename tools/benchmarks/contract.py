"""
What a peer library must offer, and the loops that are the same for all of them.

A module of ``peers`` has ``Hub`` and ``Spokes``, both made as ``Hub(role, options)`` and ``Spokes(role, options)``;
``sides`` has what most of them share.

Roles: in ``stream`` the hub sends and the spokes count; in ``signed`` too, and they take only what is signed; in
``echo`` the hub answers each message with itself; in ``stamp`` it answers with the moment of arrival put into the
message's second eight bytes.

A stream ends with :data:`END`, which every receiver answers with how many messages it counted: a figure includes all
that was still under way, and a lost message fails the run.
"""

from __future__ import annotations

import itertools
import struct
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

__all__ = [
    "END",
    "ROUND_TRIP",
    "WAIT",
    "Channel",
    "Options",
    "echo",
    "pack_count",
    "percentile",
    "stamped",
    "stream_through",
    "summary",
    "unpack_count",
    "wait_until",
]

END = b"\0"
"""Ends a stream; no measured message is one byte long."""

ROUND_TRIP = 100
"""Bytes of the messages that go to and fro."""

WAIT = 60.0
"""Seconds after which anything that blocks has failed."""

_COUNT = struct.Struct(">Q")
_LOOK_EVERY = 64  # small messages sent between looks at the clock
_LOOK_BYTES = 524_288  # the same in bytes

pack_count = _COUNT.pack


def unpack_count(data: bytes | bytearray) -> int:
    """The answer to END."""
    count: int = _COUNT.unpack(data)[0]
    return count


class Options(NamedTuple):
    """How one side is to be set up; travels as JSON."""

    library: str
    style: str = ""
    """Of crust: ``callback`` or ``pull``."""
    peers: int = 1
    """Connections there will be; 0: any number, one after another."""
    size: int = ROUND_TRIP
    """Bytes of the largest message."""
    certificate: str = ""
    """File of the certificate that both sides have and trust (TLS)."""
    key: str = ""


class Channel(Protocol):
    """One connection that carries whole messages; one thread sends, one receives."""

    def send(self, data: bytes) -> object:
        """Send one message; waits while the way is full."""

    def receive(self) -> bytes | bytearray:
        """The next message; an exception or an empty one at the end of the connection."""

    def count(self, size: int) -> int | None:
        """Receive messages of ``size`` until another one; how many there were. None: the connection ended."""

    def close(self) -> None:
        """Close the connection."""


def stamped(data: bytes | bytearray) -> bytes:
    """The answer of a hub in the role ``stamp``; the clock is one for all processes of a machine."""
    return bytes(data[:8]) + struct.pack(">d", time.monotonic()) + data[16:]


def echo(channel: Channel, change: Callable[[Any], bytes] | None = None) -> None:
    """Answer each message until the connection ends."""
    try:
        while data := channel.receive():
            channel.send(data if change is None else change(data))  # type: ignore[arg-type]  # a bytearray will do
    except (OSError, EOFError):
        pass
    finally:
        channel.close()


def send_round_robin(sends: list[Callable[[bytes], object]], data: bytes, seconds: float) -> int:
    """Send to each in turn for so long; returns how many messages that were."""
    clock = time.perf_counter
    block = max(1, min(_LOOK_EVERY, _LOOK_BYTES // len(data)))
    sent = 0
    end = clock() + seconds
    if len(sends) == 1:
        send = sends[0]
        while clock() < end:
            for _ in range(block):
                send(data)
            sent += block
        return sent
    turns = itertools.cycle(sends)
    while clock() < end:
        for send in itertools.islice(turns, block):
            send(data)
        sent += block
    return sent


def stream_through(
    sends: list[Callable[[bytes], object]], acknowledged: Callable[[], int], size: int, seconds: float
) -> dict[str, float]:
    """
    One stream: messages for so long, the end to everybody, everybody's count.

    Args:
        sends: Sends to one receiver each.
        acknowledged: Waits for all the counts and returns their sum.
    """
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    began = time.perf_counter()
    sent = send_round_robin(sends, data, seconds)
    for send in sends:
        send(END)
    counted = acknowledged()
    elapsed = time.perf_counter() - began
    if counted != sent:
        raise RuntimeError(f"{sent} messages were sent and {counted} have arrived")
    return {"messages": sent, "seconds": elapsed}


def percentile(ordered: list[float], share: float) -> float:
    """The value below which that share of the ordered values lies."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def wait_until(condition: Callable[[], bool], what: str, timeout: float = WAIT) -> None:
    """Look every 5 ms."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout:g} s")
        time.sleep(0.005)


def summary(times: list[float]) -> dict[str, float]:
    """Median and 99th percentile in microseconds, without the first tenth, which warms up."""
    ordered = sorted(times[len(times) // 10 :])
    middle, tail = percentile(ordered, 0.5) * 1e6, percentile(ordered, 0.99) * 1e6
    return {"p50": middle, "p99": tail, "round_trips": len(times)}
