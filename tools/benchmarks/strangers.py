"""
Strangers who besiege a port of this machine from two hundred addresses, as fast as one process can:
``python -m benchmarks.strangers ORDER``. They use plain sockets and nothing of crust.

- ``silent``: they connect and say nothing, a thousand at a time.
- ``noise``: they connect and send two hundred random bytes.
- ``calls``: datagrams that look like the first packet of a µTP connection.
- ``strays``: datagrams that look like packets of µTP connections that there are not.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

__all__ = ["KINDS", "Strangers"]

_ADDRESSES = [f"127.0.{1 + index // 250}.{1 + index % 250}" for index in range(200)]
_OPEN = 1000  # connections of theirs at a time
_TURN = 512
_BIND_ADDRESS_NO_PORT = 24  # Linux' in.h: the port is chosen when the other end is known
_RESET = struct.pack("ii", 1, 0)
_NOISE = 200
_TOOLS = pathlib.Path(__file__).resolve().parents[1]


def _connect(host: str, port: int, seconds: float, said: Callable[[], bytes]) -> int:
    """Connect again and again; how often."""
    begun = 0
    waiting: dict[int, socket.socket] = {}
    poll = select.epoll()  # noqa: TID251  # never on greenlets, and nothing else is as fast
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        while len(waiting) < _OPEN:
            sock = socket.socket()
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)  # ports are free again at once
            begun += 1
            try:
                sock.bind((_ADDRESSES[begun % len(_ADDRESSES)], 0))
                sock.connect((host, port))
            except BlockingIOError:
                waiting[sock.fileno()] = sock
                poll.register(sock.fileno(), select.EPOLLOUT)
            except OSError:  # nobody is there, which shows at once
                sock.close()
                if time.perf_counter() >= end:
                    break
        for descriptor, events in poll.poll(0.005, _TURN):
            if events & select.EPOLLOUT and not events & (select.EPOLLERR | select.EPOLLHUP):
                poll.modify(descriptor, select.EPOLLIN)  # until the other end has had enough of us
                with contextlib.suppress(OSError):
                    waiting[descriptor].send(said())
            else:
                waiting.pop(descriptor).close()
    for sock in waiting.values():
        sock.close()
    return begun


def _send(host: str, port: int, seconds: float, said: list[bytes]) -> int:
    """Send datagrams; how many."""
    sent = 0
    sources = []
    for address in _ADDRESSES:
        source = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        source.bind((address, 0))
        source.connect((host, port))
        sources.append(source)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for source in sources:
            with contextlib.suppress(OSError):
                source.send(said[sent % len(said)])
            sent += 1
    return sent


def _utp(chance: random.Random, kinds: tuple[int, ...]) -> list[bytes]:
    return [bytes((chance.choice(kinds) << 4 | 1, 0)) + chance.randbytes(18) for _ in range(1021)]


def _besiege(kind: str, host: str, port: int, seconds: float) -> dict[str, float]:
    began = time.perf_counter()
    count = KINDS[kind](random.Random(1), host, port, seconds)
    return {"count": count, "seconds": time.perf_counter() - began}


KINDS: dict[str, Callable[[random.Random, str, int, float], int]] = {
    "silent": lambda chance, *where: _connect(*where, lambda: b""),
    "noise": lambda chance, *where: _connect(*where, lambda: chance.randbytes(_NOISE)),
    "calls": lambda chance, *where: _send(*where, _utp(chance, (4,))),
    "strays": lambda chance, *where: _send(*where, _utp(chance, (0, 1, 2, 3))),
}


class Strangers:
    """
    The process, in a ``with`` statement: it is killed at the end.

    Args:
        kind: One of ``KINDS``.
        port: Of 127.0.0.1.
        seconds: How long.
    """

    def __init__(self, kind: str, port: int, seconds: float) -> None:
        order = {"kind": kind, "host": "127.0.0.1", "port": port, "seconds": seconds}
        self._patience = seconds
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.strangers", json.dumps(order)],
            env={**os.environ, "PYTHONPATH": str(_TOOLS)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is the parent's business
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()  # they have begun

    def __enter__(self) -> Strangers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def rate(self) -> float:
        """Wait until they have ended; how many connections or datagrams there were in a second."""
        said, _ = self._process.communicate(timeout=self._patience + 60.0)
        outcome: dict[str, Any] = json.loads(said)
        return float(outcome["count"] / outcome["seconds"])


if __name__ == "__main__":
    order = json.loads(sys.argv[1])
    signal.alarm(int(order["seconds"]) + 60)
    print(flush=True)
    print(json.dumps(_besiege(**order)), flush=True)
