"""
How a node learns at which addresses others see its listeners, and answers others who want to know the same.

It asks the configured STUN servers and a few of its peers, from the very sockets that it listens on: at the start, when
peers come, and every two minutes. Nothing waits for it. Who is believed: :mod:`crust.nat.stun.opinions`.

Each source is asked on a thread ``crust-stun``, which is over within seconds; the transports' end and
:meth:`Reflection.close` cut it short. Answers over UDP come on the sockets' own threads.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from .. import limits
from ..addresses import Endpoint
from ..nat.stun.names import NameQuestion
from ..nat.stun.opinions import Opinions, network_of
from ..nat.stun.responder import Responder
from ..nat.stun.tcp import TcpQuestion
from ..nat.stun.udp import Question, UdpStun
from ..peers.conversation import Conversation
from ..runtime.timers import Timer
from ..transports.contract import Listener
from ..values import dataclass
from .filtering import Filtering, is_near
from .node import Node

if TYPE_CHECKING:
    from ..transports.utp.transport import UtpTransport

__all__ = ["Reflection"]

_JITTER = 0.25  # of the interval, either way


@dataclass(frozen=True)
class _Source:
    """Somebody to ask: a server, or a peer."""

    name: str
    trusted: bool
    endpoints: tuple[tuple[str, Endpoint], ...]
    """By which transport, and where; hosts may be names."""


class Reflection:
    """
    Thread-safe.

    Args:
        node: The node, not started.
        listeners: Those that are open now.
        changed: Called, on any thread of the node, when :meth:`reflexive` has changed, or what strangers reach of it.
    """

    def __init__(
        self, node: Node, listeners: Callable[[], tuple[Listener, ...]], changed: Callable[[], object]
    ) -> None:
        self._node = node
        self._listeners = listeners
        self._changed = changed
        self.responder = Responder(node.knows_address, everybody=node.config.nat.serve_stun)
        """Answers others."""
        node.acceptor.stun = self.responder
        self._udp = UdpStun(node.io, self.responder)
        self.filtering = Filtering(node, self._udp, self._filtered)
        """Whether strangers reach us where others see us."""
        self._utp: UtpTransport | None = None
        self._lock = threading.Lock()  # guards the fields below
        self._closed = False
        self._round: Timer | None = None  # when everybody is asked again
        self._soon: Timer | None = None  # when new peers are asked
        self._opinions: dict[Endpoint, Opinions] = {}
        self._settled: dict[Endpoint, tuple[Endpoint, ...]] = {}
        self._running: set[TcpQuestion | NameQuestion] = set()
        self._asking: set[str] = set()  # the names of sources with a thread
        self._trusted: set[Endpoint] = set()  # listeners that servers of ours say everything about
        self._asked_before: frozenset[str] = frozenset()  # the peers asked last
        self._attach()

    def _attach(self) -> None:
        # Not before the first start: `import crust` stays cheap.
        from ..transports.utp.transport import UtpTransport

        transport = self._node.transports.get("utp")
        if isinstance(transport, UtpTransport):  # else this is a network in memory, where nobody is translated
            self._utp = transport
            transport.stun = self._udp.arrived
            self._node.on_connected = self._met

    # --- when ---------------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Ask everybody now; called when listeners have opened, or the network has changed."""
        if self._utp is None:
            return
        base = limits.REFLEXIVE_KEEPALIVE if self.filtering.open_places() else limits.REFLEXIVE_INTERVAL
        interval = base * (1 + random.uniform(-_JITTER, _JITTER))
        with self._lock:
            if self._closed:
                return
            if self._round is not None:
                self._round.cancel()
            self._round = self._node.io.call_later(interval, lambda now: self.refresh())
        if self._node.config.nat.stun_servers or self._node.registry.all():
            self._spawn(self._ask_all, True)

    def _filtered(self) -> None:
        """Strangers reach us where others see us, or do so no longer: from now on that is kept up, or not."""
        self._changed()
        self.refresh()

    def _met(self, conversation: Conversation) -> None:
        """A link carries a session: ask that peer too, soon."""
        with self._lock:
            if self._closed or self._soon is not None and self._soon.active:
                return
            self._soon = self._node.io.call_later(limits.REFLEXIVE_DELAY, self._ask_peers)

    def _ask_peers(self, _now: float) -> None:
        self._spawn(self._ask_all, False)

    def _ask_all(self, servers: bool) -> None:
        """A thread that sees whom to ask. (The I/O thread cannot wait for what the system says of its addresses.)"""
        for source in (*(self._servers() if servers else ()), *self._peers()):
            self._begin(source)
        self._look(self._node.io.now())
        self.filtering.look(self.reflexive())

    def _spawn(self, target: Callable[..., object], *arguments: object) -> bool:
        try:
            self._node.spawn("crust-stun", target, *arguments)
        except RuntimeError:  # no thread to be had: the next round tries again
            return False
        return True

    # --- whom ---------------------------------------------------------------------------------------------------------

    def _servers(self) -> Iterator[_Source]:
        for text in self._node.config.nat.stun_servers:
            endpoints = (("utp", Endpoint.parse(f"utp://{text}")), ("tcp", Endpoint.parse(f"tcp://{text}")))
            yield _Source(text, True, endpoints)

    def _peers(self) -> list[_Source]:
        """
        A few peers to ask, of different networks, and the same as last time if they are still there: the others have
        heard nothing from our ports. Those who are as near as ourselves can tell nothing; and where a server of ours
        says all, nobody else need be asked.
        """
        with self._lock:
            if self._closed or self._trusted >= {listener.endpoint for listener in self._listeners()}:
                return []
        try:
            near = [each.network for each in self._node.local_addresses(None, ())]
        except OSError:  # the system does not tell at the moment: the next round tries again
            return []
        found: dict[str, _Source] = {}
        conversations = self._node.registry.all()
        random.shuffle(conversations)
        conversations.sort(key=lambda each: str(each.peer_id) not in self._asked_before)
        for conversation in conversations[: limits.REFLEXIVE_LOOKED_AT]:
            path = conversation.path
            if path is None or path.remote is None:
                continue
            link = Endpoint.parse(path.remote)
            if is_near(link, near):
                continue
            known = (*conversation.redial, *self._node.known.get(conversation.peer_id, ()))
            # Where it listens: µTP dials leave from there; a TCP caller comes from anywhere.
            here = [each for each in known if each.host == link.host]
            if link.transport == "utp" or not conversation.inbound:
                here.append(link)
            endpoints = tuple(dict.fromkeys((each.transport, each) for each in here))
            if endpoints:
                found.setdefault(network_of(link.host), _Source(str(conversation.peer_id), False, endpoints))
        chosen = list(found.values())[: limits.REFLEXIVE_PEERS]
        with self._lock:
            self._asked_before = frozenset(source.name for source in chosen)
        return chosen

    # --- asking -------------------------------------------------------------------------------------------------------

    def _begin(self, source: _Source) -> None:
        with self._lock:
            if self._closed or source.name in self._asking:
                return
            self._asking.add(source.name)
        if not self._spawn(self._ask, source):
            with self._lock:
                self._asking.discard(source.name)

    def _ask(self, source: _Source) -> None:
        """A source's thread: every listener that it can say something about."""
        try:
            for transport, endpoint in source.endpoints:
                for address in self._resolve(endpoint):
                    for listener in self._listeners():
                        if listener.endpoint.transport == transport and _goes(listener.endpoint, address):
                            self._ask_one(source, listener, address)
        finally:
            with self._lock:
                self._asking.discard(source.name)

    def _resolve(self, endpoint: Endpoint) -> list[Endpoint]:
        """One address of each family."""
        assert self._utp is not None
        lookup = NameQuestion(self._utp.resolver, endpoint)
        if not self._track(lookup):
            return []
        try:
            return lookup.run()
        except OSError as error:
            self._node.log.debug("STUN: %s: %s", endpoint, error)
            return []
        finally:
            self._untrack(lookup)

    def _ask_one(self, source: _Source, listener: Listener, server: Endpoint) -> None:
        from ..transports.utp.transport import UtpListener

        if isinstance(listener, UtpListener):
            self.filtering.sends(listener.endpoint, server.host)
            address = (server.host, server.port) if server.family == 4 else (server.host, server.port, 0, 0)
            self._udp.ask(listener.hub, address, lambda question: self._answered(source, listener, server, question))
            return
        self.filtering.sends(listener.endpoint, server.host)
        question = TcpQuestion(self._node.transports["tcp"], self._node.io, server, listener.endpoint.port)
        if not self._track(question):
            return
        try:
            self._heard(source, listener, server, question.run())
        except OSError as error:
            self._node.log.debug("STUN: %s does not say where %s is: %s", server, listener.endpoint, error)
        finally:
            self._untrack(question)

    def _answered(self, source: _Source, listener: Listener, server: Endpoint, question: Question) -> None:
        transaction = question.transaction
        found = transaction.answer.reflexive if transaction.answer is not None and not transaction.error else None
        if found is not None:
            self._heard(source, listener, server, found)
        else:
            error = transaction.error
            self._node.log.debug("STUN: %s does not say where %s is: %s", server, listener.endpoint, error)

    def _track(self, running: TcpQuestion | NameQuestion) -> bool:
        with self._lock:
            if not self._closed:
                self._running.add(running)
            return not self._closed

    def _untrack(self, running: TcpQuestion | NameQuestion) -> None:
        with self._lock:
            self._running.discard(running)

    # --- what is known ------------------------------------------------------------------------------------------------

    def _heard(self, source: _Source, listener: Listener, server: Endpoint, address: tuple[str, int]) -> None:
        now = self._node.io.now()
        seen = Endpoint(listener.endpoint.transport, *address)
        if not seen.is_dialable or seen.family != listener.endpoint.family:
            return
        with self._lock:
            if self._closed:
                return
            opinions = self._opinions.setdefault(listener.endpoint, Opinions())
            opinions.heard(source.name, server.host, address, now, trusted=source.trusted)
            if source.trusted:
                self._trusted.add(listener.endpoint)
        self._look(now)

    def _look(self, now: float) -> None:
        """See whether what counts is another."""
        here = {listener.endpoint for listener in self._listeners()}
        with self._lock:
            if self._closed:
                return
            self._opinions = {local: said for local, said in self._opinions.items() if local in here}
            self._trusted &= {local for local, said in self._opinions.items() if said.is_trusted(now)}
            settled = {
                local: tuple(Endpoint(local.transport, *address) for address in said.settled(now))
                for local, said in self._opinions.items()
            }
            settled = {local: found for local, found in settled.items() if found}
            if settled == self._settled:
                return
            before, self._settled = self._settled, settled
        for local, found in settled.items():
            if found != before.get(local):
                self._node.log.info("others see %s at %s", local, ", ".join(map(str, found)))
        self._changed()
        self._spawn(self.filtering.look, settled)

    def reflexive(self) -> dict[Endpoint, tuple[Endpoint, ...]]:
        """Where others see each listener, as bound; the address with most voices first. Only what counts."""
        with self._lock:
            return dict(self._settled)

    # --- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Ask no more, and give up what is under way. Never blocks; idempotent."""
        with self._lock:
            self._closed = True
            running, self._running = self._running, set()
            timers = [timer for timer in (self._round, self._soon) if timer is not None]
        for timer in timers:
            timer.cancel()
        self._udp.close()
        self.filtering.close()
        for each in running:
            each.cancel()

    def abandon(self) -> None:
        """In a forked child: forget everything (takes no lock)."""
        self._lock = threading.Lock()
        self._closed = True
        self._running = set()
        self._udp.abandon()
        self.filtering.abandon()


def _goes(local: Endpoint, server: Endpoint) -> bool:
    """Whether ``server`` can be asked from that listener."""
    if local.family != server.family or local.ip is None or not server.port:
        return False
    return local.ip.is_unspecified or local.is_loopback == server.is_loopback
