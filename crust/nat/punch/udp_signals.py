"""What the UDP methods tell each other over the circuit: one value a signal."""

from __future__ import annotations

from ...values import dataclass
from ...wire.fields import FLAG, Address, construct, typed
from .signals import GUESS, KNOWN, ROUND, Guess, Round, Signals

__all__ = ["Aim", "Fresh", "Guess", "Ready", "Roles", "Round", "UdpSignal", "build_signal", "parse_signal_untrusted"]


@dataclass(frozen=True)
class Fresh:
    """A socket that has sent nothing to you yet is seen at this address: let us both use fresh ones."""

    address: Address


@dataclass(frozen=True)
class Ready:
    """I have begun: what you said before may not have been heard."""


@dataclass(frozen=True)
class Roles:
    """Whether it is you who has the random ports (from the leading end)."""

    you_are_hard: bool


@dataclass(frozen=True)
class Aim:
    """My one port: send there from many."""

    address: Address


UdpSignal = Fresh | Ready | Round | Guess | Roles | Aim

_YES = construct.ExprAdapter(FLAG, lambda value, _: bool(value), lambda value, _: int(value))
_SIGNALS: Signals[UdpSignal] = Signals(
    {
        1: (Fresh, typed(Fresh, "address" / KNOWN)),
        2: (Ready, typed(Ready)),
        3: (Round, ROUND),
        4: (Guess, GUESS),
        5: (Roles, typed(Roles, "you_are_hard" / _YES)),
        6: (Aim, typed(Aim, "address" / KNOWN)),
    },
    "a signal of UDP traversal",
)

build_signal = _SIGNALS.build
parse_signal_untrusted = _SIGNALS.parse_untrusted
