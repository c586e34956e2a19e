"""What holds of every parser: it parses or refuses, two of the same thing agree, and what was parsed can be built."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from crust.exceptions import MalformedMessage

__all__ = ["agree", "parsed"]

T = TypeVar("T")


def parsed(parse: Callable[[bytes], T], data: bytes) -> T | None:
    """What the bytes are, None if they are refused; any other exception than MalformedMessage goes through."""
    try:
        return parse(data)
    except MalformedMessage as error:
        assert str(error)
        return None


def agree(quick: Callable[[bytes], T], exact: Callable[[bytes], T], data: bytes) -> T | None:
    """What two parsers of the same thing make of the bytes, which must be the same."""
    one, other = parsed(quick, data), parsed(exact, data)
    assert one == other, f"{one!r} by one way, {other!r} by the other"
    return one
