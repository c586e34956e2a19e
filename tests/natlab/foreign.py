"""
Another machine's traffic: ``python -m tests.natlab.foreign ADDRESS RATE`` opens new flows to a server, a line for each.

So many flows a second by TCP, and as many by UDP, each from a port of its own, after pauses that are never the same:
what other people behind the same NAT do while a port is being predicted.
"""

from __future__ import annotations

import contextlib
import random
import socket
import sys
import time

KEPT = 50
"""Sockets that stay open: a mapping is not taken back at once."""


def open_flow(address: str, port: int) -> list[socket.socket]:
    """One more flow of each protocol; the sockets, which nobody answers."""
    opened = []
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        sock = socket.socket(socket.AF_INET, kind)
        opened.append(sock)
        sock.setblocking(False)
        with contextlib.suppress(OSError):  # under way, or refused: the router has seen it
            sock.connect((address, port))
            sock.send(b"foreign")
    return opened


def main(address: str, rate: float) -> None:
    """Until it is killed."""
    kept: list[socket.socket] = []
    while True:
        kept += open_flow(address, random.randrange(1024, 32_000))
        for sock in kept[: -2 * KEPT]:
            sock.close()
        del kept[: -2 * KEPT]
        sys.stdout.write("flow\n")
        sys.stdout.flush()
        time.sleep(random.expovariate(rate))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
