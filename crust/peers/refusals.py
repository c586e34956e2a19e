"""
How often each limit has bitten: one table, one counter a row, for ``crust status``, ``Service.stats()`` and Prometheus.

:data:`LIMITS` is the table; docs/misbehaviour.md shows it. Who refuses something because of a limit calls
:meth:`Refusals.count` with its name.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from ..values import dataclass

__all__ = ["LIMITS", "Limit", "Refusals"]


@dataclass(frozen=True)
class Limit:
    """One row."""

    name: str
    """The key of the configuration, or, in capitals, the number in ``crust.limits``."""

    before: bool
    """It bounds what strangers cost before they have proven who they are."""

    what: str
    """What is counted when it bites."""

    fixed: str = ""
    """Why it is no key of the configuration; empty: it is one."""


_SMALL = "what an honest peer needs is known, and far less"
_SAFE = "other values would let a node be used against others"
_COSTS = "more would serve nobody: it bounds what the rest of the program is left with"

LIMITS: dict[str, Limit] = {
    limit.name: limit
    for limit in (
        Limit("limits.starts_per_second", True, "connections closed at once, all callers together being too many"),
        Limit(
            "limits.starts_per_address_per_second", True, "connections closed at once, their address beginning too many"
        ),
        Limit("limits.half_open", True, "callers who had to make room for newer ones, or got none"),
        Limit("limits.half_open_per_address", True, "the same because of others from their own address"),
        Limit("limits.utp_half_open", True, "SYNs of µTP whose place was given to a newer one"),
        Limit("limits.utp_half_open_per_network", True, "SYNs of µTP that got no answer: too many from their network"),
        Limit(
            "LISTEN_BACKLOG", True, "callers over µTP given up, the listener being behind", "what kernels do for TCP"
        ),
        Limit("UTP_RESETS_PER_SECOND", True, "stray datagrams over UDP, about; some the kernel has held back", _SAFE),
        Limit("STUN_ANSWERS_PER_SECOND", True, "questions for an address without an answer, too many coming", _SAFE),
        Limit("limits.max_peers", False, "callers told that this node is busy"),
        Limit("limits.total_buffers", False, "pauses of a peer's link, for lack of memory"),
        Limit("limits.overhead_per_peer", False, "pauses of a peer's link, as it brought too little for what it cost"),
        Limit("limits.sessions_per_peer_per_second", False, "sessions not begun, or not resumed, so soon"),
        Limit("DETACHED_SESSIONS_MAX", False, "sessions without a link given up for newer ones", _COSTS),
        Limit("ECHOES_PER_MINUTE", False, "echoes refused to peers", _SMALL),
        Limit("CIRCUIT_OPENS_PER_SECOND", False, "circuits refused, too many being asked for", _SMALL),
        Limit("relay.max_circuits", False, "circuits refused for whatever reason, their number among them"),
        Limit("FILE_TRANSFERS_MAX", False, "files refused, too many being under way", _SMALL),
    )
}
"""By name."""


class Refusals:
    """The counters. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _counts
        self._counts = dict.fromkeys(LIMITS, 0)
        self._looks: dict[str, Callable[[], int]] = {}

    def count(self, limit: str, times: int = 1) -> None:
        """
        A limit has bitten.

        Raises:
            KeyError: It is not in the table.
        """
        with self._lock:
            self._counts[limit] += times

    def all(self) -> dict[str, int]:
        """How often each has, by its name, in the order of the table."""
        with self._lock:
            counts, looks = dict(self._counts), dict(self._looks)
        return {**counts, **{limit: look() for limit, look in looks.items()}}

    def watch(self, limit: str, look: Callable[[], int]) -> None:
        """Somebody counts by himself how often that limit bites. Must be quick."""
        with self._lock:
            self._looks[limit] = look
