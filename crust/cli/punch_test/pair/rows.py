"""What was found, in rows for text and page: paths, reasons, both ends, and the machines between them."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from ..words import Group, Row, Stop, host_of
from .meeting import End, Meeting
from .verdict import outcome_of, reasons_for
from .watch import milliseconds, told_measurement
from .words import PATHS, attempted, path_words, place_of

__all__ = ["PRIVACY", "date_of", "groups", "network_of", "stops"]

PRIVACY = "This result contains the addresses of both machines: give it to people you trust."

_KINDS = {
    "interface": "its own address",
    "mapped": "opened by router",
    "reflexive": "seen from outside",
    "configured": "as configured",
}
_ROUTERS = {
    "opened": ("yes", "good"),
    "failed": ("no", "bad"),
    "off": ("was not asked to", "unknown"),
    "unknown": ("has not said", "unknown"),
}


def date_of(meeting: Meeting) -> str:
    """When it began, by the clock of this machine."""
    return datetime.datetime.fromtimestamp(meeting.started).astimezone().strftime("%d %B %Y, %H:%M %Z").strip()


def groups(meeting: Meeting) -> tuple[Group, ...]:
    """All of it, subject by subject."""
    found = [
        Group("How it went", tuple(_course(meeting))),
        Group("Why nothing better", tuple(_reasons(meeting))),
        Group("This end", tuple(network_of(meeting.here))),
        Group("Tried from here", tuple(_attempts(meeting.here, meeting.started))),
    ]
    if meeting.there is not None:
        # The clock over there is another one: its times count from its own first attempt.
        first = min((each.started for each in meeting.there.attempts), default=0.0)
        found.append(Group("The other end", tuple(network_of(meeting.there))))
        found.append(Group("Tried from there", tuple(_attempts(meeting.there, first))))
    return tuple(group for group in found if group.rows)


def _reasons(meeting: Meeting) -> Iterator[Row]:
    for reason in reasons_for(meeting):
        yield Row(PATHS[reason.path_class].label, reason.text)


def _course(meeting: Meeting) -> Iterator[Row]:
    if meeting.path is None:
        yield Row("path", meeting.error or "none", "bad")
        return
    after = "" if not meeting.best or meeting.best < 0.05 else f", after {meeting.best:.1f} s"
    where, relayed = place_of(meeting.path.remote), meeting.path.path_class == "relay"
    to = f"at {where}" if relayed else f"to {where}"
    yield Row("path", f"{path_words(meeting.path.path_class)}, {to}{after}", "bad" if relayed else "good")
    if meeting.path.rtt is not None and not meeting.measurements:
        yield Row("round trip", milliseconds(meeting.path.rtt))
    for measurement in meeting.measurements:
        yield Row("measured", told_measurement(measurement))
    if meeting.error:
        yield Row("ended early", meeting.error, "bad")


def network_of(end: End) -> Iterator[Row]:
    """What a node knows of the network around it."""
    for kind, label in _KINDS.items():
        places = dict.fromkeys(
            f"{place_of(each.endpoint)} ({'UDP' if each.endpoint.startswith('utp') else 'TCP'})"
            for each in end.addresses
            if each.kind == kind
        )
        if places:
            yield Row(label, ", ".join(places), "good" if kind == "mapped" else "plain")
    if not any(each.kind == "reflexive" for each in end.addresses):
        yield Row("seen from outside", "not known: nobody outside has told (--stun names servers)", "unknown")
    text, mark = _ROUTERS.get(end.router, _ROUTERS["unknown"])
    yield Row("opens ports", f"{text}{f': {end.router_text}' if end.router_text else ''}", mark)
    yield Row("rendezvous", "linked" if end.rendezvous else "none", "good" if end.rendezvous else "unknown")


def _attempts(end: End, began: float) -> Iterator[Row]:
    for attempt in sorted(end.attempts, key=lambda each: each.started):
        at = max(0.0, attempt.started - began) if attempt.started else 0.0
        mark = "good" if attempt.verdict == "connected" else "plain"
        yield Row(f"{at:.1f} s ({attempt.duration:.1f} s)", attempted(attempt), mark)


# --- the picture ------------------------------------------------------------------------------------------------------


def stops(meeting: Meeting) -> tuple[Stop, ...]:
    """From this machine to the other one."""
    outcome = outcome_of(meeting)
    path_class = "" if meeting.path is None else meeting.path.path_class
    if meeting.path is None:
        middle = Stop("No way", ("neither end", "got through"), "bad")
    elif outcome == "relayed":
        middle = Stop("Rendezvous", (place_of(meeting.path.remote), "passes everything on"), "bad")
    else:
        words = PATHS[path_class].how if path_class in PATHS else path_class
        middle = Stop("Direct", tuple(part.strip() for part in words.split(",")[1:]) or (words,), "good")
    there = meeting.there
    return (
        _machine("This machine", meeting.here),
        _router("Its router", meeting.here),
        middle,
        _router("Their router", there),
        _machine("Other machine", there),
    )


def _machine(title: str, end: End | None) -> Stop:
    if end is None:
        return Stop(title, ("has not told",), "unknown")
    first = sorted(_hosts(end, "interface"), key=lambda address: ":" in address)[:1]
    return Stop(title, (*first, f"crust {end.version}"), "good")


def _router(title: str, end: End | None) -> Stop:
    if end is None:
        return Stop(title, ("not known",), "unknown")
    text = {"opened": "opens ports", "failed": "opens no ports", "off": "was not asked"}.get(end.router, "not known")
    mark = {"opened": "good", "failed": "plain"}.get(end.router, "unknown")
    return Stop(title, (*_hosts(end, "reflexive")[:1], text), mark)


def _hosts(end: End, kind: str) -> list[str]:
    return [host_of(place_of(each.endpoint)) for each in end.addresses if each.kind == kind]
