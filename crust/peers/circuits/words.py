"""Why a circuit ended, or never was, for people and for an ``Attempt``."""

from __future__ import annotations

import errno

from ...wire.frames import CircuitReason
from ..transfer import printable

__all__ = ["CircuitEnded"]

_WORDS = {
    CircuitReason.CLOSED: "the other end closed the circuit",
    CircuitReason.NOT_LINKED: "the introducer has no link to that peer",
    CircuitReason.REFUSED: "the circuit was refused",
    CircuitReason.BUSY: "the introducer has too many circuits",
    CircuitReason.QUOTA: "the circuit has carried as much as its introducer allows",
    CircuitReason.TIME: "the circuit has lasted as long as its introducer allows",
    CircuitReason.NESTED: "the introducer itself would need another one",
    CircuitReason.LOST: "a link that the circuit went over ended",
    CircuitReason.PROTOCOL: "the rules of circuits were broken",
}
_VERDICTS = {
    CircuitReason.NOT_LINKED: "unreachable",
    CircuitReason.BUSY: "refused",
    CircuitReason.NESTED: "unreachable",
    CircuitReason.TIME: "timeout",
}


class CircuitEnded(OSError):
    """
    What ended a circuit. Its text is a sentence, with what the introducer or the other end says about it.

    Args:
        reason: The code.
        text: The explanation that came with it; from strangers, so it is shown sanitised.
        where: The introducer's endpoint.
    """

    def __init__(self, reason: CircuitReason, text: str = "", where: str = "") -> None:
        words = _WORDS[reason]
        text = printable(text)
        super().__init__(errno.ECONNABORTED, f"{words} ({text})" if text else words, where)
        self.reason = reason
        self.verdict = _VERDICTS.get(reason, "failed")
        """The word for it in an ``Attempt``. After *failed* the caller tries the network's next secret."""

    def __str__(self) -> str:
        return str(self.strerror)
