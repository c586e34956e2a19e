"""What a peer looks like to who is to judge it, before it has a session and while it has one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..addresses import PeerId
from ..paths import Attempt, Path
from ..values import dataclass
from ..wire.handshake import Purpose, Role
from .paths import Way, class_of

if TYPE_CHECKING:
    from .conversation import Conversation
    from .link import Link

__all__ = ["PeerView", "path_of", "view_of_link", "view_of_session", "way_of"]


@dataclass(frozen=True)
class PeerView:
    """A peer as a ban by predicate sees it: one that wants a session, one that we call, or one that has a session."""

    id: PeerId
    """Who it is, proven."""

    role: str | None
    """``node`` or ``client``, as the other side says; None: it is we who call, and it has not said."""

    inbound: bool
    """True if the other side began it."""

    address: str | None
    """The IP address at which it is seen; None: it comes by a circuit whose introducer does not say."""

    path: Path
    """The way that the session would take, or takes."""

    purpose: str
    """``connect`` or ``bootstrap``: what the session is for."""

    has_session: bool
    """True if there is a session with it already."""


def path_of(link: Link, since: float, attempts: tuple[Attempt, ...] = ()) -> Path:
    """The way of a link. ``since``: seconds since the epoch."""
    connection = link.connection
    return Path(
        path_class=class_of(link.manner, connection.transport),
        transport=connection.transport,
        local=str(connection.local),
        remote=str(connection.remote),
        cipher=link.cipher,
        inbound=link.inbound,
        since=since,
        rtt=link.rtt,
        attempts=attempts,
    )


def view_of_link(link: Link, role: Role | None, purpose: Purpose, since: float) -> PeerView:
    """Whoever wants a session on a link, or is called on it: the key is proven."""
    assert link.peer_id is not None
    return PeerView(
        id=link.peer_id,
        role=None if role is None else role.name.lower(),
        inbound=link.inbound,
        address=link.address,
        path=path_of(link, since),
        purpose=purpose.name.lower(),
        has_session=False,
    )


def view_of_session(conversation: Conversation) -> PeerView | None:
    """The peer of a session; None: it has not begun."""
    path = conversation.path
    if path is None:
        return None
    return PeerView(
        id=conversation.peer_id,
        role=conversation.role.name.lower(),
        inbound=conversation.inbound,
        address=conversation.address,
        path=path,
        purpose=conversation.purpose.name.lower(),
        has_session=True,
    )


def way_of(link: Link) -> Way:
    """How a link reaches its peer."""
    connection = link.connection
    return Way(class_of(link.manner, connection.transport), connection.remote, link.rtt)
