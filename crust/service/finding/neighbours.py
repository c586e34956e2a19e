"""How often an address is dialled that the beacon of the LAN alone has told of. Sans-IO: the clock is an argument."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable, Sequence

from ... import limits
from ...addresses import Endpoint, PeerId
from ...runtime.rates import Rates
from .strangers import place_of

__all__ = ["Neighbours"]


class Neighbours:
    """
    Thread-safe.

    A machine may run any number of nodes, and all of them may be dialled at once. But ids cost nothing, and any machine
    on the link can answer with as many as it likes. So what counts is dials that come to nothing: ``LAN_DIALS_AT_ONCE``
    to one address, and one more every ten seconds; who proves its key gives back what it has cost.

    Args:
        bites: Told the name of a limit that has bitten.
    """

    def __init__(self, bites: Callable[[str], object] = lambda limit: None) -> None:
        self._bites = bites
        self._rates = Rates(
            limits.LAN_DIALS_PER_SECOND,
            limits.LAN_DIALS_IN_ALL_PER_SECOND,
            each_size=limits.LAN_DIALS_AT_ONCE,
            all_size=limits.LAN_DIALS_IN_ALL_AT_ONCE,
            names=("LAN_DIALS_PER_SECOND", "LAN_DIALS_IN_ALL_PER_SECOND"),
        )
        self._lock = threading.Lock()  # guards the next
        self._paid: collections.deque[tuple[PeerId, str]] = collections.deque(maxlen=limits.LAN_DIALS_KNOWN)

    def afford(self, peer_id: PeerId, endpoints: Sequence[Endpoint], now: float) -> tuple[Endpoint, ...]:
        """Where that peer may be dialled now, of these; they count as dialled, once for each address."""
        places = dict.fromkeys(map(place_of, endpoints))
        met = {place: self._rates.refusal(place, now) for place in places}
        free = {place for place, limit in met.items() if not limit}
        for limit in filter(None, met.values()):
            self._bites(limit)
        with self._lock:
            self._paid.extend((peer_id, place) for place in free)
        return tuple(each for each in endpoints if place_of(each) in free)

    def answered(self, peer_id: PeerId) -> None:
        """Whom we dialled is who it said it is: what was paid for that peer, at any of its addresses, comes back."""
        with self._lock:
            places = [place for each, place in self._paid if each == peer_id]
            if places:
                others = [paid for paid in self._paid if paid[0] != peer_id]
                self._paid.clear()
                self._paid.extend(others)
        for place in places:
            self._rates.give_back(place)

    def abandon(self) -> None:
        """In a forked child: takes no lock."""
        self._lock = threading.Lock()
