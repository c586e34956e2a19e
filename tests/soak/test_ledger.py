"""The ledger finds what is lost, doubled, reordered or foreign, and nothing else, however what was told is mixed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.soak.ledger import Key, Ledger

Fact = tuple[Any, ...]
SENDER, RECEIVER = (0, 0), (1, 0)
HERE, THERE = (SENDER, 5), (RECEIVER, 7)
ENDS = ("closed", "lost", "sender killed", "receiver killed")


@dataclasses.dataclass(frozen=True)
class Story:
    """What one session came to, with nothing wrong: what each process told, in its order."""

    end: str
    sender: list[Fact]
    receiver: list[Fact]
    missing: int
    """Messages that were accepted and did not arrive."""


@st.composite
def stories(draw: st.DrawFn, ends: tuple[str, ...] = ENDS) -> Story:
    """Messages of several priorities; of each priority the last ones do not arrive, if the session has no good end."""
    priorities = draw(st.lists(st.integers(0, 3), min_size=1, max_size=30))
    refused = draw(st.sets(st.integers(0, len(priorities) - 1)))
    end = draw(st.sampled_from(ends))
    sender: list[Fact] = [("begun", HERE, 1, 1.0)]
    counts: dict[int, int] = {}
    accepted: list[tuple[int, int]] = []
    for place, priority in enumerate(priorities):
        sequence = counts.get(priority, 0)
        if place in refused:
            sender += [("wanted", HERE, priority, sequence), ("refused", HERE, priority, sequence)]
        sender += [
            ("wanted", HERE, priority, sequence),
            ("taken", HERE, priority, sequence, len(accepted), 2.0),
        ]
        counts[priority] = sequence + 1
        accepted.append((priority, sequence))
    here = {p: draw(st.integers(0, n)) if end != "closed" else n for p, n in counts.items()}
    receiver: list[Fact] = []
    order = draw(st.permutations(accepted))
    following = dict.fromkeys(counts, 0)
    for priority, _ in order:  # in any order of the priorities, in order within each
        if following[priority] < here[priority]:
            receiver.append(("arrived", HERE, THERE, priority, following[priority], 3.0))
            following[priority] += 1
    away = [number for number, (priority, sequence) in enumerate(accepted) if sequence >= here[priority]]
    if end in ("closed", "lost"):
        doubtful = draw(st.sets(st.integers(0, len(accepted) - 1)))
        sender.append(("lost", HERE, "timeout" if end == "lost" else "closed", tuple(sorted({*away, *doubtful}))))
    elif end == "receiver killed":
        told = draw(st.sets(st.sampled_from(away))) if away else set()
        sender.append(("lost", HERE, "restarted", tuple(sorted(told))))
    return Story(end, sender, receiver, len(away))


def judged(story: Story, mix: Callable[[int], bool] = bool) -> Ledger:
    """The ledger at the end; `mix` says for each place in a row whether the receiver's word comes first."""
    ledger = Ledger()
    ledger.started(SENDER, 0.5)
    ledger.started(RECEIVER, 0.5)
    sender, receiver = list(story.sender), list(story.receiver)
    place = 0
    while sender or receiver:
        name, *fields = (receiver if receiver and (not sender or mix(place)) else sender).pop(0)
        getattr(ledger, name)(*fields)
        place += 1
    ledger.ended(SENDER, 9.0, killed=story.end == "sender killed")
    ledger.ended(RECEIVER, 9.0, killed=story.end == "receiver killed")
    ledger.settle(closed=True)
    return ledger


@given(stories(), st.sets(st.integers(0, 100)))
def test_an_honest_world_has_no_fault(story: Story, first: set[int]) -> None:
    """Whoever is heard first; and every message that did not arrive has its reason."""
    ledger = judged(story, first.__contains__)
    assert ledger.examples == []
    totals = ledger.totals
    assert totals.sent == totals.arrived + story.missing
    assert story.missing == totals.unacknowledged + totals.senders_killed + totals.receivers_killed


