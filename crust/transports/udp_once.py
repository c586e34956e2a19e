"""A UDP socket of its own, from which a few datagrams go to one address. Nothing is ever received on it."""

from __future__ import annotations

import contextlib
import socket

from ..addresses import Endpoint
from ..runtime.threads import abandon_socket
from .resolving import read

__all__ = ["UdpOnce"]


class UdpOnce:
    """
    On a port that the system chooses. Not thread-safe, but for :meth:`close`.

    Args:
        remote: Where to; an IP address.
        local: The address of ours to send from; if it cannot be, the system chooses.

    Raises:
        OSError: There is no socket to be had.
    """

    def __init__(self, remote: Endpoint, local: str) -> None:
        family, _, _, _, self._address = read(remote)[0]
        self._sock = socket.socket(family, socket.SOCK_DGRAM)
        with contextlib.suppress(OSError):
            self._sock.bind(read(Endpoint(remote.transport, local, 0))[0][4])

    def send(self, data: bytes) -> None:
        """
        Send one datagram.

        Raises:
            OSError: There is no way there.
        """
        self._sock.sendto(data, self._address)

    def close(self) -> None:
        """Let go of the socket. Idempotent."""
        self._sock.close()

    def abandon(self) -> None:
        """In a forked child: close the copy of the descriptor (takes no lock)."""
        abandon_socket(self._sock)
