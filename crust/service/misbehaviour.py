"""
Misbehaviour: who notices it says so here; the application hears of it and may decide; what is decided is done.

A peer, or an address, is told of by one event (``PeerMisbehaved``); then the policy has its say, the application's if
it gave one (``on_misbehaviour``), else the table's. Links that cost too much are held back at once in any case, since
the dispatcher may be busy; the verdict ``warn`` lets them go on.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import ipaddress
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from .. import limits
from ..addresses import RELAY, Endpoint, PeerId, address_key
from ..peers.conversation import Conversation
from ..peers.link import Link
from ..peers.misdeeds import HELD_BACK, KINDS, Action, Kind, Misdeeds
from ..peers.transfer import short_text
from ..runtime.rates import Rates
from ..wire.frames import Goodbye, GoodbyeCode
from . import events

if TYPE_CHECKING:
    from .node import Node

__all__ = ["Misbehaviour", "OnMisbehaviour"]

OnMisbehaviour = Callable[["events.PeerMisbehaved"], "Action | None"]
"""Decides what becomes of who misbehaved; None: what the table says. Before it has, nobody is dropped or banned."""

_EVERYBODY = b""
_SELF_ENDING = ("protocol", "protocol-again")  # the session is over anyhow
_GRAVE = (Action.DROP, Action.BAN)
_Matter = tuple[str, bool, "bytes | str"]  # what verdicts are about: see _matter
_SHARED = {name: dataclasses.replace(kind, attributable=False) for name, kind in KINDS.items()}
"""Of a peer that is held back as others at its address have used up what they get together, say."""


class Misbehaviour:
    """
    One node's. Thread-safe; nothing here blocks, but for the application's own code on the dispatcher thread.

    Args:
        node: The node.
        policy: The application's; None: the table's.
    """

    def __init__(self, node: Node, policy: OnMisbehaviour | None) -> None:
        self._node = node
        self._policy = policy
        self._misdeeds = Misdeeds()
        self._lock = threading.Lock()  # guards _verdicts
        self._verdicts: collections.OrderedDict[_Matter, Action | None] = collections.OrderedDict()
        """By kind and place; None: the application has been asked."""
        self._remember()
        self._listen()

    def _listen(self) -> None:
        """Have the parts of the node say what they notice."""
        node = self._node
        node.acceptor.gate.refused = self._at_the_gate
        node.acceptor.may_begin = self._may_begin
        node.acceptor.came_to_nothing = self._came_to_nothing
        node.echoes.on_limit = lambda peer, limit: self._beyond(peer, limit, "echo-flood")
        node.circuits.introducing.on_limit = lambda peer, limit: self._beyond(peer, limit, "circuit-flood")
        refusals = node.refusals
        node.circuits.bites = node.files.bites = node.dialer.bites = refusals.count
        node.access.bites = node.subscriptions.bites = refusals.count
        refusals.watch("GATE_ADDRESSES_MAX", lambda: node.acceptor.gate.forgotten)
        refusals.watch("SALT_MEMORY", lambda: node.acceptor.salts.forgotten)
        refusals.watch("MISDEEDS_KEPT", lambda: node.accounts.forgotten)
        refusals.watch("LOG_BACKLOG", lambda: node.log.dropped)
        for transport in node.transports.values():
            resolver = getattr(transport, "resolver", None)  # a network in memory has no names
            if resolver is not None:
                resolver.bites = refusals.count
        self._set_half_open()

    def _set_half_open(self) -> None:
        from ..transports.utp.transport import (
            UtpTransport,  # not before the first start: `import crust` stays cheap
        )

        terms = self._node.config.limits
        for transport in self._node.transports.values():
            if isinstance(transport, UtpTransport):
                transport.half_open = (terms.utp_half_open, terms.utp_half_open_per_network)
                transport.on_limit = self._at_the_hub
                self._node.refusals.watch("UTP_KEPT_MAX", transport.reserve.refused)

    def _remember(self) -> None:
        """Begin to count sessions; whoever is connected is remembered."""
        terms = self._node.config.limits
        kept = self._node.accounts.kept = max(limits.MISDEEDS_KEPT, terms.max_peers)
        each = terms.sessions_per_peer_per_second
        burst = max(limits.SESSIONS_PER_PEER_BURST, each)
        self._sessions = Rates(each, float("inf"), each_size=burst, keys=kept)

    def configure(self) -> None:
        """Other limits count."""
        self._remember()
        self._set_half_open()
        share = self._node.accounts.share = self._node.overhead_share()
        for conversation in self._node.registry.all():
            conversation.meter.account.share = share

    # --- what is noticed ----------------------------------------------------------------------------------------------

    def by_peer(
        self,
        conversation: Conversation,
        kind: str,
        detail: str = "",
        *,
        amount: float = 1.0,
        attributable: bool = True,
    ) -> None:
        """A peer did something of that kind in its session; ``attributable``: by itself, whatever others do."""
        path = conversation.path
        address = path.remote if path is not None else ""
        self._by_key(kind, conversation.peer_id, address, detail, amount, conversation, attributable)

    def by_address(self, host: str, kind: str, times: int = 1) -> None:
        """Somebody did so at an IP address, or says that it is there."""
        self._by_address(address_key(host), kind, times)

    def overspent(self, conversation: Conversation, link: Link, wait: float, *, longer: bool = False) -> None:
        """What came on that link has cost more than its peer may: let it rest; ``longer``: it does already."""
        with conversation.lock:
            account = conversation.meter.account
            burden, new = account.worst, account.count(wait, self._node.clock.now())
            attributable = account.is_own_doing
        if not longer:
            self._node.refusals.count("limits.overhead_per_peer")
            self._node.brake.hold(link, conversation, wait)
        if new:
            kind = KINDS[burden.kind]
            detail = "" if attributable else f"{kind.what}, or others did, at its address or on the path"
            self.by_peer(conversation, kind.name, detail, amount=new, attributable=attributable)

    def asked_too_often(self, limit: str, host: str) -> None:
        """Somebody asks more often by STUN than it may, or when all have asked too often."""
        self._node.refusals.count(limit)
        if limit == "STUN_ANSWERS_ALL_PER_SECOND":
            self._by_many("stun-flood", 1)
        else:
            self.by_address(host, "stun-flood")

    def _at_the_gate(self, limit: str, key: bytes | None) -> None:
        self._node.refusals.count(limit)
        kind = "start-rate" if limit.startswith("limits.starts") else "half-open"
        if key is None:
            self._by_many(kind, 1)
        else:
            self._by_address(key, kind, 1)

    def _at_the_hub(self, limit: str, host: str, count: int) -> None:
        self._node.refusals.count(limit, count)
        if limit in ("SIEVE_FROM", "ICMP_HEARD_PER_SECOND"):
            return  # who floods is told of by what gets through
        useless = limit in ("UTP_RESETS_PER_SECOND", "UTP_USELESS_PER_SECOND")
        kind = "udp-garbage" if useless else "utp-syn-flood"
        if host:
            self.by_address(host, kind, count)
        else:
            self._by_many(kind, count)

    def _by_many(self, kind: str, count: int) -> None:
        """It was done by nobody in particular."""
        finding = self._misdeeds.note_many(kind, self._node.clock.now(), count)
        if finding is not None and finding.alert is not None:
            self._tell(_of_all(kind), "", "", finding.alert)

    def _came_to_nothing(self, link: Link, evicted: bool) -> None:
        if link.circuit is not None or evicted:
            return  # the address is the introducer's; or the gate has counted it
        knew_nothing = link.spoken or (link.bytes_received > 0 and link.verdict != "timeout")
        self.by_address(link.connection.remote.host, "invalid-handshake" if knew_nothing else "half-open")

    def _may_begin(self, link: Link, peer_id: PeerId, begins: bool) -> bool:
        if self._sessions.permit(peer_id, self._node.clock.now()):
            return True
        self._node.refusals.count("limits.sessions_per_peer_per_second")
        kind, session = KINDS["session-flood"], self._node.registry.get(peer_id)
        attributable = begins or session is None  # else somebody on the path may cut each link that it comes back on
        detail = "" if attributable else f"{kind.what}, or others on the path cut its links"
        self._by_key(kind.name, peer_id, str(link.connection.remote), detail, 1.0, session, attributable)
        return False

    def _beyond(self, conversation: Conversation, limit: str, kind: str) -> None:
        self._node.refusals.count(limit)
        if "_ALL_" not in limit and limit != "limits.peers_per_address":  # else others have used it up
            self.by_peer(conversation, kind)

    # --- who hears of it ----------------------------------------------------------------------------------------------

    def _by_key(
        self,
        kind: str,
        peer_id: PeerId,
        address: str,
        detail: str,
        amount: float,
        session: Conversation | None,
        attributable: bool = True,
    ) -> None:
        ip = Endpoint.parse(address, allow_relay=True).ip if address else None
        place = address if ip is None else address_key(ip)
        finding = self._misdeeds.note(kind, peer_id, place, self._node.clock.now(), amount=amount)
        if finding is None:
            return
        case = _Case(KINDS[kind] if attributable else _SHARED[kind], place, peer_id, session)
        if finding.alert is None:  # what was decided about who was told of last holds for all at that place
            self._carry_out(self._standing(case), case)
        elif finding.about_all:
            everybody = case._replace(place=_EVERYBODY, peer_id=None, session=None)
            self._tell(everybody, "", detail, finding.alert, doer=case)
        else:
            self._tell(case, address, detail, finding.alert)

    def _by_address(self, key: bytes, kind: str, times: int) -> None:
        amount = float(times)
        traversals = self._node.traversals
        if traversals is not None and traversals.expects(key):
            amount *= limits.SEARCHED_COUNTS
        finding = self._misdeeds.note(kind, key, key, self._node.clock.now(), amount=amount, times=times)
        if finding is None or finding.alert is None:
            return
        case = _Case(KINDS[kind], key, None, None)
        if finding.about_all:
            self._tell(_of_all(kind), "", "", finding.alert, doer=case if finding.by_itself else None)
        else:
            self._tell(case, _as_text(key), "", finding.alert)

    def _tell(self, case: _Case, address: str, detail: str, count: int, *, doer: _Case | None = None) -> None:
        """Tell of it, and do what is decided to who did it: the case's, or of many the one that is known."""
        node, kind = self._node, case.kind
        peer = None if case.session is None else getattr(case.session, "peer", None)
        who = f"peer {case.peer_id}" if case.peer_id is not None else address or "somebody at many addresses"
        detail = detail or kind.what
        if case.peer_id is not None and peer is None:
            detail += f" (peer {case.peer_id})"
            address = "" if address.startswith(f"{RELAY}://") else _as_text(case.place)
        node.log.warning("%s misbehaves (%s): %s (%d times since the last such line)", who, kind.name, detail, count)
        event = events.PeerMisbehaved(peer, address, kind.name, detail, count, kind.attributable)
        node.subscriptions.emit(event)
        if self._policy is None:
            self._decided(kind.action, case, doer)
        else:
            self._note_verdict(case, None)
            node.dispatcher.post(self._ask, self._policy, event, case, doer)

    # --- what becomes of it -------------------------------------------------------------------------------------------

    def _ask(
        self, policy: OnMisbehaviour, event: events.PeerMisbehaved, case: _Case, doer: _Case | None
    ) -> None:
        """Let the application decide (the dispatcher thread)."""
        answers: list[Action] = []

        @functools.wraps(policy)
        def decide(told: events.PeerMisbehaved) -> None:
            answer = policy(told)
            if answer is not None:
                answers.append(Action(answer))

        self._node.subscriptions.run(decide, event, event)
        self._decided(answers[0] if answers else case.kind.action, case, doer)

    def _standing(self, case: _Case) -> Action:
        """What was decided about who was told of last, there or for all; nothing grave before the application has."""
        action = case.kind.action if self._policy is None else None
        with self._lock:
            action = self._verdicts.get(_matter(case.kind, _EVERYBODY), action)
            action = self._verdicts.get(_matter(case.kind, case.place), action)
        if action is None:
            action = Action.THROTTLE if case.kind.action in _GRAVE else case.kind.action
        return Action.THROTTLE if action in _GRAVE and not case.kind.attributable else action

    def _note_verdict(self, case: _Case, action: Action | None) -> None:
        with self._lock:
            matter = _matter(case.kind, case.place)
            self._verdicts[matter] = action
            self._verdicts.move_to_end(matter)
            if len(self._verdicts) > limits.MISDEEDS_KEPT:
                self._verdicts.popitem(last=False)

    def _decided(self, action: Action, case: _Case, doer: _Case | None) -> None:
        if action in _GRAVE and not case.kind.attributable:
            self._node.log.warning("nobody is banned or dropped for %s, which others can have done", case.kind.name)
            action = Action.THROTTLE
        self._note_verdict(case, action)
        self._carry_out(action, doer or case)

    def _carry_out(self, action: Action, case: _Case) -> None:
        """On the I/O thread, since locks may be held here."""
        if case.place == _EVERYBODY or (action is Action.WARN and not case.by_account):
            return
        if action is not Action.BAN and case.kind.name in _SELF_ENDING:
            return
        if case.peer_id is None:
            self._node.io.call_soon(lambda: self._do_to_address(action, case))
        elif action is Action.BAN:
            self._node.bans.soon(case.peer_id, seconds=self._node.config.limits.ban_seconds)
        elif case.session is not None:
            session = case.session
            self._node.io.call_soon(lambda: self._do_to_session(action, case, session))

    def _do_to_session(self, action: Action, case: _Case, session: Conversation) -> None:
        if action is Action.DROP:
            session.end("disconnected", Goodbye(GoodbyeCode.DISCONNECTED, short_text(case.kind.what)))
            return
        now = self._node.clock.now()
        with session.lock:
            account, link = session.meter.account, session.link
            if action is Action.WARN:
                account.excuse(now + limits.MISBEHAVIOUR_INTERVAL)
            elif not case.by_account:
                account.hold(now + limits.HOLD_SECONDS)
        if action is Action.WARN:
            self._node.brake.flush()
        elif link is not None and not case.by_account:  # else it is held already
            self._node.brake.hold(link, session, limits.HOLD_SECONDS)

    def _do_to_address(self, action: Action, case: _Case) -> None:
        node, key = self._node, case.place
        assert isinstance(key, bytes)
        node.acceptor.gate.slow(key, node.clock.now() + limits.SLOWED_SECONDS)
        if action is Action.BAN:
            node.bans.soon(_as_text(key), seconds=node.config.limits.ban_seconds)
        elif action is Action.DROP:
            node.acceptor.end_of(lambda peer, host: peer is None and host is not None and address_key(host) == key)


class _Case(NamedTuple):
    """Whom something is about."""

    kind: Kind
    place: bytes | str
    """The ``address_key``, or the address of the peer that it came through; empty: many addresses."""
    peer_id: PeerId | None
    session: Conversation | None

    @property
    def by_account(self) -> bool:
        """Its link is held back by what it costs."""
        return self.kind.unit == HELD_BACK


def _of_all(kind: str) -> _Case:
    return _Case(KINDS[kind], _EVERYBODY, None, None)


def _matter(kind: Kind, place: bytes | str) -> _Matter:
    """What is decided about some at an address, held back for what others there have cost, holds for no other."""
    return kind.name, kind.attributable, place


def _as_text(key: bytes | str) -> str:
    """The address that a key stands for, as ``ban`` takes it; nothing for everybody's."""
    if not key or isinstance(key, str):
        return ""
    if len(key) == 4:
        return str(ipaddress.IPv4Address(key))
    return str(ipaddress.IPv6Network((int.from_bytes(key, "big") << 64, 64)))
