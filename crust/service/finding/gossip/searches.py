"""
What is done to reach a peer to which no way is known: it is looked up, and those who introduce it are linked to.

A search belongs to an effort of the dialer, and ends with it. The record of the peer gives addresses to dial, and up to
three *via* peers; a session with one of them is begun unless there is one, and when a link of its own carries that, a
circuit to the peer is opened through it. A via peer that is not reached where the record says, since it is behind a
router itself, is looked up, too, and so are those who introduce it: ``SEARCH_STEPS`` peers in all, and nobody by way of
whom it is to lead to. For what is known may lag behind what is so, a search that comes to nothing goes on for some
seconds: until there is news of the peer, and then by that.

Sessions with via peers are borrowed (:mod:`crust.service.finding.gossip.borrowed`): they stay while a circuit through
them carries a session, and for a while after.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from .... import limits
from ....addresses import Contact, Endpoint, PeerId
from ....discovery.gossip.record import Record
from ....exceptions import CrustError
from ....peers.conversation import Conversation
from ....peers.effort import Tell
from ....peers.session import State
from ....runtime.timers import Timer
from ....wire.handshake import Purpose
from ...connecting import Dialled
from ...node import Node
from ..dial_rules import DialRules
from .borrowed import Borrowed
from .gossiping import Gossiping

__all__ = ["Searches"]


class Searches:
    """
    Those of one node. Thread-safe; all that they do is done on the thread ``crust-gossip``.

    Args:
        node: The node, not started.
        gossiping: Where to look.
        rules: What may be dialled.
        borrowed: Sessions that the node begins for itself.
    """

    def __init__(self, node: Node, gossiping: Gossiping, rules: DialRules, borrowed: Borrowed) -> None:
        self.node = node
        self.gossiping = gossiping
        self.rules = rules
        self.borrowed = borrowed
        self._running: set[_Search] = set()
        node.look_for = self.look_for
        node.on_connected.append(self._connected)
        gossiping.on_learned.append(self._learned)

    def look_for(self, peer_id: PeerId, tell: Tell, patient: bool) -> Callable[[], object] | None:
        """
        Begin a search (the dialer's lock is held).

        Args:
            tell: Told of what is found, on a thread of the node.
            patient: Go on for some seconds if nobody knows the peer who should, or no way leads to it.

        Returns:
            Call it to end the search; None: there is nobody to ask.
        """
        if not self.gossiping.can_find:
            return None
        running = tuple(self._running)
        if sum(not each.waits for each in running) >= limits.SEARCHES_MAX:
            self.node.refusals.count("SEARCHES_MAX")
            return None
        parent = next((each for each in running if peer_id in each.awaited), None)
        search = _Search(self, peer_id, tell, parent, patient)
        self._running.add(search)
        self.gossiping.put(search.begin)

        return lambda: self.gossiping.put(search.end)

    def over(self, search: _Search) -> None:
        """It makes room for another one: nobody wants it any more, or it has come to its end by itself."""
        self._running.discard(search)

    def is_awaited(self, peer_id: PeerId, but: _Search) -> bool:
        """Whether another search has that peer reached."""
        return any(peer_id in each.awaited for each in tuple(self._running) if each is not but)

    def leads_back(self, peer_id: PeerId, target: PeerId) -> bool:
        """Whether that peer is itself looked for by way of the target, maybe by several steps: each would wait."""
        row, running = [peer_id], tuple(self._running)
        for each in row:
            for search in running:
                if search.target == each:
                    row += [via for via in search.awaited if via not in row]
        return target in row

    def _connected(self, conversation: Conversation) -> None:
        """A link carries that session (locks may be held): maybe that of a via peer, and no circuit any more."""
        if any(conversation.peer_id in each.awaited for each in tuple(self._running)):
            self.gossiping.put(lambda: self._stands(conversation.peer_id))

    def _stands(self, via: PeerId) -> None:
        for each in tuple(self._running):
            each.stands(via)

    def _learned(self) -> None:
        """Records have come."""
        for each in tuple(self._running):
            if each.waits:
                each.learned()


class _Steps:
    """How many more peers may be reached for the sake of one that is wanted."""

    def __init__(self) -> None:
        self.left = limits.SEARCH_STEPS


class _Search:
    """One of them. Not thread-safe."""

    def __init__(
        self, owner: Searches, target: PeerId, tell: Tell, parent: _Search | None, patient: bool
    ) -> None:
        self._owner = owner
        self._node = owner.node
        self.target = target
        self._tell = tell
        self._for_another = parent is not None
        self.steps: _Steps = _Steps() if parent is None else parent.steps
        began = self._node.clock.now()
        self._looks = [began + each for each in limits.SEARCH_LOOKS] if patient else []
        self.waits = False
        """Nothing is done for it at the moment, but that it hears of news."""
        self._tried: Record | None = None
        self._leads_nowhere = False
        """There is nothing in it that might be tried: its node has just begun."""
        self._note = ""
        """What came of the addresses in it."""
        self.awaited: dict[PeerId, Dialled | None] = {}
        """Via peers to which no link of its own leads yet."""
        self._outcomes: dict[PeerId, str] = {}
        """What came of the others."""
        self._cancel: Callable[[], None] = lambda: None
        self._timer: Timer | None = None
        self._over = False

    def begin(self) -> None:
        if not self._over:
            self.waits = False
            known = self._tried.sequence if self._tried is not None and self._leads_nowhere else -1
            self._cancel = self._owner.gossiping.find(self.target, self._found, newer_than=known)

    def end(self) -> None:
        """Nobody wants it any more; or it is over."""
        if self._over:
            return
        self._over = True
        self.waits = False
        self._owner.over(self)
        self._cancel()
        if self._timer is not None:
            self._timer.cancel()
        awaited, self.awaited = self.awaited, {}
        for via, dialled in awaited.items():
            self._owner.borrowed.used(via)
            if dialled is not None:
                dialled.lose_interest()

    # --- the record ---------------------------------------------------------------------------------------------------

    def _found(self, record: Record | None, asked: int) -> None:
        if self._over:
            return
        record = record or self._tried  # then it is one that is newer which nobody has
        if record is None:
            # Who has just joined may know nothing of that peer yet. And whom a record names was there lately.
            hopes = self._for_another or self._owner.gossiping.age < limits.SEARCH_YOUNG
            if not (hopes and self._wait()):
                others = f", and the {asked} nodes that were asked do not either" if asked else ""
                self._give_up(f"it was looked up and not found: this node does not know where it is{others}")
            return
        is_news = self._is_news(record)
        if not is_news and self._wait():
            return
        rules, self._tried = self._owner.rules, record
        chosen = [each for each in record.via if rules.may_dial(each.peer_id)]
        places: tuple[Endpoint, ...] = ()
        if is_news:
            self._outcomes.clear()
            places = rules.usable(record.endpoints, limits.GOSSIP_DIALS)
            if self._for_another:  # nobody has asked for that peer but a record
                places = rules.afford(places)
            self._leads_nowhere = not (places or chosen)
            self._note = _dialled(len(places))
            self._tell(places, (), None)
        else:  # the last time: who had no link to the peer may have one now, and whoever was not reached stays so
            chosen = [each for each in chosen if self._is_linked(each.peer_id)]
        if not chosen:
            self._in_vain()
            return
        self._set_timer(limits.SEARCH_SECONDS, self._too_late)
        for via in chosen:
            self.awaited[via.peer_id] = None
        for via in chosen:
            self._reach(via)

    def _is_news(self, record: Record) -> bool:
        return self._tried is None or record.sequence != self._tried.sequence

    def learned(self) -> None:
        """Records have come while it waits: maybe that of the peer, or a newer one."""
        record = self._owner.gossiping.record(self.target)
        if record is not None and self._is_news(record):
            self.begin()

    # --- who introduces it --------------------------------------------------------------------------------------------

    def _is_linked(self, via: PeerId) -> bool:
        conversation = self._node.registry.get(via)
        return conversation is not None and conversation.session.state is State.CONNECTED

    def _reach(self, via: Contact) -> None:
        """Have a session with that peer, on a link of its own."""
        owner, node = self._owner, self._node
        if self._is_linked(via.peer_id):
            self.stands(via.peer_id)
            return
        if owner.leads_back(via.peer_id, self.target):
            self._missed(via.peer_id, "is looked for by way of this one")
            return
        if not owner.is_awaited(via.peer_id, self):
            if self.steps.left <= 0:
                node.refusals.count("SEARCH_STEPS")
                self._missed(via.peer_id, "was left out, so many having been tried")
                return
            self.steps.left -= 1
        if node.registry.get(via.peer_id) is None:
            owner.borrowed.use(via.peer_id)
        known = owner.rules.usable(node.directory.places(via.peer_id, but={"gossip"}), limits.GOSSIP_DIALS)
        told = (*via.endpoints, *node.directory.places(via.peer_id))
        told = owner.rules.usable([each for each in dict.fromkeys(told) if each not in known], limits.GOSSIP_DIALS)
        endpoints = (*known, *owner.rules.afford(told))[: limits.GOSSIP_DIALS]
        dialled = self.awaited[via.peer_id] = Dialled(
            node,
            Contact(via.peer_id, endpoints),
            Purpose.CONNECT,
            limits.SEARCH_SECONDS,
            functools.partial(self._ended, via.peer_id),
            owner.rules.avoid,
            quiet=True,
        )
        dialled.begin()

    def _ended(self, via: PeerId, conversation: Conversation | None, error: CrustError | None) -> None:
        """What came of a dial (the dialer's lock may be held)."""
        if conversation is not None:
            self._owner.gossiping.put(lambda: self.stands(via))
        else:
            self._owner.gossiping.put(lambda: self._missed(via, "was not reached"))

    def _missed(self, via: PeerId, outcome: str) -> None:
        if via in self.awaited:
            self._settle(via, outcome)

    def stands(self, via: PeerId) -> None:
        """There is a session with a via peer: open a circuit, if it has a link of its own by now."""
        if self._over or via not in self.awaited:
            return
        circuits = self._node.circuits.towards(self.target, (via,))
        if circuits:  # else its session is on a circuit itself: until a path of its own is found
            self._tell((), circuits, None)
            self._settle(via, "was asked")

    def _settle(self, via: PeerId, outcome: str) -> None:
        """That one is awaited no more."""
        del self.awaited[via]
        self._outcomes[via] = f"peer {via} {outcome}"
        if not self.awaited:
            self._in_vain()

    # --- how it ends --------------------------------------------------------------------------------------------------

    def _in_vain(self) -> None:
        """Nothing is left to do, as far as is known: if that has led to the peer, nobody wants the search any more."""
        if not self._over and not self._wait():
            self._give_up(self._summary())

    def _wait(self) -> bool:
        """For news, or until it is time to look again; False: it has been long enough."""
        now = self._node.clock.now()
        self._looks = [each for each in self._looks if each > now]
        if not self._looks:
            return False
        self._set_timer(self._looks[0] - now, self._resume)
        self.waits = True
        return True

    def _resume(self) -> None:
        if self.waits:
            self.begin()

    def _too_late(self) -> None:
        if self.awaited:
            self._give_up(self._summary())

    def _set_timer(self, seconds: float, job: Callable[[], object]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._node.io.call_later(seconds, lambda _: self._owner.gossiping.put(job))

    def _summary(self) -> str:
        if not (self._outcomes or self.awaited):
            return f"it was looked up: its record names nobody who introduces it, and {self._note}"
        outcomes = "; ".join(self._outcomes.values()) or "none could do so in time"
        return f"it was looked up: of those who introduce it, {outcomes}"

    def _give_up(self, note: str) -> None:
        if not self._over:
            self.end()
            self._tell((), (), note)


def _dialled(places: int) -> str:
    return "what addresses it has were tried" if places else "no address that may be dialled from here"
