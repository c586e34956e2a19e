"""
The inside of a service: it owns the threads and joins the parts; each part sees it through a small protocol.

Threads of one node: ``crust-io`` (timers, and what could not be written at once), ``crust-dispatcher`` (callbacks), one
``crust-listen-…`` per listener, one reader per TCP link (``crust-link-…`` accepted, ``crust-dial-…`` dialled), one
``crust-udp-…`` per UDP socket for all its µTP links, ``crust-network`` (changes of the machine's network),
``crust-status`` if other programs may look at it, ``crust-cache`` while there are nodes to remember or to look at,
``crust-bootstrap`` while links are kept up, ``crust-knock-…`` for each look whether another node is there,
``crust-gossip`` while there is something to hear or say of others, ``crust-judge`` while the application is asked about
a peer (bans by predicate), ``crust-proofs`` once messages come that are signed, and ``crust-files`` while files come
in. All are made by ``threads`` and joined by :meth:`Node.close`.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import weakref
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING

from .. import limits
from ..addresses import Endpoint, PeerId
from ..config import Config, SessionConfig
from ..crypto.handshake import HandshakeConfig
from ..crypto.proofs import Signatory
from ..exceptions import (
    ConnectError,
    CrustError,
    LocalProtocolError,
    RemoteProtocolError,
    ServiceClosed,
    TransferError,
)
from ..paths import Attempt, Path
from ..peers.acceptor import Acceptor
from ..peers.access import Access
from ..peers.accounts import Accounts
from ..peers.brake import Brake
from ..peers.circuits.circuits import Circuits
from ..peers.conversation import Conversation
from ..peers.dialer import Dialer
from ..peers.echoes import Echoes
from ..peers.file_contract import FileSent
from ..peers.files import Files
from ..peers.gate import Gate
from ..peers.knocks import Knocks
from ..peers.link import Link
from ..peers.peer import Peer
from ..peers.race import Candidate
from ..peers.refusals import Refusals
from ..peers.registry import Registry
from ..peers.session import Delivery, Settings, State
from ..peers.transfer import first_number, short_text
from ..runtime.budget import Budget
from ..runtime.logs import NodeLog
from ..runtime.memory import keep_freed_memory
from ..runtime.threads import Deadline
from ..transports.contract import Transport
from ..wire.frames import (
    Candidates,
    CircuitFrame,
    EchoReply,
    EchoRequest,
    Goodbye,
    GoodbyeCode,
    Kind,
    Signal,
    SignalFrame,
)
from ..wire.handshake import Capability, DenialCode, Purpose, Role
from . import events
from .backlog import Backlog
from .bans.bans import Bans
from .endings import Endings
from .file_channel import FileChannel
from .finding.directory import Directory
from .hooks import Hooks
from .machine import Machine
from .misbehaviour import Misbehaviour, OnMisbehaviour
from .network.relocation import NO_ATTEMPT, Relocation
from .signed import SignedTraffic, signatory_of
from .status.sections import Sections
from .subscriptions import ErrorHook, Subscriptions

if TYPE_CHECKING:
    from .traversal.traversals import Traversals

__all__ = ["Node", "capabilities_of"]

_DRAIN_SHARE = 0.6  # of the time to close, for what has been sent to be acknowledged


def capabilities_of(config: Config) -> int:
    """What this node can do, for others to know."""
    common = Capability.FILES | Capability.ECHO | Capability.CIRCUITS | Capability.TRAVERSAL | Capability.SIGNED
    if config.signing.require_signed:
        common |= Capability.SIGNED_ONLY
    if config.gossip.enabled:
        common |= Capability.GOSSIP
    return common | Capability.RELAY if config.relay.serve else common


def _settings(session: SessionConfig) -> Settings:
    return Settings(
        send_messages=session.send_buffer.messages,
        send_bytes=session.send_buffer.bytes,
        receive_buffer=session.receive_buffer,
        max_message_size=session.max_message_size,
        drop_priority=session.drop.min_priority if session.drop is not None else None,
        drop_age=session.drop.max_age if session.drop is not None else limits.DROP_MAX_AGE,
        heartbeat_interval=session.heartbeat_interval,
        resume_timeout=session.resume_timeout,
    )


class Node(Hooks):
    """Everything a running service consists of, but its listeners and public face."""

    def __init__(
        self,
        config: Config,
        handshake: HandshakeConfig,
        logger: logging.Logger,
        on_error: ErrorHook | None,
        machine: Machine,
        on_misbehaviour: OnMisbehaviour | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.handshake = handshake
        self.pid = os.getpid()
        self.last_direct = 0.0
        self.clock = machine.clock
        self.wall = machine.wall
        self.state_folder = machine.state_folder
        self.threads = machine.threads(self.crashed)
        self.io = machine.loop(self.crashed)
        self.dispatcher = machine.dispatcher(self.crashed)
        self.local_addresses = machine.addresses
        self.find_gateways = machine.gateways
        self.surroundings = machine.surroundings
        self.has_links = machine.has_links
        self._meters = machine.meters
        self.log = NodeLog(logger, self.dispatcher)
        self.budget = Budget(config.limits.total_buffers)
        self.brake = Brake(self.budget, self.io)
        self.accounts = Accounts(self.overhead_share())
        self.refusals = Refusals()
        self.access = Access(config.access)
        self.subscriptions = Subscriptions(
            self.dispatcher, self.log, config.callbacks.warn_after, self._consumed, on_error, self.clock
        )
        session = config.session
        self.registry = Registry(
            self,
            handshake.key_pair.peer_id,
            _settings(session),
            role=Role[config.network.role.upper()],
            capabilities=capabilities_of(config),
            max_peers=config.limits.max_peers,
            peers_per_address=config.limits.peers_per_address,
            send_timeout=session.send_timeout,
        )
        self.registry.accept_bootstrap = config.bootstrap.accept
        self.dialer = Dialer(self, session.handshake_timeout)
        self.acceptor = Acceptor(self, Gate(config.limits), session.handshake_timeout)
        self.files = self._make_files()
        self.files.part = config.limits.part_per_address
        self.acceptor.is_behind = self.files.is_behind = Backlog(self).is_behind
        self.signatory: Signatory = signatory_of(config, handshake)
        self.signed = SignedTraffic(self)
        self.endings = Endings(self)
        self.transports: dict[str, Transport] = machine.transports(
            self.io, self.threads.spawn, self.crashed, config
        )
        self.circuits = Circuits(self, handshake.key_pair.peer_id, config.relay, config.limits)
        """To peers through others, and through us."""
        allowed, part = config.nat.echo_for_others, config.limits.part_per_address
        self.echoes = Echoes(self, allowed=allowed, datagrams=machine.datagrams, part=part)
        self.knocks = Knocks(self)
        """Whether others are there, without a session."""
        self.relocation = Relocation(self)
        """Where peers say that they are, and sessions that move to other ports."""
        self.traversals: Traversals | None = None
        """Better paths for sessions; none in a network without translators."""
        self.crashes = 0
        """Worker threads, or their callbacks, that failed unexpectedly."""
        self.misbehaviour = Misbehaviour(self, on_misbehaviour)
        """Who does what no honest one does."""
        self.directory = Directory()
        """Where peers may be."""
        self.sections: Sections = Sections()  # what parts of the node add to its status
        self.bans = Bans(self)
        """Who is not let in."""
        self.judging = self.bans.judging
        self._left_behind: list[str] = []  # what close() could not end, for the log
        self._channels: dict[Conversation, FileChannel] = {}
        self._links_lock = threading.Lock()  # guards _links
        self._links: weakref.WeakSet[Link] = weakref.WeakSet()

    def _make_files(self) -> Files:
        return Files(
            spawn=self.threads.spawn,
            log=self.log,
            on_received=self._file_received,
            on_failed=self._file_failed,
            clock=self.clock,
        )

    def start(self) -> None:
        """Start the node's own threads."""
        keep_freed_memory()
        self.dispatcher.start(self.threads.spawn)
        self.io.start(self.threads.spawn)

    # --- for all parts ------------------------------------------------------------------------------------------------

    def spawn(self, name: str, target: Callable[..., object], *args: object) -> threading.Thread:
        """Start a thread of the node."""
        return self.threads.spawn(name, target, *args)

    def opened(self, link: Link) -> None:
        """A link begins."""
        with self._links_lock:
            self._links.add(link)

    def crashed(self, name: str, error: BaseException) -> None:
        """A bug: it is logged with its traceback and counted in ``stats``; the node goes on."""
        self.crashes += 1
        self.log.error("unexpected error in %s; please report it", name, exc_info=error)

    def on_dispatcher(self) -> bool:
        """True on the thread that runs callbacks."""
        return self.dispatcher.on_dispatcher()

    def transport_for(self, endpoint: Endpoint) -> Transport | None:
        """The transport of that endpoint, or None if this node does not use it."""
        return self.transports.get(endpoint.transport) if endpoint.is_dialable else None

    def knows_address(self, host: str) -> bool:
        """True if a peer of ours was last seen at that address."""
        return self.registry.knows_host(host)

    # --- for the registry ---------------------------------------------------------------------------------------------

    def admit(self, peer_id: PeerId, role: Role, address: str | None) -> DenialCode | None:
        """Bans and allow-lists."""
        return self.access.verdict(peer_id, role, address, self.clock.now())

    def is_banned(self, peer_id: PeerId | None, address: str | None) -> bool:
        """Bans alone."""
        return self.access.is_banned(peer_id, address, self.clock.now())

    def alternates(self, peer_id: PeerId, address: str | None) -> tuple[str, ...]:
        """Contacts for a caller that we have no room for."""
        return tuple(map(str, self.suggest(peer_id, address)))

    def is_crowded(self, peer_id: PeerId, address: str | None) -> bool:
        """Whether somebody who wants to bootstrap here is to ask others first."""
        return self.sends_on(peer_id, address)

    def began(self, conversation: Conversation, purpose: Purpose, path: Path) -> None:
        """A new session: its one event comes before its first message."""
        peer = conversation.peer = Peer(self, conversation)
        conversation.purpose = purpose
        self.signed.began(conversation)
        conversation.path = path  # a callback may look at once
        self.log.info(
            "peer %s connected (%s, %s)", peer.id, path.remote, "inbound" if conversation.inbound else "outbound"
        )
        if purpose is Purpose.BOOTSTRAP:
            for heard in self.on_joined:
                heard(conversation)
        event: events.Event
        if purpose is Purpose.CONNECT:
            event = events.ConnectSuccess(peer, conversation.inbound, path)
        elif conversation.inbound:
            event = events.BootstrapAccept(peer, path)
        else:
            event = events.BootstrapConnect(peer, path)
        self.endings.began()
        self.subscriptions.emit(event)
        self.bans.began(conversation)

    def connected(self, conversation: Conversation) -> None:
        """A link carries the session."""
        self.dialer.session_up(conversation)
        self.circuits.introducers.add(conversation)
        self.circuits.roomier.carried(conversation)
        for heard in self.on_connected:
            heard(conversation)
        if self.traversals is not None:
            self.traversals.carried(conversation)
        if conversation.capabilities & Capability.CIRCUITS:
            self.io.call_soon(lambda: self.dialer.hurry(circuits=True))
        self.relocation.carried(conversation)

    # --- for conversations --------------------------------------------------------------------------------------------

    def deliver(self, conversation: Conversation, deliveries: list[Delivery]) -> None:
        """Messages arrived (the conversation's lock is held)."""
        to_verify = conversation.desk is not None
        for delivery in deliveries:
            if delivery.kind:
                deliveries = self._take_files(conversation, deliveries)
                to_verify = True
                break
        if not deliveries or (to_verify and self.signed.take(conversation, deliveries)):
            return
        peer = conversation.peer
        if not self.subscriptions.deliver(peer, deliveries):
            peer._deliver(deliveries)

    def _take_files(self, conversation: Conversation, deliveries: list[Delivery]) -> list[Delivery]:
        """Hand over what belongs to files, and charge for signatures that nobody has asked for; the rest."""
        channel = self._channel(conversation)
        for delivery in deliveries:
            if delivery.kind == Kind.FILE:
                conversation.meter.file_words(delivery.messages, first_number(channel.controller))
                for data in delivery.messages:
                    self.files.receive(channel, data)
            elif delivery.kind == Kind.SIGNED and not self.signatory.takes_signed_only:
                conversation.meter.signatures(delivery.messages)
        return [delivery for delivery in deliveries if delivery.kind != Kind.FILE]

    def take_inboxes(self) -> None:
        """A consumer of messages has come: it gets what waits in the inboxes first."""
        for conversation in self.registry.all():
            with conversation.lock:
                self.subscriptions.take_inbox(conversation.peer)

    def await_decision(self) -> None:
        """Return once no decision about links is being made."""
        self.registry.await_decision()

    def suspended(self, conversation: Conversation, reason: str) -> None:
        """The link ended (the conversation's lock is held)."""
        self.subscriptions.emit(events.PeerSuspended(conversation.peer, reason))

    def detached(self, conversation: Conversation, reason: str) -> None:
        """The link ended: find another."""
        self.log.info("peer %s suspended: %s", conversation.peer_id, reason)
        self.registry.detached(conversation)
        for heard in self.on_detached:
            heard(conversation)
        self.suspected(conversation)

    def suspected(self, conversation: Conversation) -> None:
        """Look for another link, if we know where to dial: where we did before, or a contact we were given."""
        for heard in self.on_suspected:
            heard(conversation)
        link = conversation.link
        if link is not None and link.circuit is not None:  # maybe it is the introducer whom we do not reach any more
            introducer = link.circuit.legs.link.conversation
            if introducer is not None:
                introducer.doubt()
        endpoints = conversation.redial or self.directory.places(conversation.peer_id)
        self.dialer.redial(conversation, endpoints, first=conversation.session.asks)

    def moved(self, conversation: Conversation, old: Path | None, resumed: bool) -> None:
        """The session goes on on another link."""
        path = conversation.path
        assert path is not None
        if resumed:
            self.log.info("peer %s resumed (%s)", conversation.peer_id, path.remote)
            self.subscriptions.emit(events.PeerResumed(conversation.peer, path))
        if old is None or (old.path_class, old.local, old.remote) != (path.path_class, path.local, path.remote):
            if not resumed and old is not None:
                self.log.info("peer %s moved from %s to %s", conversation.peer_id, old.remote, path.remote)
            self.subscriptions.emit(events.PathChanged(conversation.peer, old, path))

    def violated(self, conversation: Conversation, error: RemoteProtocolError) -> None:
        """The peer broke the protocol."""
        for kind in ("protocol", "protocol-again"):
            self.misbehaviour.by_peer(conversation, kind, str(error))

    def misbehaved(self, conversation: Conversation, kind: str, detail: str) -> None:
        """The peer did what no honest one does, and nobody else can have done it."""
        self.misbehaviour.by_peer(conversation, kind, detail)

    def overspent(self, conversation: Conversation, link: Link, wait: float, *, longer: bool = False) -> None:
        """What came on that link has cost more than its peer may."""
        self.misbehaviour.overspent(conversation, link, wait, longer=longer)

    def overhead_share(self) -> float:
        """The share of a core that a peer may cost without bringing anything."""
        return self.config.limits.overhead_per_peer if self._meters else math.inf

    def lost(self, conversation: Conversation, reason: str, undelivered: tuple[int, ...]) -> None:
        """The session is over."""
        then: Callable[[], object] = conversation.unshelve
        try:
            self.registry.ended(conversation)
            self.dialer.session_lost(conversation)
            self.echoes.peer_lost(conversation)
            self.circuits.introducers.remove(conversation)
            self.relocation.lost(conversation)
            if self.traversals is not None:
                self.traversals.lost(conversation)
            for heard in self.on_lost:
                heard(conversation, reason)
            channel = self._channels.pop(conversation, None)
            if channel is not None:
                self.files.peer_lost(channel, reason)
                then = partial(self.files.afterwards, channel, then)
        finally:
            self.endings.over(conversation, reason, undelivered, then)

    def send_ready(self, conversation: Conversation) -> None:
        """There is room again."""
        self.subscriptions.emit(events.SendReady(conversation.peer))

    def dropped(self, conversation: Conversation, numbers: list[int], priority: int) -> None:
        """Messages grew too old."""
        self.subscriptions.emit(events.MessagesDropped(conversation.peer, tuple(numbers), priority))

    def echo(self, conversation: Conversation, link: Link, frame: EchoRequest | EchoReply) -> None:
        """The peer wants an echo, or says what became of ours."""
        self.echoes.received(conversation, link, frame)

    def circuit(self, conversation: Conversation, link: Link, frame: CircuitFrame) -> None:
        """A frame about a circuit came."""
        self.circuits.receive(conversation, link, frame)

    def signal(self, conversation: Conversation, link: Link, frame: SignalFrame) -> None:
        """A frame about ways through NATs came, or gossip."""
        if isinstance(frame, Candidates):
            self.relocation.told(conversation, link, frame)
            for heard in self.on_told:
                heard(conversation, link, frame)
            if frame.generation == NO_ATTEMPT:
                return
        if self.traversals is not None and isinstance(frame, (Candidates, Signal)):
            self.traversals.received(conversation, link, frame)
        taken = self.on_signal.get(type(frame))
        if taken is not None:
            taken(conversation, link, frame)

    def circuits_to(self, peer_id: PeerId, besides: Collection[Endpoint] = ()) -> Sequence[Candidate]:
        """Through whom, besides those, that peer may be reached now."""
        return self.circuits.towards(peer_id, besides=besides)

    def told_places(self, conversation: Conversation) -> Sequence[Endpoint]:
        """Where the peer of a session may be by its own word, as far as that may be tried now."""
        return self.relocation.places(conversation)

    def attempted(self, peer_id: PeerId, attempt: Attempt) -> None:
        """An attempt to reach a peer has ended (the dialer's lock is held)."""
        for heard in self.on_attempted:
            heard(peer_id, attempt)
        self.subscriptions.emit(events.PathAttempted(peer_id, attempt))

    def dial_failed(self, peer_id: PeerId, purpose: Purpose, error: CrustError) -> None:
        """An effort came to nothing. (``bootstrap`` reports its failures together.)"""
        if purpose is Purpose.CONNECT:
            self.subscriptions.emit(events.ConnectFailure(peer_id, getattr(error, "attempts", ()), error))

    @staticmethod
    def _consumed(peer: Peer, cost: int) -> None:
        peer._conversation.consumed(cost)

    # --- for peers and files ------------------------------------------------------------------------------------------

    def consumes_messages(self) -> str:
        """Who takes messages instead of the inboxes."""
        return self.subscriptions.consumer()

    def send_file(
        self,
        peer: Peer,
        path: str | os.PathLike[str],
        name: str | None,
        progress: Callable[[int, int], object] | None,
        timeout: float | None,
        sign: bool,
    ) -> FileSent:
        """See :meth:`crust.Peer.send_file`."""
        if self.on_dispatcher():
            raise LocalProtocolError("send_file() would block all callbacks; call it on a thread of your own")
        peer._conversation.check_alive()
        if not peer._conversation.capabilities & Capability.FILES:
            raise TransferError(f"peer {peer.id} takes no files: its program cannot, or not in this version")
        sign = sign or self.signatory.signs_all
        if sign:
            peer._conversation.check_signed("files")
        else:
            peer._conversation.check_plain("files")
        return self.files.send_file(
            self._channel(peer._conversation), path, name=name, sign=sign, progress=progress, timeout=timeout
        )

    def _channel(self, conversation: Conversation) -> FileChannel:
        channel = self._channels.get(conversation)
        if channel is None:
            channel = self._channels.setdefault(conversation, FileChannel(self, conversation))
            if conversation.session.state is State.LOST:  # lost() may have looked for it before it was there
                self._channels.pop(conversation, None)
        return channel

    def _file_received(
        self, peer: Peer, path: os.PathLike[str], name: str, size: int, digest: str, proof: bytes | None
    ) -> None:
        self.subscriptions.emit(events.FileReceived(peer, os.fspath(path), name, size, digest, proof))

    def _file_failed(self, peer: Peer, name: str, reason: str) -> None:
        self.subscriptions.emit(events.FileFailed(peer, name, reason))

    def disconnect(self, peer_id: PeerId, text: str = "") -> bool:
        """End the session with that peer, and attempts to reach it; False if there was no session."""
        self.dialer.stop(peer_id, ConnectError(f"disconnect() was called for peer {peer_id}"))
        conversation = self.registry.get(peer_id)
        goodbye = Goodbye(GoodbyeCode.DISCONNECTED, short_text(text))
        return conversation is not None and conversation.end("disconnected", goodbye)

    # --- the end ------------------------------------------------------------------------------------------------------

    def close(self, timeout: float | None) -> bool:
        """
        End everything in order: begin nothing new, let what was sent be acknowledged, say goodbye, run the callbacks
        that wait, join all threads.

        Returns:
            True if nothing is left running.
        """
        deadline = self.clock.deadline(timeout)
        closed = ServiceClosed("the service has been closed")
        conversations = self.registry.close()
        self.acceptor.close()
        self.dialer.close(closed)
        self.knocks.close()
        self.judging.close()
        self.circuits.close()
        self.echoes.close()
        if self.traversals is not None:
            self.traversals.close()
        remaining = deadline.remaining()
        drain = self.clock.deadline(None if remaining is None else remaining * _DRAIN_SHARE)
        for conversation in conversations:
            self._drain(conversation, drain)
        # Those on circuits first: their last words go over the links of others.
        for conversation in sorted(self.registry.all(), key=lambda each: not each.is_on_circuit):
            conversation.end("service_closed", Goodbye(GoodbyeCode.CLOSED, ""))
            self.circuits.flush()
        self.files.close()
        self.brake.close()
        self.endings.wait(self.clock.deadline(limits.CLOSE_GRACE))
        remaining = deadline.remaining()
        self.signed.close(self.clock.deadline(None if remaining is None else remaining * _DRAIN_SHARE))
        self.dispatcher.stop()
        finished = self.dispatcher.join(deadline)
        if not finished and self.dispatcher.current() is None:  # no callback runs: it only needs its turn to end
            finished = self.dispatcher.join(self.clock.deadline(limits.CLOSE_GRACE / 2))
        if not finished:
            current = self.dispatcher.current()
            name = current[0] if current is not None else "a callback, or a handler of the log,"
            self._left_behind.append(f"{name} does not return; close() leaves it behind:\n{self.dispatcher.stack()}")
            self.dispatcher.abandon()
        self.subscriptions.end()
        self._join_links(deadline)
        self.circuits.finish()
        for transport in self.transports.values():  # whatever is not over by now would wait for the I/O thread for ever
            transport.close()
        self.io.stop()
        # All have been told to end: a deadline that has just passed leaves them the moment that it takes.
        remaining = deadline.remaining()
        grace = None if remaining is None else max(remaining, limits.CLOSE_GRACE / 2)
        running = self.threads.join(self.clock.deadline(grace), but=() if finished else ("crust-dispatcher",))
        for name, stack in self.threads.stacks():
            if name in running:
                self._left_behind.append(f"thread {name} still runs after close():\n{stack}")
        return finished and not running

    def report_left_behind(self) -> None:
        """Log what :meth:`close` has not ended. A handler of the log may be what is stuck: nothing waits for this."""
        for text in self._left_behind:
            self.log.logger.error("%s", text)

    @staticmethod
    def _drain(conversation: Conversation, deadline: Deadline) -> None:
        if conversation.session.state is not State.CONNECTED or not conversation.session.outbox.held_messages:
            return
        try:
            conversation.drain(deadline.remaining())
        except (CrustError, OSError):
            pass  # what was not acknowledged is told in LostPeer

    def _join_links(self, deadline: Deadline) -> None:
        """Wait for the readers while the io thread still serves their last bytes; then tell those that are deaf why."""
        remaining = deadline.remaining()
        linger = 2 * limits.CLOSE_LINGER
        limit = self.clock.deadline(linger if remaining is None else min(remaining * _DRAIN_SHARE, linger))
        self.threads.join(limit, but=("crust-io", "crust-dispatcher"))
        with self._links_lock:
            links = list(self._links)
        for link in links:
            link.fail("cancelled", "the service is closing")
