"""One run of the matrix: a laboratory of its own, with a rendezvous and two nodes that know no more than ids."""

from __future__ import annotations

import base64
import contextlib
import functools
import io
import json
import pathlib
import tempfile
import threading
import time
from collections.abc import Collection, Sequence
from typing import Any

from tests.natlab.lab import Lab
from tests.natlab.matrix.outcome import Outcome, Step, judge
from tests.natlab.matrix.places import node, places, rendezvous
from tests.natlab.matrix.state import Run
from tests.natlab.matrix.table import GIVE_UP, Expectation, expected
from tests.natlab.recorder import Recorder
from tests.natlab.watched import Line, WatchedNode

CALL = 20.0  # seconds that the caller tries
LAST = 5.0  # seconds for the message at the end
KEPT = 0.5  # seconds that a path must not get worse again
LOOK = 0.01  # seconds between two looks
QUIET = 2.2  # seconds without a packet: longer than from the second SYN that nobody answers to the third
HOPELESS = 4.5  # the same where all attempts are to have ended: longer than from the third to the fourth
QUIET_AT_MOST = 12.0
LONGEST = 500  # characters of an error
_PATHS = {"connect_success": "path", "path_changed": "new", "peer_resumed": "path"}


def link(nodes: Sequence[WatchedNode], to: WatchedNode) -> None:
    """
    Have nodes bootstrap from another, and connect to it: whoever has a link already need not call a contact to be in
    the network. Both ends know when this returns. AssertionError if one cannot.
    """
    for each in nodes:
        for reply in (each.ask("bootstrap", contacts=[to.contact]), each.ask("connect", peer=to.contact)):
            assert reply["ok"], f"{each.name} does not reach the rendezvous: {reply}"
        to.first(functools.partial(_is_session, each.peer))


def _has(wanted: Line, line: Line) -> bool:
    return wanted.items() <= line.items()


def _is_session(peer: str, line: Line) -> bool:
    return line.get("event") in ("bootstrap_accept", "connect_success") and line["peer"] == peer


def idle(
    recorders: Sequence[Recorder],
    at_most: float = QUIET_AT_MOST,
    quiet: float = QUIET,
    besides: Collection[str] = (),
) -> tuple[bool, float | None]:
    """
    Wait until the machines of these recorders have sent and received nothing for so many seconds: what the nodes there
    learn in the background is learned, nothing is tried any more, and the NATs are idle.

    Args:
        besides: Addresses; what is exchanged with them does not count.

    Returns:
        Whether that was so before `at_most` seconds had passed; and when the last packet passed (`time.monotonic`), or
        None if there was none since the recorders began.
    """
    pause = threading.Event()
    ahead = time.time() - time.monotonic()
    looked_at = [0] * len(recorders)
    latest: float | None = None
    began = time.monotonic()
    while True:
        for place, recorder in enumerate(recorders):
            seen = recorder.packets()
            for packet in seen[looked_at[place] :]:
                if packet.source[0] not in besides and packet.destination[0] not in besides:
                    latest = max(latest or 0.0, packet.at - ahead)
            looked_at[place] = len(seen)
        now = time.monotonic()
        if now - max(began, latest or 0.0) >= quiet:
            return True, latest
        if now - began > at_most:
            return False, latest
        pause.wait(LOOK)


