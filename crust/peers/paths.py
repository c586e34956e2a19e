"""
Which way is better: the one place that ranks ways to a peer and decides when a session moves (sans-IO).

A *path class* says how a way came to be and by which transport. Whatever gets through a NAT in another way is one more
row of ``CLASSES``, and needs nothing else: the race for a new connection (:mod:`crust.peers.race`), the choice between
connections that are ready at the same time, and the moves of a session all ask here.
"""

from __future__ import annotations

from ..addresses import Endpoint
from ..values import dataclass
from ..wire.handshake import Manner

__all__ = ["CLASSES", "Rivalry", "Way", "class_of", "is_better_class", "rank"]

CLASSES = ("direct-tcp", "direct-utp", "punched-tcp", "punched-utp", "predicted", "birthday", "relay")
"""Best first."""

_RANKS = {name: number for number, name in enumerate(CLASSES)}

# Of two ways of one class the quicker one is worth a move only if it is so by both, as often in a row.
_SHARE = 0.8
_SECONDS = 0.010
_TIMES = 3


def class_of(manner: Manner, transport: str) -> str:
    """The class of a way: ``direct`` and ``tcp`` are ``direct-tcp``; some manners name it alone."""
    name = f"{manner.name.lower()}-{transport}"
    return name if name in _RANKS else manner.name.lower()


def rank(path_class: str) -> int:
    """The place of a class among all, 0 for the best; one that is not known comes last."""
    return _RANKS.get(path_class, len(CLASSES))


def is_better_class(path_class: str, than: str) -> bool:
    """Whether a session should move for the class alone. TCP is favoured: it is not left for µTP."""
    if than.endswith("-tcp") and path_class.endswith("-utp"):
        return False
    return rank(path_class) < rank(than)


@dataclass(frozen=True)
class Way:
    """What counts when ways are compared."""

    path_class: str
    """One of ``CLASSES``."""

    remote: Endpoint
    """The other end."""

    rtt: float | None
    """Round trip in seconds; None if it has not been measured."""

    @property
    def order(self) -> tuple[int, bool, float]:
        """The least is the best: by class, then those on our own networks, then the quickest."""
        rtt = float("inf") if self.rtt is None else self.rtt
        return rank(self.path_class), not _is_near(self.remote), rtt


class Rivalry:
    """
    Remembers, for one session, how other ways compared with its own. Not thread-safe.

    A session moves to a better class at once; to a quicker way of its class when that was quicker by 20 % and by 10 ms,
    three times running; never to a worse class.
    """

    __slots__ = ("_wins",)

    def __init__(self) -> None:
        self._wins = 0

    def is_worth_moving(self, present: Way, other: Way) -> bool:
        """Compare, and decide: True if the session should move to ``other``."""
        if other.path_class != present.path_class:
            return is_better_class(other.path_class, present.path_class)
        if other.rtt is None or present.rtt is None:
            return False
        quicker = other.rtt <= present.rtt * _SHARE and other.rtt <= present.rtt - _SECONDS
        self._wins = self._wins + 1 if quicker else 0
        return self._wins >= _TIMES

    def moved(self) -> None:
        """The session has another way: what was compared with the old one no longer counts."""
        self._wins = 0


def _is_near(remote: Endpoint) -> bool:
    """On a network of our own, as far as an address tells."""
    return remote.is_loopback or remote.is_link_local or (remote.is_ip and not remote.is_global)
