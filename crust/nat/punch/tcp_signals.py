"""What the TCP methods tell each other over the circuit: one value a signal."""

from __future__ import annotations

from ...values import dataclass
from ...wire.fields import typed
from .signals import GUESS, NUMBER, ROUND, Guess, Round, Signals

__all__ = ["Dialled", "Guess", "Hit", "Opened", "Round", "Sync", "TcpSignal", "build_signal", "parse_signal_untrusted"]


@dataclass(frozen=True)
class Sync:
    """Dial now: I do so half a round trip after I have said this (from the leading end)."""

    number: int
    """Of the round."""


@dataclass(frozen=True)
class Dialled:
    """I have, on your word about that round."""

    number: int


@dataclass(frozen=True)
class Opened:
    """So many ports of mine wait for you."""

    count: int


@dataclass(frozen=True)
class Hit:
    """A connection stands here."""


TcpSignal = Sync | Dialled | Round | Guess | Opened | Hit

_SIGNALS: Signals[TcpSignal] = Signals(
    {
        1: (Sync, typed(Sync, "number" / NUMBER)),
        2: (Dialled, typed(Dialled, "number" / NUMBER)),
        3: (Round, ROUND),
        4: (Guess, GUESS),
        5: (Opened, typed(Opened, "count" / NUMBER)),
        6: (Hit, typed(Hit)),
    },
    "a signal of TCP traversal",
)

build_signal = _SIGNALS.build
parse_signal_untrusted = _SIGNALS.parse_untrusted
