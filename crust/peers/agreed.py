"""Sessions that callees have agreed to, and whose controller's word has not come: its link may have been cut before."""

from __future__ import annotations

import collections

from .. import limits
from ..addresses import PeerId
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


class Agreed:
    """
    The last one of each peer that has not begun. Its controller may have told its application of it, and taken
    messages: it resumes it then like any session that has lost its link. Not thread-safe.

    Args:
        seconds: How long a controller tries to.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._known: collections.OrderedDict[PeerId, Pending] = collections.OrderedDict()

    def note(self, pending: Pending) -> None:
        """That one may begin, when its controller says so."""
        peer_id = pending.conversation.peer_id
        self._known[peer_id] = pending
        self._known.move_to_end(peer_id)
        if len(self._known) > limits.AGREED_SESSIONS_KNOWN:
            self._known.popitem(last=False)

    def forget(self, peer_id: PeerId) -> None:
        """A session with that peer begins."""
        self._known.pop(peer_id, None)

    def find(self, peer_id: PeerId, introduction: Introduction, now: float) -> Pending | None:
        """The one that a caller wants to resume, if it is such a one."""
        pending, resume = self._known.get(peer_id), introduction.resume
        if pending is None or resume is None or now >= pending.since + self._seconds:
            return None
        conversation = pending.conversation
        same = (conversation.session_id, conversation.incarnation) == (resume.session_id, introduction.incarnation)
        is_new = conversation.session.state is State.NEW and not resume.next  # nothing has been sent in it
        return pending if same and is_new else None
