"""
Reads a YAML file into plain values, remembering the line of each, and refuses what YAML 1.1 would quietly misread.

YAML 1.1 takes ``22:22`` for the number 1342, ``no`` for false, ``0123`` for 83 and ``2024-01-02`` for a date, and lets
the last of two equal keys win. Here each of those is an error that says how to write what is meant.
"""

from __future__ import annotations

import dataclasses
import os
import re
import stat
from typing import Any

from .. import limits
from ..exceptions import ConfigError
from .kinds import printable

__all__ = ["Document", "parse", "read", "read_file"]

_DEPTH_MAX = 16  # of brackets and indentation; the format needs 4
_TAG = "tag:yaml.org,2002:"
_BOOLS = {"true": True, "false": False}
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]*(_[0-9]+)*)", re.ASCII)
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]*(_[0-9]+)*)\.[0-9]*([eE][-+]?[0-9]+)?", re.ASCII)


@dataclasses.dataclass
class Document:
    """Where things stand in a file."""

    path: str
    """As it was given."""

    lines: dict[str, int] = dataclasses.field(default_factory=dict)
    """Key, such as ``listen.addresses[1]``, to line, counted from 1."""

    sections: set[str] = dataclasses.field(default_factory=set)
    """Keys that hold other keys rather than a value."""

    def locate(self, *keys: str) -> str:
        """``file:line`` of the first of these keys that is in the file, else of what the first one belongs to."""
        parents = []
        parent = keys[0]
        while parent := parent.rpartition("." if "." in parent else "[")[0]:
            parents.append(parent)
        for key in (*keys, *parents):
            if key in self.lines:
                return f"{self.path}:{self.lines[key]}"
        return self.path

    def origins(self) -> dict[str, str]:
        """Every key that has a value in the file, with ``file:line``."""
        keys = (key for key in self.lines if key not in self.sections and not key.endswith("]"))
        return {key: f"{self.path}:{self.lines[key]}" for key in keys}


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], Document]:
    """
    Read a file of at most ``limits.CONFIG_FILE_MAX`` bytes: what it says, and where.

    Raises:
        ConfigError: the file cannot be read or is not the YAML that crust takes; names file and line.
    """
    return parse(read_file(path), os.fspath(path))


def parse(content: bytes, name: str) -> tuple[dict[str, Any], Document]:
    """
    What a file says: nested dicts, lists, text, numbers, booleans and None.

    Args:
        content: All of it.
        name: What to call it in errors.

    Raises:
        ConfigError: it is not the YAML that crust takes; names file and line.
    """
    document = Document(name)
    text = _decode(content, name)
    node = _compose(text, document)
    if node is None or (node.id == "scalar" and node.value == "" and node.tag == f"{_TAG}null"):
        return {}, document
    data = _Reader(document).value(node, "")
    if not isinstance(data, dict):
        raise ConfigError(f"{name}:{_line(node)}: expected keys with values (key: value), found {node.id}")
    return data, document


