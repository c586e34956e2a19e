"""What those at one address may have of what there is for all peers: keys cost nothing, addresses do. (sans-IO)"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Generic, TypeVar

__all__ = ["Turns", "is_full"]

T = TypeVar("T", bound=Hashable)


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


class Turns(Generic[T]):
    """
    A line in which addresses take turns, and those at one address for its turns. Not thread-safe.

    Args:
        place_of: The address of one; None: nobody knows, and these share one turn.
        behind: Where each of those at one address is by the word of who is there: those places take its turns in turn.
    """

    __slots__ = ("_behind", "_lines", "_place_of", "_places")

    def __init__(self, place_of: Callable[[T], Hashable], behind: Callable[[T], Hashable] | None = None) -> None:
        self._place_of = place_of
        self._behind = behind
        self._lines: dict[Hashable, dict[T, None]] = {}  # by address, whose turn comes first; none is empty
        self._places: dict[T, Hashable] = {}  # in whose line each waits

    def __bool__(self) -> bool:
        return bool(self._lines)

    def __contains__(self, one: T) -> bool:
        return one in self._places

    def __iter__(self) -> Iterator[T]:
        for line in self._lines.values():
            yield from line

    def append(self, one: T) -> None:
        """Last among those at its address, where it is now; who waits already keeps its turn."""
        if one not in self._places:
            place = self._places[one] = self._place_of(one)
            self._lines.setdefault(place, {})[one] = None

    def extend(self, some: Iterable[T]) -> None:
        """The same for each of these."""
        for one in some:
            self.append(one)

    def popleft(self) -> T:
        """Whose turn it is. Raises StopIteration if nobody waits."""
        place = next(iter(self._lines))
        line = self._lines.pop(place)
        one = next(iter(line))
        del line[one], self._places[one]
        if self._behind is not None:
            where = self._behind(one)
            for other in [each for each in line if self._behind(each) == where]:
                line[other] = line.pop(other)
        if line:
            self._lines[place] = line  # last of the addresses
        return one

    def remove(self, one: T) -> None:
        """It waits no more, if it does."""
        if one in self._places:
            place = self._places.pop(one)
            del self._lines[place][one]
            if not self._lines[place]:
                del self._lines[place]

    def clear(self) -> None:
        """Nobody waits."""
        self._lines.clear()
        self._places.clear()
