"""What predictions tell each other by either transport, and what all signals of crust's own methods are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from ... import limits
from ...values import dataclass
from ...wire.fields import (
    ADDRESS,
    Address,
    Definition,
    build_all,
    by_type,
    checked,
    construct,
    parse_all,
    typed,
)

__all__ = ["GUESS", "KNOWN", "NUMBER", "ROUND", "Guess", "Round", "Signals"]


@dataclass(frozen=True)
class Round:
    """Have your ports looked at now (from the leading end)."""

    number: int


@dataclass(frozen=True)
class Guess:
    """In that round, my newest port is this one, and the next is so far from it; ``step`` 0: I have this one only."""

    number: int
    address: Address
    step: int


NUMBER: Definition = construct.Int16ub
KNOWN: Definition = checked(ADDRESS, lambda address: address is not None and address[1] > 0, "an address is needed")
_STEP: Definition = checked(
    construct.Int16sb, lambda step: abs(step) <= limits.PORT_STEP_MAX, "such a distance is no step"
)
ROUND: Definition = typed(Round, "number" / NUMBER)
GUESS: Definition = typed(Guess, "number" / NUMBER, "address" / KNOWN, "step" / _STEP)

S = TypeVar("S")


class Signals(Generic[S]):
    """
    The signals of some methods: one value each, behind a byte that says which.

    Args:
        kinds: By that byte, the class and its definition.
        name: What they are, for errors.
    """

    def __init__(self, kinds: Mapping[int, tuple[type[Any], Definition]], name: str) -> None:
        self._definition = by_type(construct.Int8ub, kinds)
        self._name = name

    def build(self, signal: S) -> bytes:
        """The body of a SIGNAL frame."""
        return build_all(self._definition, signal, self._name)

    def parse_untrusted(self, body: bytes) -> S:
        """
        What the other end says.

        Raises:
            MalformedMessage: It is none of these, or breaks a rule.
        """
        signal: S = parse_all(self._definition, body, self._name, limits.SIGNAL_MAX)
        return signal
