"""
What a configuration value may be: a ``Kind`` checks one value and brings it into its one stored form.

Everything that can set a value (a file, a dict, a constructor, ``replace``) goes through the same kinds, so that the
same value is allowed everywhere, and the same sentence says what is wrong with another.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .. import limits
from ..addresses import TRANSPORTS, Contact, Endpoint, PeerId, network_id, parse_networks
from ..exceptions import ContactSyntaxError
from ..values import dataclass

__all__ = [
    "Choice",
    "Flag",
    "Invalid",
    "Kind",
    "ListOf",
    "Number",
    "OrNull",
    "Text",
    "describe",
    "printable",
    "read_address",
    "read_ban_entry",
    "read_contact",
    "read_dialable_endpoint",
    "read_listen_endpoint",
    "read_name",
    "read_network",
    "read_path",
    "read_pattern",
    "read_peer_id",
    "read_server",
]

_SHOWN_MAX = 60  # characters of a wrong text that the error repeats


class Invalid(Exception):
    """
    A value is not allowed. Becomes a ``ConfigError``; whoever knows the file adds its line.

    Attributes:
        key: Full name, such as ``session.drop.max_age`` or ``listen.addresses[1]``.
        problem: What is wrong with it, without the key.
        related: Keys to look for in the file if ``key`` itself is not in it.
    """

    def __init__(self, key: str, problem: str, related: Sequence[str] = ()) -> None:
        super().__init__(printable(f"{key}: {problem}"))
        self.key = key
        self.problem = problem
        self.related = tuple(related)


class Kind:
    """One kind of value."""

    expected: str
    """Completes the sentence "expected …"."""

    def read(self, key: str, value: object) -> object:
        """
        Check ``value``, meant for ``key``, and give its stored form.

        Raises:
            Invalid: says what is expected, what was found, and perhaps how to mend it.
        """
        raise self.wrong(key, value)

    def wrong(self, key: str, value: object, hint: str = "") -> Invalid:
        tail = f"; {hint}" if hint else ""
        return Invalid(key, f"expected {self.expected}, found {describe(value)}{tail}")


@dataclass(frozen=True)
class Flag(Kind):
    """``true`` or ``false``."""

    expected: str = "true or false"

    def read(self, key: str, value: object) -> bool:
        if not isinstance(value, bool):
            raise self.wrong(key, value, "without quotes" if value in ("true", "false") else "")
        return value


@dataclass(frozen=True)
class Number(Kind):
    """A number from ``least`` to ``most``; whole, or stored as a float."""

    unit: str
    least: float
    most: float
    whole: bool = True
    above_least: bool = False
    """Whether ``least`` itself is too little."""

    @property
    def expected(self) -> str:  # type: ignore[override]  # computed here, a plain attribute elsewhere
        if self.most == self.least:
            return f"{self.least:.0f}"
        number = "a whole number" if self.whole else "a number"
        unit = f" of {self.unit}" if self.unit else ""
        start = f"above {self.least:.0f} and up to" if self.above_least else f"from {self.least:.0f} to"
        return f"{number}{unit} {start} {self.most:.0f}"

    def read(self, key: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.wrong(key, value, self._hint(value))
        if self.whole and not isinstance(value, int):
            raise self.wrong(key, value)
        if not self.least <= value <= self.most:  # false for "not a number" too
            raise self.wrong(key, value)
        if self.above_least and value == self.least:
            raise self.wrong(key, value)
        return value if self.whole else float(value)

    def _hint(self, value: object) -> str:
        """Say how to write what was meant, if that can be told."""
        if not isinstance(value, str):
            return ""
        try:
            number = float(value)
        except ValueError:
            return "write the number alone" if value[:1].isdigit() else ""
        if not self.least <= number <= self.most:
            return ""
        return f"write {number:.0f} without quotes" if self.whole else f"write {number} without quotes"


@dataclass(frozen=True)
class Choice(Kind):
    """One of a few words."""

    words: tuple[str, ...]

    @property
    def expected(self) -> str:  # type: ignore[override]
        return " or ".join(self.words)

    def read(self, key: str, value: object) -> str:
        if not isinstance(value, str) or value not in self.words:
            raise self.wrong(key, value)
        return value


@dataclass(frozen=True)
class Text(Kind):
    """A text that ``reader`` understands; it gives the stored form or raises ``ValueError`` with what is wrong."""

    expected: str
    reader: Callable[[Any], str]
    objects: tuple[type, ...] = ()
    """Types that programs may give instead of text."""

    def read(self, key: str, value: object) -> str:
        if not isinstance(value, (str, *self.objects)):
            hint = "put it in quotes" if isinstance(value, (int, float)) else ""
            raise self.wrong(key, value, hint)
        try:
            return self.reader(value)
        except ValueError as error:
            raise self.wrong(key, value, str(error)) from error


@dataclass(frozen=True)
class OrNull(Kind):
    """The inner kind, or null."""

    inner: Kind
    null_means: str

    def read(self, key: str, value: object) -> object:
        if value is None:
            return None
        try:
            return self.inner.read(key, value)
        except Invalid as error:
            if error.key != key:  # about one item of a list: null is no choice there
                raise
            raise Invalid(key, f"{error.problem}; null means {self.null_means}") from error


@dataclass(frozen=True)
class ListOf(Kind):
    """A list, stored as a tuple."""

    item: Kind
    noun: str

    @property
    def expected(self) -> str:  # type: ignore[override]
        return f"a list of {self.noun}"

    def read(self, key: str, value: object) -> tuple[object, ...]:
        if isinstance(value, (str, bytes)):
            raise self.wrong(key, value, "a list is written in brackets, even if it has one item")
        if not isinstance(value, (list, tuple)):
            raise self.wrong(key, value)
        return tuple(self.item.read(f"{key}[{index}]", item) for index, item in enumerate(value))


def describe(value: object) -> str:
    """What was found, in a few words that cannot disturb a terminal."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) >= 10**_SHOWN_MAX:  # Python refuses to print very long ones
        return "a huge number"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, str):
        return repr(value if len(value) <= _SHOWN_MAX else value[:_SHOWN_MAX] + "…")
    if isinstance(value, Mapping):
        return "a mapping (key: value)"
    if isinstance(value, (list, tuple)):
        return "a list"
    return f"a value of type {type(value).__name__}"


