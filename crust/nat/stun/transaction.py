"""
One question to one server: when it is sent, and whether an answer is the answer to it. Sans-IO.

After making one and after each :meth:`Transaction.handle_timer`: send what that returned, and call it again at
:meth:`Transaction.get_timer`, until :attr:`Transaction.finished`.
"""

from __future__ import annotations

from collections.abc import Sequence

from ... import limits
from .message import Class, Message, build_stun

__all__ = ["Transaction"]


class Transaction:
    """
    Not thread-safe.

    Args:
        request: What to ask. Its ``transaction`` must be random: it is what an answer is known by.
        now: Seconds on the caller's clock, as in all methods.
        schedule: Seconds from ``now`` when it is sent; over a stream once is enough.
        timeout: Seconds from ``now`` until nobody has answered.
    """

    def __init__(
        self,
        request: Message,
        now: float,
        schedule: Sequence[float] = limits.STUN_SCHEDULE,
        timeout: float = limits.STUN_TIMEOUT,
    ) -> None:
        self.request = build_stun(request)
        """The bytes."""
        self.id = request.transaction
        self.answer: Message | None = None
        """What came back."""
        self.rtt: float | None = None
        """Seconds from the question to the answer; counted from the first one, if it was repeated."""
        self.error = ""
        """Why there is no address in it, in a sentence."""
        self.sent = 0
        """How often it has been sent."""
        self._began = now
        self._due = [now + seconds for seconds in schedule]
        self._end = now + timeout

    @property
    def finished(self) -> bool:
        """There is an answer, or there will be none."""
        return self.answer is not None or bool(self.error)

    def get_timer(self) -> float | None:
        """When :meth:`handle_timer` is due; None: never again."""
        if self.finished:
            return None
        return self._due[self.sent] if self.sent < len(self._due) else self._end

    def handle_timer(self, now: float) -> bytes | None:
        """What to send now, if anything."""
        if self.finished:
            return None
        if now >= self._end:
            self.error = "no answer"
            return None
        if self.sent < len(self._due) and now >= self._due[self.sent]:
            self.sent += 1
            return self.request
        return None

    def receive(self, message: Message, now: float) -> bool:
        """
        A message came from where the question went; True if it answers it. An answer that is of no use ends it too.
        """
        if self.finished or message.transaction != self.id or message.class_ not in (Class.SUCCESS, Class.ERROR):
            return False
        self.answer = message
        self.rtt = now - self._began
        if message.class_ is Class.ERROR:
            code, reason = message.error or (0, "an error without a number")
            self.error = f"refused: {code} {reason}".rstrip()
        elif message.unknown:
            self.error = "the answer has attributes that may not be passed over"
        elif message.reflexive is None:
            self.error = "the answer has no address"
        return True

    def fail(self, error: str) -> None:
        """It cannot be asked, or answered, any more; no effect if it has finished."""
        if not self.finished:
            self.error = error