class Call:
    """A call under way, and what it has come to so far. The clock starts here."""

    def __init__(self, caller: WatchedNode, callee: WatchedNode, addresses: bool) -> None:
        self.caller, self.callee = caller, callee
        self.began = time.monotonic()
        self._number = caller.begin("connect", peer=callee.contact if addresses else callee.peer, timeout=CALL)

    def connected(self) -> tuple[float | None, str]:
        """Wait for the session, and send the first message; when it was there, or why it is not."""
        at, reply = self.caller.reply(self._number, CALL + 10.0)
        if not reply["ok"]:
            return None, f"{reply['error']}: {reply['text']}"
        self.caller.send(self.callee.peer, b"first")
        return at - self.began, ""

    def steps(self, node: WatchedNode, other: WatchedNode) -> tuple[Step, ...]:
        """The paths of one end so far; one without a name while it has none."""
        found = []
        for at, line in node.events(*_PATHS, "peer_suspended", "lost_peer"):
            if line["peer"] == other.peer:
                path: dict[str, Any] = line[_PATHS[line["event"]]] if line["event"] in _PATHS else {}
                found.append(Step(at - self.began, path.get("class", ""), path.get("transport", "")))
        return tuple(found)

    def outcome(self, **known: Any) -> Outcome:
        """As it is now."""
        caller, callee = self.steps(self.caller, self.callee), self.steps(self.callee, self.caller)
        return Outcome(caller=caller, callee=callee, **known)

    def arrives(self, message: bytes, timeout: float) -> float | None:
        """When the callee had a message; None: not within so many seconds."""

        wanted = {"event": "new_message", "peer": self.caller.peer, "data": base64.b64encode(message).decode()}
        try:
            return self.callee.first(functools.partial(_has, wanted), timeout)[0] - self.began
        except AssertionError:
            return None

    def watch(self, recorders: Sequence[Recorder], server: Collection[str], expectation: Expectation) -> Outcome:
        """Until both ends have what is expected, or it takes much too long."""
        connected, error = self.connected()
        if connected is None:
            return self.outcome(error=error[:LONGEST])
        first = self.arrives(b"first", CALL)
        end = self.began + max(1.5 * expectation.seconds, expectation.seconds + 3.0)
        pause = threading.Event()
        found = self.outcome()
        while time.monotonic() < end:
            reached = found.reached(expectation)
            if reached is not None and time.monotonic() > self.began + reached + KEPT:
                break
            pause.wait(LOOK)
            found = self.outcome()
        ended = None
        if expectation.letter == "R" and not expectation.surpassed(found.final):
            # What goes to the server is the relay itself, and heartbeats: attempts go to the other side.
            is_idle, last = idle(recorders, GIVE_UP + 3.0, HOPELESS, server)
            ended = max(0.0, (last or 0.0) - self.began) if is_idle else None
        self.caller.send(self.callee.peer, b"last")
        carries = self.arrives(b"last", LAST) is not None
        return self.outcome(connected=connected, first_message=first, carries=carries, ended=ended)


def play(run: Run, logs: pathlib.Path | None = None) -> Outcome:
    """
    Do a run.

    Args:
        logs: A folder for all that was said in runs that were not good.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            outcome = _played(run, said)
    except (AssertionError, OSError) as error:
        outcome = Outcome(error=f"{type(error).__name__}: {' '.join(str(error).split())}"[:LONGEST])
    if logs is not None and judge(outcome, _expectation(run)).word != "good":
        logs.mkdir(parents=True, exist_ok=True)
        name = "-".join(filter(None, (run.one, run.other, run.conditions.only, str(run.number))))
        (logs / f"{name}.log").write_text(f"{json.dumps(outcome.as_json())}\n{said.getvalue()}")
    return outcome


def _expectation(run: Run) -> Expectation:
    found = expected(run.one, run.other, run.conditions.only)
    assert found is not None, f"{run.one} and {run.other} cannot be linked"
    return found


def _played(run: Run, said: io.StringIO) -> Outcome:
    conditions = run.conditions
    with contextlib.ExitStack() as stack:
        home = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        lab = stack.enter_context(Lab())
        server = lab.server("srv")
        ends = places(lab, run)
        middle = stack.enter_context(rendezvous(server, home, ipv6=run.one == "ipv6"))
        nodes = []
        for place, kind in zip(ends, (run.one, run.other), strict=True):
            web = kind == "none" and "strict" in (run.one, run.other)
            made = node(place.machine, home, conditions.only, web=web, mapping=run.one == "mapped")
            nodes.append(stack.enter_context(made))
        recorders = [stack.enter_context(Recorder(place.machine)) for place in ends]
        link(nodes, middle)
        settled, _ = idle(recorders)
        for place in ends if conditions.foreign else ():
            place.disturb(server, conditions.foreign)
        call = Call(*nodes, conditions.addresses)
        try:
            found = call.watch(recorders, (*server.all_ipv4, *server.all_ipv6), _expectation(run))
            if not found.carries:
                for each in (*nodes, middle):
                    each.abort()
        finally:
            for each in (*nodes, middle):
                _show(each, call.began, said)
    return Outcome(**{**vars(found), "settled": settled})


def _show(node: WatchedNode, began: float, said: io.StringIO) -> None:
    said.write(f"--- {node.name} {node.peer}\n")
    said.writelines(f"{at - began:9.3f} {json.dumps(line)}\n" for at, line in list(node.seen))
    said.write(f"{node.errors}\n")
