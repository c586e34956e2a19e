"""Every method, verdict and path in plain words: the one table that lines, text and page take theirs from."""

from __future__ import annotations

from typing import NamedTuple

import crust

from ...terminal import printable

__all__ = [
    "GRADES",
    "PATHS",
    "SENTENCES",
    "WAYS",
    "PathWords",
    "attempted",
    "kind_of",
    "path_words",
    "place_of",
    "rank",
    "sentence",
    "transport_of",
    "way_words",
]

class PathWords(NamedTuple):
    """A class of paths in words."""

    label: str
    """In a word or two."""

    how: str
    """In a few words, behind "connected"."""

    grade: str
    text: str
    """In a sentence."""


PATHS: dict[str, PathWords] = {
    "direct-tcp": PathWords(
        "direct, TCP",
        "directly, by TCP",
        "A",
        "One end called the other at its address and got through; nothing is in between.",
    ),
    "direct-utp": PathWords(
        "direct, UDP",
        "directly, by UDP",
        "A",
        "One end called the other at its address and got through by UDP; nothing is in between.",
    ),
    "punched-tcp": PathWords(
        "punched, TCP",
        "directly, by TCP, both calling at once",
        "B",
        "Neither end takes calls, so both called each other at the same moment, and each router took the other's call "
        "for an answer (hole punching).",
    ),
    "punched-utp": PathWords(
        "punched, UDP",
        "directly, by UDP, both calling at once",
        "B",
        "Neither end takes calls, so both sent to each other at the same moment, and each router took the other's "
        "packets for answers (hole punching).",
    ),
    "predicted": PathWords(
        "foretold port",
        "directly, by a foretold port",
        "C",
        "A router uses another outer port for each destination, but in an order: the next one was foretold.",
    ),
    "birthday": PathWords(
        "searched port",
        "directly, by a port that was searched for",
        "C",
        "A router uses an outer port by chance for each destination: it was found by trying very many.",
    ),
    "relay": PathWords(
        "rendezvous",
        "through the rendezvous",
        "D",
        "Every message takes the way round by the rendezvous, which cannot read it: that works, but it is slower, and "
        "the rendezvous has to be there all the time.",
    ),
}
"""By class of path, the best first."""

GRADES = {
    "A": "one end can call the other, which is the quickest and surest way there is",
    "B": "a direct connection without anybody's help once it stands",
    "C": "a direct connection, but finding it takes seconds, and may fail another time",
    "D": "connected, but only with the rendezvous in between",
    "F": "no connection came about",
}

WAYS: dict[str, str] = {
    "direct": "a call to {where}",
    "circuit": "a call through the rendezvous at {where}",
    "punch": "both ends calling each other at once{where}",
    "predict": "foretelling the router's next port{where}",
    "birthday": "searching for the router's port{where}",
    "other": "the method {method}{where}",
}
"""By kind of method: what is done; ``other`` stands for methods of other packages."""