@given(stories(("closed", "lost", "receiver killed")), st.data())
def test_one_that_is_not_there_is_found(story: Story, data: st.DataObject) -> None:
    """Nobody has named it; the one who should have handled it was not killed, or has handled later ones."""
    candidates = [fact for fact in story.receiver if _must_be_there(fact, story)]
    if candidates:
        gone = data.draw(st.sampled_from(candidates))
        left = [fact for fact in story.receiver if fact is not gone]
        assert judged(dataclasses.replace(story, receiver=left)).faults


def _must_be_there(fact: Fact, story: Story) -> bool:
    _, _, _, priority, sequence, _ = fact
    if any(other[3] == priority and other[4] > sequence for other in story.receiver):
        return True
    numbers = {each[2:4]: each[4] for each in story.sender if each[0] == "taken"}
    return story.end != "receiver killed" and numbers[priority, sequence] not in story.sender[-1][3]


@given(stories(), st.data())
def test_one_that_comes_twice_is_found(story: Story, data: st.DataObject) -> None:
    """Whenever it comes again, and whatever became of the two processes."""
    if story.receiver:
        place = data.draw(st.integers(0, len(story.receiver) - 1))
        again = data.draw(st.integers(place, len(story.receiver)))
        receiver = list(story.receiver)
        receiver.insert(again, receiver[place])
        assert judged(dataclasses.replace(story, receiver=receiver)).faults == 1


@given(stories(), st.data())
def test_two_that_have_changed_places_are_found(story: Story, data: st.DataObject) -> None:
    """Two of one priority, in the same session."""
    places = [
        (one, other)
        for other in range(len(story.receiver))
        for one in range(other)
        if story.receiver[one][3] == story.receiver[other][3]
    ]
    if places:
        one, other = data.draw(st.sampled_from(places))
        receiver = list(story.receiver)
        receiver[one], receiver[other] = receiver[other], receiver[one]
        assert judged(dataclasses.replace(story, receiver=receiver)).faults


@given(stories())
def test_what_nobody_sent_is_found(story: Story) -> None:
    """One more than the sender was about to send."""
    counts = {fact[2]: fact[3] + 1 for fact in story.sender if fact[0] == "wanted"}
    priority = min(counts)
    arrived = [fact for fact in story.receiver if fact[3] == priority]
    more = [("arrived", HERE, THERE, priority, each, 3.0) for each in range(len(arrived), counts[priority] + 1)]
    assert judged(dataclasses.replace(story, receiver=[*story.receiver, *more])).faults


@given(stories())
def test_a_session_ends_once(story: Story) -> None:
    """A second LostPeer is one too many; none is too few, unless its process was killed."""
    lost = [fact for fact in story.sender if fact[0] == "lost"]
    without = [fact for fact in story.sender if fact[0] != "lost"]
    if lost:
        assert judged(dataclasses.replace(story, sender=[*story.sender, *lost])).faults == 1
        assert judged(dataclasses.replace(story, sender=without)).faults


def told(*facts: Fact, killed: bool = False) -> list[str]:
    """The faults of a session with these facts after two messages were sent."""
    ledger = Ledger()
    for process in (SENDER, RECEIVER):
        ledger.started(process, 0.5)
    ledger.begun(HERE, 1, 1.0)
    for sequence in range(2):
        ledger.wanted(HERE, 1, sequence)
        ledger.taken(HERE, 1, sequence, sequence, 2.0)
    for name, *fields in facts:
        getattr(ledger, name)(*fields)
    ledger.ended(RECEIVER, 4.0, killed=killed)
    ledger.ended(SENDER, 9.0, killed=False)
    ledger.settle(closed=True)
    return ledger.examples


ARRIVED = [("arrived", HERE, THERE, 1, sequence, 3.0) for sequence in range(2)]
CLOSED = ("lost", HERE, "closed", ())


