"""The table of plain words, and what a test between two ends means."""

from __future__ import annotations

import dataclasses
import re

import pytest

import crust
from crust.cli.punch_test.pair.verdict import advice_for, grade_of, outcome_of, reasons_for, title_of, why_of
from crust.cli.punch_test.pair.words import (
    PATHS,
    SENTENCES,
    WAYS,
    attempted,
    kind_of,
    path_words,
    sentence,
    way_words,
)
from crust.nat.methods import methods
from crust.peers.paths import CLASSES
from tests.support.meetings import MEETINGS, METHODS, attempt, missed, reached
from tests.support.source import ROOT

VERDICTS = re.findall(
    r"^\| `(\w+)` \|", (ROOT / "docs" / "errors.md").read_text().split("## What became of an attempt")[1], re.MULTILINE
)


def test_every_class_of_path_has_words() -> None:
    """In the order in which sessions prefer them."""
    assert tuple(PATHS) == CLASSES


def test_every_method_and_verdict_has_a_sentence() -> None:
    """For each method that this version has, and each verdict that the documents name."""
    assert len(VERDICTS) == 8
    names = {method.name for method in methods()} | {name for name, _ in METHODS.values()}
    assert {kind_of(name) for name in names} == set(WAYS) - {"other"}
    assert {kind: sorted(found) for kind, found in SENTENCES.items()} == dict.fromkeys(WAYS, sorted(VERDICTS))


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (attempt("direct-tcp", "connected"), "a call to 203.0.113.9:5483 by TCP: it worked"),
        (
            attempt("direct-utp", "timeout"),
            "a call to 203.0.113.9:5483 by UDP: "
            "no answer: a router or a firewall on the way ignores calls from outside",
        ),
        (
            attempt("relay", "connected"),
            "a call through the rendezvous at 198.51.100.1:443: it worked, the rendezvous passes everything on",
        ),
        (
            attempt("punched-tcp", "refused"),
            "both ends calling each other at once, by TCP, at 203.0.113.9:40001: "
            "a router answered the other's call with a no, instead of ignoring it",
        ),
        (
            crust.Attempt("birthday-udp", "", 12.0, "timeout"),
            "searching for the router's port, by UDP: none of the ports that were tried was the right one",
        ),
        (
            crust.Attempt("predict-tcp", "", 1.0, "failed", "no order was found"),
            "foretelling the router's next port, by TCP: ended, no order was found",
        ),
        (crust.Attempt("knock", "tcp://[::1]:7", 1.0, "timeout"), "the method knock, by TCP, at [::1]:7: no answer"),
        (crust.Attempt("pigeon", "", 1.0, "eaten_by_cat"), "the method pigeon: eaten by cat"),
    ],
)
def test_an_attempt_is_one_line(found: crust.Attempt, text: str) -> None:
    assert attempted(found) == text


def test_what_others_say_cannot_move_the_cursor() -> None:
    evil = "\x1b[2J\r\u202e"
    found = crust.Attempt(f"direct{evil}", f"tcp://{evil}", 0.0, f"failed{evil}", evil)
    for told in (way_words(found), sentence(found), path_words(evil)):
        assert not any(character in told for character in "\x1b\r\u202e")


@pytest.mark.parametrize(
    ("name", "outcome", "grade"),
    [
        ("direct-tcp", "direct", "A"),
        ("direct-utp", "direct", "A"),
        ("punched-tcp", "punched", "B"),
        ("punched-utp", "punched", "B"),
        ("predicted", "punched", "C"),
        ("birthday", "punched", "C"),
        ("relay", "relayed", "D"),
        ("none", "not_connected", "F"),
    ],
)
def test_outcome_and_grade(name: str, outcome: str, grade: str) -> None:
    meeting = MEETINGS[name]
    assert (outcome_of(meeting), grade_of(meeting)) == (outcome, grade)
    assert title_of(meeting) and why_of(meeting)


@pytest.mark.parametrize("name", list(METHODS))
def test_there_is_a_reason_for_each_better_class(name: str) -> None:
    """From both ends, if both tried it; none for what is worse."""
    reasons = reasons_for(reached(name))
    assert [reason.path_class for reason in reasons] == list(METHODS)[: list(METHODS).index(name)]
    for reason in reasons:
        assert reason.text.count("from here: ") == reason.text.count("from there: ") == 1


def test_of_many_attempts_the_verdict_that_says_most_is_told() -> None:
    """With the number of addresses that it is about; the other way was not tried."""
    found = [
        crust.Attempt("direct", f"tcp://203.0.113.{n}:1", 1.0, "lost_race" if n > 3 else "timeout") for n in range(1, 6)
    ]
    meeting = missed(rendezvous=False)
    here = type(meeting.here)("connect", "0.1.0", (), "off", "", False, tuple(found))
    found_here = dataclasses.replace(meeting, here=here)
    told = {each.path_class: each.text for each in reasons_for(found_here)}
    assert told["direct-tcp"] == f"from here: {SENTENCES['direct']['timeout']} (3 addresses)"
    assert told["direct-utp"].startswith("not tried")
    assert "without a rendezvous" in told["punched-tcp"] and "no rendezvous" in told["relay"]


def test_advice_is_for_who_needs_it() -> None:
    """A good path needs none; an open port is not advised where there is one."""
    names = {name: [hint.name for hint in advice_for(meeting)] for name, meeting in MEETINGS.items()}
    for name in ("direct-tcp", "direct-utp", "punched-tcp", "punched-utp"):
        assert names[name] == []
    assert names["relay"] == names["birthday"] == ["open_a_port", "run_the_report"]
    assert names["none"] == ["check_the_other_end", "open_a_port", "run_the_report"]
    assert names["no rendezvous"][0] == "use_a_rendezvous"
    assert [hint.name for hint in advice_for(reached("relay", router="opened"))] == ["run_the_report"]
