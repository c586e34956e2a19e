"""What two looks at a node make together: how much a second."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["with_rates"]

_COUNTS = ("bytes_sent", "bytes_received", "messages_sent", "messages_received")


def with_rates(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> dict[str, Any]:
    """
    The later look with ``rates``, its own and each peer's: each count of ``traffic`` per second; null if it is not
    known (the first look, another run of the node, a session that has just begun).
    """
    seconds = 0.0
    if before is not None and (before["id"], before["process"]) == (now["id"], now["process"]):
        seconds = now["uptime"] - before["uptime"]
    earlier = {} if before is None or seconds <= 0 else {peer["id"]: peer["traffic"] for peer in before["peers"]}
    total = None if before is None or seconds <= 0 else _rates(before["traffic"], now["traffic"], seconds)
    peers = [{**peer, "rates": _rates(earlier.get(peer["id"]), peer["traffic"], seconds)} for peer in now["peers"]]
    return {**now, "rates": total, "peers": peers}


def _rates(before: Mapping[str, int] | None, now: Mapping[str, int], seconds: float) -> dict[str, float] | None:
    if before is None or any(now[name] < before[name] for name in _COUNTS):  # else it is another session
        return None
    return {name: (now[name] - before[name]) / seconds for name in _COUNTS}