@pytest.mark.parametrize(
    ("facts", "fault"),
    [
        ([*ARRIVED, CLOSED], ""),
        ([ARRIVED[0], CLOSED], "1 of priority 1 (number 1) is lost: closed"),
        ([ARRIVED[0], ("lost", HERE, "timeout", (1,))], ""),
        ([ARRIVED[0], ("dropped", HERE, (1,)), CLOSED], ""),
        ([ARRIVED[1], ("dropped", HERE, (0,)), CLOSED], ""),
        ([ARRIVED[1], ("lost", HERE, "timeout", (0,))], "is missing before later ones"),
        ([*ARRIVED, ("lost", HERE, "timeout", (7,))], "was never sent"),
        ([ARRIVED[0], ("arrived", HERE, (RECEIVER, 8), 1, 1, 3.0), ("lost", HERE, "gone", (1,))], "and in session 8"),
        ([("arrived", HERE, ((2, 0), 1), 1, 0, 3.0), ("lost", HERE, "timeout", (0, 1))], "for node 1, arrived at"),
        ([*ARRIVED, CLOSED, ("arrived", (SENDER, 6), THERE, 1, 0, 3.0)], "nobody had begun it"),
        ([*ARRIVED, CLOSED, ("begun", HERE, 1, 1.0)], "began twice"),
        ([*ARRIVED, ("taken", HERE, 1, 2, 1, 2.0), ("lost", HERE, "timeout", (1,))], "send returned 1 after 1"),
        ([*ARRIVED, CLOSED, ("wrong", "bytes that nobody sent")], "bytes that nobody sent"),
    ],
)
def test_each_kind_of_fault(facts: list[Fact], fault: str) -> None:
    """Is told in words."""
    found = told(*facts)
    assert (fault in found[0] and len(found) >= 1) if fault else found == []


def test_a_killed_receiver_excuses_what_was_sent_before() -> None:
    """And nothing that was accepted after its end: nobody can have acknowledged that."""
    late = [("wanted", HERE, 1, 2), ("taken", HERE, 1, 2, 2, 5.0)]
    assert told(CLOSED, killed=True) == []
    assert len(told(*late, CLOSED, killed=True)) == 1
    assert told(*late, ("lost", HERE, "restarted", (2,)), killed=True) == []
    assert told(ARRIVED[0], CLOSED, killed=True) == []


def test_what_is_waited_for_at_the_end() -> None:
    """Messages under way, and the end of sessions with who is no more; not what a killed process has sent."""
    ledger = Ledger()
    for process in (SENDER, RECEIVER):
        ledger.started(process, 0.5)
    ledger.begun(HERE, 1, 1.0)
    assert list(ledger.unsettled()) == []
    ledger.wanted(HERE, 1, 0)
    ledger.taken(HERE, 1, 0, 0, 2.0)
    assert list(ledger.unsettled()) == [HERE]
    ledger.arrived(HERE, THERE, 1, 0, 3.0, 100)
    assert list(ledger.unsettled()) == [] and ledger.totals.bytes == 100
    ledger.ended(RECEIVER, 4.0, killed=True)
    assert list(ledger.unsettled()) == [HERE]
    ledger.lost(HERE, "restarted", ())
    assert list(ledger.unsettled()) == []
    ledger.begun((SENDER, 6), 1, 5.0)
    ledger.wanted((SENDER, 6), 1, 0)
    ledger.taken((SENDER, 6), 1, 0, 0, 5.0)
    assert list(ledger.unsettled()) == [(SENDER, 6)]
    ledger.ended(SENDER, 6.0, killed=True)
    assert list(ledger.unsettled()) == []


def test_the_longest_silences() -> None:
    """Those of more than a second, the longest first."""
    ledger = Ledger()
    keys: list[Key] = [(SENDER, number) for number in range(8)]
    for process in (SENDER, RECEIVER):
        ledger.started(process, 0.0)
    for number, key in enumerate(keys):
        ledger.begun(key, 1, 0.0)
        for sequence, at in enumerate((1.0, 1.5 + number)):
            ledger.wanted(key, 1, sequence)
            ledger.taken(key, 1, sequence, sequence, at)
            ledger.arrived(key, (RECEIVER, number), 1, sequence, at)
    ledger.settle(closed=False)
    assert [gap[0] for gap in ledger.totals.gaps] == [7.5, 6.5, 5.5, 4.5, 3.5]
    assert ledger.examples == []
