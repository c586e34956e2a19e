"""
The receiving half of a conversation, as far as memory goes: what the peer's messages hold of the node's budget, from
their first byte until the application has them, and when a link is not read for that.

What waits for a callback, in a stream or to be verified when its session ends is counted until it has been taken: a
peer that comes, fills its buffer, goes, and comes again would fill the memory otherwise. What waits in the inbox of
such a session is the application's, as its ``Peer`` is, and goes with that.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, cast

from .. import limits
from ..addresses import address_key
from ..wire.frames import Goodbye, GoodbyeCode
from .accounts import Burden
from .messages import Handed
from .meter import Meter
from .session import Delivery, State
from .signing import SignedSending

if TYPE_CHECKING:
    from .conversation import Conversation
    from .link import Link
    from .peer import Peer
    from .verifying import Desk

__all__ = ["Holding"]

_OVERHEAD = limits.MESSAGE_OVERHEAD


class Holding(SignedSending, abc.ABC):
    """What :class:`~crust.peers.conversation.Conversation` does about what it holds. Thread-safe."""

    __slots__ = (
        "_end_heard",
        "_find_peer",
        "_peer",
        "_shelved",
        "_undigested",
        "_unfinished",
        "messages_received",
        "meter",
        "place",
    )

    desk: Desk | None

    @abc.abstractmethod
    def end(self, reason: str, goodbye: Goodbye | None = None, *, said: str = "") -> bool:
        """See :class:`~crust.peers.conversation.Conversation`."""

    def _begin_holding(self, meter: Meter) -> None:
        self.messages_received = 0
        self._undigested = 0  # bytes of the node's budget held for messages not yet consumed
        self._shelved = 0  # the same for what is in the inbox of a session that is over, of which callbacks are to hear
        self._end_heard = False  # callbacks have heard that it is over
        self._peer: Peer  # until then
        self._find_peer: Callable[[Conversation], Peer] | None = None  # and afterwards
        self._unfinished = 0  # and for those that have begun to come
        self.meter = meter
        """What the peer costs; the lock guards it."""
        self.place: Hashable = self.peer_id
        """Among whose messages that have begun its own count; the lock guards it."""

    # --- whether the link is read -------------------------------------------------------------------------------------

    @property
    def must_pause(self) -> bool:
        """
        True while everybody's messages together fill the node's memory: read on when the application has caught up, or
        messages that have begun have come to an end. (Not if it is what we send: only the acknowledgements that we read
        make that less.)
        """
        if self.ended_reason:
            return False
        host = self._host
        return host.budget.over and self._undigested > 0 or host.brake.unfinished.stops(self)

    @property
    def must_rest(self) -> bool:
        """True while its link is not to be read, for that reason or because of what the peer costs."""
        return self.must_pause or self.owes() > 0

    def charge_at(self, host: str) -> None:
        """The peer is at that IP address now, and shares with others there what it may cost, and leave unfinished."""
        with self.lock:
            self.place = place = address_key(host)
            self.meter.account.purse = self._host.accounts.at(place, self._now())

    def charge_split(self, packets: float) -> None:
        """So many packets of its link, or reads, have brought next to nothing."""
        with self.lock:
            self.meter.account.spend(Burden.TINY, packets * limits.COST_PACKET, proven=False)

    def owes(self) -> float:
        """Seconds until the peer may cost this node more without bringing anything."""
        with self.lock:
            return 0.0 if self.ended_reason else self.meter.account.wait(self._now())

    def rests_on(self, link: Link, wait: float) -> None:
        """It is not to be read for so many seconds more: others there have got their part (the I/O thread)."""
        self._host.overspent(cast("Conversation", self), link, wait, longer=True)

    def reassure(self, link: Link) -> None:
        """Say that we live while we do not read (the I/O thread)."""
        again = False
        with self.lock:
            if link is self.link and not link.blocked:
                self.session.excuse(self._now())  # however long it takes, the silence is ours
                self.session.ack_now = True
                again = not self._transmit(link, self._now())
        if again:
            self._host.io.flush_soon(self)

    def read_on(self, link: Link) -> None:
        """After a pause for lack of memory: the silence was ours (the I/O thread)."""
        with self.lock:
            self.session.excuse(self._now())
        link.connection.resume()

    def overstayed(self) -> None:
        """Others wait for the room that its messages take, and they do not come to an end (the I/O thread)."""
        self._host.refusals.count("UNFINISHED_SECONDS")
        self.end("overloaded", Goodbye(GoodbyeCode.OVERLOADED, "messages begun, and not finished in time"))

    # --- what it holds ------------------------------------------------------------------------------------------------

    @property
    def peer(self) -> Peer:
        """
        What the application has of it, with the inbox. Of a session that is over, and of which callbacks have heard,
        it is the application's alone: whoever has but the conversation then, such as a timer or the reader of a link
        that lingers, keeps no message alive by that. Nor do the two each other, until Python looks for such circles.
        """
        try:
            return self._peer
        except AttributeError:
            find = self._find_peer
            if find is None:  # it has not begun
                raise
            return find(cast("Conversation", self))

    @peer.setter
    def peer(self, peer: Peer) -> None:
        self._peer = peer

    def _deliver_locked(self, deliveries: list[Delivery]) -> None:
        cost = 0
        for delivery in deliveries:
            cost += delivery.cost
            self.messages_received += len(delivery.messages)
        self._host.budget.take(cost)
        self._undigested += cost
        self._host.deliver(cast("Conversation", self), deliveries)

    def _count_unfinished_locked(self) -> None:
        """Pieces of messages have come."""
        inbox = self.session.inbox
        size, finished, inbox.turned = inbox.begun, inbox.turned, False
        self._host.budget.take(size - self._unfinished)
        self._unfinished = size
        self._host.brake.unfinished.note(self, self.place, size, finished)

    def _let_go_locked(self) -> None:
        """The session is over: give back what it holds, but for messages that have not come to the application yet."""
        budget = self._host.budget
        if self._unfinished:
            self._host.brake.unfinished.note(self, None, 0, True)
        size = self._budgeted + self._unfinished
        self._budgeted = self._unfinished = 0
        stays = self._undigested
        if stays and not self._host.consumes_messages():  # what is in the inbox goes with the peer: see unshelve()
            stays = 0 if self.desk is None else min(stays, self.desk.held)
        self._shelved = self._undigested - stays
        budget.leave(self._undigested)
        self._undigested = stays
        budget.give(size)

    def unshelve(self) -> None:
        """
        The session is over, and callbacks have heard of it: whoever still has its ``Peer`` is the application, and what
        is left in the inbox is not the node's any more.
        """
        budget = self._host.budget
        with self.lock, budget.lock:
            self._end_heard = True
            size, self._shelved = self._shelved, 0
            budget.used -= size
            budget.left -= size
            self._find_peer = self._peer._weakly()
            del self._peer
        budget.settle()

    def discard_locked(self, size: int) -> None:
        """The application does not get messages of that cost after all, or its ``Peer`` has them after its end."""
        budget = self._host.budget
        size = min(size, self._undigested)
        with budget.lock:
            budget.used -= size
            self._undigested -= size
            if self.session.state is State.LOST:
                budget.left -= size
        budget.settle()

    def shelved_locked(self, deliveries: list[Delivery]) -> None:
        """They have come into the inbox: if that is after the end, they count as what was there before."""
        if self._undigested and self.session.state is State.LOST:
            size = sum([len(data) + _OVERHEAD for delivery in deliveries for data in delivery.messages])
            if self._end_heard:
                self.discard_locked(size)
                return
            size = min(size, self._undigested)
            self._undigested -= size
            self._shelved += size

    def consumed(self, cost: int) -> None:
        """The application has taken messages of that cost (not on a thread that may be interrupted)."""
        self.credit([None, cost])

    def credit(self, handed: Handed | None, peer: Peer | None = None) -> None:
        """
        Give back the buffer of a message that is being handed to the application: once, whatever interrupts.

        Args:
            handed: The message; None: the one in the hands of ``peer``, which gets the first that it holds if there is
                none.
        """
        again = False
        with self.lock:
            if peer is not None:
                handed = peer._handed
                if handed is None:
                    held = peer._held
                    if not held or held[0] is None:
                        return
                    item = held[0]
                    handed = [item, len(item[0]) + _OVERHEAD]
                    peer._handed = handed  # from here on it is there, and from the next statement on no longer here
                    del held[0]
            assert handed is not None
            session = self.session
            cost = handed[1]
            if session.state is State.LOST:
                self._credit_late_locked(handed, peer is not None)
                return
            if cost:
                budget, inbox = self._host.budget, session.inbox
                with budget.lock:
                    budget.used -= cost
                    self._undigested -= cost
                    inbox.used -= cost
                    session.freed += cost
                    handed[1] = 0
                if budget.awaited:
                    if self._undigested:
                        budget.settle()
                    else:  # its link may be read again, whatever others hold
                        self._host.io.flush_soon(self._host.brake)
            if session.window_is_news():
                link = self.link
                if link is not None and not link.blocked:
                    again = not self._transmit(link, self._now())
        if again:
            self._host.io.flush_soon(self)

    def _credit_late_locked(self, handed: Handed, from_inbox: bool) -> None:
        """The same after the session's end; what was in its inbox has been given back by then."""
        budget = self._host.budget
        cost = 0 if from_inbox else min(handed[1], self._undigested)
        if cost:
            with budget.lock:
                budget.used -= cost
                budget.left -= cost
                self._undigested -= cost
                handed[1] = 0
            budget.settle()

    def take_back_locked(self, handed: Handed) -> None:
        """The message goes to another consumer after all, who gives the credit back."""
        cost = len(handed[0][0]) + _OVERHEAD - handed[1]
        if self.session.state is not State.LOST:
            self._host.budget.take(cost)
            self._undigested += cost
            self.session.inbox.used += cost
