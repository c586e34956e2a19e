"""
The inside of a service: it owns the threads and joins the parts; each part sees it through a small protocol.

Threads of one node: ``crust-io`` (timers, and what could not be written at once), ``crust-dispatcher`` (callbacks), one
``crust-listen-…`` per listener, one reader per TCP link (``crust-link-…`` accepted, ``crust-dial-…`` dialled), one
``crust-udp-…`` per UDP socket for all its µTP links, and ``crust-files`` while files come in. All are made by
``threads`` and joined by :meth:`Node.close`.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable

from .. import limits
from ..addresses import Endpoint, PeerId, address_key
from ..config import Config
from ..crypto.handshake import HandshakeConfig
from ..exceptions import (
    ConnectError,
    CrustError,
    LocalProtocolError,
    RemoteProtocolError,
    ServiceClosed,
    TransferError,
)
from ..paths import Path
from ..peers.acceptor import Acceptor
from ..peers.access import Access
from ..peers.brake import Brake
from ..peers.conversation import Conversation
from ..peers.dialer import Dialer
from ..peers.echoes import Echoes
from ..peers.file_contract import FileSent
from ..peers.files import Files
from ..peers.gate import Gate
from ..peers.link import Link
from ..peers.peer import Peer
from ..peers.registry import Registry
from ..peers.session import Delivery, Settings, State
from ..runtime.budget import Budget
from ..runtime.logs import NodeLog, RateLimited
from ..runtime.memory import keep_freed_memory
from ..runtime.threads import Deadline
from ..transports.contract import Transport
from ..wire.frames import EchoReply, EchoRequest, Goodbye, GoodbyeCode, Kind
from ..wire.handshake import Capability, DenialCode, Purpose, Role
from . import events
from .machine import Machine
from .subscriptions import ErrorHook, Subscriptions

__all__ = ["Node"]

_DRAIN_SHARE = 0.6  # of the time to close, for what has been sent to be acknowledged


class _Channel:
    """A conversation as the file transfer sees it."""

    __slots__ = ("_conversation", "_node")

    def __init__(self, node: Node, conversation: Conversation) -> None:
        self._node = node
        self._conversation = conversation

    @property
    def peer(self) -> Peer:
        return self._conversation.peer

    @property
    def peer_text(self) -> str:
        return str(self._conversation.peer_id)

    @property
    def controller(self) -> bool:
        return self._node.registry.controls(self._conversation.peer_id)

    @property
    def max_message_size(self) -> int:
        return self._conversation.max_message_size

    def send_file_message(self, data: bytes, timeout: float | None) -> None:
        self._conversation.send(data, limits.FILE_PRIORITY, Kind.FILE, timeout)

    def file_message_done(self, size: int) -> None:
        self._conversation.consumed(size + limits.MESSAGE_OVERHEAD)


class Node:
    """Everything a running service consists of, but its listeners and public face."""

    def __init__(
        self,
        config: Config,
        handshake: HandshakeConfig,
        logger: logging.Logger,
        on_error: ErrorHook | None,
        machine: Machine,
    ) -> None:
        self.config = config
        self.handshake = handshake
        self.pid = os.getpid()
        self.last_direct = 0.0
        self.clock = machine.clock
        self.threads = machine.threads(self.crashed)
        self.io = machine.loop(self.crashed)
        self.dispatcher = machine.dispatcher(self.crashed)
        self.local_addresses = machine.addresses
        self.find_gateways = machine.gateways
        self.log = NodeLog(logger, self.dispatcher)
        self.budget = Budget(config.limits.total_buffers)
        self.brake = Brake(self.budget, self.io)
        self.access = Access(config.access)
        self.subscriptions = Subscriptions(
            self.dispatcher, self.log, config.callbacks.warn_after, self._consumed, on_error, self.clock
        )
        session = config.session
        self.registry = Registry(
            self,
            handshake.key_pair.peer_id,
            Settings(
                send_messages=session.send_buffer.messages,
                send_bytes=session.send_buffer.bytes,
                receive_buffer=session.receive_buffer,
                max_message_size=session.max_message_size,
                drop_priority=session.drop.min_priority if session.drop is not None else None,
                drop_age=session.drop.max_age if session.drop is not None else limits.DROP_MAX_AGE,
                heartbeat_interval=session.heartbeat_interval,
                resume_timeout=session.resume_timeout,
            ),
            role=Role[config.network.role.upper()],
            capabilities=Capability.FILES | Capability.ECHO,
            max_peers=config.limits.max_peers,
            send_timeout=session.send_timeout,
        )
        self.registry.accept_bootstrap = config.bootstrap.accept
        self.dialer = Dialer(self, session.handshake_timeout)
        self.acceptor = Acceptor(self, Gate(config.limits), session.handshake_timeout)
        self.files = Files(
            spawn=self.threads.spawn,
            log=self.log,
            on_received=self._file_received,
            on_failed=self._file_failed,
            clock=self.clock,
        )
        self.transports: dict[str, Transport] = machine.transports(
            self.io, self.threads.spawn, self.crashed, config
        )
        self.echoes = Echoes(self, allowed=config.nat.echo_for_others, datagrams=machine.datagrams)
        self.on_connected: Callable[[Conversation], object] = lambda conversation: None
        """Hears that a link carries a session."""
        self.crashes = 0
        """Worker threads, or their callbacks, that failed unexpectedly."""
        self._misbehaved = RateLimited(limits.MISBEHAVIOUR_INTERVAL)
        self.known: dict[PeerId, tuple[Endpoint, ...]] = {}
        """Addresses of peers from the configuration and the constructor."""
        self._left_behind: list[str] = []  # what close() could not end, for the log
        self._channels: dict[Conversation, _Channel] = {}
        self._links_lock = threading.Lock()  # guards _links
        self._links: weakref.WeakSet[Link] = weakref.WeakSet()

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

    def admit(self, peer_id: PeerId, role: Role, address: str) -> DenialCode | None:
        """Bans and allow-lists."""
        return self.access.verdict(peer_id, role, address, self.clock.now())

    def is_banned(self, peer_id: PeerId, address: str) -> bool:
        """Bans alone."""
        return self.access.is_banned(peer_id, address, self.clock.now())

    def alternates(self) -> tuple[str, ...]:
        """None yet: this version knows no other nodes' public addresses."""
        return ()

    def began(self, conversation: Conversation, purpose: Purpose, path: Path) -> None:
        """A new session: its one event comes before its first message."""
        peer = conversation.peer = Peer(self, conversation)
        self.log.info(
            "peer %s connected (%s, %s)", peer.id, path.remote, "inbound" if conversation.inbound else "outbound"
        )
        event: events.Event
        if purpose is Purpose.CONNECT:
            event = events.ConnectSuccess(peer, conversation.inbound, path)
        elif conversation.inbound:
            event = events.BootstrapAccept(peer, path)
        else:
            event = events.BootstrapConnect(peer, path)
        self.subscriptions.emit(event)

    def connected(self, conversation: Conversation) -> None:
        """A link carries the session."""
        self.dialer.session_up(conversation)
        self.on_connected(conversation)

    # --- for conversations --------------------------------------------------------------------------------------------

    def deliver(self, conversation: Conversation, deliveries: list[Delivery]) -> None:
        """Messages arrived (the conversation's lock is held)."""
        for delivery in deliveries:
            if delivery.kind:
                deliveries = self._take_files(conversation, deliveries)
                break
        if not deliveries:
            return
        peer = conversation.peer
        if not self.subscriptions.deliver(peer, deliveries):
            peer._deliver(deliveries)

    def _take_files(self, conversation: Conversation, deliveries: list[Delivery]) -> list[Delivery]:
        """Hand over what belongs to files; the rest."""
        channel = self._channel(conversation)
        for delivery in deliveries:
            if delivery.kind == Kind.FILE:
                for data in delivery.messages:
                    self.files.receive(channel, data)
        return [delivery for delivery in deliveries if delivery.kind == Kind.MESSAGE]

    def take_inboxes(self) -> None:
        """A consumer of messages has come: it gets what waits in the inboxes first."""
        for conversation in self.registry.all():
            with conversation.lock:
                self.subscriptions.take_inbox(conversation.peer)

    def suspended(self, conversation: Conversation, reason: str) -> None:
        """The link ended (the conversation's lock is held)."""
        self.subscriptions.emit(events.PeerSuspended(conversation.peer, reason))

    def detached(self, conversation: Conversation, reason: str) -> None:
        """The link ended: find another."""
        self.log.info("peer %s suspended: %s", conversation.peer_id, reason)
        self.registry.detached(conversation)
        self.suspected(conversation)

    def suspected(self, conversation: Conversation) -> None:
        """Look for another link, if we know where to dial: where we did before, or a contact we were given."""
        endpoints = conversation.redial or self.known.get(conversation.peer_id, ())
        if endpoints:
            self.dialer.redial(conversation, endpoints, first=bool(conversation.redial))

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
        address = conversation.path.remote if conversation.path is not None else ""
        kind = "protocol"
        ip = Endpoint.parse(address).ip if address else None
        held_back = self._misbehaved.permit((kind, None if ip is None else address_key(ip)), self.clock.now())
        if held_back is None:
            return
        self.log.warning(
            "peer %s broke the protocol: %s (%d more were not logged)", conversation.peer_id, error, held_back
        )
        self.subscriptions.emit(
            events.PeerMisbehaved(conversation.peer, address, kind, str(error), held_back + 1, attributable=True)
        )

    def lost(self, conversation: Conversation, reason: str, undelivered: tuple[int, ...]) -> None:
        """The session is over."""
        self.registry.ended(conversation)
        self.dialer.session_lost(conversation)
        self.echoes.peer_lost(conversation)
        peer: Peer | None = getattr(conversation, "peer", None)
        if peer is None:
            return  # agreed to, but never begun: nobody has heard of it
        channel = self._channels.pop(conversation, None)
        if channel is not None:
            self.files.peer_lost(channel, reason)
        self.log.info("peer %s lost: %s", conversation.peer_id, reason)
        self.subscriptions.emit(events.LostPeer(peer, events.LostReason(reason), undelivered))
        peer._end()

    def send_ready(self, conversation: Conversation) -> None:
        """There is room again."""
        self.subscriptions.emit(events.SendReady(conversation.peer))

    def dropped(self, conversation: Conversation, numbers: list[int], priority: int) -> None:
        """Messages grew too old."""
        self.subscriptions.emit(events.MessagesDropped(conversation.peer, tuple(numbers), priority))

    def echo(self, conversation: Conversation, link: Link, frame: EchoRequest | EchoReply) -> None:
        """The peer wants an echo, or says what became of ours."""
        self.echoes.received(conversation, link, frame)

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
    ) -> FileSent:
        """See :meth:`crust.Peer.send_file`."""
        if self.on_dispatcher():
            raise LocalProtocolError("send_file() would block all callbacks; call it on a thread of your own")
        peer._conversation.check_alive()
        if not peer._conversation.capabilities & Capability.FILES:
            raise TransferError(f"peer {peer.id} takes no files: its program cannot, or not in this version")
        return self.files.send_file(
            self._channel(peer._conversation), path, name=name, progress=progress, timeout=timeout
        )

    def _channel(self, conversation: Conversation) -> _Channel:
        channel = self._channels.get(conversation)
        if channel is None:
            channel = self._channels.setdefault(conversation, _Channel(self, conversation))
            if conversation.session.state is State.LOST:  # lost() may have looked for it before it was there
                self._channels.pop(conversation, None)
        return channel

    def _file_received(self, peer: Peer, path: os.PathLike[str], name: str, size: int, digest: str) -> None:
        self.subscriptions.emit(events.FileReceived(peer, os.fspath(path), name, size, digest))

    def _file_failed(self, peer: Peer, name: str, reason: str) -> None:
        self.subscriptions.emit(events.FileFailed(peer, name, reason))

    def disconnect(self, peer_id: PeerId) -> bool:
        """End the session with that peer, and attempts to reach it; False if there was no session."""
        self.dialer.stop(peer_id, ConnectError(f"disconnect() was called for peer {peer_id}"))
        conversation = self.registry.get(peer_id)
        return conversation is not None and conversation.end("disconnected", Goodbye(GoodbyeCode.DISCONNECTED, ""))

    def enforce_bans(self) -> None:
        """End everything with those who are banned now."""
        now = self.clock.now()

        def banned(conversation: Conversation) -> bool:
            remote = conversation.path.remote if conversation.path is not None else None
            address = None if remote is None else Endpoint.parse(remote).host
            return self.access.is_banned(conversation.peer_id, address, now)

        for conversation in self.registry.all():
            if banned(conversation):
                conversation.end("banned", Goodbye(GoodbyeCode.BANNED, ""))
        self.dialer.drop_banned()
        self.acceptor.end_from(lambda host: self.access.is_banned(None, host, now))

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
        self.echoes.close()
        remaining = deadline.remaining()
        drain = self.clock.deadline(None if remaining is None else remaining * _DRAIN_SHARE)
        for conversation in conversations:
            self._drain(conversation, drain)
        for conversation in self.registry.all():
            conversation.end("service_closed", Goodbye(GoodbyeCode.CLOSED, ""))
        self.files.close()
        self.brake.close()
        self.dispatcher.stop()
        finished = self.dispatcher.join(deadline)
        if not finished:
            current = self.dispatcher.current()
            name = current[0] if current is not None else "a callback, or a handler of the log,"
            self._left_behind.append(f"{name} does not return; close() leaves it behind:\n{self.dispatcher.stack()}")
            self.dispatcher.abandon()
        self.subscriptions.end()
        self._join_links(deadline)
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
