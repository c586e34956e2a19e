"""How a node begins and ends, and who it is: the part of a service's public face that owns the inside."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from .. import limits
from ..addresses import Contact, Endpoint, PeerId, network_id
from ..candidates import Candidate
from ..config import Config
from ..crypto.handshake import HandshakeConfig, derive_secret
from ..crypto.keys import supported_aeads
from ..exceptions import LocalProtocolError, ServiceClosed
from ..peers.peer import Peer
from ..runtime.files import write_atomic
from ..runtime.identity_file import Identity, IdentityLock, load_network_secrets
from ..runtime.threads import after_fork_in_child, check_patching, forked_error
from ..wire import codec
from . import events
from .at_exit import close_at_exit
from .connecting import as_contact
from .forking import abandon_node
from .machine import Machine
from .misbehaviour import OnMisbehaviour
from .node import Node
from .stats import Stats
from .status.snapshot import Status
from .subscriptions import Subscription

if TYPE_CHECKING:
    from .finding.finding import Finding
    from .network.network import Network
    from .reloading.reloading import Reloading
    from .status.outlets import Outlets
    from .status.reporter import Reporter

__all__ = ["Lifecycle"]

L = TypeVar("L", bound="Lifecycle")


class Lifecycle:
    """See :class:`crust.Service`."""

    def __init__(
        self,
        config: Config | None = None,
        *,
        contacts: Iterable[str | Contact] = (),
        identity: Identity | None = None,
        on_event: Callable[[Any], object] | None = None,
        on_callback_error: Callable[[Any, BaseException], object] | None = None,
        on_misbehaviour: OnMisbehaviour | None = None,
    ) -> None:
        self._config = config if config is not None else Config()
        self._fallback = tuple(as_contact(each) for each in contacts)
        self._given_identity = identity
        self._on_event = on_event
        self._on_callback_error = on_callback_error
        self._on_misbehaviour = on_misbehaviour
        self._early: list[Subscription] = []
        self._lock = threading.Lock()  # guards the life cycle: _node, _closer, _starting
        self._node: Node | None = None
        self._network: Network | None = None
        self._finding: Finding | None = None
        self._reporter: Reporter | None = None
        self._outlets: Outlets | None = None
        self._reloading: Reloading | None = None
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

    def start(self: L) -> L:
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
            node.bans.start()
            assert self._network is not None
            self._network.listen()
            assert self._finding is not None
            self._finding.start()
            assert self._reloading is not None
            self._reloading.start()
            assert self._outlets is not None
            self._outlets.start()
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
        logger = logging.getLogger("crust")
        node = Node(
            self._config, handshake, logger, self._on_callback_error, self._machine, self._on_misbehaviour
        )
        if self._on_event is not None:
            node.subscriptions.add(Subscription(events.Event, self._on_event))
        for subscription in self._early:
            node.subscriptions.add(subscription)
        node.directory.given.replace((*self._fallback, *map(as_contact, self._config.bootstrap.contacts)))
        # With all that asks others where we are, and who is there: `import crust` stays cheap.
        from .finding.finding import Finding
        from .network.network import Network
        from .reloading.reloading import Reloading
        from .status.outlets import Outlets
        from .status.reporter import Reporter

        self._network = Network(node)
        self._finding = Finding(node, self._network)
        self._reporter = Reporter(node, self._network)
        self._outlets = Outlets(node, self._reporter, opens=self._machine.serves_programs)
        self._reloading = Reloading(node, self._network, self._fallback, self._adopt)
        return node

    def _adopt(self, config: Config) -> None:
        """Another configuration counts."""
        self._config = config

    def __enter__(self: L) -> L:
        self._check_fork()
        return self.start() if self._node is None else self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, timeout: float | None = limits.CLOSE_TIMEOUT) -> bool:
        """
        End everything in order: what was sent gets time to be acknowledged, peers hear goodbye, waiting callbacks run,
        threads are joined. Idempotent; from any thread. A session that has lost its link within the last second may
        resume in the rest of that second, for its peer to hear all this.

        From a callback, or what else of the application a thread of crust runs (``decide`` and ``progress`` of files,
        the function of a ban), it only begins this, returns False, and the node ends after that. Whoever waits in
        ``send``, ``recv`` or ``connect`` gets ServiceClosed. No callback starts after it has returned.

        Args:
            timeout: Seconds; None: no limit. The first caller's counts.

        Returns:
            True if nothing is left running. (The system may still look up a name for a dial, or a call about a UPnP
            router find that it is over, on daemon threads that hold nothing of this node.) False: the log shows where
            callbacks, or ``decide`` functions, are stuck.
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
        if node.on_dispatcher() or node.threads.has_current():  # the application's code that a thread of ours runs
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
            deadline = node.clock.deadline(timeout)
            share = math.inf if timeout is None else timeout / 2  # the rest is for what comes then
            until = node.clock.now() + min(limits.CLOSE_RESUME, share)
            for conversation in node.registry.all():
                conversation.await_link(until)
            timeout = deadline.remaining()
            if self._reloading is not None:
                self._reloading.close()
            if self._outlets is not None:
                self._outlets.close()
            if self._finding is not None:
                self._finding.close(timeout)
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

    def _found(self) -> Finding:
        finding = self._finding
        assert finding is not None  # it is made with the node
        return finding

    @property
    def config(self) -> Config:
        """The configuration that counts; :meth:`crust.Service.reload` replaces it."""
        return self._config

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
        Every address at which this node may be reachable, also those that it does not tell strangers (``shown`` is
        false), such as where others see it behind a router, even if one introducer alone says so. Empty while it does
        not listen, but for those that the configuration advertises.
        """
        return self._network.candidates() if self._network is not None else ()

    @property
    def contact(self) -> Contact:
        """Our id and addresses: give it to those who should connect to us."""
        return Contact(self.id, self.addresses[: limits.CONTACT_ENDPOINTS_MAX])

    @property
    def via(self) -> tuple[Contact, ...]:
        """
        Peers that introduce others to us, for who cannot reach our addresses: some that we dialled, those with public
        addresses alone if there are such; at most 3, not all in one network (/24, /48) if there are others.
        """
        return self._node.circuits.via() if self._node is not None and not self._closing else ()

    @property
    def peers(self) -> list[Peer]:
        """Every peer, connected or suspended, oldest session first."""
        if self._node is None:
            return []
        return [each.peer for each in self._node.registry.all()]

    def stats(self) -> Stats:
        """A snapshot of the node's counters."""
        return Stats.of(self._running())

    def status(self) -> Status:
        """
        A snapshot of all that the node is and holds: itself, its addresses, the network around it, its peers, what its
        parts add. :meth:`crust.Status.as_dict` gives it for JSON; ``crust status`` shows it. Takes a moment for each
        peer, and never waits for the network.
        """
        self._running()
        assert self._reporter is not None
        return self._reporter.take()


def _abandon(service: Lifecycle) -> None:
    """In a forked child; takes no lock. A service that has not been started is the child's to start."""
    service._lock = threading.Lock()
    service._unlock_identity()
    node = service._node
    if node is None or service._clean:
        return
    service._forked = service._closing = True
    if service._reloading is not None:
        service._reloading.abandon()
    if service._outlets is not None and service._reporter is not None:
        service._outlets.abandon()
        service._reporter.abandon()
    if service._finding is not None:
        service._finding.abandon()
    if service._network is not None:
        service._network.abandon()
    service._reloading = service._finding = service._network = None
    service._not_at_exit()
    abandon_node(node, forked_error(node.pid), clear_identity=service._given_identity is None)
