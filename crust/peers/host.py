"""What a session with threads needs of its node."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from ..exceptions import RemoteProtocolError
from ..paths import Path
from ..wire.frames import CircuitFrame, EchoReply, EchoRequest, SignalFrame
from .session import Delivery

if TYPE_CHECKING:
    from ..crypto.proofs import Signatory
    from ..runtime.budget import Budget
    from ..runtime.clock import Clock
    from ..runtime.flusher import IoLoop
    from .accounts import Accounts
    from .brake import Brake
    from .conversation import Conversation
    from .link import Link
    from .refusals import Refusals

__all__ = ["Host"]


class Host(Protocol):
    """What a conversation needs of its node. None of these methods blocks or runs user code."""

    io: IoLoop
    clock: Clock
    budget: Budget
    brake: Brake
    signatory: Signatory
    accounts: Accounts
    refusals: Refusals
    pid: int
    """The process that the node belongs to."""
    last_direct: float
    """When this node last wrote directly on a caller's thread; a plain attribute, racy on purpose."""

    @property
    def wall(self) -> Callable[[], float]:
        """What tells the time, in seconds since the epoch."""

    def on_dispatcher(self) -> bool:
        """True on the thread that runs callbacks."""

    def consumes_messages(self) -> str:
        """Who takes messages instead of the inboxes, in words; empty if nobody does."""

    def deliver(self, conversation: Conversation, deliveries: list[Delivery]) -> None:
        """Hand over messages, in order (the conversation's lock is held)."""

    def await_decision(self) -> None:
        """Return once no decision about links is being made; takes the registry's lock for a moment."""

    def suspended(self, conversation: Conversation, reason: str) -> None:
        """The link ended (the conversation's lock is held, so that this cannot overtake the return)."""

    def detached(self, conversation: Conversation, reason: str) -> None:
        """The same without the lock: find another link."""

    def suspected(self, conversation: Conversation) -> None:
        """The link is silent; look for another while it may live."""

    def lost(self, conversation: Conversation, reason: str, undelivered: tuple[int, ...]) -> None:
        """The session is over."""

    def violated(self, conversation: Conversation, error: RemoteProtocolError) -> None:
        """The peer broke the protocol; ``lost`` follows."""

    def moved(self, conversation: Conversation, old: Path | None, resumed: bool) -> None:
        """The session goes on on another link."""

    def overspent(self, conversation: Conversation, link: Link, wait: float, *, longer: bool = False) -> None:
        """
        What came on that link has cost more than its peer may: it is not to be read for so many seconds; ``longer``: so
        many more.
        """

    def send_ready(self, conversation: Conversation) -> None:
        """There is room again after WouldBlock."""

    def echo(self, conversation: Conversation, link: Link, frame: EchoRequest | EchoReply) -> None:
        """The peer wants an echo, or says what became of ours (the link's reader thread)."""

    def circuit(self, conversation: Conversation, link: Link, frame: CircuitFrame) -> None:
        """A frame about a circuit came (the link's reader thread)."""

    def signal(self, conversation: Conversation, link: Link, frame: SignalFrame) -> None:
        """A frame about ways through NATs came, or gossip (the link's reader thread)."""

    def dropped(self, conversation: Conversation, numbers: list[int], priority: int) -> None:
        """Messages grew too old."""
