"""What those at one address may have of what there is for all peers: keys cost nothing, addresses do. (sans-IO)"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["is_full"]


def is_full(place: bytes | None, places: Iterable[bytes | None], most: int, part: float, one: int) -> bool:
    """
    Whether those at one address have as much as they may.

    Args:
        place: The address; None: nobody knows, and there is no bound.
        places: Where everybody is who has one; once for each.
        most: How many there can be.
        part: Of those, for one address; from 0 to 1.
        one: What a single peer may have: no address gets less.
    """
    return place is not None and list(places).count(place) >= max(one, int(most * part))
