"""
How finely a peer cuts what it sends. (sans-IO)

Each packet of µTP, and each read of TCP, costs about as much as a record. Honest ones carry a record, or hundreds of
bytes of one; a stream in pieces of a few bytes is dear without any record being so.
"""

from __future__ import annotations

from .. import limits
from ..transports.contract import Connection

__all__ = ["Splitting"]


class Splitting:
    """One link's. For the thread that reads it."""

    __slots__ = ("_connection", "_heard", "_packets")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection if hasattr(connection, "packets") else None
        self._heard = 0  # packets so far
        self._packets = -limits.SPLIT_FREE  # beyond what has been brought

    def excess(self, size: int, records: int) -> float:
        """
        Something came on the link: so many packets, or reads, more than it has brought anything, and than have been
        counted; 0 as a rule.

        Args:
            size: Bytes.
            records: That were completed.
        """
        came = 1
        if self._connection is not None:
            before, self._heard = self._heard, self._connection.packets
            came = self._heard - before if before else 1
        packets = self._packets + came - records - size / limits.WORTH_BYTES
        if packets < limits.SPLIT_FREE:
            self._packets = max(packets, -limits.SPLIT_FREE)
            return 0.0
        self._packets = 0.0
        return packets
