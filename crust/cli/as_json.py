"""Events, paths and errors as what `json.dumps` takes: the vocabulary of ``crust node --json``."""

from __future__ import annotations

import base64
import dataclasses
import enum
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import TypeAlias

import crust

__all__ = ["JSON", "error_as_json", "event_as_json", "snake_case", "value_as_json"]

JSON: TypeAlias = "None | bool | int | float | str | list[JSON] | dict[str, JSON]"


def snake_case(name: str) -> str:
    """``NewMessage`` as ``new_message``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def event_as_json(event: object) -> dict[str, JSON]:
    """
    ``{"event": "<class in snake_case>", …}`` with the fields of the event's class under their own names.

    An error in a field becomes its class in snake_case, with the sentence in ``text`` beside it.
    """
    found: dict[str, JSON] = {"event": snake_case(type(event).__name__)}
    for name in _field_names(event):
        value = getattr(event, name)
        if isinstance(value, BaseException):
            found = {**error_as_json(value), **found}  # the event's own fields stand above the error's
        else:
            found[name] = value_as_json(value)
    return found


def _field_names(event: object) -> tuple[str, ...]:
    named: tuple[str, ...] | None = getattr(event, "_fields", None)  # NewMessage is a NamedTuple
    if named is not None:
        return named
    if dataclasses.is_dataclass(event):
        return tuple(field.name for field in dataclasses.fields(event))
    raise TypeError(f"{type(event).__name__} is not an event")


def error_as_json(error: BaseException) -> dict[str, JSON]:
    """``error`` (the class in snake_case), ``text`` (a sentence), and what else the error knows."""
    found: dict[str, JSON] = {
        "error": snake_case(type(error).__name__),
        "text": str(error) or type(error).__name__,
    }
    if isinstance(error, crust.ConnectError) or (isinstance(error, crust.Timeout) and error.attempts):
        found["attempts"] = value_as_json(error.attempts)
    if isinstance(error, crust.Denied):
        found["alternates"] = value_as_json(error.alternates)
    if isinstance(error, crust.Denied | crust.PeerLost):
        found["reason"] = error.reason
    return found


def value_as_json(value: object) -> JSON:
    """One value: bytes in base64, peers and addresses as their text, records as objects."""
    if isinstance(value, enum.Enum):
        return value.name.lower()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, crust.Path):
        return value_as_json(value.as_dict())
    if isinstance(value, crust.Peer):
        return str(value.id)
    if isinstance(value, crust.PeerId | crust.Endpoint | crust.Contact | crust.ConnectionInfo | PurePath):
        return str(value)
    if isinstance(value, BaseException):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): value_as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [value_as_json(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: value_as_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return str(value)
