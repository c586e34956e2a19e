"""A relay for datagrams on loopback that loses some of them, the same ones for the same seed and order."""

from __future__ import annotations

import contextlib
import random
import selectors
import socket
import threading
from collections.abc import Callable

from crust.runtime.threads import Waker

_AT_ONCE = 64  # datagrams forwarded before the other side has its turn
_LARGEST = 65_535
_BUFFER = 4 * 1024 * 1024  # asked for: what overflows here is lost as well, in long runs


class UdpRelay:
    """
    Forwards between whoever sends to :attr:`port` and ``target`` on 127.0.0.1; a context manager.

    The last sender to :attr:`port` is the one that gets what comes back.

    Args:
        loss: The share of datagrams that are lost, in each direction.
        seed: Which ones.
        also: Called with each datagram, and whether it goes to the target; it is lost if that returns True.
    """

    def __init__(
        self, target: int, loss: float, seed: int = 1, also: Callable[[bytes, bool], bool] | None = None
    ) -> None:
        self._loss = loss
        self._also = also
        self._random = random.Random(seed)
        self._caller: tuple[str, int] | None = None
        self.forwarded = 0
        self.lost = 0
        self._near, self._far = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        for sock in (self._near, self._far):
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            sock.bind(("127.0.0.1", 0))
        self._far.connect(("127.0.0.1", target))
        self.port: int = self._near.getsockname()[1]
        self._waker = Waker()
        self._thread = threading.Thread(target=self._run, name="proxy-udp", daemon=True)
        self._thread.start()

    def __enter__(self) -> UdpRelay:
        return self

    def __exit__(self, *_: object) -> None:
        self._waker.wake()
        self._thread.join(5.0)
        for each in (self._near, self._far, self._waker):
            each.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for sock in (self._near, self._far, self._waker):
                selector.register(sock, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._waker:
                        return
                    with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
                        self._forward(key.fileobj is self._near)

    def _forward(self, upwards: bool) -> None:
        for _ in range(_AT_ONCE):
            if upwards:
                data, self._caller = self._near.recvfrom(_LARGEST)
            else:
                data = self._far.recv(_LARGEST)
            if self._random.random() < self._loss or (self._also is not None and self._also(data, upwards)):
                self.lost += 1
                continue
            self.forwarded += 1
            if upwards:
                self._far.send(data)
            elif self._caller is not None:
                self._near.sendto(data, self._caller)
