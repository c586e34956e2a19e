"""The public face of a node."""

from __future__ import annotations

import concurrent.futures
import logging
import os
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, overload

from .. import limits
from ..addresses import ConnectionInfo, Contact, Endpoint, PeerId, network_id
from ..candidates import Candidate
from ..config import Config
from ..crypto.handshake import HandshakeConfig, derive_secret
from ..crypto.keys import supported_aeads
from ..exceptions import ConnectError, LocalProtocolError, PeerLost, ServiceClosed, Timeout
from ..peers.access import Who
from ..peers.file_contract import Decide, OnReceiving
from ..peers.messages import CONFIG, Configured, Wait
from ..peers.peer import Peer
from ..peers.session import State
from ..runtime.files import write_atomic
from ..runtime.identity_file import Identity, IdentityLock, load_network_secrets
from ..runtime.threads import after_fork_in_child, check_patching, forked_error
from ..wire import codec
from . import events
from .at_exit import close_at_exit
from .bootstrap import Blacklist, bootstrap
from .connecting import Target, as_contact, as_peer_id, connect, dial, resolve
from .forking import abandon_node
from .machine import Machine
from .node import Node
from .stats import Stats
from .stream import EventStream
from .subscriptions import Subscription

if TYPE_CHECKING:
    from .network import Network

__all__ = ["Service"]

E = TypeVar("E")


