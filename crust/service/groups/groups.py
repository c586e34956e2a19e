"""
Groups, and peers that are kept: the driver of :class:`~crust.service.groups.core.Core`.

What happens to sessions is told to the core at once, by whichever thread; what the core wants done is done by the io
thread, outside of all locks, but for questions to the application, which are posted where they come up, so that they
stand before the session's first message.

Order of locks: registry, dialer, then the one here; directory, access and the dropped peers have theirs below.
"""

from __future__ import annotations

import collections
import functools
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from ... import limits
from ...addresses import ConnectionInfo, Contact, Endpoint, PeerId
from ...exceptions import CrustError, Denied, NoRoute, ServiceClosed
from ...nat.stun.opinions import network_of
from ...paths import Attempt
from ...peers.conversation import Conversation
from ...peers.peer import Peer
from ...runtime.alarm import Alarm
from ...runtime.clock import Event
from ...wire.frames import Goodbye, GoodbyeCode
from ...wire.handshake import Purpose
from .. import events
from ..connecting import Dialled, Target, as_contact, resolve
from ..finding.dial_rules import DialRules
from ..finding.directory import contact_of_first
from ..finding.dropped import Dropped
from ..node import Node
from .actions import Action, Cut, Dial, Fullness, GiveUp, Offer
from .core import Core
from .group import Group, OnOffer

__all__ = ["Groups"]

R = TypeVar("R")

_REFUSED = "the application let go of this peer"
_LASTING = frozenset({"network", "version", "role", "banned", "self"})  # refusals that will not be others soon


