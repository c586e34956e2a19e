"""The public face of a node."""

from __future__ import annotations

import concurrent.futures
import os
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, overload

from .. import limits
from ..addresses import ConnectionInfo, Contact, Endpoint, PeerId
from ..config import Config
from ..exceptions import ConnectError, PeerLost, ServiceClosed, Timeout
from ..peers.access import Who
from ..peers.file_contract import Decide, OnReceiving
from ..peers.judging import Predicate
from ..peers.messages import CONFIG, Configured, Wait
from ..peers.peer import Peer
from ..peers.session import State
from . import events
from .bans.bans import Ban
from .connecting import Target, as_contact, as_peer_id, resolve
from .events import ConfigReloaded
from .finding.lan_peer import LanPeer
from .groups.group import Group, OnOffer
from .lifecycle import Lifecycle
from .stream import EventStream
from .subscriptions import Subscription

__all__ = ["Service"]

E = TypeVar("E")


class Service(Lifecycle):
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
        on_callback_error: Gets an event and the exception that a callback raised on it, after it has been logged; or
            a :class:`crust.PeerView`, and what a ban by function raised on it.
        on_misbehaviour: Decides what becomes of who misbehaves, in place of the table in docs/misbehaviour.md: called
            on the dispatcher thread with each ``PeerMisbehaved``, after the callbacks of :meth:`on`; returns a
            :class:`crust.Action`, or None for what the table says. What it raises goes to ``on_callback_error``, and
            then the table holds.

    Raises:
        ContactSyntaxError: One of ``contacts`` is mistyped, or lacks the key.
    """

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

    def connect(self, to: Target, *, timeout: Wait = CONFIG, keep: bool = False) -> Peer:
        """
        Have a session with a peer: the one that exists, or a new one.

        Args:
            to: A contact or peer id, as text or object, or the other's ``ConnectionInfo``.
            timeout: Seconds for all of it; default ``session.connect_timeout``.
            keep: Once it is reached, reconnect whenever the session is lost, for ever: ``LostPeer``, and then
                ``ConnectSuccess`` with a new ``Peer``. Between attempts it waits longer each time, up to a minute. It
                ends with :meth:`disconnect`, the other side's too, with a ban by either, and with :meth:`close`.

        Raises:
            ContactSyntaxError: ``to`` is mistyped, or lacks the key.
            NoRoute: There is no way to it: no address, and nobody who introduces us.
            Denied: It refused; ``reason`` and the text say why.
            ConnectError: It cannot be reached; ``attempts`` has each address and what happened there.
            Timeout: Not in time; ``attempts`` the same, what was under way included.
            ServiceClosed: The service is closed.
        """
        node = self._running()
        seconds = self._config.session.connect_timeout if isinstance(timeout, Configured) else timeout
        return self._found().connect(resolve(to, node.handshake.network_id, node.directory), seconds, keep=keep)

    def dial(self, to: Target, *, timeout: Wait = CONFIG, keep: bool = False) -> concurrent.futures.Future[Peer]:
        """
        :meth:`connect` without waiting, for callbacks and for many at once.

        Functions given to the future's ``add_done_callback`` run on the dispatcher thread. Cancelling the future gives
        the attempt up.

        Raises:
            ContactSyntaxError: ``to`` is mistyped. Everything else comes through the future.
        """
        node = self._running()
        seconds = self._config.session.connect_timeout if isinstance(timeout, Configured) else timeout
        return self._found().dial(resolve(to, node.handshake.network_id, node.directory), seconds, keep=keep)

    def find(self, peer: PeerId | str, *, timeout: Wait = CONFIG) -> Contact:
        """
        Where a node is by its own, signed word, wherever in the network it is: our peers are asked, and whom they name.

        Nobody needs this to connect: :meth:`connect` looks up by itself whom it does not know.

        Args:
            timeout: Seconds; default ``session.connect_timeout``. A search takes ten at most.

        Returns:
            Its id and addresses. There are none if it only names peers that introduce it.

        Raises:
            ContactSyntaxError: ``peer`` is mistyped.
            NoRoute: Nobody who was asked knows it; or gossip is switched off here.
            Timeout: Not in time.
            ServiceClosed: The service is closed.
        """
        self._running()
        seconds = self._config.session.connect_timeout if isinstance(timeout, Configured) else timeout
        return self._found().find(as_peer_id(peer), seconds)

    def group(
        self,
        name: str,
        want: int,
        *,
        members: Iterable[Target] = (),
        others: bool | None = None,
        offer: OnOffer | None = None,
    ) -> Group:
        """
        Have so many connections, and keep them up: out of these members, or of everybody who is known.

        Whoever is connected counts, whichever side began it, unless ``offer`` says no. Lost ones are replaced at once,
        and dialled again after a while that doubles with each failure. See docs/groups.md.

        Args:
            name: What to call it; no two groups of a node have the same.
            want: How many peers it should have; :attr:`crust.Group.want` changes it.
            members: Who belongs to it: contacts, peer ids, connection infos. This node itself is left out.
            others: Whether to take anybody else, too, after the members: known from contacts, from the cache, from the
                LAN, from gossip, or connected anyhow. None: only if there are no members.
            offer: Called with the ``Peer`` of each session that could have a place, on the dispatcher thread, before
                its first message: True to keep it; False, or the reason as text for the other side, to let it go. Then
                it is not dialled for ten minutes. It must be quick. What it raises is logged, and means no. None: all
                are kept.

        Raises:
            ContactSyntaxError, ConnectError, TypeError, ValueError: A member, or another argument, is not what it
                should be; or there is a group of that name.
            ServiceClosed: The service is closed.
        """
        self._running()
        return self._found().groups.open(name, want, members, others, offer)

    @property
    def groups(self) -> tuple[Group, ...]:
        """Those that are open, the oldest first."""
        return () if self._finding is None else self._finding.groups.all

    def bootstrap(
        self,
        *,
        contacts: Iterable[str | Contact] = (),
        blacklist: Iterable[Who] = (),
        timeout: Wait = CONFIG,
    ) -> Peer:
        """
        Reach one node of the network: one that was reached before (``bootstrap.cache``), one on the LAN, or, if none of
        these has taken us after a second (``lan.wait``), one of these contacts, those of the constructor and the
        configuration. From then on this node stays linked to ``bootstrap.links`` of them, in the background.

        A node takes us only if it was told to (``bootstrap.accept``).

        Args:
            contacts: More contacts. The node knows of them until :meth:`stop_bootstrap`, of all calls' newest 1,024.
            blacklist: Peer ids, addresses and networks that bootstrap is not to dial, beside ``bootstrap.blacklist``;
                from then on, too, the newest 4,096 of all calls. (:meth:`ban`, and the configuration, forget none.)
                Groups, gossip and :meth:`connect` are not bound by it.
            timeout: Seconds for all of it; default ``bootstrap.timeout``.

        Returns:
            The first peer that took us.

        Raises:
            ConnectError: Nobody did; ``attempts`` has all that was tried. ``BootstrapFailed`` has it too.
            Timeout: Not in time.
        """
        self._running()
        seconds = self._config.bootstrap.timeout if isinstance(timeout, Configured) else timeout
        named = [*map(as_contact, contacts)]
        try:
            return self._found().bootstrap.reach(named, blacklist, seconds)
        except (ConnectError, Timeout) as error:
            if self._closing:
                raise ServiceClosed("the service has been closed") from error
            raise

    def start_bootstrap(self, *, contacts: Iterable[str | Contact] = (), blacklist: Iterable[Who] = ()) -> None:
        """
        Get into the network, and stay in it, in the background: :meth:`bootstrap` without waiting, and again and again.

        ``BootstrapConnect`` tells of each node that took us, ``BootstrapFailed`` once if there is none.

        Raises:
            ContactSyntaxError, TypeError: A contact, or an entry of the blacklist, is mistyped.
        """
        self._running()
        self._found().bootstrap.begin([*map(as_contact, contacts)], blacklist)

    def stop_bootstrap(self) -> None:
        """Look for no more nodes to be linked to; links that stand stay. No effect if none are looked for."""
        self._running()
        self._found().bootstrap.end()

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

    def rotate_ports(self, grace: float | None = None) -> tuple[Endpoint, ...]:
        """
        Listen on other random ports, as ``listen.rotate_interval`` does by itself; ports that the configuration names
        stay. Peers are told, and sessions move without loss; ``AddressesChanged`` and ``PathChanged`` follow.

        Args:
            grace: Seconds for which the old ports still answer; None: 10 minutes, or a third of the interval.

        Returns:
            Where it listens from now on in place of the old ones; nothing if there are no random ports.

        Raises:
            ListenError: There are no ports to be had; nothing has changed.
        """
        self._running()
        assert self._network is not None
        return self._network.rotation.rotate(grace)

    # --- the LAN ------------------------------------------------------------------------------------------------------

    def start_service_discovery(self) -> None:
        """
        From now on answer nodes of this network that ask their LAN who is there, as ``lan.announce`` does, and ask
        again and again, unless ``lan.seek`` is ``never``: ``PeerDiscovered`` tells of who answers. No effect if we do.
        """
        self._running()
        assert self._finding is not None
        self._finding.lan.announce()

    def has_peers_on_lan(self, timeout: float | None = 1.0) -> bool:
        """
        Ask all links for other nodes of this network, and wait until one answers; one that did within the last two
        seconds is enough.

        Args:
            timeout: Seconds to wait at most; None: until one answers, or the service is closed.

        Returns:
            False if none did in that time, or ``lan.seek`` is ``never``.

        Raises:
            ServiceClosed: The service is closed, or was meanwhile.
        """
        self._running()
        assert self._finding is not None
        found = self._finding.lan.has_peers(timeout)
        self._running()
        return found

    @property
    def lan_peers(self) -> tuple[LanPeer, ...]:
        """
        The nodes that have answered on the links of this machine within the last ten minutes, the last heard first; one
        with several addresses several times. A snapshot; :meth:`start_service_discovery` keeps it up to date.
        """
        return () if self._finding is None else self._finding.lan.peers()

    def set_accept_bootstrap(self, on: bool) -> None:
        """Let strangers bootstrap off us, or no longer; default ``bootstrap.accept``."""
        self._running().registry.accept_bootstrap = bool(on)

    # --- the configuration --------------------------------------------------------------------------------------------

    def reload(self, config: Config | str | os.PathLike[str] | None = None) -> ConfigReloaded:
        """
        Take another configuration while running. ``reload_interval`` does it unasked when the file says something else.

        Everything that can be changed is, at once, or nothing if something is wrong; the rest keeps its value until the
        next start, and is named. ``docs/reload.md`` says what each change does. :attr:`config` is what counts then.

        Args:
            config: A configuration, or the name of a file, of which all that follows is true from now on; None: the
                file that the present one came from, with what ``Config.replace`` has set since.

        Returns:
            What came of it; the event ``ConfigReloaded`` is the same.

        Raises:
            ConfigError: It cannot be used, or there is no file to read. Nothing has changed.
        """
        self._running()
        assert self._reloading is not None
        return self._reloading.reload(config)

    # --- peers --------------------------------------------------------------------------------------------------------

    def send(
        self, to: PeerId | str, data: bytes, *, priority: int = 1, sign: bool = False, timeout: Wait = CONFIG
    ) -> int:
        """
        :meth:`crust.Peer.send` by id.

        Raises:
            PeerLost: There is no session with that peer; and what ``Peer.send`` raises.
        """
        peer_id = to if isinstance(to, PeerId) else PeerId.parse(to)
        conversation = self._running().registry.get(peer_id)
        if conversation is None:
            raise PeerLost(f"there is no session with peer {peer_id}; connect() first", "gone")
        return conversation.peer.send(data, priority=priority, sign=sign, timeout=timeout)

    def is_connected(self, who: PeerId | Peer | str) -> bool:
        """True if there is a session with that peer and a link carries it."""
        conversation = self._running().registry.get(as_peer_id(who))
        return conversation is not None and conversation.session.state is State.CONNECTED

    def disconnect(self, who: PeerId | Peer | str, reason: str = "") -> bool:
        """
        End the session with that peer, and attempts to reach it; False if there was none.

        For ten minutes neither side's node dials the other by itself; :meth:`connect` does.

        Args:
            reason: Why, in words for the other side: its ``LostPeer.text``. At most 200 bytes of UTF-8 are sent.
        """
        self._running()
        return self._found().disconnect(as_peer_id(who), reason)

    def ban(self, *who: Who | Predicate, seconds: float | None = None, keep: bool = False) -> int:
        """
        End everything with these at once, and refuse them from now on. See docs/bans.md.

        A function is asked about each peer that has a session, here and now, and from then on about each one before it
        gets one, whoever calls: those for which it is true are banned by their ids, until it is lifted. It gets a
        :class:`crust.PeerView`, later on a thread of its own; it must be quick and must not wait for a session. If it
        raises then, that peer is refused, and ``on_callback_error`` gets the view and the exception.

        Args:
            who: Peer ids, contacts, addresses, networks, as objects or text; functions.
            seconds: How long; None: until :meth:`unban` or the end of this node.
            keep: Beyond that, too: they are written to the file of ``access.ban.file``. Else they are written nowhere.

        Returns:
            How many were not banned before; of a function, how many peers it has been true of.

        Raises:
            ContactSyntaxError, TypeError, ValueError: One of them is none of these, or cannot be kept; nothing was
                done. So it is with whatever a function raises that is asked here and now.
            LocalProtocolError: ``keep``, and the configuration names no file; nothing was done.
            BansNotKept: All is done, but for the writing.
        """
        return self._running().bans.ban(*who, seconds=seconds, keep=keep)

    def unban(self, *who: Who | Predicate) -> int:
        """
        Lift bans, named as they were banned; with a function, all that it has banned. Returns how many there were.

        Raises:
            ContactSyntaxError, TypeError, ValueError: One of them is nothing that can be banned; nothing was done.
            BansNotKept: They are lifted, but still in the file of ``access.ban.file``.
        """
        return self._running().bans.unban(*who)

    @property
    def bans(self) -> tuple[Ban, ...]:
        """The bans in force: peers, networks, functions; a snapshot."""
        return self._running().bans.standing()

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
