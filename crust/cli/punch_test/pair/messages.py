"""
What the two programs say to each other in the session that they test (sans-IO).

A message is either a JSON object in UTF-8, which names the version of this language and its kind::

    hello   role, crust              first, from both ends
    ping    number                   the other end answers: pong, number
    load    number, bytes            so many bytes follow, in messages of zeros; the receiver answers when it has all:
    loaded  number, bytes, seconds   how long it took, from the first of them to the last
    give    number, bytes            send a load, please
    report  end, measurements        the caller tells what it found; the called end answers with its own
    busy                             somebody else is being tested
    bye                              the test is over

or part of a load, which begins with a zero byte. Kinds and fields that a version does not know mean nothing to it.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from ...as_json import JSON

__all__ = [
    "CHUNK",
    "LOAD_MAX",
    "MESSAGE_MAX",
    "VERSION",
    "Load",
    "NotOurLanguage",
    "Said",
    "build",
    "chunks",
    "parse_untrusted",
]

VERSION = 1
MESSAGE_MAX = 131_072  # bytes of a JSON message
CHUNK = 16_384  # bytes of one message of a load
LOAD_MAX = 8 * 1024 * 1024  # bytes of one load

_ZEROS = bytes(CHUNK)


class NotOurLanguage(Exception):
    """The other end says something that is none of this: it is no punch-test, or one of another version."""


@dataclasses.dataclass(frozen=True)
class Said:
    """A JSON message."""

    kind: str
    fields: dict[str, Any]

    def number(self, name: str, most: float) -> int:
        """
        A whole number in it.

        Raises:
            NotOurLanguage: There is none, or a greater one than ``most``.
        """
        value = self.fields.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            raise NotOurLanguage(f"the other end sent a {self.kind} without a proper {name}")
        return value

    def seconds(self, name: str) -> float:
        """A time in it; as `number`."""
        value = self.fields.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1e6:
            raise NotOurLanguage(f"the other end sent a {self.kind} without a proper {name}")
        return float(value)


@dataclasses.dataclass(frozen=True)
class Load:
    """Part of a load."""

    size: int


def build(kind: str, **fields: JSON) -> bytes:
    """
    A JSON message.

    Raises:
        ValueError: It is too long.
    """
    told = {"punch_test": VERSION, "kind": kind, **fields}
    data = json.dumps(told, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
    if len(data) > MESSAGE_MAX:
        raise ValueError(f"a {kind} of {len(data):,} bytes is too long")
    return data


def chunks(size: int) -> list[bytes]:
    """The messages of a load of so many bytes."""
    whole, rest = divmod(size, CHUNK)
    return [_ZEROS] * whole + ([_ZEROS[:rest]] if rest else [])


def parse_untrusted(data: bytes) -> Said | Load:
    """
    One message.

    Raises:
        NotOurLanguage: It is none.
    """
    if data[:1] == b"\0" and len(data) <= CHUNK:
        return Load(len(data))
    if len(data) > MESSAGE_MAX:
        raise NotOurLanguage("the other end sent a message that is too long for punch-test")
    try:
        told = json.loads(data)
    except (ValueError, RecursionError):
        raise NotOurLanguage("the other end does not speak punch-test") from None
    if not isinstance(told, dict) or not isinstance(told.get("kind"), str):
        raise NotOurLanguage("the other end does not speak punch-test")
    if told.get("punch_test") != VERSION:
        raise NotOurLanguage("the other end runs another version of punch-test: use the same version of crust")
    return Said(told["kind"], told)
