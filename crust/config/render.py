"""The configuration as text: the commented example file, and a table of what is in force and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from .schema import Config
from .sections import field_keys, live_keys, values

__all__ = ["Row", "effective_rows", "example"]

_WIDTH = 100  # columns of comments

_HEADER = """\
# The configuration of a crust node. Every key is optional; the values shown are the defaults.
# Durations are in seconds, sizes in bytes. A key that is unknown or given twice is an error.
# Put addresses, names and ids in quotes: YAML misreads some of them.
# (R): a running node takes a changed value, see reload_interval; the other keys need a restart.
"""


class Row(NamedTuple):
    """One line of ``crust config --effective``."""

    key: str
    """``session.connect_timeout``."""

    value: str
    """As YAML."""

    origin: str
    """``default``, ``file:line``, or what the caller says."""

    live: bool
    """A running node takes a changed value; else it needs a restart."""


def effective_rows(config: Config, origins: Mapping[str, str] | None = None) -> list[Row]:
    """
    Every key with its value and where it comes from, in the order of the example file.

    Args:
        origins: Key to origin, as ``Config.load_with_origins`` gives them; keys that are not in it are ``default``.
    """
    known = origins or {}
    live = live_keys(Config)
    return [Row(key, _as_yaml(value), known.get(key, "default"), key in live) for key, value in values(config)]


def example() -> str:
    """The text of ``conf/crust.yaml``: every key, its default, and what it means."""
    return _HEADER + "".join(f"{line}\n" for line in _example_lines(Config()))


def _example_lines(config: Config) -> Iterator[str]:
    import textwrap

    defaults = dict(values(config))
    for key, field in field_keys(Config):
        depth = key.count(".")
        indent = "  " * depth
        if depth == 0:
            yield ""
        text = field.metadata["doc"] + (" (R)" if field.metadata.get("live") else "")
        for line in textwrap.wrap(text, _WIDTH - len(indent) - 2, break_long_words=False):
            yield f"{indent}# {line}"
        yield f"{indent}{field.name}:" + (f" {_as_yaml(defaults[key])}" if key in defaults else "")


def _as_yaml(value: object) -> str:
    """A value as YAML in one line; JSON is YAML, but for words that need no quotes."""
    if isinstance(value, str) and value.isalpha() and value.isascii() and value not in _MISREAD:
        return value
    import json

    text = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in text)


_MISREAD = frozenset(
    word for base in ("y", "n", "yes", "no", "on", "off", "true", "false", "null") for word in (base, base.title())
) | frozenset(("YES", "NO", "ON", "OFF", "TRUE", "FALSE", "NULL"))
