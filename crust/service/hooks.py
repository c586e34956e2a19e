"""Where the parts of a service hear what happens in its node, and what they do for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..addresses import Contact, Endpoint, PeerId
from ..paths import Attempt
from ..peers.conversation import Conversation
from ..peers.effort import LookFor
from ..peers.link import Link
from ..wire.frames import Candidates

__all__ = ["Hooks"]


class Hooks:
    """
    All are filled, or set, before the start. What is called here must be quick and must not block: locks of the node
    may be held, and it may be any of its threads.
    """

    def __init__(self) -> None:
        self.on_connected: list[Callable[[Conversation], object]] = []
        """They hear that a link carries a session."""
        self.on_joined: list[Callable[[Conversation], object]] = []
        """They hear of a session that began as a bootstrap, either way."""
        self.on_told: list[Callable[[Conversation, Link, Candidates], object]] = []
        """They hear where a peer says that it may be reached."""
        self.on_detached: list[Callable[[Conversation], object]] = []
        """They hear that a session has no link any more."""
        self.on_attempted: list[Callable[[PeerId, Attempt], object]] = []
        """They hear what came of an attempt (the dialer's lock is held)."""
        self.on_suspected: list[Callable[[Conversation], object]] = []
        """The same, and that the link of one is silent."""
        self.on_lost: list[Callable[[Conversation, str], object]] = []
        """They hear that a session is over, and why."""
        self.on_reloaded: list[Callable[[frozenset[str]], object]] = []
        """They hear which keys of the configuration, which is another by then, count anew."""
        self.on_signal: dict[type, Callable[[Conversation, Link, Any], object]] = {}
        """Who takes the frames about ways through NATs and gossip, by their classes."""
        self.local_port: Callable[[Endpoint], int | None] = lambda endpoint: None
        """From which port to dial that, if not from any."""
        self.look_for: LookFor = lambda peer_id, tell, patient: None
        """What looks for peers to which no way is known."""
        self.is_dropped: Callable[[PeerId], bool] = lambda peer_id: False
        """Whether one of the two applications has let go of that peer: then nobody dials it unasked."""
        self.suggest: Callable[[PeerId, str | None], Sequence[Contact]] = lambda peer_id, address: ()
        """Whom to ask instead, for callers that we have no room for: who they are, and where."""
        self.sends_on: Callable[[PeerId, str | None], bool] = lambda peer_id, address: False
        """Whether a caller that wants to bootstrap here is to ask those first (the registry's lock is held)."""
