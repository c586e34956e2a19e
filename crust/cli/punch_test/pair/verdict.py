"""What a test between two ends means: outcome, grade, why nothing better came about, and what would help (sans-IO)."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator

import crust

from .meeting import End, Meeting, Reason
from .words import GRADES, PATHS, kind_of, rank, sentence, transport_of

__all__ = ["advice_for", "grade_of", "outcome_of", "reasons_for", "title_of", "why_of"]

_METHODS = {  # by class of path: the kinds of methods that lead to it, and the transport
    "direct-tcp": ("direct", "TCP"),
    "direct-utp": ("direct", "UDP"),
    "punched-tcp": ("punch", "TCP"),
    "punched-utp": ("punch", "UDP"),
    "predicted": ("predict", ""),
    "birthday": ("birthday", ""),
    "relay": ("circuit", ""),
}
_TELLING = ("timeout", "refused", "denied", "failed", "unreachable", "lost_race", "connected", "cancelled")
"""Of many attempts of one kind this verdict says most: what stands first."""


def outcome_of(meeting: Meeting) -> str:
    """In a word: ``direct``, ``punched``, ``relayed`` or ``not_connected``."""
    if meeting.path is None:
        return "not_connected"
    if meeting.path.path_class == "relay":
        return "relayed"
    return "direct" if meeting.path.path_class.startswith("direct") else "punched"


def grade_of(meeting: Meeting) -> str:
    """``A`` to ``F``."""
    if meeting.path is None:
        return "F"
    return PATHS[meeting.path.path_class].grade if meeting.path.path_class in PATHS else "C"


def title_of(meeting: Meeting) -> str:
    """The outcome in a few words."""
    if meeting.path is None:
        return "Not connected"
    words = PATHS.get(meeting.path.path_class)
    return f"Connected {words.how}" if words is not None else f"Connected by {meeting.path.path_class}"


def why_of(meeting: Meeting) -> str:
    """The outcome in a sentence or two."""
    if meeting.path is None:
        return meeting.error or "Neither end got through to the other."
    words = PATHS.get(meeting.path.path_class)
    text = words.text if words is not None else f"{GRADES['C'].capitalize()}."
    return f"{text} But the test ended early: {meeting.error}" if meeting.error else text


# --- why nothing better -----------------------------------------------------------------------------------------------


def reasons_for(meeting: Meeting) -> tuple[Reason, ...]:
    """For each class of path that would have been better, what became of it at both ends; the best first."""
    reached = len(PATHS) if meeting.path is None else rank(meeting.path.path_class)
    return tuple(Reason(name, _reason(meeting, name)) for name in PATHS if rank(name) < reached)


def _reason(meeting: Meeting, path_class: str) -> str:
    kind, transport = _METHODS[path_class]
    told = []
    for whence, end in (("from here", meeting.here), ("from there", meeting.there)):
        attempts = [] if end is None else _of_kind(end.attempts, kind, transport)
        if attempts:
            told.append(f"{whence}: {_summary(attempts)}")
    return "; ".join(told) or _not_tried(meeting, kind)


def _of_kind(attempts: Iterable[crust.Attempt], kind: str, transport: str) -> list[crust.Attempt]:
    return [
        each
        for each in attempts
        if kind_of(each.method) == kind and (not transport or transport_of(each) == transport)
    ]


def _summary(attempts: list[crust.Attempt]) -> str:
    """Of many attempts the verdict that says most, and to how many it applies."""
    verdicts = collections.Counter(attempt.verdict for attempt in attempts)
    verdict = min(verdicts, key=lambda word: _TELLING.index(word) if word in _TELLING else len(_TELLING))
    text = sentence(next(each for each in attempts if each.verdict == verdict))
    places = {each.endpoint for each in attempts if each.verdict == verdict and each.endpoint}
    return f"{text} ({len(places)} addresses)" if len(places) > 1 else text


def _not_tried(meeting: Meeting, kind: str) -> str:
    if kind == "circuit":
        return "not tried: this end had no rendezvous" if not meeting.here.rendezvous else "not tried"
    if kind == "direct":
        return "not tried: no such address was known of the other end"
    if meeting.path is None:
        return "not tried: without a rendezvous the two ends cannot agree on a moment"
    if kind in ("predict", "birthday"):
        return "not tried: these two networks do not call for it"
    return "not tried: no address was known with which it might have worked"


# --- what would help --------------------------------------------------------------------------------------------------


def advice_for(meeting: Meeting) -> tuple[crust.Hint, ...]:
    """What to change, what helps most first; nothing if the path is a good one."""
    return tuple(_advice(meeting))


def _advice(meeting: Meeting) -> Iterator[crust.Hint]:
    grade = grade_of(meeting)
    if grade in ("A", "B"):
        return
    if grade == "F":
        if not meeting.here.rendezvous:
            yield crust.Hint(
                "use_a_rendezvous",
                "Use a rendezvous",
                "Both ends need one crust node that they can reach and that introduces them to each other: give its "
                "contact to both with --contact. On a server it is one command, `crust node --serve-relay "
                "--allow-bootstrap --listen tcp://0.0.0.0:443`.",
            )
        if _everywhere(meeting.here, "unreachable"):
            yield crust.Hint(
                "check_the_network",
                "Look at this machine's network",
                "No address that was called could be reached at all. `punch-test report` says whether anything can.",
            )
        elif any(each.verdict == "timeout" for each in meeting.here.attempts):
            yield crust.Hint(
                "check_the_other_end",
                "Look whether the other end still listens",
                "`punch-test listen` must be running there; when it is started anew it shows another line to copy, "
                "unless it has an --identity.",
            )
    yield from _open_a_port(meeting)
    yield crust.Hint(
        "run_the_report",
        "Run `punch-test report` at both ends",
        "It says which of the two networks is in the way, and what can be changed there; one of the two is enough.",
    )


def _open_a_port(meeting: Meeting) -> Iterator[crust.Hint]:
    ends = [("here", meeting.here)] + ([("there", meeting.there)] if meeting.there is not None else [])
    if any(end.router == "opened" for _, end in ends):
        return
    told = [f"the router {where} does not do it when it is asked" for where, end in ends if end.router == "failed"]
    told += [f"the router {where} was not asked" for where, end in ends if end.router == "off"]
    why = f" ({'; '.join(told)})" if told else ""
    yield crust.Hint(
        "open_a_port",
        "Have one of the two routers open a port",
        f"One end is enough: switch UPnP, NAT-PMP or PCP on in its router{why}, or forward a port there by hand and "
        "name it in the configuration under listen.advertise.",
    )


def _everywhere(end: End, verdict: str) -> bool:
    return bool(end.attempts) and all(each.verdict == verdict for each in end.attempts)