class Service:
    """
    One node: listens, connects to peers by key, carries messages.

    ``Service(…)`` does no input or output and starts no thread; :meth:`start`, or ``with``, does. One start only, and
    no restart after :meth:`close`. Every method is thread-safe and, unless it says otherwise, may be called from
    callbacks.

    Args:
        config: What to do; the default listens on random ports under a fresh identity.
        contacts: Fallback contacts for :meth:`bootstrap`, beside those of the configuration; as text or ``Contact``.
        identity: Who to be; None: as ``identity.file`` says. Its file, if it has one, is locked while the node runs.
        on_event: Gets every event, messages included, like ``on(crust.Event, …)``.
        on_callback_error: Gets an event and the exception that a callback raised on it, after it has been logged.

    Raises:
        ContactSyntaxError: One of ``contacts`` is mistyped, or lacks the key.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        contacts: Iterable[str | Contact] = (),
        identity: Identity | None = None,
        on_event: Callable[[Any], object] | None = None,
        on_callback_error: Callable[[Any, BaseException], object] | None = None,
    ) -> None:
        self._config = config if config is not None else Config()
        self._fallback = tuple(as_contact(each) for each in contacts)
        self._given_identity = identity
        self._on_event = on_event
        self._on_callback_error = on_callback_error
        self._early: list[Subscription] = []
        self._lock = threading.Lock()  # guards the life cycle: _node, _closer, _starting
        self._node: Node | None = None
        self._network: Network | None = None
        self._identity_lock: IdentityLock | None = None
        self._closing = False
        self._closer: threading.Thread | None = None
        self._machine = self._make_machine()
        self._closed = self._machine.clock.event()
        self._finishing = False
        self._clean = False
        self._forked = False  # this is a child's copy of its parent's node
        self._not_at_exit: Callable[[], None] = lambda: None
        after_fork_in_child(self, _abandon)

    def __repr__(self) -> str:
        state = "closed" if self.closed else "new" if self._node is None else f"{self.id.short}…"
        return f"<crust.Service {state}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Service owns sockets and threads and cannot be pickled; pass its config, or make one node per process"
        )

    def _make_machine(self) -> Machine:
        """What the node will run on; ``crust.testing`` replaces this."""
        return Machine()

    # --- life ---------------------------------------------------------------------------------------------------------

    def start(self) -> Service:
        """
        Load the identity, listen, and be ready.

        Raises:
            IdentityError, IdentityInUse: The identity file cannot be used, or another process uses it.
            ListenError: A configured address cannot be listened on.
            LocalProtocolError: gevent has patched this process late or in part, or this is a second start.
            ServiceClosed: It has been closed.
        """
        with self._lock:
            self._check_fork()
            if self._closing:
                raise ServiceClosed("this service has been closed; make a new one")
            if self._node is not None:
                raise LocalProtocolError("this service has been started already")
            check_patching()
            identity = self._load_identity()
            try:
                node = self._make_node(identity)
            except BaseException:
                self._unlock_identity()
                raise
            self._node = node
        try:
            node.start()
            self.start_listening()
            if self._config.write_contact_to is not None:
                write_atomic(self._config.write_contact_to, f"{self.contact}\n".encode())
            self._not_at_exit = close_at_exit(self)
        except BaseException:
            self.close()
            raise
        return self

    def _load_identity(self) -> Identity:
        given = self._given_identity
        path = self._config.identity.file if given is None else given.path
        identity = given or (Identity.generate() if path is None else Identity.load_or_create(path))
        if path is not None:
            self._identity_lock = IdentityLock(path).acquire()
        return identity

    def _unlock_identity(self) -> None:
        if self._identity_lock is not None:
            self._identity_lock.release()
            self._identity_lock = None

    def _make_node(self, identity: Identity) -> Node:
        codec.load()
        network = self._config.network
        secrets = () if network.secret_file is None else load_network_secrets(network.secret_file)
        handshake = HandshakeConfig(
            key_pair=identity,
            network_id=network_id(network.name),
            secrets=tuple(derive_secret(secret) for secret in secrets),
            aeads=supported_aeads(),
        )
        node = Node(self._config, handshake, logging.getLogger("crust"), self._on_callback_error, self._machine)
        if self._on_event is not None:
            node.subscriptions.add(Subscription(events.Event, self._on_event))
        for subscription in self._early:
            node.subscriptions.add(subscription)
        for contact in (*self._fallback, *map(as_contact, self._config.bootstrap.contacts)):
            node.known[contact.peer_id] = (*node.known.get(contact.peer_id, ()), *contact.endpoints)
        from .network import Network  # with all that asks others where we are: `import crust` stays cheap

        self._network = Network(node)
        return node

    def __enter__(self) -> Service:
        self._check_fork()
        return self.start() if self._node is None else self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, timeout: float | None = limits.CLOSE_TIMEOUT) -> bool:
        """
        End everything in order: what was sent gets time to be acknowledged, peers hear goodbye, waiting callbacks run,
        threads are joined. Idempotent; from any thread.

        From a callback it only begins this, returns False, and the node ends after that callback. Whoever waits in
        ``send``, ``recv`` or ``connect`` gets ServiceClosed. No callback starts after it has returned.

        Args:
            timeout: Seconds; None: no limit. The first caller's counts.

        Returns:
            True if nothing is left running. (The system may still look up a name for a dial, or a UPnP router's answer
            be waited for in C, on daemon threads that hold nothing of this node.) False: the log shows where callbacks,
            or ``decide`` functions, are stuck.
        """
        if self._forked:
            return True
        with self._lock:
            self._closing = True
            node = self._node
            if node is None:
                self._clean = True
                self._closed.set()
                return True
            if self._closer is None:  # or an interrupt struck just after one was started; then _finish() sees to it
                try:
                    self._closer = node.threads.spawn("crust-close", self._finish, node, timeout)
                except RuntimeError:  # the interpreter is ending and makes no more threads
                    self._closer = threading.current_thread()
        closer = self._closer
        if closer is threading.current_thread() and not self._closed.is_set():
            self._finish(node, timeout)
        if node.on_dispatcher():
            return False
        deadline = self._machine.clock.deadline(timeout)
        if not self._closed.wait(deadline.remaining()):
            # The closer has the same deadline: it is about to say what still runs.
            self._closed.wait(limits.CLOSE_GRACE)
        if closer is not None and closer is not threading.current_thread() and self._closed.is_set():
            closer.join(limits.CLOSE_GRACE)
        return self._clean

    def _finish(self, node: Node, timeout: float | None) -> None:
        with self._lock:
            if self._finishing:
                return
            self._finishing = True
        try:
            if self._network is not None:
                self._network.close(timeout)
            self._clean = node.close(timeout)
        finally:
            self._unlock_identity()
            self._not_at_exit()
            self._closed.set()
        node.report_left_behind()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the service is closed, by anybody; Ctrl-C interrupts it. False if the timeout came first."""
        self._check_fork()
        return self._closed.wait(timeout)

    @property
    def closed(self) -> bool:
        """True from the beginning of ``close``."""
        return self._closing

    def _check_fork(self) -> None:
        if self._forked and self._node is not None:
            raise forked_error(self._node.pid)

    def _running(self) -> Node:
        node = self._node
        self._check_fork()
        if self._closing:
            raise ServiceClosed("the service has been closed")
        if node is None:
            raise ServiceClosed("the service has not been started: call start(), or use it in a with statement")
        return node

    # --- who we are ---------------------------------------------------------------------------------------------------

    @property
    def id(self) -> PeerId:
        """Our peer id. Known from the start on, or before if an identity was given."""
        if self._node is not None:
            return self._node.handshake.key_pair.peer_id
        if self._given_identity is not None:
            return self._given_identity.peer_id
        raise ServiceClosed("the identity is loaded by start()")

    @property
    def addresses(self) -> tuple[Endpoint, ...]:
        """Where others may reach us; empty while we do not listen."""
        return self._network.addresses() if self._network is not None else ()

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """
        Every address at which this node may be reachable, also those that it does not tell strangers, such as where
        others see it behind a router. Empty while it does not listen, but for those that the configuration advertises.
        """
        return self._network.candidates() if self._network is not None else ()

    @property
    def contact(self) -> Contact:
        """Our id and addresses: give it to those who should connect to us."""
        return Contact(self.id, self.addresses[: limits.CONTACT_ENDPOINTS_MAX])

    @property
    def peers(self) -> list[Peer]:
        """Every peer, connected or suspended, oldest session first."""
        if self._node is None:
            return []
        return [each.peer for each in self._node.registry.all()]

    def stats(self) -> Stats:
        """A snapshot of the node's counters."""
        return Stats.of(self._running())

    # --- events -------------------------------------------------------------------------------------------------------

    @overload
    def on(self, kind: type[E], callback: Callable[[E], object]) -> Subscription: ...

    @overload
    def on(self, kind: type[E]) -> Callable[[Callable[[E], object]], Subscription]: ...

    def on(self, kind: type[E], callback: Callable[[E], object] | None = None) -> Any:
        """
        Call ``callback`` with each event of a kind (``crust.Event``: all), on the dispatcher thread, in order.

        Without ``callback`` it is a decorator. May be called before :meth:`start`. An exception in a callback is
        logged, counted and handed to ``on_callback_error``; the node goes on.

        Returns:
            A subscription, with ``cancel()``.

        Raises:
            LocalProtocolError: A stream takes the messages that this callback wants.
        """
        if callback is None:
            return lambda function: self.on(kind, function)
        subscription = Subscription(kind, callback)
        self._check_fork()
        with self._lock:
            if self._closing:
                raise ServiceClosed("the service has been closed")
            node = self._node
            if node is None:
                self._early.append(subscription)
                return subscription
        node.subscriptions.add(subscription)
        node.take_inboxes()
        return subscription

    def events(self, *kinds: type[Any], maxsize: int = limits.EVENT_STREAM_SIZE) -> EventStream:
        """
        A stream of events of these kinds; none named: all but ``NewMessage``.

        A stream that names ``NewMessage`` is the one consumer of the node's messages: bounded by credit, never dropped.

        Args:
            maxsize: State events that may wait; the oldest are dropped then, and counted in ``EventsLost``.

        Raises:
            LocalProtocolError: Somebody else takes the messages already.
        """
        node = self._running()
        stream = node.subscriptions.add_stream(kinds or (events.Event,), maxsize)
        if events.NewMessage in kinds:
            node.take_inboxes()
        return stream

    # --- connecting ---------------------------------------------------------------------------------------------------

    def connect(self, to: Target, *, timeout: Wait = CONFIG) -> Peer:
        """
        Have a session with a peer: the one that exists, or a new one.

        Args:
            to: A contact or peer id, as text or object, or the other's ``ConnectionInfo``.
            timeout: Seconds for all of it; default ``session.connect_timeout``.

        Raises:
            ContactSyntaxError: ``to`` is mistyped, or lacks the key.
            NoRoute: No address is known for it.
            Denied: It refused; ``reason`` and the text say why.
            ConnectError: It cannot be reached; ``attempts`` has each address and what happened there.
            Timeout: Not in time.
            ServiceClosed: The service is closed.
        """
        node = self._running()
        seconds = self._config.session.connect_timeout if isinstance(timeout, Configured) else timeout
        return connect(node, resolve(to, node.handshake.network_id, node.known), seconds)

    def dial(self, to: Target, *, timeout: Wait = CONFIG) -> concurrent.futures.Future[Peer]:
        """
        :meth:`connect` without waiting, for callbacks and for many at once.

        Functions given to the future's ``add_done_callback`` run on the dispatcher thread. Cancelling the future gives
        the attempt up.

        Raises:
            ContactSyntaxError: ``to`` is mistyped. Everything else comes through the future.
        """
        node = self._running()
        seconds = self._config.session.connect_timeout if isinstance(timeout, Configured) else timeout
        return dial(node, resolve(to, node.handshake.network_id, node.known), seconds)

    def bootstrap(
        self,
        *,
        contacts: Iterable[str | Contact] = (),
        blacklist: Iterable[Who] = (),
        timeout: Wait = CONFIG,
    ) -> Peer:
        """
        Reach one node of the network, out of these contacts, those of the constructor and the configuration.

        A node takes us only if it was told to (``bootstrap.accept``).

        Args:
            contacts: More contacts.
            blacklist: Peer ids, addresses and networks not to dial, beside ``bootstrap.blacklist``.
            timeout: Seconds for all of it; default ``bootstrap.timeout``.

        Returns:
            The first peer that took us.

        Raises:
            ConnectError: Nobody did; ``attempts`` has all that was tried. ``BootstrapFailed`` has it too.
            Timeout: Not in time.
        """
        node = self._running()
        seconds = self._config.bootstrap.timeout if isinstance(timeout, Configured) else timeout
        wanted = [*map(as_contact, contacts), *self._fallback, *map(as_contact, self._config.bootstrap.contacts)]
        banned = Blacklist([*blacklist, *self._config.bootstrap.blacklist])
        try:
            return bootstrap(node, wanted, banned, seconds, lambda: self._closing).peer
        except (ConnectError, Timeout) as error:
            if self._closing:
                raise ServiceClosed("the service has been closed") from error
            node.subscriptions.emit(events.BootstrapFailed(getattr(error, "attempts", ())))
            raise

    def prepare_connection_info(self) -> ConnectionInfo:
        """
        What the other side's :meth:`connect` needs to reach us, for the application to carry over by its own means.

        Raises ``ConnectionInfoPrepared`` too.
        """
        node = self._running()
        info = ConnectionInfo(self.contact, node.handshake.network_id)
        node.subscriptions.emit(events.ConnectionInfoPrepared(info))
        return info

    # --- listening ----------------------------------------------------------------------------------------------------

    def start_listening(self) -> None:
        """
        Listen on the configured addresses; no effect if we do. ``start`` does it unasked.

        Raises:
            ListenError: An address cannot be used.
        """
        self._running()
        assert self._network is not None
        self._network.listen()

    def stop_listening(self) -> None:
        """Accept no new connections; sessions stay. No effect if we do not listen."""
        self._running()
        assert self._network is not None
        self._network.stop_listening()

    def set_accept_bootstrap(self, on: bool) -> None:
        """Let strangers bootstrap off us, or no longer; default ``bootstrap.accept``."""
        self._running().registry.accept_bootstrap = bool(on)

    # --- peers --------------------------------------------------------------------------------------------------------

    def send(self, to: PeerId | str, data: bytes, *, priority: int = 1, timeout: Wait = CONFIG) -> int:
        """
        :meth:`crust.Peer.send` by id.

        Raises:
            PeerLost: There is no session with that peer; and what ``Peer.send`` raises.
        """
        peer_id = to if isinstance(to, PeerId) else PeerId.parse(to)
        conversation = self._running().registry.get(peer_id)
        if conversation is None:
            raise PeerLost(f"there is no session with peer {peer_id}; connect() first", "gone")
        return conversation.peer.send(data, priority=priority, timeout=timeout)

    def is_connected(self, who: PeerId | Peer | str) -> bool:
        """True if there is a session with that peer and a link carries it."""
        conversation = self._running().registry.get(as_peer_id(who))
        return conversation is not None and conversation.session.state is State.CONNECTED

    def disconnect(self, who: PeerId | Peer | str) -> bool:
        """End the session with that peer, and attempts to reach it; False if there was none."""
        node = self._running()
        peer_id = as_peer_id(who)
        return node.io.shielded(lambda: node.disconnect(peer_id))

    def ban(self, *who: Who, seconds: float | None = None) -> int:
        """
        End everything with these at once, and refuse them from now on. A ban is kept in memory only.

        Args:
            who: Peer ids, contacts, addresses, networks; as objects or text.
            seconds: How long; None: until :meth:`unban` or the end of this node.

        Returns:
            How many were not banned before.

        Raises:
            ContactSyntaxError, TypeError, ValueError: One of them is none of these; nothing was done.
        """
        node = self._running()
        count = node.access.ban(*who, now=node.clock.now(), seconds=seconds)
        node.io.shielded(node.enforce_bans)
        return count

    def unban(self, *who: Who) -> int:
        """Lift bans, named as they were banned; returns how many there were."""
        node = self._running()
        return node.access.unban(*who, now=node.clock.now())

    # --- files --------------------------------------------------------------------------------------------------------

    def accept_files(
        self,
        directory: str | os.PathLike[str],
        *,
        decide: Decide | None = None,
        max_size: int | None = None,
        progress: OnReceiving | None = None,
    ) -> None:
        """
        Take files that peers send; without this all are refused. See ``FileReceived`` and ``FileFailed``.

        Args:
            directory: Where they go. Nothing is ever overwritten, and no name leads out of it.
            decide: Asked about each offer, on a thread of its own, where it may take its time (but not for ever, or
                ``close`` returns False): True, False, or the reason for a refusal as text. None: all are taken.
            max_size: Bytes of the largest file taken; None: what the disk has room for.
            progress: Told how far each file has come; must be quick.

        Raises:
            FileNotFoundError, NotADirectoryError: There is no such directory.
        """
        self._running().files.accept_files(directory, decide=decide, max_size=max_size, progress=progress)

    def refuse_files(self) -> None:
        """Take no more files. Those under way go on."""
        self._running().files.refuse_files()


def _abandon(service: Service) -> None:
    """In a forked child; takes no lock. A service that has not been started is the child's to start."""
    service._lock = threading.Lock()
    service._unlock_identity()
    node = service._node
    if node is None or service._clean:
        return
    service._forked = service._closing = True
    if service._network is not None:
        service._network.abandon()
    service._network = None
    service._not_at_exit()
    abandon_node(node, forked_error(node.pid), clear_identity=service._given_identity is None)
