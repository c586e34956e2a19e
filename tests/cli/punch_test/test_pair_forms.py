"""The three forms of a test between two ends: text, page and JSON."""

from __future__ import annotations

import dataclasses
import json
import re
import time
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

import crust
from crust.cli.punch_test.pair.document import as_document
from crust.cli.punch_test.pair.meeting import Address, End, Measurement, Meeting
from crust.cli.punch_test.pair.outcome import is_fine
from crust.cli.punch_test.pair.page import as_page
from crust.cli.punch_test.pair.rows import stops
from crust.cli.punch_test.pair.text import as_text, end_lines
from crust.cli.punch_test.pair.verdict import advice_for, reasons_for, title_of, why_of
from tests.cli.punch_test.test_forms import flat, read
from tests.support.meetings import MEETINGS
from tests.support.source import ROOT

SCHEMA = json.loads((ROOT / "conf" / "punch-test-pair.schema.json").read_text(encoding="utf-8"))
NAMES = list(MEETINGS)


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Dates are those of one time zone."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def text_of(meeting: Meeting, width: int = 80) -> str:
    return "\n".join(as_text(meeting, width=width, paint=lambda text, *styles: text))


def hostile(word: str) -> Meeting:
    """A test in which the other end, and its router, say this wherever they can."""
    meeting = MEETINGS["relay"]
    assert meeting.there is not None
    attempt = crust.Attempt(word, f"tcp://{word}", 1.0, word, word, word, 0.0)
    there = End(word, word, (Address("interface", word), Address("reflexive", word)), word, word, True, (attempt,))
    return dataclasses.replace(meeting, there=there, error=word, peer=word)


GOLDEN = """
Test between two machines, 14 November 2023, 22:13 UTC
crust VERSION, took 5.2 s

Connected directly, by UDP, both calling at once
Neither end takes calls, so both sent to each other at the same moment, and each
router took the other's packets for answers (hole punching).
Grade B: a direct connection without anybody's help once it stands.

  How it went
    path              directly, by UDP, both calling at once, to
                      203.0.113.9:40001, after 2.5 s
    measured          through the rendezvous: round trip 80 ms, 400 kB/s from
                      there
    measured          directly, by UDP, both calling at once: round trip 23 ms,
                      1.25 MB/s to the other end, 8.40 MB/s from there
  Why nothing better
    direct, TCP       from here: no answer: a router or a firewall on the way
                      ignores calls from outside; from there: no answer: a
                      router or a firewall on the way ignores calls from outside
    direct, UDP       from here: no answer: a router or a firewall on the way
                      ignores calls from outside; from there: no answer: a
                      router or a firewall on the way ignores calls from outside
    punched, TCP      from here: nothing got through: a router lets in only what
                      it knows, or has other ports than it showed; from there:
                      nothing got through: a router lets in only what it knows,
                      or has other ports than it showed
  This end
    its own address   192.168.1.20:41000 (TCP), 192.168.1.20:41000 (UDP)
    seen from outside 203.0.113.5:41000 (UDP)
    opens ports       no: no answer
    rendezvous        linked
""".lstrip("\n")


def test_the_text_in_plain_words() -> None:
    """As it is in the documents, from the verdict to the networks."""
    found = text_of(MEETINGS["punched-utp"]).replace(crust.__version__, "VERSION")
    assert found.lstrip("\n").startswith(GOLDEN)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [30, 60, 80, 300])
def test_the_text_says_it_all_and_fits_the_window(name: str, width: int) -> None:
    meeting = MEETINGS[name]
    text = text_of(meeting, width)
    assert [line for line in text.splitlines() if len(line) > max(30, min(width, 100))] == []
    wanted = [title_of(meeting), *(hint.title for hint in advice_for(meeting))]
    if width == 300:
        wanted += [why_of(meeting), *(reason.text for reason in reasons_for(meeting))]
        wanted = [words for words in wanted if len(words) < 60]
    assert [words for words in wanted if flat(words) not in flat(text)] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_page_says_the_same_and_needs_nothing_else(name: str) -> None:
    """In the clothes of the report: one heading, a verdict, a picture with five stops; nothing from elsewhere."""
    meeting = MEETINGS[name]
    page = as_page(meeting)
    reader = read(page)
    words = flat(" ".join(reader.words))
    wanted = [title_of(meeting), why_of(meeting), *(hint.text for hint in advice_for(meeting))]
    wanted += [reason.text for reason in reasons_for(meeting)]
    assert [text for text in wanted if flat(text) not in words] == []
    assert [tag for tag, _ in reader.tags].count("h1") == 1
    assert [tag for tag, _ in reader.tags].count("rect") == len(stops(meeting)) == 5
    assert {tag for tag, _ in reader.tags} & {"script", "link", "img", "iframe", "a"} == set()
    assert not re.search(r"url\(|@import|javascript:", page)


def test_what_the_other_end_says_stays_text() -> None:
    word = "<script>alert('x')</script>\"><b onclick=x>\x1b\u202e&amp;"
    page = as_page(hostile(word))
    assert {tag for tag, _ in read(page).tags} & {"script", "b"} == set()
    for shown in (page, text_of(hostile(word)), *end_lines(hostile(word).there or MEETINGS["relay"].here)):
        assert not any(character in shown for character in "\x1b\u202e")


# --- JSON -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_document_is_as_the_schema_says(name: str) -> None:
    meeting = MEETINGS[name]
    text = as_document(meeting, fine=is_fine(meeting))
    assert "\n" not in text
    document = json.loads(text)
    jsonschema.validate(document, SCHEMA, jsonschema.Draft202012Validator)
    assert document["fine"] == (document["outcome"] in ("direct", "punched"))


def test_a_test_that_was_not_carried_out_is_not_fine() -> None:
    """However good the path is."""
    assert is_fine(MEETINGS["direct-tcp"])
    assert not is_fine(dataclasses.replace(MEETINGS["direct-tcp"], error="the other end fell silent"))


def test_the_schema_is_a_schema_that_refuses() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    document = json.loads(as_document(MEETINGS["relay"], fine=False))
    for broken in (
        {**document, "schema": 2},
        {**document, "grade": "E"},
        {**document, "test": {}},
        {name: value for name, value in document.items() if name != "outcome"},
        {"event": "attempt", "seconds": 1.0},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, SCHEMA, jsonschema.Draft202012Validator)


VALUES: dict[str, type[Any]] = {"test": Meeting, "end": End, "measurement": Measurement, "attempt": crust.Attempt}


def test_the_schema_has_every_field() -> None:
    """A field that is added, renamed or taken away must be so in the schema, and in its version if need be."""
    for name, kind in VALUES.items():
        fields = [field.name for field in dataclasses.fields(kind)]
        assert (list(SCHEMA["$defs"][name]["properties"]), SCHEMA["$defs"][name]["required"]) == (fields, fields)
    path = MEETINGS["relay"].path
    assert path is not None
    assert list(SCHEMA["$defs"]["path"]["properties"]) == list(path.as_dict())
