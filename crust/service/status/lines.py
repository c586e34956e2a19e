"""
What the status socket speaks: the lines of the control channel (docs/control-channel.md), of which it knows the command
``status`` alone. (sans-IO)
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from ...wire.labelled import strict_json

__all__ = ["StatusLines"]

LINE_MAX = 65_536  # bytes
DEPTH_MAX = 32  # of what a line nests: deeper ones could not be repeated in a reply
COMMANDS_MAX = 16  # at once; who waits for answers never comes near


class StatusLines:
    """
    One program's conversation.

    Args:
        status: Takes a snapshot, as `json.dumps` takes it.
    """

    def __init__(self, status: Callable[[], dict[str, Any]]) -> None:
        self._status = status
        self._data = b""

    def receive(self, data: bytes) -> tuple[bytes, bool]:
        """Take bytes; the replies to the lines that are complete, and whether the conversation is over."""
        self._data += data or b"\n"  # the last line may lack its end
        *lines, self._data = self._data.split(b"\n")
        wanted = [line for line in lines if line.strip()]
        replies = [self._reply(line) for line in wanted[:COMMANDS_MAX]]
        if len(wanted) > COMMANDS_MAX:
            replies.append({"ok": False, "error": "bad_request", "text": "too many commands at once"})
            return _lines(replies), True
        if len(self._data) > LINE_MAX:
            replies.append({"ok": False, "error": "bad_request", "text": f"the line is longer than {LINE_MAX:,} bytes"})
            return _lines(replies), True
        return _lines(replies), not data

    def _reply(self, line: bytes) -> dict[str, Any]:
        try:
            request = strict_json(line.decode("utf-8"))
            _check_depth(request, DEPTH_MAX)
            if not isinstance(request, dict) or not isinstance(request.get("cmd"), str):
                raise ValueError('expected an object such as {"id": 1, "cmd": "status"}')
        except (ValueError, RecursionError) as error:
            return {"ok": False, "error": "bad_request", "text": f"the line is no command: {error}"}
        known = {"id": request["id"]} if "id" in request else {}
        if request["cmd"] != "status":
            text = "this socket only tells: it knows the command status alone (crust node --control takes the others)"
            return {**known, "ok": False, "error": "unsupported", "text": text}
        if other := sorted(set(request) - {"id", "cmd"}):
            return {**known, "ok": False, "error": "bad_request", "text": f"status has no field {other[0]!r}"}
        return {**known, "ok": True, "status": self._status()}


def _check_depth(value: object, left: int) -> None:
    if isinstance(value, list | dict):
        if not left:
            raise ValueError(f"more than {DEPTH_MAX} levels")
        for each in value.values() if isinstance(value, dict) else value:
            _check_depth(each, left - 1)


def _lines(replies: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in replies)