SENTENCES: dict[str, dict[str, str]] = {
    "direct": {
        "connected": "it worked",
        "refused": "somebody answered, but said no: nothing listens at that port, or a firewall refuses",
        "unreachable": "there is no way from this network to that address",
        "timeout": "no answer: a router or a firewall on the way ignores calls from outside",
        "denied": "the other end answered, and refused",
        "lost_race": "not needed, another way was quicker or better",
        "failed": "what answered there was not the other end, or it hung up",
        "cancelled": "given up, as it was no longer needed",
    },
    "circuit": {
        "connected": "it worked, the rendezvous passes everything on",
        "refused": "the rendezvous would not pass the call on",
        "unreachable": "the rendezvous does not know the other end, or has lost it",
        "timeout": "no answer by way of the rendezvous",
        "denied": "the other end had the call, and refused",
        "lost_race": "not needed, another way was quicker or better",
        "failed": "the rendezvous could not pass the call on",
        "cancelled": "given up, as it was no longer needed",
    },
    "punch": {
        "connected": "it worked, both routers let the other's packets in",
        "refused": "a router answered the other's call with a no, instead of ignoring it",
        "unreachable": "there is no way from this network to the other end's addresses",
        "timeout": "nothing got through: a router lets in only what it knows, or has other ports than it showed",
        "denied": "the other end would not take part",
        "lost_race": "not needed, another way was quicker or better",
        "failed": "it came to nothing",
        "cancelled": "given up, as it was no longer needed",
    },
    "predict": {
        "connected": "it worked, the foretold port was right",
        "refused": "a router refused the calls to the ports that were foretold",
        "unreachable": "there is no way from this network to the other end's addresses",
        "timeout": "the ports that were foretold were not the ones that the router took",
        "denied": "the other end would not take part",
        "lost_race": "not needed, another way was quicker or better",
        "failed": "it came to nothing",
        "cancelled": "given up, as it was no longer needed",
    },
    "birthday": {
        "connected": "it worked, a port was found",
        "refused": "a router refused the calls to the ports that were tried",
        "unreachable": "there is no way from this network to the other end's addresses",
        "timeout": "none of the ports that were tried was the right one",
        "denied": "the other end would not take part",
        "lost_race": "not needed, another way was quicker or better",
        "failed": "it came to nothing",
        "cancelled": "given up, as it was no longer needed",
    },
    "other": {
        "connected": "it worked",
        "refused": "somebody answered, but said no",
        "unreachable": "there is no way from this network to the other end's addresses",
        "timeout": "no answer",
        "denied": "the other end would not take part",
        "lost_race": "not needed, another way was quicker or better",
        "failed": "it came to nothing",
        "cancelled": "given up, as it was no longer needed",
    },
}
"""By kind of method and verdict: what became of it."""

_TRANSPORTS = {"tcp": "TCP", "utp": "UDP", "udp": "UDP"}


def kind_of(method: str) -> str:
    """``punch`` of ``punch-udp``: the row of the tables."""
    kind = method.partition("-")[0]
    return kind if kind in WAYS else "other"


def transport_of(attempt: crust.Attempt) -> str:
    """``TCP`` or ``UDP``; empty if neither method nor address say."""
    told = attempt.endpoint.partition("://")[0] or attempt.method.partition("-")[2]
    return _TRANSPORTS.get(told) or _TRANSPORTS.get(attempt.method.partition("-")[2], "")


def place_of(endpoint: str) -> str:
    """``192.0.2.7:5483`` of ``tcp://192.0.2.7:5483``."""
    return endpoint.partition("://")[2]


def way_words(attempt: crust.Attempt) -> str:
    """What was done, with the address and the transport."""
    kind = kind_of(attempt.method)
    transport, place = transport_of(attempt), place_of(attempt.endpoint)
    by = f" by {transport}" if transport else ""
    if kind in ("direct", "circuit"):
        text = WAYS[kind].format(where=place or "the other end")
        return printable(f"{text}{by if kind == 'direct' else ''}")
    to = f", at {place}" if place else ""
    return printable(WAYS[kind].format(where=f",{by}{to}" if by else to, method=attempt.method))


def sentence(attempt: crust.Attempt) -> str:
    """What became of it; the error behind it where the table cannot know more."""
    told = SENTENCES[kind_of(attempt.method)].get(attempt.verdict)
    if told is None:
        told = attempt.verdict.replace("_", " ")
    if attempt.error and attempt.verdict == "failed" and not attempt.endpoint:
        told = f"ended, {attempt.error}"  # about the method as a whole, which may have found something all the same
    elif attempt.error and attempt.verdict in ("failed", "denied"):
        told = f"{told} ({attempt.error})"
    return printable(told)


def attempted(attempt: crust.Attempt) -> str:
    """All of it, as one line."""
    return f"{way_words(attempt)}: {sentence(attempt)}"


def path_words(path_class: str) -> str:
    """How two ends are connected, in a few words."""
    return PATHS[path_class].how if path_class in PATHS else printable(f"by {path_class}")


def rank(path_class: str) -> int:
    """0 for the best; a class that is not known comes last."""
    return list(PATHS).index(path_class) if path_class in PATHS else len(PATHS)
