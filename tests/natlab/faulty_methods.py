"""Methods with faults of every kind, for programs of the laboratory: importing it registers them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from typing import Any

from crust import traversal

VICTIM = os.environ["VICTIM"]


class Plan:
    """It does nothing, for ever."""

    def __init__(self, context: traversal.Context) -> None:
        self.context = context

    def start(self, now: float) -> None: ...

    def receive_signal(self, body: bytes, now: float) -> None: ...

    def receive_datagram(self, socket: str, source: traversal.Address, data: bytes, now: float) -> None: ...

    def sampled(self, socket: str, address: traversal.Address | None, now: float) -> None: ...

    def connected(self, name: str, now: float) -> None: ...

    def failed(self, name: str, number: int, now: float) -> None: ...

    def learned(self, context: traversal.Context, now: float) -> None: ...

    def get_timer(self) -> float | None:
        return None

    def handle_timer(self, now: float) -> None: ...

    def actions(self) -> Iterable[traversal.Action]:
        return ()


class Raises(Plan):
    """As soon as it begins."""

    def start(self, now: float) -> None:
        raise ZeroDivisionError


class Trusts(Plan):
    """It takes what the other end says for text, and says what is none."""

    def receive_signal(self, body: bytes, now: float) -> None:
        body.decode()

    def actions(self) -> Iterable[traversal.Action]:
        return (traversal.Tell(b"\xff" * 2048),)


class Dances(Plan):
    """It asks for what nobody can do."""

    def actions(self) -> Iterable[Any]:
        return ("dance",)


class Floods(Plan):
    """Always in a hurry: sends to somebody who has nothing to do with it, from many sockets."""

    numbers = itertools.count()

    def get_timer(self) -> float | None:
        return 0.0

    def actions(self) -> Iterable[traversal.Action]:
        name = f"flood-{next(self.numbers)}"
        yield traversal.OpenUdp(name, 4)
        for port in range(2000, 2100):
            yield traversal.Probe(name, (VICTIM, port), b"\x80" + bytes(99))
            yield traversal.Probe("udp4", (VICTIM, port), b"\x80" + bytes(99))
            yield traversal.Connect(f"{name}-{port}", (VICTIM, port))


def refuses(context: traversal.Context) -> traversal.Plan:
    raise KeyError("a fault of the method's own")


for _name, _plan in (
    ("fault-plan", refuses),
    ("fault-start", Raises),
    ("fault-signal", Trusts),
    ("fault-action", Dances),
    ("fault-endless", Plan),
    ("fault-flood", Floods),
):
    traversal.register(traversal.Method(_name, "punched-utp", lambda ours, theirs: None, _plan))
