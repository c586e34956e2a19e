"""Text files that say what they are: JSON objects with a format and a version. What is in them is their owners'."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

__all__ = ["UnusableFile", "build_labelled", "parse_labelled_untrusted", "strict_json"]


class UnusableFile(ValueError):
    """The file is something else than was expected; the text goes on after its name."""


def build_labelled(label: str, version: int, content: Mapping[str, Any]) -> bytes:
    """The file."""
    return (json.dumps({"format": label, "version": version, **content}, indent=1) + "\n").encode()


def parse_labelled_untrusted(data: bytes, label: str, version: int, most: int) -> dict[str, Any]:
    """
    The object in a file that anybody may have written.

    Args:
        most: Bytes that it may have.

    Raises:
        UnusableFile: It is no such file, or one of another version.
    """
    if len(data) > most:
        raise UnusableFile(f"is longer than {most} bytes")
    try:
        told = strict_json(data)
    except (ValueError, RecursionError) as error:
        raise UnusableFile(f"is damaged: it is no JSON ({error})") from error
    if not isinstance(told, dict) or told.get("format") != label:
        raise UnusableFile(f"is no file of the format {label!r}")
    if told.get("version") != version:
        raise UnusableFile(f"is of version {str(told.get('version'))[:20]!r}, and this program knows {version}")
    return told


def strict_json(text: str | bytes) -> Any:
    """
    What JSON says that anybody may have written. No number in it is infinite or none: JSON could not repeat those.

    Raises:
        ValueError: It is no JSON. RecursionError: It nests too deep.
    """
    return json.loads(text, parse_constant=_refuse, parse_float=_finite)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:20]} is too large a number")
    return number
