"""Sessions that callees have agreed to, and whose controller's word has not come: its link may have been cut before."""

from __future__ import annotations

import collections
from collections.abc import Hashable

from .. import limits
from ..addresses import PeerId, address_key
from ..values import dataclass
from ..wire.handshake import Introduction, Purpose
from .conversation import Conversation
from .session import State

__all__ = ["Agreed", "Pending"]


@dataclass(frozen=True)
class Pending:
    """A session that we agreed to and whose link waits for the controller's ``Use``."""

    conversation: Conversation
    peer_next: int
    window: int
    purpose: Purpose
    since: float
    """When we said so."""
    asked_at: float
    """When the caller had been asked to introduce itself."""


class Agreed:
    """
    The last ones of each peer that have not begun. Its controller may have told its application of one, and taken
    messages: it resumes it then like any session that has lost its link.

    Several, also while there is another session: what its controller said in a call that it has given up may come after
    the call that counts, held up on the way, and be agreed to or begin then. Only the controller knows which one lives.

    Not thread-safe.

    Args:
        seconds: How long a controller tries to.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        # By peer, who called last at the end: where it called from, and those sessions.
        self._known: collections.OrderedDict[PeerId, tuple[Hashable, tuple[Pending, ...]]] = collections.OrderedDict()

    def note(self, pending: Pending, host: str) -> None:
        """That one may begin, when its controller says so, who has called from there."""
        peer_id, now = pending.conversation.peer_id, pending.since
        _, before = self._known.pop(peer_id, (None, ()))
        those = [each for each in before if each.conversation.session.state is State.NEW]
        those = sorted([*those, pending], key=lambda each: each.asked_at)  # calls that were held up come first
        self._known[peer_id] = address_key(host), tuple(those[-limits.AGREED_SESSIONS_OF_ONE :])
        oldest = next(iter(self._known))
        if all(self._is_over(each, now) for each in self._known[oldest][1]):
            del self._known[oldest]
        elif len(self._known) > limits.AGREED_SESSIONS_KNOWN:
            del self._known[self._one_too_many()]

    def _one_too_many(self) -> PeerId:
        """Of those at the address that has most of them the one that has not called for longest."""
        shares = collections.Counter(place for place, _ in self._known.values())
        most = max(shares, key=shares.__getitem__)
        return next(peer_id for peer_id, (place, _) in self._known.items() if place == most)

    def begun(self, conversation: Conversation) -> None:
        """It is like all others now."""
        place, those = self._known.get(conversation.peer_id, (None, ()))
        rest = tuple(each for each in those if each.conversation is not conversation)
        if rest:
            self._known[conversation.peer_id] = place, rest
        elif those:
            del self._known[conversation.peer_id]

    def find(self, peer_id: PeerId, introduction: Introduction, now: float) -> Pending | None:
        """The one that a caller wants to resume, if it is such a one."""
        resume = introduction.resume
        if resume is None or resume.next:  # nothing has been sent in it
            return None
        for pending in self._known.get(peer_id, (None, ()))[1]:
            conversation = pending.conversation
            same = (conversation.session_id, conversation.incarnation) == (resume.session_id, introduction.incarnation)
            if same and conversation.session.state is State.NEW and not self._is_over(pending, now):
                return pending
        return None

    def _is_over(self, pending: Pending, now: float) -> bool:
        return now >= pending.since + self._seconds
