"""What plans have in common that ask by datagrams: actions to hand out, questions to repeat. No I/O."""

from __future__ import annotations

from collections.abc import Callable

from ...exceptions import MalformedMessage
from ..stun.message import Message, build_stun, looks_like_stun, parse_stun_untrusted
from .actions import Action, Send
from .questions import Questions

__all__ = ["AskingPlan"]


class AskingPlan:
    """
    The verbs that need no knowledge of what is asked. Not thread-safe.

    Args:
        random_bytes: Source of randomness.
    """

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        self._questions = Questions(random_bytes)
        self._actions: list[Action] = []
        self._begun = False

    def actions(self) -> list[Action]:
        """What is to be done with sockets, once each."""
        actions, self._actions = self._actions, []
        return actions

    def get_timer(self) -> float | None:
        """When :meth:`handle_timer` is due."""
        return self._questions.get_timer()

    def handle_timer(self, now: float) -> None:
        """Send what is due."""
        for question in self._questions.due(now):
            self._actions.append(Send(question.slot, build_stun(question.message), question.address))

    @property
    def done(self) -> bool:
        """Nothing more will be learned."""
        return self._begun and self._questions.idle

    @staticmethod
    def _read(data: bytes) -> Message | None:
        """The message in a datagram, if it is one of STUN."""
        if not looks_like_stun(data):
            return None
        try:
            return parse_stun_untrusted(data)
        except MalformedMessage:
            return None
