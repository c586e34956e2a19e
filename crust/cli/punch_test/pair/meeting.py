"""What a test between two ends found: its values, and their form on the wire, which the other end may have made up."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import crust

from ...as_json import JSON, value_as_json

__all__ = [
    "ATTEMPTS_MAX",
    "Address",
    "End",
    "MalformedReport",
    "Measurement",
    "Meeting",
    "Reason",
    "end_as_json",
    "measurements_as_json",
    "parse_end_untrusted",
    "parse_measurements_untrusted",
]

ATTEMPTS_MAX = 64
_ADDRESSES_MAX = 32
_MEASUREMENTS_MAX = 16
_TEXT_MAX = 300  # characters
_SECONDS_MAX = 1e10
_RATE_MAX = 1e12
_WORD = re.compile(r"[a-z0-9_-]{0,40}", re.ASCII)


class MalformedReport(Exception):
    """What the other end told of itself is not of the form that was agreed."""


@dataclasses.dataclass(frozen=True)
class Address:
    """Where an end may be reached."""

    kind: str
    """``interface``, ``mapped``, ``reflexive`` or ``configured``, as in `crust.CandidateKind`."""

    endpoint: str


@dataclasses.dataclass(frozen=True)
class End:
    """One of the two machines, as its own node sees it."""

    role: str
    """``listen`` or ``connect``."""

    version: str
    """Of crust there."""

    addresses: tuple[Address, ...] = ()
    router: str = "unknown"
    """Whether its router opens ports: ``opened``, ``failed``, ``off`` (not asked) or ``unknown``."""

    router_text: str = ""
    """How, or why not."""

    rendezvous: bool = False
    """It had a link to a rendezvous."""

    attempts: tuple[crust.Attempt, ...] = ()
    """What it tried, oldest first."""


@dataclasses.dataclass(frozen=True)
class Measurement:
    """How good a path is, as seen by the end that tells."""

    path_class: str
    remote: str
    """The other end of the path."""

    rtt: float | None
    """Median round trip of a message, in seconds; None: not measured."""

    sent: float | None
    """Bytes a second to the other end."""

    received: float | None
    """Bytes a second from there."""

    volume: int
    """Bytes that it took to find out, both ways together."""


@dataclasses.dataclass(frozen=True)
class Reason:
    """Why a better path did not come about."""

    path_class: str
    text: str


@dataclasses.dataclass(frozen=True)
class Meeting:
    """All that came of a test."""

    started: float
    """Seconds since the epoch."""

    seconds: float
    """How long it took."""

    peer: str
    """The other end's id."""

    here: End
    there: End | None
    """None: it has not told."""

    path: crust.Path | None
    """The best one reached; None: no connection."""

    connected: float | None
    """Seconds until the first path stood; at the end that is called 0."""

    best: float | None
    """Seconds until the best one did."""

    measurements: tuple[Measurement, ...] = ()
    """In the order in which the paths were reached."""

    error: str = ""
    """What ended the test early, in a sentence."""


# --- on the wire ------------------------------------------------------------------------------------------------------


def end_as_json(end: End) -> JSON:
    """For the other end."""
    kept = end.attempts[-ATTEMPTS_MAX:]
    short = tuple(dataclasses.replace(each, error=each.error[:_TEXT_MAX]) for each in kept)
    text = end.router_text[:_TEXT_MAX]
    return value_as_json(
        dataclasses.replace(end, attempts=short, addresses=end.addresses[:_ADDRESSES_MAX], router_text=text)
    )


def measurements_as_json(measurements: tuple[Measurement, ...]) -> JSON:
    """For the other end."""
    return value_as_json(measurements[-_MEASUREMENTS_MAX:])


def parse_end_untrusted(value: Any) -> End:
    """
    The other end as it tells of itself; nothing in it is believed to be more than text and numbers of some size.

    Raises:
        MalformedReport: It is not of that form.
    """
    told = _object(value)
    return End(
        role=_word(told, "role"),
        version=_text(told, "version"),
        addresses=tuple(
            Address(_word(each, "kind"), _text(each, "endpoint"))
            for each in map(_object, _list(told, "addresses", _ADDRESSES_MAX))
        ),
        router=_word(told, "router"),
        router_text=_text(told, "router_text"),
        rendezvous=told.get("rendezvous") is True,
        attempts=tuple(_attempt(_object(each)) for each in _list(told, "attempts", ATTEMPTS_MAX)),
    )


def parse_measurements_untrusted(value: Any) -> tuple[Measurement, ...]:
    """
    What the other end measured, seen from here: what it sent we have received.

    Raises:
        MalformedReport: It is not of that form.
    """
    found = []
    for told in map(_object, _list({"measurements": value}, "measurements", _MEASUREMENTS_MAX)):
        found.append(
            Measurement(
                path_class=_word(told, "path_class"),
                remote="",
                rtt=_maybe(told, "rtt", _SECONDS_MAX),
                sent=_maybe(told, "received", _RATE_MAX),
                received=_maybe(told, "sent", _RATE_MAX),
                volume=int(_number(told, "volume", _RATE_MAX)),
            )
        )
    return tuple(found)


def _attempt(told: dict[str, Any]) -> crust.Attempt:
    return crust.Attempt(
        method=_word(told, "method"),
        endpoint=_text(told, "endpoint"),
        duration=_number(told, "duration", _SECONDS_MAX),
        verdict=_word(told, "verdict"),
        error=_text(told, "error"),
        local=_text(told, "local"),
        started=_number(told, "started", _SECONDS_MAX),
    )


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedReport(f"expected an object, found {type(value).__name__}")
    return value


def _list(told: dict[str, Any], name: str, most: int) -> list[Any]:
    value = told.get(name)
    if not isinstance(value, list) or len(value) > most:
        raise MalformedReport(f"{name}: expected a list of at most {most}")
    return value


def _text(told: dict[str, Any], name: str) -> str:
    value = told.get(name)
    if not isinstance(value, str) or len(value) > _TEXT_MAX:
        raise MalformedReport(f"{name}: expected a text of at most {_TEXT_MAX} characters")
    return value


def _word(told: dict[str, Any], name: str) -> str:
    value = _text(told, name)
    if not _WORD.fullmatch(value):
        raise MalformedReport(f"{name}: expected a word")
    return value


def _number(told: dict[str, Any], name: str, most: float) -> float:
    value = told.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MalformedReport(f"{name}: expected a number")
    if not 0 <= value <= most or not math.isfinite(value):
        raise MalformedReport(f"{name}: expected a number from 0 to {most:g}")
    return float(value)


def _maybe(told: dict[str, Any], name: str, most: float) -> float | None:
    return None if told.get(name) is None else _number(told, name, most)