class Groups:
    """
    All groups of one node. Thread-safe; nothing here blocks its caller.

    Args:
        node: The node, not started.
        rules: What may be dialled.
        dropped: Whom nobody dials for a while.
    """

    def __init__(self, node: Node, rules: DialRules, dropped: Dropped) -> None:
        self._node = node
        self._rules = rules
        self._dropped = dropped
        self.pid = node.pid
        self._lock = threading.Lock()  # guards all below
        self._core = Core()
        self._groups: dict[str, Group] = {}
        self._wants: dict[str, int] = {}
        self._given: dict[PeerId, tuple[Endpoint, ...]] = {}
        self._reached: collections.OrderedDict[PeerId, tuple[Endpoint, ...]] = collections.OrderedDict()
        self._dials: dict[PeerId, Dialled] = {}
        self._silent: set[Conversation] = set()  # those whose link may speak again
        self._todo: collections.deque[Action] = collections.deque()
        self._offers: dict[tuple[str, object], Offer] = {}  # not asked yet, the oldest first
        self._posted = 0  # calls of _ask() that wait, as many as there were offers at once
        self._alarm = Alarm(node.io)
        self._closed = False
        node.on_connected.append(self._connected)
        node.on_suspected.append(self._suspected)
        node.on_attempted.append(self._attempted)
        node.on_lost.append(self._lost)

    def close(self) -> None:
        """Begin nothing more; who waits for a group hears that it is closed."""
        with self._lock:
            self._closed = True
            self._todo.clear()
            for group in self._groups.values():
                group._end()

    def abandon(self) -> None:
        """In a forked child: do nothing any more (takes no lock)."""
        self._lock = threading.Lock()
        self._closed = True
        self._todo.clear()
        for group in self._groups.values():
            group._closed = True
        self._groups, self._core = {}, Core()

    # --- what the application wants -----------------------------------------------------------------------------------

    def open(
        self, name: str, want: int, members: Iterable[Target], others: bool | None, decide: OnOffer | None
    ) -> Group:
        """See :meth:`crust.Service.group`."""
        if not isinstance(name, str):
            raise TypeError(f"a group's name must be text, not {type(name).__name__}")
        _check_want(want)
        if isinstance(members, str):
            raise TypeError("members must be a list of contacts or ids, not one text")
        if decide is not None and not callable(decide):
            raise TypeError(f"offer must be callable, not {type(decide).__name__}")
        contacts = [self._as_contact(each) for each in members]
        group = Group(self, name, decide)

        def begin() -> None:
            if self._closed:
                raise ServiceClosed("the service has been closed")
            self._core.open(
                name,
                want,
                [each.peer_id for each in contacts],
                others=not contacts if others is None else others,
                asks=decide is not None,
            )
            self._groups[name] = group
            self._wants[name] = want
            self._remember_locked(contacts)

        self._change(begin)
        return group

    def close_group(self, group: Group) -> None:
        """See :meth:`crust.Group.close`."""

        def end() -> None:
            group._end()
            if self._groups.get(group.name) is group:
                del self._groups[group.name], self._wants[group.name]
                self._core.close(group.name)
                self._forget_places_locked()

        self._change(end)

    def set_want(self, group: Group, want: int) -> None:
        """See :attr:`crust.Group.want`."""
        _check_want(want)

        def change() -> None:
            if self._groups.get(group.name) is group:
                self._core.want(group.name, want)
                self._wants[group.name] = want

        self._change(change)

    def add(self, group: Group, who: Iterable[Target]) -> None:
        """See :meth:`crust.Group.add`."""
        contacts = [self._as_contact(each) for each in who]

        def change() -> None:
            if self._groups.get(group.name) is group:
                self._remember_locked(contacts)
                for each in contacts:
                    self._core.add(group.name, each.peer_id)

        self._change(change)

    def remove(self, group: Group, who: Iterable[PeerId]) -> None:
        """See :meth:`crust.Group.remove`."""

        def change() -> None:
            if self._groups.get(group.name) is group:
                for peer_id in who:
                    self._core.remove(group.name, peer_id)
                self._forget_places_locked()

        self._change(change)

    def keep(self, contact: Contact) -> None:
        """Reconnect to that peer whenever its session is over, until one of the two applications ends it."""

        def begin() -> None:
            if not self._dropped.covers(contact.peer_id, self._node.clock.now()):  # else that was it already
                self._core.keep(contact.peer_id)
                self._remember_locked([contact])

        self._change(begin)

    def unkeep(self, peer_id: PeerId) -> None:
        """No longer."""
        with self._lock:
            self._core.unkeep(peer_id)
        self._poke()

    def claim(self, peer_id: PeerId) -> None:
        """The application itself asks for that peer: what comes of it no group ends. See :meth:`unclaim`."""
        with self._lock:
            self._core.claim(peer_id)

    def unclaim(self, peer_id: PeerId, got: Peer | None) -> None:
        """It has it, or not."""
        if got is not None:
            self._connected(got._conversation)  # who waits for a session may hear of it before us
        with self._lock:
            self._core.unclaim(peer_id)

    def look(self) -> None:
        """Somebody has become known: see whether a group needs it, instead of a second later. Any thread."""
        with self._lock:
            self._arm_locked(self._core.when_known())

    def hurry(self) -> None:
        """What was in vain may not be so now: another network."""
        with self._lock:
            self._core.hurry(self._node.clock.now())
        self._poke()

    # --- for groups ---------------------------------------------------------------------------------------------------

    @property
    def all(self) -> tuple[Group, ...]:
        """Those that are open, the oldest first."""
        with self._lock:
            return tuple(self._groups.values())

    @property
    def kept(self) -> frozenset[PeerId]:
        """Whom ``keep=True`` holds for."""
        with self._lock:
            return self._core.kept

    def holds(self, peer_id: PeerId) -> bool:
        """Whether a group has a place for that peer, or it is kept: its session is not to be ended as unneeded."""
        with self._lock:
            return self._core.is_wanted(peer_id)

    def peers_of(self, group: Group) -> list[Peer]:
        """See :attr:`crust.Group.peers`."""
        with self._lock:
            return [each.peer for each in self._sessions_locked(group)]

    def members_of(self, group: Group) -> frozenset[PeerId]:
        """See :attr:`crust.Group.members`."""
        with self._lock:
            return self._core.members(group.name) if self._groups.get(group.name) is group else frozenset()

    def dialled_for(self, group: Group) -> list[PeerId]:
        """See :attr:`crust.Group.dialling`."""
        with self._lock:
            return self._core.dialling(group.name) if self._groups.get(group.name) is group else []

    def is_full(self, group: Group) -> bool:
        """See :attr:`crust.Group.is_full`."""
        with self._lock:
            return self._groups.get(group.name) is group and self._core.is_full(group.name)

    def want_of(self, group: Group) -> int:
        """See :attr:`crust.Group.want`."""
        with self._lock:
            return self._wants[group.name] if self._groups.get(group.name) is group else 0

    def on_dispatcher(self) -> bool:
        """True on the thread that runs callbacks."""
        return self._node.on_dispatcher()

    def make_event(self) -> Event:
        """What to wait with."""
        return self._node.clock.event()

    def shielded(self, call: Callable[[], R]) -> R:
        """Run that where no exception can strike from outside."""
        return self._node.io.shielded(call)

    def enter(self, group: Group, event: Event) -> None:
        """Set that event when the group is full, or closed; at once if it is."""
        with self._lock:
            is_full = self._groups.get(group.name) is group and self._core.is_full(group.name)
            group._enter(event, is_full or self._closed)

    def leave(self, group: Group, event: Event) -> None:
        """Nobody waits with it any more."""
        with self._lock:
            group._leave(event)

    def _sessions_locked(self, group: Group) -> list[Conversation]:
        if self._groups.get(group.name) is not group:
            return []
        return [each for each in self._core.sessions(group.name) if isinstance(each, Conversation)]

    # --- what happens (any thread) ------------------------------------------------------------------------------------

    def _connected(self, conversation: Conversation) -> None:
        """A link carries that session."""
        with self._lock:
            if not self._closed and not conversation.ended_reason:
                self._back_locked(conversation)
                self._collect_locked()
        self._poke()

    def _back_locked(self, conversation: Conversation) -> None:
        address = conversation.address
        self._core.connected(
            conversation.peer_id,
            conversation,
            self._node.clock.now(),
            inbound=conversation.inbound,
            network=_network_of(address) if address else "",
        )

    def _suspected(self, conversation: Conversation) -> None:
        """It has none any more, or one that is silent."""
        with self._lock:
            self._core.suspended(conversation.peer_id, conversation, self._node.clock.now())
            if conversation.link is not None:
                self._silent.add(conversation)
        self._poke()

    def _attempted(self, peer_id: PeerId, attempt: Attempt) -> None:
        """What came of an attempt to reach somebody (the dialer's lock is held)."""
        if attempt.verdict == "refused":
            with self._lock:
                self._core.refused(peer_id, self._node.clock.now())
            self._poke()

    def _look_at_the_silent_locked(self) -> None:
        """Links that fell silent may speak again, of which nobody tells."""
        for conversation in [*self._silent]:
            if conversation.ended_reason or conversation.link is None:
                self._silent.discard(conversation)
            elif conversation.is_well:
                self._silent.discard(conversation)
                self._back_locked(conversation)

    def _lost(self, conversation: Conversation, reason: str) -> None:
        """It is over."""
        peer_id = conversation.peer_id
        with self._lock:
            if reason in (events.LostReason.DISCONNECTED, events.LostReason.BANNED):
                self._core.unkeep(peer_id)
            replaced = reason == events.LostReason.GONE
            self._core.lost(peer_id, conversation, self._node.clock.now(), replaced=replaced)
            for name in self._groups:
                self._offers.pop((name, conversation), None)
            if conversation.redial and self._core.is_active:
                self._reached[peer_id] = conversation.redial
                self._reached.move_to_end(peer_id)
                while len(self._reached) > limits.GROUP_PLACES_KNOWN:
                    self._reached.popitem(last=False)
        self._poke()

    def _dial_ended(self, peer_id: PeerId, conversation: Conversation | None, error: CrustError | None) -> None:
        """What came of a dial of ours (maybe with the dialer's lock held)."""
        if conversation is not None and not conversation.ended_reason:
            self._connected(conversation)
            return
        lasting = isinstance(error, Denied) and error.reason in _LASTING
        with self._lock:
            if lasting and isinstance(error, Denied) and error.reason == "banned":
                self._core.unkeep(peer_id)
            self._core.failed(peer_id, self._node.clock.now(), for_good=lasting)
        self._poke()

    # --- what is to be done (io thread) -------------------------------------------------------------------------------

    def _change(self, change_locked: Callable[[], None]) -> None:
        """Something the application wants: all of it, or nothing."""

        def change() -> None:
            with self._lock:
                change_locked()
                self._collect_locked()

        self._node.io.shielded(change)
        self._poke()

    def _poke(self) -> None:
        """See to everything soon; not here, where locks may be held."""
        with self._lock:
            if self._core.is_active or self._todo or self._dials or self._silent:  # else there is nothing to see to
                self._arm_locked(0.0)

    def _arm_locked(self, when: float) -> None:
        if not self._closed:
            self._alarm.set_by(when, self._turn)

    def _turn(self, now: float) -> None:
        with self._lock:
            self._alarm.rang()
            is_short = self._core.is_short and not self._closed
        contacts = self._node.directory.contacts() if is_short else None  # may take a while: readers want the lock
        networks = None if contacts is None else [(each.peer_id, _network(each.endpoints)) for each in contacts]
        with self._lock:
            if self._closed:
                return
            self._look_at_the_silent_locked()
            for peer_id in self._core.kept:
                if self._node.is_banned(peer_id, None):
                    self._core.unkeep(peer_id)
            known = None if networks is None else self._known_locked(networks)
            self._core.turn(now, known, self._rules.may_dial)
            self._collect_locked()
            todo = [*self._todo]
            self._todo.clear()
            self._arm_locked(self._core.get_timer())
            if self._silent:
                self._arm_locked(now + limits.GROUP_LOOK)
        for action in todo:
            self._carry_out(action)

    def _collect_locked(self) -> None:
        for action in self._core.actions():
            if isinstance(action, Offer):
                self._offers[action.group, action.session] = action
                if self._posted < len(self._offers):  # else one that is over has left its turn
                    self._posted += 1
                    self._node.dispatcher.post(self._ask)
            else:
                self._todo.append(action)

    def _carry_out(self, action: Action) -> None:
        if isinstance(action, Dial):
            self._begin(action.peer_id)
        elif isinstance(action, GiveUp):
            with self._lock:
                dialled = self._dials.pop(action.peer_id, None)
            if dialled is not None:
                dialled.lose_interest()
        elif isinstance(action, Cut):
            self._cut(action)
        elif isinstance(action, Fullness):
            self._tell(action)

    def _begin(self, peer_id: PeerId) -> None:
        contact = self._contact(peer_id)
        if not isinstance(contact, Contact):
            self._dial_ended(peer_id, None, contact)
            return

        def ended(conversation: Conversation | None, error: CrustError | None) -> None:
            with self._lock:
                if self._dials.get(peer_id) is not dialled:
                    return  # given up
                del self._dials[peer_id]
            self._dial_ended(peer_id, conversation, error)

        with self._lock:
            seek = self._core.is_named(peer_id) or not contact.endpoints  # many of the others may be dead: next, please
        dialled = Dialled(
            self._node,
            contact,
            Purpose.CONNECT,
            limits.KEEP_DIAL_TIMEOUT,
            ended,
            self._rules.avoid,
            quiet=True,
            seek=seek,
        )
        with self._lock:
            self._dials[peer_id] = dialled
        dialled.begin()

    def _cut(self, action: Cut) -> None:
        conversation = action.session
        assert isinstance(conversation, Conversation)
        peer_id, now = conversation.peer_id, self._node.clock.now()
        spared = not action.is_dropped and not self._dropped.covers(peer_id, now)
        conversation.end("disconnected", Goodbye(GoodbyeCode.DISCONNECTED, action.text))
        if spared:  # there was no place for it, that is all: another group may have one soon
            self._dropped.lift(peer_id)

    def _tell(self, action: Fullness) -> None:
        with self._lock:
            group = self._groups.get(action.group)
            if group is None:
                return
            peers = tuple(each.peer for each in self._sessions_locked(group))
            want = self._wants[action.group]
            if action.is_full:
                group._wake()
        kind = events.GroupReady if action.is_full else events.GroupShort
        self._node.subscriptions.emit(kind(action.group, want, peers))

    # --- asking the application (the dispatcher) ----------------------------------------------------------------------

    def _ask(self) -> None:
        with self._lock:
            self._posted -= 1
            if not self._offers:
                return
            offer = self._offers.pop(next(iter(self._offers)))
            group = self._groups.get(offer.group)
        conversation = offer.session
        assert isinstance(conversation, Conversation)
        if group is None or group._decide is None or conversation.ended_reason:
            return
        answers: list[object] = []
        self._node.subscriptions.ask(group._decide, conversation.peer, answers)
        if answers and not isinstance(answers[0], bool | str):
            self._node.log.warning("offer of group %r gave %r: that is no yes", group.name, answers[0])
        refusal = _refusal(answers)
        with self._lock:
            self._core.decided(offer.group, conversation.peer_id, conversation, refusal, self._node.clock.now())
            self._collect_locked()
        self._poke()

    # --- who there is -------------------------------------------------------------------------------------------------

    def _as_contact(self, to: Target) -> Contact:
        if isinstance(to, ConnectionInfo) or (isinstance(to, str) and to.startswith("crust1:")):
            return resolve(to, self._node.handshake.network_id, self._node.directory)
        return as_contact(to)

    def _remember_locked(self, contacts: Iterable[Contact]) -> None:
        for each in contacts:
            if each.endpoints:
                self._given[each.peer_id] = tuple(dict.fromkeys((*each.endpoints, *self._given.get(each.peer_id, ()))))

    def _forget_places_locked(self) -> None:
        wanted = self._core.kept.union(*(self._core.members(name) for name in self._groups))
        self._given = {each: places for each, places in self._given.items() if each in wanted}

    def _known_locked(self, networks: Iterable[tuple[PeerId, str]]) -> Mapping[PeerId, str]:
        """Whom there is to dial, and in which network."""
        found: dict[PeerId, str] = {}
        for peer_id, network in networks:
            found.setdefault(peer_id, network)
        for peer_id, endpoints in self._given.items():
            if not found.get(peer_id):
                found[peer_id] = _network(endpoints)
        return found

    def _contact(self, peer_id: PeerId) -> Contact | CrustError:
        """Where to dial a peer; or why nowhere."""
        directory, rules = self._node.directory, self._rules
        with self._lock:
            places = (*self._given.get(peer_id, ()), *self._reached.get(peer_id, ()))
            is_named = self._core.is_named(peer_id)
        vouched = {*places, *directory.places(peer_id, but={"gossip", "lan"})}
        known = dict.fromkeys((*places, *directory.places(peer_id, but={"gossip"})))
        told = [each for each in directory.places(peer_id) if each not in known]
        if not (known or told):
            return Contact(peer_id)
        allowed = [each for each in (*known, *told) if each.ip is None or not rules.avoid(str(each.ip))]
        if not allowed:
            return Denied("every address of it is blacklisted here", (), "banned")
        if not is_named:  # others have told of it, and where it is
            afforded = rules.afford([each for each in allowed if each not in known])
            near = rules.afford_neighbours(peer_id, [each for each in allowed if each in known and each not in vouched])
            allowed = [each for each in allowed if each in vouched or each in afforded or each in near]
        if not allowed:
            return NoRoute("what others tell of it has been tried too often")
        return contact_of_first(peer_id, allowed)


def _check_want(want: int) -> None:
    if isinstance(want, bool) or not isinstance(want, int):
        raise TypeError(f"want must be a whole number, not {type(want).__name__}")
    if want < 0:
        raise ValueError(f"want must be 0 or more, not {want}")


@functools.lru_cache(maxsize=limits.GROUP_PEERS_KNOWN)
def _network_of(host: str) -> str:
    """That of an address; none of a name."""
    try:
        return network_of(host)
    except ValueError:
        return ""


def _network(endpoints: Iterable[Endpoint]) -> str:
    """That of the first address."""
    return next(filter(None, (_network_of(each.host) for each in endpoints)), "")


def _refusal(answers: list[object]) -> str | None:
    """What the application's answer means: None to keep the session, else what to tell the other side."""
    if not answers:
        return _REFUSED  # it raised
    answer = answers[0]
    if isinstance(answer, str):
        return answer or _REFUSED
    return None if answer is True else _REFUSED
