"""
What every node has sent and got, held against each other: no I/O, no clock. The rule is the one of docs/delivery.md.

Facts come as they were told, those of one process in its order, those of several in any. A *session* is one that a
process has begun to send in; messages of a priority in it are numbered from 0. What must hold of each priority of a
session:

- What arrives was sent there, arrives in one session of one process, once, and in order without a gap, but for messages
  that ``MessagesDropped`` has named.
- What ``send`` has accepted and did not arrive is in ``LostPeer.unacknowledged`` or in ``MessagesDropped``. Two things
  excuse it: its sender was killed; or it was accepted before a process of its receiver was killed, in that one's time:
  it may have been stored there, and never handled.
- A process that was not killed hears of the end of each of its sessions, once.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Iterator

Process = tuple[int, int]
"""A node's number, and which of its processes it is, from 0."""

Key = tuple[Process, int]
"""Whose session, and which of its sessions."""

EXAMPLES = 50
"""Faults that are told in words; the rest is counted."""


@dataclasses.dataclass
class Life:
    """A process."""

    began: float
    ended: float | None = None
    killed: bool = False


@dataclasses.dataclass
class Lane:
    """The messages of one priority of a session."""

    wanted: int = 0
    """How many `send` was called with, those that it refused left out."""

    taken: int = 0
    arrived: int = 0
    """The number that is due next at the receiver."""

    open: dict[int, tuple[int, float]] = dataclasses.field(default_factory=dict)
    """Accepted and not there yet: what `send` returned, and when."""

    skipped: set[int] = dataclasses.field(default_factory=set)
    """What later ones have overtaken."""


@dataclasses.dataclass
class Session:
    """One of a sender's, with the messages that it has sent in it."""

    peer: int
    """The node at the other end."""

    began: float
    lanes: dict[int, Lane] = dataclasses.field(default_factory=dict)
    lost: tuple[str, frozenset[int]] | None = None
    """Why it ended, and what was not acknowledged."""

    dropped: set[int] = dataclasses.field(default_factory=set)
    at: Key | None = None
    """Where it arrives."""

    last: float | None = None
    """When the last message arrived."""

    highest: int = -1
    """The last number that `send` has returned."""


@dataclasses.dataclass
class Totals:
    """What all of it comes to."""

    sent: int = 0
    arrived: int = 0
    bytes: int = 0
    refused: int = 0
    """For lack of room, or since the session was over."""

    dropped: int = 0
    unacknowledged: int = 0
    """That did not arrive, and were reported."""

    senders_killed: int = 0
    """That did not arrive, since their sender was killed."""

    receivers_killed: int = 0
    """That nobody handled, since their receiver was killed."""

    sessions: int = 0
    lost: dict[str, int] = dataclasses.field(default_factory=collections.Counter)
    """Sessions that ended, by the reason."""

    gaps: list[tuple[float, int, int]] = dataclasses.field(default_factory=list)
    """The longest times between two messages of a session: seconds, from which node, to which."""


