"""Growth is told from what comes and goes; messages are told from what nobody sent; the report says what was found."""

from __future__ import annotations

import importlib
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.soak.ledger import Ledger
from tests.soak.payload import BIGGEST, Note, read, written
from tests.soak.report import Outcome, line
from tests.soak.resources import PASSING, USUAL_OBJECTS, WARM, Growth, History, Sample, kept, sample

MIB = 1 << 20
NOTES = st.builds(
    Note,
    node=st.integers(0, 65535),
    process=st.integers(0, 65535),
    session=st.integers(0, (1 << 32) - 1),
    priority=st.integers(0, 255),
    sequence=st.integers(0, (1 << 32) - 1),
)


def history(*samples: Sample) -> Growth | None:
    made = History()
    for each in samples:
        made.add((1, 0), each)
    return made.growth().get((1, 0))


def test_what_is_kept_is_found() -> None:
    """Classes that are there, each by itself; of others there may be any number."""
    for name in PASSING:
        module, _, kind = name.rpartition(".")
        assert getattr(importlib.import_module(module), kind).__module__ == module
        most = USUAL_OBJECTS[0] + 9 * USUAL_OBJECTS[1]
        assert kept({name: most, "crust.paths.Attempt": 1000}, 9) == ""
        assert kept({name: most + 1}, 9) == f"{most + 1} {name}"


def test_growth_is_found() -> None:
    """Of memory, threads and descriptors, each by itself; the beginning does not count."""
    early = [Sample(float(at), 40 * MIB if at > WARM else 10 * MIB, 12, 30) for at in range(100)]
    flat = history(*early)
    assert flat is not None and flat.leak() == "" and flat.early.memory == 40 * MIB
    assert flat.busy(early[-1], 0) == ""
    assert flat.busy(Sample(0.0, 60 * MIB, 30, 30), 5) == "threads have grown from 12 to 30"
    assert flat.busy(Sample(0.0, 60 * MIB, 12, 60), 5) == "descriptors have grown from 30 to 60"
    assert flat.busy(Sample(0.0, 60 * MIB, 30, 52), 9) == "", "it was alone, and has nine links now"
    grown = history(*early, *(Sample(100.0 + at, 60 * MIB, 12, 30) for at in range(100)))
    assert grown is not None and grown.leak() == "memory has grown from 40.0 to 60.0 MiB"


def test_a_moment_is_no_growth() -> None:
    """A flood of messages is held, and handed over."""
    samples = [Sample(float(at), (80 if at % 10 == 0 else 40) * MIB, 12, 30) for at in range(200)]
    found = history(*samples)
    assert found is not None and found.leak() == ""


def test_who_lived_too_shortly_tells_nothing() -> None:
    """Of a process there must be enough to compare."""
    assert history(*(Sample(float(at), at * MIB, 12, 30) for at in range(int(WARM) + 5))) is None


def test_a_sample_of_ourselves() -> None:
    """Memory, threads and descriptors of a process; none of one that is not there."""
    before = sample(os.getpid(), 1.0)
    assert before is not None and before.memory > MIB and before.threads >= 1 and before.descriptors >= 3
    with open(os.devnull):
        after = sample(os.getpid(), 2.0)
    assert after is not None and after.descriptors == before.descriptors + 1
    assert sample(1 << 30, 1.0) is None


@given(NOTES, st.integers(0, 2000) | st.just(BIGGEST))
def test_a_message_is_read_as_it_was_written(note: Note, size: int) -> None:
    """Whatever it says, and however long it is."""
    assert read(written(note, size)) == note


@given(NOTES, st.integers(0, 300), st.data())
def test_a_damaged_message_is_not_read_as_the_same(note: Note, size: int, data: st.DataObject) -> None:
    """One byte that is another one, or is missing, or is one too many."""
    whole = written(note, size)
    place = data.draw(st.integers(0, len(whole) - 1))
    other = bytes([whole[place] ^ data.draw(st.integers(1, 255))])
    for damaged in (whole[:place] + other + whole[place + 1 :], whole[:-1], whole + b"x"):
        assert read(damaged) != note


def outcome(ledger: Ledger, **changes: object) -> Outcome:
    fields = {
        "seed": 7, "nodes": 2, "seconds": 3.0, "interrupted": False, "ledger": ledger, "chaos": {"kill": 2},
        "events": {"PathChanged": 4}, "warnings": {"the disk is full": 9},
        "growth": {}, "nodes_say": {}, "names": ["one", "other"], "faults": [], "logs": "/logs",
        **dict.fromkeys(("first", "warm", "last"), {0: Sample(1.0, 40 * MIB, 12, 30)}),
    }  # fmt: skip
    return Outcome(**{**fields, **changes})  # type: ignore[arg-type]


def busy() -> Ledger:
    """One message has arrived."""
    ledger = Ledger()
    ledger.started((0, 0), 0.0)
    ledger.started((1, 0), 0.0)
    ledger.begun(((0, 0), 0), 1, 0.0)
    ledger.wanted(((0, 0), 0), 1, 0)
    ledger.taken(((0, 0), 0), 1, 0, 0, 1.0)
    ledger.arrived(((0, 0), 0), ((1, 0), 0), 1, 0, 1.0, 10)
    return ledger


def test_a_good_report() -> None:
    """It says what was done, for people and as JSON."""
    found = outcome(busy())
    assert found.good and "verdict     good" in found.text() and "seed 7" in found.text() and "kill 2" in found.text()
    assert "/logs" not in found.text() and "warnings    9 x the disk is full" in found.text()
    read_again = json.loads(json.dumps(found.as_dict()))
    assert read_again["good"] and read_again["messages"]["arrived"] == 1
    assert read_again["resources"]["end"] == {"processes": 1, "MiB": 40.0, "threads": 12, "descriptors": 30}
    assert line(1.0, 3.0, busy(), 2, 2, [Sample(1.0, MIB, 3, 4)]).endswith(
        "1 of 1 messages, 0 faults, 2 blows, 2 nodes, 1 MiB, 3 threads, 4 descriptors"
    )


@pytest.mark.parametrize("how", ["ledger", "others", "nothing"])
def test_a_bad_report(how: str) -> None:
    """A fault of either kind; and a soak in which nothing has arrived has shown nothing."""
    ledger = Ledger() if how == "nothing" else busy()
    if how == "ledger":
        for _ in range(60):
            ledger.wrong("it came twice")
    found = outcome(ledger, faults=["a thread is left"] if how == "others" else [])
    assert not found.good and found.as_dict()["good"] is False
    assert "verdict     BAD" in found.text() and "/logs" in found.text()
    assert ("and 10 more like these" in found.text()) == (how == "ledger")
    assert ("FAULT       a thread is left" in found.text()) == (how == "others")
