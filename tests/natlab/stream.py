"""A stream of numbered messages from one node to another, and what became of it while something happened."""

from __future__ import annotations

import base64
import collections
import dataclasses
import threading
import time
from collections.abc import Mapping, Sequence

from tests.natlab.watched import WatchedNode

RATE = 100.0  # messages a second
PATIENCE = 60.0  # seconds until what was accepted has arrived
GAP = 0.1  # seconds without a message that nobody calls an interruption


@dataclasses.dataclass(frozen=True)
class Damage:
    """What became of a stream."""

    accepted: int
    """Messages that the sender's node took."""

    refused: int
    """That it did not: there was no session."""

    lost: int
    """That it took, and that did not arrive."""

    doubled: int
    reordered: int
    """That arrived again, and after a later one."""

    gap: float
    """The longest time without a message since it happened, in seconds."""

    back: float | None
    """Seconds from when the network was as it would stay until messages came again; None: they did not."""

    @property
    def none(self) -> bool:
        """Whether all that the node took arrived once, in order, and messages came again."""
        return not (self.refused or self.lost or self.doubled or self.reordered) and self.back is not None


def damage(
    sent: Mapping[int, bool], received: Sequence[tuple[float, int]], began: float, restored: float
) -> Damage:
    """
    Compare what was sent with what came.

    Args:
        sent: The numbers, and whether the node took each.
        received: When each came, and its number.
        began: When something began to happen to the network.
        restored: When that was over.
    """
    counts = collections.Counter(number for _, number in received)
    reordered, highest = 0, -1
    for number in dict.fromkeys(number for _, number in received):
        reordered += number < highest
        highest = max(highest, number)
    times = [at for at, _ in received]
    gaps = [(after - before, after) for before, after in zip(times, times[1:], strict=False) if after > began]
    longest, ended = max(gaps, default=(0.0, 0.0))
    back: float | None = None
    if times and times[-1] > restored:
        back = max(0.0, ended - restored) if longest > GAP else 0.0
    return Damage(
        accepted=sum(sent.values()),
        refused=len(sent) - sum(sent.values()),
        lost=sum(taken and not counts[number] for number, taken in sent.items()),
        doubled=sum(count - 1 for count in counts.values()),
        reordered=reordered,
        gap=longest,
        back=back,
    )


class Stream:
    """
    Messages at a steady rate, from the beginning of a ``with`` on.

    Args:
        sender: It has a session with the other.
        receiver: Which gets no other messages from it.
    """

    def __init__(self, sender: WatchedNode, receiver: WatchedNode) -> None:
        self._sender, self._receiver = sender, receiver
        self._commands: list[int] = []  # their ids; a message is numbered by its place
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="test-stream", daemon=True)

    def __enter__(self) -> Stream:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            data = b"%d" % len(self._commands)
            try:
                self._commands.append(self._sender.send(self._receiver.peer, data))
            except OSError:  # the node has been killed: what it took before counts
                return
            due += 1 / RATE

    def received(self) -> list[tuple[float, int]]:
        """When each message came (`time.monotonic`), and its number."""
        return [
            (at, int(base64.b64decode(line["data"])))
            for at, line in self._receiver.events("new_message")
            if line["peer"] == self._sender.peer
        ]

    def flows(self, after: float, timeout: float = PATIENCE) -> bool:
        """Wait until a message arrives that was sent after some time; whether one did."""
        end = time.monotonic() + timeout
        pause = threading.Event()
        while time.monotonic() < after:
            pause.wait(0.01)
        number = len(self._commands)
        while not any(each >= number for _, each in self.received()[-100:]):
            if time.monotonic() > end:
                return False
            pause.wait(0.05)
        return True

    def end(self, began: float, restored: float) -> Damage:
        """Send no more, wait for what is under way, and compare."""
        self._stop.set()
        self._thread.join()
        sent = {}
        for number, command in enumerate(self._commands):
            sent[number] = bool(self._sender.reply(command, PATIENCE)[1]["ok"])
        wanted = {number for number, taken in sent.items() if taken}
        end = time.monotonic() + PATIENCE
        pause = threading.Event()
        while wanted - {number for _, number in self.received()} and time.monotonic() < end:
            pause.wait(0.05)
        return damage(sent, self.received(), began, restored)
