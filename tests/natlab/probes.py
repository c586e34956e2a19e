"""
Programs that hosts of the laboratory run to measure the network: ``python -m tests.natlab.probes NAME ARGUMENTS``.

The arguments are a JSON object, and so is each line that comes out. Those that serve say their port first. An address
decides the family.
"""

from __future__ import annotations

import errno
import json
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

_MTU_DISCOVER = {4: (socket.IPPROTO_IP, 10), 6: (socket.IPPROTO_IPV6, 23)}  # IP_MTU_DISCOVER, IPV6_MTU_DISCOVER
_PATH_MTU = {4: (socket.IPPROTO_IP, 14), 6: (socket.IPPROTO_IPV6, 24)}  # IP_MTU, IPV6_MTU
_DO, _DONT = 2, 0  # set "don't fragment", or let the network fragment


def tell(**result: Any) -> None:
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()


def _version(address: str) -> int:
    return 6 if ":" in address else 4


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _datagrams(address: str, *, connect: int | None = None) -> socket.socket:
    sock = socket.socket(_family(address), socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 21)
    if connect is None:
        sock.bind((address, 0))
    else:
        sock.connect((address, connect))
    return sock


def echo(address: str) -> None:
    """UDP: what comes goes back."""
    sock = _datagrams(address)
    tell(port=sock.getsockname()[1])
    while True:
        data, sender = sock.recvfrom(65536)
        sock.sendto(data, sender)


def ping(address: str, port: int, count: int = 20, size: int = 100, interval: float = 0.01, wait: float = 0.5) -> None:
    """Round trips over UDP, one after the other: the seconds that each took; None for those not answered in time."""
    sock = _datagrams(address, connect=port)
    trips: list[float | None] = []
    for number in range(count):
        data = number.to_bytes(4, "big") + bytes(size - 4)
        began = time.perf_counter()
        trips.append(None)
        try:
            sock.send(data)
            while (left := began + wait - time.perf_counter()) > 0:
                sock.settimeout(left)
                if sock.recv(65536) == data:
                    trips[-1] = time.perf_counter() - began
                    break
        except OSError as error:  # refused, forbidden, or no answer
            if not isinstance(error, TimeoutError | ConnectionRefusedError | PermissionError):
                raise
        time.sleep(interval)
    tell(trips=trips)


def collect(address: str, quiet: float = 1.0, count: int = 0) -> None:
    """
    UDP: the first four bytes, as a number, and the size of each datagram, until there was none for a while, or, with a
    count, there were so many.
    """
    sock = _datagrams(address)
    tell(port=sock.getsockname()[1])
    numbers, sizes = [], []
    while not count or len(sizes) < count:
        try:
            data = sock.recv(65536)
        except TimeoutError:
            break
        if not count:
            sock.settimeout(quiet)
        numbers.append(int.from_bytes(data[:4], "big"))
        sizes.append(len(data))
    tell(numbers=numbers, sizes=sizes)


def scatter(
    address: str, port: int, count: int = 1, size: int = 100, interval: float = 0.0, fragment: bool = False
) -> None:
    """
    UDP: numbered datagrams with "don't fragment", or without.

    Tells how many left, whether the system refused one as too big, and what it holds the path's MTU to be at the end.
    """
    version = _version(address)
    sock = _datagrams(address, connect=port)
    sock.setsockopt(*_MTU_DISCOVER[version], _DONT if fragment else _DO)
    sent, refused = 0, False
    for number in range(count):
        try:
            sock.send(number.to_bytes(4, "big") + bytes(size - 4))
            sent += 1
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            refused = True
            break
        if interval:
            time.sleep(interval)
    tell(sent=sent, refused=refused, mtu=sock.getsockopt(*_PATH_MTU[version]))


def sink(address: str, seconds: float = 1.0, skip: float = 0.0) -> None:
    """TCP: take one connection, and measure for so long, after skipping so much: bytes a second; then all bytes."""
    server = socket.create_server((address, 0), family=_family(address))
    tell(port=server.getsockname()[1])
    connection = server.accept()[0]
    buffer = bytearray(1 << 18)
    measure(lambda: connection.recv_into(buffer), seconds, skip)


def measure(receive: Callable[[], int], seconds: float, skip: float) -> None:
    total = 0
    begin = time.monotonic() + skip
    seen: list[tuple[float, int]] = []  # when, and how many bytes by then
    while count := receive():
        total += count
        now = time.monotonic()
        if begin <= now <= begin + seconds:
            seen.append((now, total))
    (first, before), (last, after) = seen[0], seen[-1]
    tell(rate=(after - before) / (last - first), total=total)


def pour(address: str, port: int, seconds: float = 1.0, congestion: str = "") -> None:
    """TCP: as much as goes in so many seconds, with that congestion control of the kernel (empty: the usual one)."""
    sock = socket.create_connection((address, port), 20.0)
    if congestion:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode())
    pour_into(sock.sendall, seconds)
    sock.close()


def pour_into(send: Callable[[bytes], object], seconds: float) -> None:
    end, total, data = time.monotonic() + seconds, 0, bytes(1 << 16)
    while time.monotonic() < end:
        send(data)
        total += len(data)
    tell(total=total)


def call(address: str, port: int, wait: float = 0.5) -> None:
    """TCP: what became of a connect: ``connected``, ``silence``, or the name of the error."""
    try:
        socket.create_connection((address, port), wait).close()
        verdict = "connected"
    except TimeoutError:
        verdict = "silence"
    except OSError as error:
        verdict = errno.errorcode[error.errno or 0]
    tell(verdict=verdict)


def answer(address: str) -> None:
    """TCP: accept, and close, for ever."""
    server = socket.create_server((address, 0), family=_family(address))
    tell(port=server.getsockname()[1])
    while True:
        server.accept()[0].close()


PROBES = {each.__name__: each for each in (echo, ping, collect, scatter, sink, pour, call, answer)}

if __name__ == "__main__":
    if sys.argv[1].startswith("utp_"):
        from tests.natlab.utp_probes import PROBES  # slow to import: the others need nothing of crust
    PROBES[sys.argv[1]](**json.loads(sys.argv[2]))
