"""What values of several sections may be."""

from __future__ import annotations

import os

from ...addresses import PeerId
from ..kinds import ListOf, Number, Text, read_network, read_path, read_pattern, read_peer_id

__all__ = ["BYTES_MAX", "COUNT_MAX", "NETWORKS", "PATH", "PATTERNS", "PEERS", "SECONDS", "SECONDS_OR_ZERO"]

_YEAR = 366 * 86400.0
SECONDS = Number("seconds", 0, _YEAR, whole=False, above_least=True)
SECONDS_OR_ZERO = Number("seconds", 0, _YEAR, whole=False)
BYTES_MAX = 2**32 - 1  # the session's window is a 32-bit number on the wire
COUNT_MAX = 1_000_000

PATH = Text("the name of a file", read_path, (os.PathLike,))
PEERS = ListOf(Text("a peer id", read_peer_id, (PeerId,)), "peer ids")
NETWORKS = ListOf(Text("an address or a network such as 192.0.2.0/24", read_network), "networks")
PATTERNS = ListOf(Text("a pattern such as eth*", read_pattern), "patterns such as eth*")
