"""STUN requests under way at once: each is sent again by a schedule until it is answered or given up. No I/O."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from ...values import dataclass
from ..stun.message import Message
from .classes import Address

__all__ = ["Key", "Question", "Questions"]

Key = tuple[str, Any]
"""What a question is for: a word, and which of them."""


@dataclass(frozen=True)
class Question:
    """One request."""

    key: Key

    slot: str
    """The socket that it leaves by."""

    address: Address
    """Where to."""

    message: Message
    begun: float
    times: tuple[float, ...]
    """Seconds after the beginning when it is sent; the last is the end, when it is given up."""


class Questions:
    """
    The requests of one plan. Not thread-safe.

    Args:
        random_bytes: For the numbers of transactions.
    """

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        self._random_bytes = random_bytes
        self._open: dict[bytes, tuple[Question, int]] = {}  # by transaction; how often it was sent
        self._settled: dict[Key, Message | None] = {}

    def ask(
        self, key: Key, slot: str, address: Address, now: float, times: tuple[float, ...], request: Message
    ) -> bytes:
        """A new one; its transaction. What is due is fetched with :meth:`due`."""
        transaction = self._random_bytes(12)
        message = dataclasses.replace(request, transaction=transaction)
        self._open[transaction] = (Question(key, slot, address, message, now, times), 0)
        return transaction

    def due(self, now: float) -> Iterator[Question]:
        """Those to send now. Those whose time is over are given up."""
        for transaction, (question, count) in list(self._open.items()):
            passed = now - question.begun
            if passed >= question.times[-1] - 1e-9:
                del self._open[transaction]
                self._settled[question.key] = None
                continue
            if count < len(question.times) - 1 and passed >= question.times[count] - 1e-9:
                while count < len(question.times) - 1 and passed >= question.times[count] - 1e-9:
                    count += 1
                self._open[transaction] = (question, count)
                yield question

    def get_timer(self) -> float | None:
        """When :meth:`due` has something to do next."""
        return min((question.begun + question.times[count] for question, count in self._open.values()), default=None)

    def answered(self, transaction: bytes, message: Message) -> Question | None:
        """An answer came: what it answers; None if nothing of ours, or no more."""
        question, _ = self._open.pop(transaction, (None, 0))
        if question is not None:
            self._settled[question.key] = message
        return question

    def waiting(self, transaction: bytes) -> Question | None:
        """The request with that transaction, if it is under way."""
        return self._open.get(transaction, (None, 0))[0]

    def give_up(self, key: Key) -> None:
        """It need not be asked any more."""
        for transaction, (question, _) in list(self._open.items()):
            if question.key == key:
                del self._open[transaction]
                self._settled[key] = None

    def is_open(self, key: Key) -> bool:
        """Whether it is under way."""
        return any(question.key == key for question, _ in self._open.values())

    def settled(self, key: Key) -> bool:
        """Whether it has been answered or given up."""
        return key in self._settled

    def answer(self, key: Key) -> Message | None:
        """The answer, if there was one."""
        return self._settled.get(key)

    @property
    def idle(self) -> bool:
        """Nothing is under way."""
        return not self._open
