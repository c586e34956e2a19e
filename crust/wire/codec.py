"""
Between bytes and values, by the definition of a name in :mod:`crust.wire.definitions`.

The definitions, and construct with them, are loaded when the first message is built or parsed, or by :func:`load`, not
when ``crust`` is imported: to make them takes as long as half of all the rest.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["Address", "build", "load", "parse_all", "parse_next"]

Address: TypeAlias = tuple[str, int]
"""IP address in its canonical text form, without scope; port."""


def load() -> ModuleType:
    """Load the definitions, so that the first message does not wait for it. Thread-safe; costs nothing from then on."""
    from . import definitions

    return definitions


def parse_all(definition: str, data: bytes | memoryview, name: str, max_size: int) -> Any:
    """:func:`crust.wire.fields.parse_all` by the definition of that name."""
    from . import definitions, fields

    return fields.parse_all(getattr(definitions, definition), data, name, max_size)


def parse_next(definition: str, stream: io.BytesIO, name: str) -> Any:
    """:func:`crust.wire.fields.parse_next` by the definition of that name."""
    from . import definitions, fields

    return fields.parse_next(getattr(definitions, definition), stream, name)


def build(definition: str, value: object, name: str) -> bytes:
    """:func:`crust.wire.fields.build_all` by the definition of that name."""
    from . import definitions, fields

    return fields.build_all(getattr(definitions, definition), value, name)
