"""What was tried last, as long as somebody may ask for it."""

from __future__ import annotations

from .. import limits
from ..paths import Attempt

__all__ = ["Attempts"]


class Attempts(list[Attempt]):
    """The last ``RECENT_ATTEMPTS``, newest last. Kept for each peer: a list takes a tenth of an empty deque's room."""

    __slots__ = ()

    def note(self, attempt: Attempt) -> None:
        """Add one; the oldest makes room for it."""
        self.append(attempt)
        del self[: -limits.RECENT_ATTEMPTS]
