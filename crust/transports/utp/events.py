"""What a connection tells whoever asks with :meth:`~.connection.UtpConnection.events_received`."""

from __future__ import annotations

from typing import NamedTuple

from .receiver import Bytes

__all__ = ["DataReceived", "Ended"]


class DataReceived(NamedTuple):
    """The next bytes of the stream."""

    data: Bytes


class Ended(NamedTuple):
    """The other side's stream is over: in order, or broken by ``error``."""

    error: OSError | None
