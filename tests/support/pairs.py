"""Two connected ends of a transport, with sinks that remember what they were given and which rules were broken."""

from __future__ import annotations

import threading

from crust.transports.contract import Connection
from tests.support.threads import Crew
from tests.support.waiting import wait_until


class RecordingSink:
    """Keeps what a connection pushes, and complains about broken rules."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.lost: list[OSError | None] = []
        self.calls = 0
        self.gate: threading.Event | None = None  # block inside data_received until it is set
        self.broken_rules: list[str] = []
        self._inside = False

    def data_received(self, data: memoryview) -> None:
        if self._inside:
            self.broken_rules.append("two calls at once")
        if self.lost:
            self.broken_rules.append("data after connection_lost")
        if not len(data):
            self.broken_rules.append("no bytes in data_received")
        self._inside = True
        self.received += data
        self.calls += 1
        if self.gate is not None:
            self.gate.wait(10)
        self._inside = False

    def connection_lost(self, error: OSError | None) -> None:
        if self._inside:
            self.broken_rules.append("connection_lost inside data_received")
        self.lost.append(error)


class Pair:
    """Two ends of one connection with recording sinks, started."""

    def __init__(self, crew: Crew, near: Connection, far: Connection) -> None:
        self.crew = crew
        self.near, self.far = near, far
        self.near_sink, self.far_sink = RecordingSink(), RecordingSink()

    def start(self) -> Pair:
        self.near.start(self.near_sink, self.crew.spawn)
        self.far.start(self.far_sink, self.crew.spawn)
        return self

    def end(self) -> None:
        """End both sides and check the rules of sinks."""
        for connection, sink in ((self.near, self.near_sink), (self.far, self.far_sink)):
            if sink.gate is not None:
                sink.gate.set()
            connection.abort()
        wait_until(lambda: self.near_sink.lost and self.far_sink.lost, what="connection_lost on both sides")
        for sink in (self.near_sink, self.far_sink):
            assert len(sink.lost) == 1
            assert sink.broken_rules == []
