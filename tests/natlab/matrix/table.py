"""
What two nodes behind given kinds of sites must come to, if they share a rendezvous and know just each other's id.

One row for each kind; the table is symmetric, so it has the upper half. A letter is a way: see `LETTERS`. What is left
when only one transport may be used follows from it (`expected`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from crust.peers.paths import rank
from tests.natlab.routers.kinds import KINDS

TABLE: dict[str, str] = {
    "none": "D D D D D D D D S D U",
    "full": "  F F F F F F F R F U",
    "addr": "    T T T T T T R T V",
    "port": "      T B P T T R T V",
    "sym": "        R R B Bt R Bu Bu",
    "symseq": "          P P Pt R P P",
    "cgnat": "            T T R T V",
    "udpblock": "              T R T R",
    "strict": "                R R R",
    "rst": "                  T V",
    "tcpblock": "                    V",
}

FIRST_MESSAGE = 0.6
"""Seconds until the first message is there, in every cell: by a relay if need be."""

GIVE_UP = 20.0
"""Seconds until hopeless attempts have ended, where a relay is all there is."""

SHARE = 0.95
"""The part of all runs of a letter that must be within the budget."""

OUTSIDE = 3 / 20
"""The part of the runs of one cell that may be outside."""


@dataclasses.dataclass(frozen=True)
class Expectation:
    """What the session of two nodes must end on."""

    letter: str
    path_class: str
    """One of `crust.peers.paths.CLASSES`; a better one is as good."""

    seconds: float
    """How long after the call both ends have it."""

    transport: str = ""
    """The only transport by which it can be; empty: either."""

    def allows(self, path_class: str, transport: str) -> bool:
        """Whether a path is what was expected, or better."""
        if rank(path_class) < rank(self.path_class):
            return True
        return path_class == self.path_class and self.transport in ("", transport)

    def surpassed(self, path_class: str) -> bool:
        """Whether a path is better than expected."""
        return rank(path_class) < rank(self.path_class)


LETTERS: dict[str, Expectation] = {
    each.letter: each
    for each in (
        Expectation("D", "direct-tcp", 1.0),
        Expectation("F", "direct-tcp", 1.0),
        Expectation("S", "direct-tcp", 1.0),
        Expectation("U", "direct-utp", 1.0),
        Expectation("T", "punched-tcp", 1.5),
        Expectation("V", "punched-utp", 1.5),
        Expectation("P", "predicted", 4.0),
        Expectation("Pt", "predicted", 4.0, "tcp"),
        Expectation("B", "birthday", 15.0),
        Expectation("Bt", "birthday", 15.0, "tcp"),
        Expectation("Bu", "birthday", 15.0, "utp"),
        Expectation("R", "relay", FIRST_MESSAGE),
    )
}
"""
D: one side is public. F: one side keeps an address open that strangers reach. S: as D, if the public one listens on
port 443. U: as D or F, by µTP. T, V: both open holes, for TCP or for UDP. P: the ports of one side can be predicted. B:
ports are found by trying many. R: a relay is all there is. With t or u: that is so for TCP or for UDP alone.
"""

SPECIAL: dict[str, Expectation] = {
    "lan": Expectation("L", "direct-tcp", 0.5),
    "shared": Expectation("H", "punched-tcp", 2.0),
    "mapped": Expectation("M", "direct-tcp", 1.0),
    "ipv6": Expectation("I", "punched-tcp", 1.0),
}
"""
Pairs that are no two kinds: both on one LAN; homes that share a carrier's address, which leads back what is sent to it;
a home whose router opens ports, called from another home; homes with IPv6, behind firewalls that let out but not in.
"""

_RST_SECONDS = {0: 1.5, 1: 2.0, 2: 4.0}
_UTP = {"D": "U", "F": "U", "T": "V", "Bu": "Bu", "P": "P", "B": "B", "U": "U", "V": "V"}
_TCP = {"B": "Bt", "P": "Pt", "Bu": "R", "U": "", "V": ""}


def letter(one: str, other: str) -> str:
    """The cell of the table, whoever calls."""
    kinds = list(TABLE)
    row, column = sorted((kinds.index(one), kinds.index(other)))
    return TABLE[kinds[row]].split()[column - row]


def can_link(kind: str, only: str) -> bool:
    """Whether a node at such a site reaches a rendezvous at all."""
    behaviour = {"tcp": KINDS[kind].tcp, "utp": KINDS[kind].udp}
    found = [behaviour[only]] if only else list(behaviour.values())
    return any(each.mapping != "blocked" for each in found)


def expected(one: str, other: str, only: str = "") -> Expectation | None:
    """
    What two sites must come to; None: they do not reach the rendezvous.

    Args:
        only: ``tcp`` or ``utp``: the one transport that both nodes use; empty: both.
    """
    if one in SPECIAL:
        assert one == other, f"{one} is a pair of its own"
        found = SPECIAL[one]
        return dataclasses.replace(found, path_class=found.path_class.replace("tcp", only or "tcp"))
    if not (can_link(one, only) and can_link(other, only)):
        return None
    name = letter(one, other)
    if only == "utp":
        name = _UTP.get(name, "R")
    elif only == "tcp":
        name = _TCP.get(name, name)
        # What meets by UDP alone has TCP blocked on one side, which does not reach the rendezvous then.
        assert name, f"{one} and {other} cannot both be linked over TCP"
    found = LETTERS[name]
    if name in ("T", "V"):
        seconds = _RST_SECONDS[(one, other).count("rst")]
        found = dataclasses.replace(found, seconds=seconds)
    return found


def pairs(kinds: list[str]) -> Iterator[tuple[str, str]]:
    """All ordered pairs: the first calls."""
    for one in kinds:
        for other in kinds:
            yield one, other
