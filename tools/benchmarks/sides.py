"""The two sides of a measurement, for every library with connections that carry messages."""

from __future__ import annotations

import struct
import threading
import time
from typing import Any

from . import machine
from .contract import (
    ROUND_TRIP,
    WAIT,
    Channel,
    Options,
    echo,
    pack_count,
    stamped,
    stream_through,
    summary,
    unpack_count,
    wait_until,
)

__all__ = ["ChannelSpokes", "ThreadedHub"]


class ThreadedHub:
    """A hub with a thread for each connection; subclasses listen and call :meth:`attach` on that thread."""

    def __init__(self, role: str, options: Options) -> None:
        self.role = role
        self.options = options
        self.channels: list[Channel] = []

    def attach(self, channel: Channel) -> None:
        """Serve a new connection; in the roles that answer, until it ends."""
        self.channels.append(channel)
        if self.role != "stream":
            echo(channel, stamped if self.role == "stamp" else None)
            self.channels.remove(channel)

    def connections(self) -> int:
        """How many there are."""
        return len(self.channels)

    def wait_for(self, count: int) -> None:
        """Wait until there are so many connections."""
        wait_until(lambda: self.connections() >= count, f"{count} connections")

    def stream(self, size: int, seconds: float) -> dict[str, float]:
        """Send to all in turn; see :func:`stream_through`."""

        def acknowledged() -> int:
            return sum(unpack_count(channel.receive()) for channel in self.channels)

        return stream_through([channel.send for channel in self.channels], acknowledged, size, seconds)

    def memory(self) -> int:
        """KiB resident."""
        return machine.resident_kib()

    def close(self) -> None:
        """Close all connections."""
        for channel in list(self.channels):
            channel.close()


class ChannelSpokes:
    """The dialling side, for every library that can be used through a :class:`Channel`."""

    def __init__(self, role: str, options: Options) -> None:
        self.role = role
        self.options = options
        self.address: Any = None
        self.channels: list[Channel] = []

    def connect(self) -> Channel:
        """Dial the hub, prove who we are if the library can, and return when that is done."""
        raise NotImplementedError

    def dial(self, address: Any, count: int) -> None:
        """Open so many connections, one after another."""
        self.address = address
        for _ in range(count):
            self.channels.append(self.connect())

    def sink(self, size: int) -> None:
        """Count messages and answer each END, from now on and for every connection."""
        for channel in self.channels:
            threading.Thread(target=self._sink, args=(channel, size), daemon=True).start()

    @staticmethod
    def _sink(channel: Channel, size: int) -> None:
        while (count := channel.count(size)) is not None:
            channel.send(pack_count(count))

    def ping(self, size: int, seconds: float) -> dict[str, float]:
        """One message to and fro, over and over: median and 99th percentile in microseconds."""
        channel = self.channels[0]
        send, receive, clock = channel.send, channel.receive, time.perf_counter
        data = bytes(size)
        times = []
        now = clock()
        end = now + seconds
        while now < end:
            began = clock()
            send(data)
            receive()
            now = clock()
            times.append(now - began)
        return summary(times)

    def setup(self, address: Any, seconds: float) -> dict[str, float]:
        """Dial, prove, one round trip, close; over and over."""
        self.address = address
        data = bytes(ROUND_TRIP)
        clock = time.perf_counter
        self._set_up(data)  # the first one pays for what is made once
        count = 0
        began = now = clock()
        while now < began + seconds:
            self._set_up(data)
            count += 1
            now = clock()
        return {"count": count, "seconds": now - began}

    def _set_up(self, data: bytes) -> None:
        channel = self.connect()
        channel.send(data)
        if channel.receive() != data:
            raise RuntimeError("the echo is not what was sent")
        channel.close()

    def exchange(self, size: int) -> None:
        """A message each way on every connection, one after another."""
        data = bytes(size)
        for channel in self.channels:
            channel.send(data)
            if len(channel.receive()) != size:
                raise RuntimeError("the echo is not what was sent")

    def talk(self, talkers: int, interval: float, seconds: float) -> list[float]:
        """
        Let the first ``talkers`` connections send ROUND_TRIP bytes every ``interval`` seconds to a stamping hub.

        Returns:
            Seconds each message was under way, both directions.
        """
        times: list[float] = []
        errors: list[BaseException] = []
        begin = time.monotonic() + 0.1
        threads = [
            threading.Thread(
                target=self._talk,
                args=(channel, begin + interval * index / talkers, interval, seconds, times, errors),
                daemon=True,
            )
            for index, channel in enumerate(self.channels[:talkers])
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(seconds + WAIT)
        if errors:
            raise errors[0]
        return times

    @staticmethod
    def _talk(
        channel: Channel, begin: float, interval: float, seconds: float, times: list[float], errors: list[BaseException]
    ) -> None:
        padding = bytes(ROUND_TRIP - 16)
        due = begin
        try:
            while due < begin + seconds:
                now = time.monotonic()
                if now < due:
                    time.sleep(due - now)
                    sent = time.monotonic()
                else:
                    sent = due  # the last answer was late: this message waited for it, and that counts
                channel.send(struct.pack(">dd", sent, 0.0) + padding)
                answer = channel.receive()
                now = time.monotonic()
                _, arrived = struct.unpack_from(">dd", answer)
                times.append(arrived - sent)
                times.append(now - arrived)
                due += interval
        except Exception as error:  # it is raised again by talk()
            errors.append(error)

    def close(self) -> None:
        """Close all connections."""
        for channel in self.channels:
            channel.close()
