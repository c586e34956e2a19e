"""
pyzmq over tcp://, plain or with CURVE (both sides have keys; the hub takes any, as crust does without an allow-list).

One connection is a pair of DEALER sockets, the quickest there is; a hub of many is one ROUTER.
"""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import zmq

from .. import machine
from ..contract import WAIT, Options, stamped, stream_through, unpack_count
from ..sides import ChannelSpokes

__all__ = ["Hub", "Spokes"]

_BUFFERED = 4 * 1024 * 1024  # bytes queued in each direction at the most, about what the others hold
_MESSAGES = 4096  # the same in messages
_HELLO = b""


def _context(sockets: int) -> zmq.Context[Any]:
    context = zmq.Context()
    context.set(zmq.MAX_SOCKETS, sockets + 16)
    return context


def _limit(sock: Any, size: int) -> None:
    """Bound the queues: the default of 1000 messages would be a gigabyte of big ones."""
    sock.hwm = max(4, min(_MESSAGES, _BUFFERED // max(1, size)))
    sock.linger = 0
    sock.rcvtimeo = sock.sndtimeo = int(WAIT * 1000)


class DealerChannel:
    """A :class:`~benchmarks.contract.Channel` over a DEALER that has one peer."""

    def __init__(self, sock: Any) -> None:
        self._socket = sock
        self.send = sock.send

    def receive(self) -> bytes:
        data: bytes = self._socket.recv()
        return data

    def count(self, size: int) -> int | None:
        recv = self._socket.recv
        count = 0
        try:
            while len(recv()) == size:
                count += 1
        except zmq.Again:  # nothing for WAIT seconds
            return None
        return count

    def close(self) -> None:
        self._socket.close()


class Hub:
    """One socket for all spokes."""

    def __init__(self, role: str, options: Options) -> None:
        self.role = role
        self.options = options
        self._alone = options.peers == 1
        self._identities: set[bytes] = set()
        self._context = _context(1)

    def listen(self) -> dict[str, object]:
        """Begin; returns what the spokes must know."""
        self._socket = self._context.socket(zmq.DEALER if self._alone else zmq.ROUTER)
        _limit(self._socket, self.options.size)
        public = b""
        if self.options.library == "zmq-curve":
            public, secret = zmq.curve_keypair()
            self._socket.curve_server = True
            self._socket.curve_secretkey = secret
        if not self._alone:
            self._socket.router_mandatory = True  # wait when a spoke's queue is full, instead of dropping
        port = self._socket.bind_to_random_port("tcp://127.0.0.1")
        if self.role != "stream":
            threading.Thread(target=self._echo, daemon=True).start()
        return {"url": f"tcp://127.0.0.1:{port}", "key": public.decode()}

    def _echo(self) -> None:
        sock = self._socket
        sock.rcvtimeo = -1
        change = stamped if self.role == "stamp" else None
        with contextlib.suppress(zmq.ZMQError):  # closed
            if self._alone:
                while True:
                    sock.send(sock.recv())
            while True:
                identity, data = sock.recv_multipart()
                self._identities.add(identity)
                sock.send_multipart([identity, change(data) if change is not None and data else data])

    def connections(self) -> int:
        """How many spokes have said something."""
        return len(self._identities)

    def wait_for(self, count: int) -> None:
        """Wait for so many spokes' first message."""
        if self.role != "stream":
            return  # they have been answered already
        for _ in range(count):
            *identity, _hello = self._socket.recv_multipart()
            self._identities.update(identity)

    def stream(self, size: int, seconds: float) -> dict[str, float]:
        """Send to all in turn."""
        sock = self._socket
        if self._alone:
            return stream_through([sock.send], lambda: unpack_count(sock.recv()), size, seconds)

        def sender(identity: bytes) -> Any:
            return lambda data: sock.send_multipart((identity, data))

        def acknowledged() -> int:
            return sum(unpack_count(sock.recv_multipart()[1]) for _ in self._identities)

        return stream_through([sender(each) for each in self._identities], acknowledged, size, seconds)

    def memory(self) -> int:
        """KiB resident."""
        return machine.resident_kib()

    def close(self) -> None:
        """Leave it to the end of the process: another thread may be using the socket."""


class Spokes(ChannelSpokes):
    """One DEALER a connection, one context for all."""

    def __init__(self, role: str, options: Options) -> None:
        super().__init__(role, options)
        self._context = _context(max(options.peers, 1000))
        self._keys = zmq.curve_keypair() if options.library == "zmq-curve" else None

    def connect(self) -> DealerChannel:
        sock = self._context.socket(zmq.DEALER)
        _limit(sock, self.options.size)
        if self._keys is not None:
            sock.curve_publickey, sock.curve_secretkey = self._keys
            sock.curve_serverkey = self.address["key"].encode()
        sock.connect(self.address["url"])
        return DealerChannel(sock)

    def dial(self, address: Any, count: int) -> None:
        """connect() only begins to connect: a message, and its answer if the hub answers, shows that it is done."""
        super().dial(address, count)
        for channel in self.channels:
            channel.send(_HELLO)
            if self.role != "stream" and channel.receive() != _HELLO:
                raise RuntimeError("the hub's first answer is not the echo of the first message")
