"""
A traversal method for crust: both ends knock at each other's door at one moment. Importing it registers it.

The leading end says "knock", and begins half a round trip later, when the other end has heard it and begins as well.
Each sends a probe from its listening UDP port to all addresses of the other one that may be tried, ten times, a tenth
of a second apart. A router lets in what answers what it has let out: as soon as both have sent, one gets through.
"""

from __future__ import annotations

from collections.abc import Iterable

from crust import MalformedMessage
from crust.traversal import (
    Action,
    Address,
    Context,
    Encounter,
    Finish,
    Method,
    Prospect,
    Side,
    Tell,
    TransportCode,
    register,
)

NAME = "knock"
KNOCKS = 10
PAUSE = 0.1  # seconds between two of them
PATIENCE = 1.0  # seconds for the word to knock
WORD = b"knock"


class Knock:
    """One end of one attempt: a crust.traversal.Plan."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._actions: list[Action] = []
        self._encounter = Encounter(context, NAME, self._actions)  # probes, their answers, and one way to agree on
        self._knocks = 0
        self._next = 0.0

    def start(self, now: float) -> None:
        self._encounter.begin(now)
        self._next = now + PATIENCE
        if self._context.leads:
            self._actions.append(Tell(WORD))
            self._next = now + self._context.rtt / 2

    def receive_signal(self, body: bytes, now: float) -> None:
        if body != WORD or self._context.leads:
            raise MalformedMessage("nothing but one word is said here, and by the leading end")
        if not self._knocks:
            self._next = now

    def receive_datagram(self, socket: str, source: Address, data: bytes, now: float) -> None:
        self._encounter.receive(socket, source, data, now)

    def sampled(self, socket: str, address: Address | None, now: float) -> None:
        """It asks how no socket is seen."""

    def connected(self, name: str, now: float) -> None:
        """It makes no connection."""

    def failed(self, name: str, number: int, now: float) -> None:
        """It opens no socket."""

    def learned(self, context: Context, now: float) -> None:
        self._context = context

    def get_timer(self) -> float | None:
        times = [self._encounter.get_timer(), self._next if self._encounter.won is None else None]
        return min((each for each in times if each is not None), default=None)

    def handle_timer(self, now: float) -> None:
        self._encounter.handle_timer(now)
        if self._encounter.won is not None or now < self._next:
            return
        if self._knocks == KNOCKS:
            self._actions.append(Finish(f"nobody has answered {KNOCKS} knocks"))
            return
        self._knocks += 1
        self._next = now + (PAUSE if self._knocks < KNOCKS else PATIENCE)
        for place in self._context.targets:
            if place.transport is TransportCode.UTP:
                self._encounter.probe("udp6" if ":" in place.address[0] else "udp4", place.address, now)

    def actions(self) -> Iterable[Action]:
        asked = tuple(self._actions)
        self._actions.clear()
        return asked


def promise(ours: Side, theirs: Side) -> Prospect | None:
    """For forecasts, such as those of punch-test: nothing, as the built-in methods do all that this one can."""
    return None


register(Method(NAME, "punched-utp", promise, Knock))