def printable(text: str) -> str:
    """``text`` with everything escaped that could disturb a terminal (control and direction characters)."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


# --- readers of text: the stored form, or ValueError ---------------------------------------------------------------


def read_path(value: str | os.PathLike[str]) -> str:
    """A file name; ``~`` becomes the home folder."""
    path = os.fspath(value)
    if not isinstance(path, str):
        raise ValueError("file names are text here, not bytes")
    if not path or "\0" in path:
        raise ValueError("a file name is not empty and has no NUL in it")
    try:
        os.fsencode(path)
    except UnicodeEncodeError as error:
        raise ValueError("there is no such character in the names of files here") from error
    return os.path.expanduser(path)


def read_name(value: str) -> str:
    """The name of a network."""
    if not value:
        raise ValueError("for a network without a name write null")
    network_id(value)  # refuses what has no UTF-8 form
    return value


def read_pattern(value: str) -> str:
    """A pattern for interface names."""
    if not value:
        raise ValueError("an empty pattern matches nothing")
    return value


def read_contact(value: str | Contact) -> str:
    return str(value if isinstance(value, Contact) else Contact.parse(value))


def read_peer_id(value: str | PeerId) -> str:
    return str(value if isinstance(value, PeerId) else PeerId.parse(value))


def read_network(value: str) -> str:
    return str(parse_networks([value])[0])


def read_ban_entry(value: str | PeerId) -> str:
    """A peer id, an address or a network."""
    if isinstance(value, PeerId) or (len(value) > 50 and value.isalnum()):
        return read_peer_id(value)
    return read_network(value)


def read_listen_endpoint(value: str | Endpoint) -> str:
    """Where to listen: an address of this machine, and perhaps port 0."""
    endpoint = value if isinstance(value, Endpoint) else Endpoint.parse(value, allow_port_zero=True)
    if endpoint.ip is None or endpoint.ip.is_multicast or endpoint.transport not in TRANSPORTS:
        raise ValueError("listen on an address of this machine, or on 0.0.0.0 or [::] for all of them")
    return str(endpoint)


def read_dialable_endpoint(value: str | Endpoint) -> str:
    """What others may dial."""
    endpoint = value if isinstance(value, Endpoint) else Endpoint.parse(value)
    if not endpoint.is_dialable:
        raise ValueError("nobody can dial this address and port")
    return str(endpoint)


def read_server(value: str) -> str:
    """A server's name or address and its port, which may be left out: ``stun.example.org:3478``, ``[2001:db8::1]``."""
    has_port = ":" in value.rpartition("]")[2]
    try:
        endpoint = Endpoint.parse(f"{_ANY}{value}" if has_port else f"{_ANY}{value}:{limits.STUN_PORT}")
    except ContactSyntaxError as error:
        raise ValueError(str(error).partition(" (column")[0].replace("endpoint: ", "").replace(_ANY, "")) from error
    return str(endpoint)[len(_ANY) :]


def read_address(value: str) -> str:
    """An IP address of this machine and a port, which may be 0: ``127.0.0.1:9475``, ``[::1]:9475``."""
    try:
        endpoint = Endpoint.parse(f"{_ANY}{value}", allow_port_zero=True)
    except ContactSyntaxError as error:
        raise ValueError(str(error).partition(" (column")[0].replace("endpoint: ", "").replace(_ANY, "")) from error
    if endpoint.ip is None or endpoint.ip.is_multicast:
        raise ValueError("write an IP address of this machine")
    return str(endpoint)[len(_ANY) :]


_ANY = "tcp://"  # a server has no transport of its own: it is asked by several