class Ledger:
    """All that was told. Not thread-safe."""

    GAPS = 5
    NOTABLE = 1.0  # seconds

    def __init__(self) -> None:
        self.totals = Totals()
        self.faults = 0
        self.examples: list[str] = []
        self.processes: dict[Process, Life] = {}
        self.sessions: dict[Key, Session] = {}
        self._early: dict[Key, list[tuple[Key, int, int, float]]] = {}  # arrived before we heard of the session

    # --- processes ----------------------------------------------------------------------------------------------------

    def started(self, process: Process, at: float) -> None:
        """It exists from now on."""
        self.processes[process] = Life(at)

    def ended(self, process: Process, at: float, *, killed: bool) -> None:
        """It is over, and all that it had told has been heard."""
        life = self.processes[process]
        life.ended, life.killed = at, killed

    # --- what senders tell --------------------------------------------------------------------------------------------

    def begun(self, key: Key, peer: int, at: float) -> None:
        """A process has a new session."""
        if key in self.sessions:
            return self._fault(f"{_name(key)} began twice")
        self.sessions[key] = Session(peer, at)
        self.totals.sessions += 1
        for arrival in self._early.pop(key, ()):
            self.arrived(key, *arrival)

    def wanted(self, key: Key, priority: int, sequence: int) -> None:
        """`send` is about to be called."""
        self._lane(key, priority).wanted = sequence + 1

    def refused(self, key: Key, priority: int, sequence: int) -> None:
        """`send` has raised: the next one has this number instead."""
        self._lane(key, priority).wanted = sequence
        self.totals.refused += 1

    def taken(self, key: Key, priority: int, sequence: int, number: int, at: float) -> None:
        """`send` has accepted it, as this number of the session."""
        session, lane = self.sessions[key], self._lane(key, priority)
        if number <= session.highest:
            self._fault(f"{_name(key)}: send returned {number} after {session.highest}")
        session.highest = number
        lane.taken = sequence + 1
        self.totals.sent += 1
        if sequence >= lane.arrived or sequence in lane.skipped:
            lane.open[sequence] = number, at

    def dropped(self, key: Key, numbers: Iterable[int]) -> None:
        """`MessagesDropped`."""
        self.sessions[key].dropped.update(numbers)

    def lost(self, key: Key, reason: str, unacknowledged: Iterable[int]) -> None:
        """`LostPeer`."""
        session = self.sessions[key]
        if session.lost is not None:
            return self._fault(f"{_name(key)} was lost twice: {session.lost[0]}, {reason}")
        session.lost = reason, frozenset(unacknowledged)
        self.totals.lost[reason] += 1

    # --- what receivers tell ------------------------------------------------------------------------------------------

    def arrived(self, key: Key, there: Key, priority: int, sequence: int, at: float, size: int = 0) -> None:
        """A message of that session is there, at somebody who has this session for it."""
        session = self.sessions.get(key)
        if session is None:
            self._early.setdefault(key, []).append((there, priority, sequence, at))
            return
        if session.peer != there[0][0]:
            return self._fault(f"{_name(key)}, for node {session.peer}, arrived at {_name(there)}")
        if session.at is None:
            session.at = there
        elif session.at != there:
            return self._fault(f"{_name(key)} arrived in {_name(session.at)} and in {_name(there)}")
        if session.last is not None and at - session.last > self.NOTABLE:
            self._gap(at - session.last, key[0][0], session.peer)
        session.last = at
        self.totals.bytes += size
        lane = self._lane(key, priority)
        if sequence >= lane.arrived:
            lane.skipped.update(range(lane.arrived, sequence))
            lane.arrived = sequence + 1
        elif sequence in lane.skipped:
            lane.skipped.remove(sequence)
            self._fault(f"{_name(key)}: {sequence} of priority {priority} arrived after a later one")
        else:
            return self._fault(f"{_name(key)}: {sequence} of priority {priority} arrived twice")
        lane.open.pop(sequence, None)
        self.totals.arrived += 1

    def wrong(self, text: str) -> None:
        """Somebody saw what must not be: bytes that nobody sent, an exception that is not documented."""
        self._fault(text)

    # --- the end ------------------------------------------------------------------------------------------------------

    def unsettled(self) -> Iterator[Key]:
        """Sessions of which there must be more to hear: of messages that are to arrive, or of their end."""
        for key, session in self.sessions.items():
            if session.lost is None and not self.processes[key[0]].killed:
                there = session.at is not None and self.processes[session.at[0]].ended is not None
                awaited = (each for each in self._missing(session) if each[1] not in session.lanes[each[0]].skipped)
                if there or any(awaited):
                    yield key

    def settle(self, *, closed: bool) -> None:
        """
        Nothing more will come: judge what there is.

        Args:
            closed: Whether all processes have ended, so that each session must have.
        """
        for key in self._early:
            self._fault(f"{_name(key)} arrived, and nobody had begun it")
        for key, session in self.sessions.items():
            self._settle(key, session, closed)
        self.totals.gaps.sort(reverse=True)

    def _settle(self, key: Key, session: Session, closed: bool) -> None:
        totals = self.totals
        sender = self.processes[key[0]]
        if closed and session.lost is None and not sender.killed:
            self._fault(f"{_name(key)} has no end")
        unacknowledged = session.lost[1] if session.lost else frozenset()
        if unacknowledged and max(unacknowledged) > session.highest and not sender.killed:
            self._fault(f"{_name(key)}: {max(unacknowledged)} is unacknowledged, and was never sent")
        for priority, lane in session.lanes.items():
            if lane.arrived > lane.wanted:
                self._fault(f"{_name(key)}: {lane.arrived - 1} of priority {priority} arrived, and was never sent")
            for sequence in sorted(lane.skipped):
                number = lane.open[sequence][0] if sequence in lane.open else None
                if number not in session.dropped:
                    self._fault(f"{_name(key)}: {sequence} of priority {priority} is missing before later ones")
        for priority, sequence, number, at in self._missing(session):
            if sequence in session.lanes[priority].skipped:
                continue  # told above
            if sender.killed:
                totals.senders_killed += 1
            elif number in unacknowledged:
                totals.unacknowledged += 1
            elif session.lost and self._died(session, at):
                totals.receivers_killed += 1
            else:
                why = session.lost[0] if session.lost else "no end"
                text = f"{sequence} of priority {priority} (number {number}) is lost: {why}"
                self._fault(f"{_name(key)} to node {session.peer}: {text}")
        held = (number for lane in session.lanes.values() for number, _ in lane.open.values())
        totals.dropped += sum(number in session.dropped for number in held)

    def _missing(self, session: Session) -> Iterator[tuple[int, int, int, float]]:
        for priority, lane in session.lanes.items():
            for sequence, (number, at) in lane.open.items():
                if number not in session.dropped:
                    yield priority, sequence, number, at

    def _died(self, session: Session, at: float) -> bool:
        """Whether the receiver's process was killed after that moment, and it is the one that this session was with."""
        if session.at is not None:
            life = self.processes[session.at[0]]
            return life.killed and life.ended is not None and at <= life.ended
        return any(
            life.killed and life.ended is not None and life.ended >= max(at, session.began) >= life.began
            for (node, _), life in self.processes.items()
            if node == session.peer
        )

    def _lane(self, key: Key, priority: int) -> Lane:
        return self.sessions[key].lanes.setdefault(priority, Lane())

    def _gap(self, seconds: float, here: int, there: int) -> None:
        gaps = self.totals.gaps
        gaps.append((seconds, here, there))
        if len(gaps) > self.GAPS:
            gaps.remove(min(gaps))

    def _fault(self, text: str) -> None:
        self.faults += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(text)


def _name(key: Key) -> str:
    (node, process), session = key
    return f"session {session} of node {node}.{process}"
