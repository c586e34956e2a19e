"""
Accepting: listeners, and what strangers may cost before they have proven who they are.

A connection gets a slot of the gate before anything is made for it; banned addresses and those over their rate are
closed without a byte. Whoever has a slot must show a valid message 1 within ``FIRST_MESSAGE_TIMEOUT``, and within
``FIRST_MESSAGE_REST`` of its first byte, and finish the handshake within the configured time, counted from the accept:
trickling bytes extends nothing. Those who only ask for their address (STUN) have the first of these.

What cannot be a message 1 for us is read in silence until then, or until it is longer than any. When we close says
nothing about our key or secrets. On a circuit, whose caller has named us to a peer of ours, a message 1 is there at
once or never: anything else is refused, since an introducer offers us only so many that we have not answered.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from .. import limits
from ..addresses import Endpoint, PeerId
from ..crypto.handshake import HandshakeConfig, Responder, SaltMemory
from ..runtime.clock import Clock
from ..runtime.descriptors import exhaustion
from ..runtime.flusher import IoLoop
from ..runtime.logs import NodeLog, RateLimited
from ..transports.contract import Connection, Listener
from ..wire import frames
from ..wire.handshake import DenialCode, Introduction
from .access import Access
from .circuits.connection import CircuitConnection
from .farewell import leave
from .gate import Gate, Slot
from .judging import Judging, Verdict
from .link import Link, Stage
from .registry import Registry
from .views import view_of_link

if TYPE_CHECKING:
    from ..nat.stun.responder import Responder as StunResponder

__all__ = ["Acceptor", "AcceptorHost"]

_MADE_ROOM = "made room for a newer caller"
_LOG_INTERVAL = 10.0  # seconds between two lines about the same address, or about pauses


class AcceptorHost(Protocol):
    """What accepting needs of its node."""

    io: IoLoop
    clock: Clock
    registry: Registry
    handshake: HandshakeConfig
    access: Access
    judging: Judging
    log: NodeLog

    @property
    def wall(self) -> Callable[[], float]:
        """What tells the time, in seconds since the epoch."""

    def spawn(self, name: str, target: Callable[..., object], *args: object) -> threading.Thread:
        """Start a thread of the node."""

    def crashed(self, name: str, error: BaseException) -> None:
        """Something happened that must not."""

    def opened(self, link: Link) -> None:
        """A link begins; the node sees to its end when it closes."""

    def knows_address(self, host: str) -> bool:
        """True if a peer of ours has that address: it may use the reserve."""


class Acceptor:
    """
    All inbound links of one node until they carry a session. Thread-safe.

    Args:
        host: See :class:`AcceptorHost`.
        gate: Slots and rates.
        handshake_timeout: Seconds from accept to the end of the handshake.
    """

    def __init__(self, host: AcceptorHost, gate: Gate, handshake_timeout: float) -> None:
        self._host = host
        self._now = host.clock.now
        self.gate = gate
        self.pauses = 0
        """How often a listener has stopped accepting for ``ACCEPT_PAUSE``, having run out of descriptors."""
        self.stun: StunResponder | None = None
        """Answers those who ask a TCP listener for their address, in place of a handshake."""
        self.came: Callable[[Endpoint, str], object] = lambda listener, host: None
        """Told of each connection at a listener, refused or not, and the IP address it is from; must be quick."""
        self.may_begin: Callable[[Link, PeerId, bool], bool] = lambda link, peer_id, begins: True
        """Whether a peer that has proven its key may begin (True), or resume (False), one more session now."""
        self.is_behind: Callable[[bool], bool] = lambda fresh: False
        """Whether none may begin (True), or be resumed (False), for what waits for the application."""
        self.came_to_nothing: Callable[[Link, bool], object] = lambda link, evicted: None
        """Told of a caller without a valid message 1; and whether it had to make room for another."""
        self._handshake_timeout = handshake_timeout
        self.salts = SaltMemory()
        self._limited = RateLimited(_LOG_INTERVAL)
        self._lock = threading.Lock()  # guards _links, _closed and counting pauses
        self._links: set[Link] = set()
        self._closed = False
        self._report: Callable[[BaseException], None] = lambda error: host.crashed("link", error)

    def run(self, listener: Listener) -> None:
        """Accept on ``listener`` until it is closed; blocks."""

        def accepted(connection: Connection) -> float:
            self.came(listener.endpoint, connection.remote.host)
            return self.accepted(connection)

        listener.run(accepted, self._trouble)

    def _trouble(self, error: OSError) -> None:
        with self._lock:
            self.pauses += 1
        held_back = self._limited.permit("pause", self._now())
        if held_back is not None:
            self._host.log.warning(
                "cannot accept connections, and tries again every %g s: %s (%d more were not logged)",
                limits.ACCEPT_PAUSE,
                exhaustion(error) or error.strerror or error,
                held_back,
            )

    def accepted(self, connection: Connection) -> float:
        """
        A connection came in, on a listener or by another way; it has not been started (any thread).

        Returns:
            Seconds for which its listener should rest, this caller having been refused, or being a stranger who calls
            all the time. Else those who come as soon as they are turned away would take a core.
        """
        host = connection.remote.host
        slot = self._take(connection, host, host, None)
        return limits.REFUSAL_REST if slot is None or slot.is_of_many else 0.0

    def offered(self, connection: CircuitConnection) -> None:
        """
        An introducer offers a circuit (the reader of its link). It answers for how often it does that; bans hold for
        the address that it sees the caller at.
        """
        seen = connection.observed
        host = None if seen is None else seen[0]
        self._take(connection, connection.remote.host, host, host or "")

    def _take(self, connection: Connection, address: str, seen: str | None, behind: str | None) -> Slot | None:
        """
        Begin a handshake, if there is room.

        Args:
            address: Who is held responsible.
            seen: Where the caller is, if that is known.
            behind: The same of one who is introduced; empty: the introducer does not say.

        Returns:
            None if it was refused.
        """
        now = self._now()
        if seen is not None and not self._host.access.address_allowed(seen, now):
            connection.abort()
            return None
        made: list[Link] = []

        def evict() -> None:
            for link in made:
                link.fail("failed", _MADE_ROOM)

        known = seen is not None and self._host.knows_address(seen)
        slot = self.gate.admit(address, now, known=known, behind=behind, evict=evict)
        if slot is None:
            held_back = self._limited.permit(("full", address), now)
            if held_back is not None:
                self._host.log.info(
                    "refused a connection from %s: too many handshakes (%d more were not logged)", address, held_back
                )
            connection.abort()
            return None
        link = Link(
            connection,
            Responder(self._host.handshake, salts=self.salts),
            self,
            self._report,
            self._now,
        )
        link.owner_data = slot
        if self.stun is not None and connection.transport == "tcp":
            from ..nat.stun.door import Door  # who set `stun` has loaded it

            link.door = Door(self.stun, (address.partition("%")[0], connection.remote.port))
        made.append(link)
        self._host.opened(link)
        link.handshake_timer = self._host.io.call_at(
            now + min(limits.FIRST_MESSAGE_TIMEOUT, self._handshake_timeout), lambda later: self._overdue(link, now)
        )
        with self._lock:
            refused = self._closed
            self._links.add(link)
        if refused:
            link.fail("cancelled", "the service is closing")
        try:
            connection.start(link, functools.partial(self._spawn_reader, link, address))
        except RuntimeError:
            self._begun(link)
            slot.release(now)
        return slot

    def _spawn_reader(
        self, link: Link, address: str, _: str, target: Callable[..., object], *args: object
    ) -> threading.Thread:
        """The thread of a link, now or when its caller has greeted."""
        try:
            return self._host.spawn(f"crust-link-{link.connection.remote.port}", target, *args)
        except RuntimeError as error:
            self._host.log.warning("no thread for a connection from %s: %s", address, error)
            link.fail("cancelled", "no thread for it")  # which is not the caller's fault
            raise

    def _overdue(self, link: Link, started: float) -> None:
        """A deadline of the handshake has come (io thread)."""
        if link.stage is Stage.HANDSHAKE and not link.greeted:
            link.fail("timeout", link.misheard or "no valid first message in time")
            return
        total = started + self._handshake_timeout
        if link.stage in (Stage.HANDSHAKE, Stage.ANSWER):
            if self._now() >= total:
                link.fail("timeout", "the handshake took too long")
            else:
                link.handshake_timer = self._host.io.call_at(total, lambda later: self._overdue(link, started))

    def _begun(self, link: Link) -> None:
        link.handshake_timer.cancel()
        with self._lock:
            self._links.discard(link)

    # --- LinkOwner (the link's reader thread) -------------------------------------------------------------------------

    def link_hello(self, link: Link) -> None:
        """The caller knows our key."""
        slot = link.owner_data
        if isinstance(slot, Slot) and not slot.message1_valid(self._now()):
            link.fail("failed", _MADE_ROOM)

    def link_spoke(self, link: Link) -> None:
        """
        That counts now, and the rest must be there soon, whether it may still come or not. Who makes up what it says
        must not see by anything whether that could be meant for us.
        """
        if link.circuit is not None:  # nothing more comes before we consent, and others' calls wait for our answer
            link.fail("failed", "its caller did not begin with a first message")
            return
        self.came_to_nothing(link, False)
        if isinstance(link.owner_data, Slot):
            link.owner_data.spoke()
        timer, now = link.handshake_timer, self._now()
        until = now + limits.FIRST_MESSAGE_REST
        if timer.callback is not None and until < timer.when:
            link.handshake_timer = self._host.io.call_at(until, timer.callback)
            timer.cancel()

    def link_introduced(self, link: Link, introduction: Introduction) -> None:
        """The caller has proven who it is: the application may be asked, and the registry decides."""
        slot = link.owner_data
        if isinstance(slot, Slot) and not slot.introduced():
            link.fail("failed", _MADE_ROOM)
            return
        judging, access = self._host.judging, self._host.access
        peer_id, host = link.peer_id, link.address
        begins = self._host.registry.begins(link, introduction)
        if peer_id is not None and not self.may_begin(link, peer_id, begins):
            self._put_off(link, introduction, "you begin sessions too often")
            return
        if self.is_behind(begins):
            self._put_off(link, introduction, "the application here has not kept up with what others have sent")
            return
        if begins and judging.in_force and not access.is_banned(peer_id, host, self._now()):
            link.connection.pause()  # an honest caller is silent until it is welcome; its slot stays taken meanwhile
            view = view_of_link(link, introduction.role, introduction.purpose, self._host.wall())
            judging.ask(link, view, functools.partial(self._judged, link, introduction))
        else:
            self._decide(link, introduction)

    def _judged(self, link: Link, introduction: Introduction, verdict: Verdict) -> None:
        """The application has been asked (the thread of judging)."""
        if not link.verdict:
            if verdict is Verdict.FAILED:
                self._put_off(link, introduction, "this node cannot tell now whether you are welcome")
            else:  # the registry finds those banned who are
                self._decide(link, introduction)
            if link.verdict and link.conversation is not None:  # cut meanwhile, perhaps before it was the session's
                link.conversation.link_lost(link)
            elif link.verdict:
                self._host.registry.given_up(link)
        link.connection.resume()

    def _decide(self, link: Link, introduction: Introduction) -> None:
        self._release(link)
        self._host.registry.introduced(link, introduction)
        if link.conversation is not None or link.verdict:
            self._begun(link)

    def _put_off(self, link: Link, introduction: Introduction, why: str) -> None:
        """It may come again later. It holds no slot while it takes the answer: nobody else could have that."""
        if introduction.resume is not None:  # a refusal in words would end the session
            link.fail("failed", f"its caller was not let go on with a session: {why}")
            return
        self._release(link)
        self._host.registry.put_off(link, why)

    def _release(self, link: Link) -> None:
        """Its slot is free for others."""
        slot = link.owner_data
        if isinstance(slot, Slot):
            slot.release(self._now())
            link.owner_data = None

    def link_used(self, link: Link, decision: int) -> None:
        """The caller is the controller, and chose this link."""
        self._host.registry.used(link, decision)
        self._begun(link)

    def link_lost(self, link: Link) -> None:
        """The link ended before it carried a session."""
        self._begun(link)
        self._host.judging.withdraw(link)
        self._host.registry.given_up(link)
        self._release(link)
        now = self._now()
        address = link.connection.remote.host
        if link.verdict in ("cancelled", "lost_race") or (link.door is not None and link.door.requests):
            return
        if not link.greeted and not link.spoken:
            self.came_to_nothing(link, link.error == _MADE_ROOM)
        held_back = self._limited.permit(("bad", address), now)
        if held_back is not None:
            self._host.log.info(
                "a connection from %s came to nothing: %s (%d more were not logged)",
                address,
                link.misheard or link.error,
                held_back,
            )

    def link_answered(self, link: Link) -> None:
        """Not for callees."""

    def link_welcomed(self, link: Link, welcome: frames.Welcome) -> None:
        """Not for callees."""

    def link_denied(self, link: Link, code: DenialCode, text: str, alternates: tuple[str, ...]) -> None:
        """Not for callees."""

    # --- from outside -------------------------------------------------------------------------------------------------

    def end_of(self, banned: Callable[[PeerId | None, str | None], bool]) -> None:
        """End the handshakes of peers and addresses for which ``banned`` holds."""
        with self._lock:
            links = list(self._links)
        for link in links:
            if link.conversation is not None:
                continue  # the end of its session says goodbye on it
            if _is_welcome(link):
                if banned(link.peer_id, link.address):
                    leave(link, frames.GoodbyeCode.BANNED, "refused: banned")
            elif banned(None, link.address):
                link.fail("failed", "banned")

    def abandon(self) -> None:
        """In a forked child: forget everything (takes no lock)."""
        self._lock = threading.Lock()
        self._closed = True
        self._links = set()

    def close(self) -> None:
        """End all handshakes, and begin none."""
        with self._lock:
            self._closed = True
            links = list(self._links)
        for link in links:
            if _is_welcome(link):
                leave(link, frames.GoodbyeCode.CLOSED, "the service is closing")
            else:
                link.fail("cancelled", "the service is closing")


def _is_welcome(link: Link) -> bool:
    """We have agreed with the caller, who has not said yet that it goes on on this link."""
    undecided = link.verdict or link.conversation is not None or isinstance(link.owner_data, Slot)
    return link.stage is Stage.ANSWER and not undecided
