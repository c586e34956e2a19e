"""Those programs of :mod:`tests.natlab.probes` that speak crust's µTP; it runs them."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Iterator

from crust.addresses import Endpoint
from crust.runtime.flusher import IoLoop
from crust.runtime.threads import Deadline, Threads
from crust.transports.blocking import BlockingStream
from crust.transports.contract import Connection
from crust.transports.utp.transport import UtpTransport
from tests.natlab.probes import measure, pour_into, tell


@contextlib.contextmanager
def _utp(congestion: str = "fair") -> Iterator[tuple[UtpTransport, Threads]]:
    threads, io = Threads(), IoLoop()
    io.start(threads.spawn)
    try:
        yield UtpTransport(io, threads.spawn, congestion=congestion), threads
    finally:
        io.stop()
        threads.join(Deadline(5.0))


def utp_sink(address: str, seconds: float = 1.0, skip: float = 0.0) -> None:
    """As ``sink``, over crust's µTP."""
    with _utp() as (transport, threads):
        listener = transport.listen(Endpoint("utp", address, 0))
        callers: queue.SimpleQueue[Connection] = queue.SimpleQueue()
        threads.spawn("listener", listener.run, callers.put)
        tell(port=listener.endpoint.port)
        stream = BlockingStream(callers.get(), threads.spawn)
        listener.close()
        with stream:
            measure(lambda: len(stream.recv(1 << 18)), seconds, skip)


def utp_pour(address: str, port: int, seconds: float = 1.0, congestion: str = "fair") -> None:
    """As ``pour``, over crust's µTP."""
    with _utp(congestion) as (transport, threads):
        connection = transport.dialling(Endpoint("utp", address, port), 20.0).run()
        with BlockingStream(connection, threads.spawn) as stream:
            pour_into(stream.sendall, seconds)


PROBES = {each.__name__: each for each in (utp_sink, utp_pour)}
