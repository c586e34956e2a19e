"""
What happens to whom, and when: all of it follows from a seed and from who is there. No I/O, no clock.

Kinds are taken from a deck that is shuffled anew when it is empty, so that each has happened before one comes again.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Collection, Iterator, Mapping


@dataclasses.dataclass(frozen=True)
class Kind:
    """One thing that may happen."""

    lasts: tuple[float, float]
    """For how many seconds, at least and at most."""

    choices: tuple[float, ...] = (0.0,)
    """Of which one is drawn: how much."""


KINDS: dict[str, Kind] = {
    "kill": Kind((0.3, 3.0)),
    "stop": Kind((0.3, 3.0)),
    "freeze": Kind((1.0, 8.0)),
    "cable": Kind((1.0, 10.0)),
    "away": Kind((35.0, 50.0)),
    "outside": Kind((0.0, 0.0)),
    "inside": Kind((0.0, 0.0)),
    "reboot": Kind((1.0, 3.0)),
    "rebind": Kind((0.0, 0.0)),
    "poor": Kind((5.0, 15.0), (0.01, 0.03, 0.08, 0.15)),
    "no-tcp": Kind((5.0, 15.0)),
    "no-udp": Kind((5.0, 15.0)),
    "clock": Kind((5.0, 15.0), (-86400.0, -3600.0, -7.0, 7.0, 3600.0, 86400.0)),
    "disk": Kind((15.0, 40.0)),  # what is known of others is written twice a minute at least
    "descriptors": Kind((3.0, 10.0)),
    "memory": Kind((3.0, 10.0)),
    "ports": Kind((0.0, 0.0)),
    "goodbye": Kind((0.0, 0.0)),
}
"""
A process is killed, and started anew; ended in order, and started anew; stopped by a signal, and goes on; the line of
its site is cut, and for longer than sessions last; the site, or the machine in it, has another address; the router is
off and has forgotten all; it gives other ports; the line loses packets and is slow; a transport does not pass; the wall
clock is wrong; the disk of the node's state is full; no descriptor is to be had, no thread, no big piece of memory; the
node changes its ports; its application ends a session.
"""

REST = 2.0
"""Seconds that somebody is left alone after something has happened to it."""


@dataclasses.dataclass(frozen=True)
class Blow:
    """One thing that happens."""

    at: float
    """Seconds from the beginning."""

    kind: str
    target: int
    """The number of a node."""

    until: float
    """When it is over."""

    amount: float = 0.0


def schedule(
    seed: int, victims: Mapping[str, Collection[int]], interval: float, end: float, most: int
) -> Iterator[Blow]:
    """
    What happens, in order.

    Args:
        victims: Which nodes a thing may happen to, by its kind; a kind without any is left out.
        interval: Seconds from one to the next, on average.
        end: When all must be over.
        most: To how many nodes something may happen at once.
    """
    chance = random.Random(seed)
    kinds = [kind for kind in KINDS if victims.get(kind)]
    deck: list[str] = []
    busy: dict[int, float] = {}
    at = 0.0
    while kinds:
        at += interval * chance.uniform(0.5, 1.5)
        if at >= end:
            return
        busy = {node: until for node, until in busy.items() if until > at}
        if not deck:
            deck = chance.sample(kinds, len(kinds))
        draws = [(chance.uniform(*KINDS[kind].lasts), chance.choice(KINDS[kind].choices)) for kind in deck]
        if len(busy) >= most:
            continue
        for kind, (lasts, amount) in zip(deck, draws, strict=True):
            free = sorted(node for node in victims[kind] if node not in busy)
            if free and at + lasts <= end:
                target = chance.choice(free)
                deck.remove(kind)
                busy[target] = at + lasts + REST
                yield Blow(at, kind, target, at + lasts, amount)
                break
        else:
            deck = [] if len(deck) < len(kinds) else deck  # nothing of what is left fits: shuffle anew