def read_file(path: str | os.PathLike[str], *, waits: bool = True) -> bytes:
    """
    The content of a file of at most ``limits.CONFIG_FILE_MAX`` bytes.

    Args:
        waits: It may be a pipe, and whoever writes to it is waited for. False: only a plain file will do.

    Raises:
        ConfigError: it cannot be read, or is larger.
    """
    path = os.fspath(path)
    try:
        with open(path, "rb", opener=None if waits else _open_at_once) as file:
            if not waits and not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError(f"{path}: cannot be read again: it is no plain file")
            raw = file.read(limits.CONFIG_FILE_MAX + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the configuration: {error.strerror or error}") from error
    except ValueError as error:  # a NUL in the name
        raise ConfigError(f"{path!r}: cannot read the configuration: {error}") from error
    if len(raw) > limits.CONFIG_FILE_MAX:
        raise ConfigError(f"{path}: larger than {limits.CONFIG_FILE_MAX} bytes; is this a configuration?")
    return raw


def _open_at_once(path: str, flags: int) -> int:
    """As ``os.open``, but whoever may write to a pipe is not waited for."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _decode(raw: bytes, path: str) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8 text (byte {error.start}); save the file as UTF-8") from error


def _compose(text: str, document: Document) -> Any:
    """The tree of ``yaml.Node``, each with its line; None for an empty file."""
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        depth = 0
        for event in yaml.parse(text, Loader=loader):  # does not recurse, while composing does
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            line = event.start_mark.line + 1 if event.start_mark is not None else 1
            if depth > _DEPTH_MAX:
                raise ConfigError(f"{document.path}:{line}: more than {_DEPTH_MAX} levels; is this a configuration?")
            if getattr(event, "anchor", None) is not None:  # of an alias, or of what could have one
                problem = "& and * (anchors and aliases) are not used here; put text with them in quotes"
                raise ConfigError(f"{document.path}:{line}: {problem}")
        return yaml.compose(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        lines = text.splitlines()
        shown = lines[line - 1] if line <= len(lines) else ""
        problem = printable(f"{error.problem}{_syntax_hint(shown)}")
        raise ConfigError(f"{document.path}:{line}: not valid YAML: {problem}") from error
    except yaml.YAMLError as error:
        position = getattr(error, "position", 0)
        line = text.count("\n", 0, position) + 1
        reason = getattr(error, "reason", None) or str(error)
        raise ConfigError(f"{document.path}:{line}: not valid YAML: {printable(reason)}") from error


def _syntax_hint(line: str) -> str:
    """What most often is behind a syntax error in such a line."""
    if "\t" in line:
        return "; indent with spaces, not with tabs"
    if re.search(r"[\[*][^\"']*\]?:", line):
        return '; put addresses in quotes, as in "tcp://[::1]:5483"'
    return ""


def _line(node: Any) -> int:
    return int(node.start_mark.line) + 1


class _Reader:
    """Turns nodes into values."""

    def __init__(self, document: Document) -> None:
        self.document = document

    def fail(self, node: Any, key: str, problem: str) -> ConfigError:
        return ConfigError(f"{self.document.path}:{_line(node)}: " + printable(f"{key}: {problem}" if key else problem))

    def value(self, node: Any, key: str) -> object:
        if node.id == "mapping":
            return self.mapping(node, key)
        if node.id == "sequence":
            self._plain(node, key, "seq")
            items = []
            for index, item in enumerate(node.value):
                name = f"{key}[{index}]"
                self.document.lines[name] = _line(item)
                items.append(self.value(item, name))
            return items
        return self.scalar(node, key)

    def mapping(self, node: Any, key: str) -> dict[str, object]:
        self._plain(node, key, "map")
        self.document.sections.add(key)
        result: dict[str, object] = {}
        first_lines: dict[str, int] = {}
        for name_node, value_node in node.value:
            if name_node.id != "scalar":
                raise self.fail(name_node, key, "a key is a single word")
            name = str(name_node.value)  # as written: a key "on" or "1" stays that text
            full = f"{key}.{name}" if key else name
            if name in first_lines:
                raise self.fail(name_node, full, f"given twice, first in line {first_lines[name]}")
            first_lines[name] = self.document.lines[full] = _line(name_node)
            result[name] = self.value(value_node, full)
        return result

    def scalar(self, node: Any, key: str) -> object:
        text = str(node.value)
        tag = str(node.tag).removeprefix(_TAG)
        if tag == "str":
            return text
        if tag == "null":
            if text == "":
                raise self.fail(node, key, "nothing after the colon; write null, or remove the line")
            return None
        if tag == "bool" and text.lower() in _BOOLS:
            return _BOOLS[text.lower()]
        if tag == "int" and _WHOLE.fullmatch(text) and len(text) <= 40:
            return int(text)
        if tag == "float" and _DECIMAL.fullmatch(text) and len(text) <= 40:
            return float(text.replace("_", ""))
        readings = {
            "bool": "true or false: write that if it is meant",
            "int": "a number in another notation: write plain decimal digits if a number is meant",
            "float": "a number in another notation: write plain decimal digits if a number is meant",
            "timestamp": "a date",
            "merge": "an instruction to merge",
            "value": "a default",
        }
        if tag not in readings:
            raise self.fail(node, key, f"tags ({node.tag}) are not used here")
        raise self.fail(node, key, f"YAML reads {text[:60]} as {readings[tag]}; put it in quotes if it is text")

    def _plain(self, node: Any, key: str, tag: str) -> None:
        if node.tag != _TAG + tag:
            raise self.fail(node, key, f"tags ({node.tag}) are not used here")
