"""
How a node learns at which addresses others see its listeners, and answers others who want to know the same.

It asks the configured STUN servers and a few of its peers, from the very sockets that it listens on: at the start, when
peers come, and every two minutes; servers that have not answered, sooner (:mod:`crust.service.network.retries`).
Nothing waits for it. Who is believed: :mod:`crust.nat.stun.opinions`. What the answers show of the translators on the
way: :mod:`crust.service.network.sounding`.

Peers that answer at more ports are asked as soon as they have named them, at all of these at once, also where servers
of ours say all; but not by a port of which strangers are to show whether they get in, before that is known.

Each source is asked on a thread ``crust-stun``, which is over within seconds; the transports' end and
:meth:`Reflection.close` cut it short. Answers over UDP come on the sockets' own threads.
"""

from __future__ import annotations

import errno
import random
import threading
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING

from ... import limits
from ...addresses import Endpoint, IPNetwork, PeerId
from ...nat.stun.names import NameQuestion
from ...nat.stun.opinions import Opinions
from ...nat.stun.responder import Responder
from ...nat.stun.tcp import TcpQuestion
from ...nat.stun.udp import Question, UdpStun
from ...peers.conversation import Conversation
from ...runtime.timers import Timer
from ...transports.contract import Listener
from ...wire.frames import EchoPorts
from ..node import Node
from .echo_desk import EchoDesk
from .filtering import Filtering, is_near
from .retries import Retries
from .sounding import Burst, Sounder
from .sources import Source, goes, leaves_from

if TYPE_CHECKING:
    from ...transports.utp.transport import UtpTransport

__all__ = ["Reflection"]

_JITTER = 0.25  # of the interval, either way


class Reflection:
    """
    Thread-safe.

    Args:
        node: The node, not started.
        listeners: Those that are open now.
        changed: Called, on any thread of the node, when :meth:`reflexive` has changed, or what strangers reach of it.
        sounded: The same when more is known of the translators on the way; must not block.
    """

    def __init__(
        self,
        node: Node,
        listeners: Callable[[], tuple[Listener, ...]],
        changed: Callable[[], object],
        sounded: Callable[[], object],
    ) -> None:
        self._node = node
        self._listeners = listeners
        self._changed = changed
        self.responder = Responder(node.knows_address, everybody=node.config.nat.serve_stun)
        self.responder.refuses = lambda host: node.access.is_banned(None, host, node.clock.now())
        self.responder.on_limit = node.misbehaviour.asked_too_often
        """Answers others."""
        node.acceptor.stun = self.responder
        self._udp = UdpStun(node.io, self.responder)
        self.filtering = Filtering(node, self._udp, self._filtered, self._tried)
        """Whether strangers reach us where others see us."""
        self.sounder = Sounder(node, self._udp, self._run_question, sounded)
        """How the translators on the way treat our listeners."""
        self.desk = EchoDesk(node, self.responder, lambda: bool(listeners()), self._named)
        """More ports where STUN is answered."""
        self._utp: UtpTransport | None = None
        self._lock = threading.Lock()  # guards the fields below
        self._closed = False
        self._round: Timer | None = None  # when everybody is asked again
        self._soon: Timer | None = None  # when new peers are asked
        self._opinions: dict[Endpoint, Opinions] = {}
        self._settled: dict[Endpoint, tuple[Endpoint, ...]] = {}
        self._running: set[TcpQuestion | NameQuestion] = set()
        self._asking: set[str] = set()  # the names of sources with a thread
        self._retries = Retries(node.io, lambda: self._spawn(self._ask_lacking))
        self._trusted: set[Endpoint] = set()  # listeners that servers of ours say everything about
        self._asked_before: tuple[PeerId, ...] = ()  # the peers asked last
        self._asked_at: dict[Source, float] = {}  # when
        self._patient_until = float("-inf")  # servers may answer until then
        self._later: Timer | None = None  # when what had to wait is done
        self._hold: Timer | None = None  # when the router's mapping needs a packet
        self._ips: frozenset[str] = frozenset()  # of this machine
        self._attach()

    @property
    def udp(self) -> UdpStun | None:
        """Asks from listening UDP sockets; None in a network in memory, where nobody is translated."""
        return None if self._utp is None else self._udp

    def _attach(self) -> None:
        # Not before the first start: `import crust` stays cheap.
        from ...transports.utp.transport import UtpTransport

        transport = self._node.transports.get("utp")
        if isinstance(transport, UtpTransport):  # else this is a network in memory, where nobody is translated
            self._utp = transport
            transport.stun = self._udp.arrived
            self._node.on_connected += [self._met, self.desk.met]
            self._node.on_lost.append(lambda conversation, reason: self.desk.lost(conversation))
            self._node.on_signal[EchoPorts] = self.desk.received

    # --- when ---------------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Ask everybody now; called when listeners have opened, or the network has changed."""
        if self._utp is None or not self._refresh_later():
            return
        if self._node.config.nat.stun_servers or self._node.registry.all():
            self._spawn(self._ask_all, True)

    def _refresh_later(self) -> bool:
        """Ask everybody as often as what we know is to be kept up; False: we ask no more."""
        base = limits.REFLEXIVE_KEEPALIVE if self.filtering.open_places() else limits.REFLEXIVE_INTERVAL
        interval = base * (1 + random.uniform(-_JITTER, _JITTER))
        with self._lock:
            if not self._closed:
                if self._round is not None:
                    self._round.cancel()
                self._round = self._node.io.call_later(interval, lambda now: self.refresh())
            return not self._closed

    def servers_changed(self, gone: Collection[str]) -> None:
        """Other servers are configured than before; what those said that are gone counts no more."""
        with self._lock:
            for opinions in self._opinions.values():
                opinions.forget(gone)
            self._asked_at.clear()
        if gone:
            self.sounder.forget()
        self._retries.reset()
        self._look(self._node.io.now())
        self.refresh()

    def _filtered(self) -> None:
        """
        Strangers reach us where others see us, or do so no longer: from now on that is kept up, or not. Nobody is asked
        for it now: what they say may be another address by turns, and each answer would be a reason to ask.
        """
        self._changed()
        self._refresh_later()

    def _met(self, conversation: Conversation) -> None:
        """A link carries a session: ask that peer too, soon."""
        with self._lock:
            if self._closed or self._soon is not None and self._soon.active:
                return
            self._soon = self._node.io.call_later(limits.REFLEXIVE_DELAY, self._ask_peers)

    def _named(self, conversation: Conversation) -> None:
        """A peer has named more ports: ask there, now."""
        self._spawn(self._ask_all, False)
        self._hold_soon()

    def _tried(self) -> None:
        """It has been seen whether strangers get in: who could show it may be asked now."""
        self._spawn(self._ask_all, False)

    def _ask_peers(self, _now: float) -> None:
        self._spawn(self._ask_all, False)

    def _ask_all(self, servers: bool) -> None:
        """A thread that sees whom to ask. (The I/O thread cannot wait for what the system says of its addresses.)"""
        now = self._node.io.now()
        if self._is_searching():  # a new flow of ours would spoil its prediction
            self._again_at(now + limits.SEARCH_PAUSE, servers)
            return
        self._see_network()
        if servers:
            for source in self._servers():
                self._patient_until = now + limits.SERVER_PATIENCE
                self._begin(source)
        if now < self._patient_until and not self._trusts_all():
            self._again_at(self._patient_until, False)
            sources = []
        else:
            sources = [*self._peers(), *self._introducers()]
        with self._lock:
            recent = now - limits.ASKED_AGAIN
            self._asked_at = {each: at for each, at in self._asked_at.items() if each in sources and at > recent}
            if not servers:  # somebody has come: who has been asked just now need not be asked again
                sources = [source for source in sources if source not in self._asked_at]
        for source in dict.fromkeys(sources):
            self._begin(source)
        self._look(now)
        self.filtering.look(self.reflexive())

    def _ask_lacking(self) -> None:
        """A thread: servers once more, about what none of them has said."""
        if self._is_searching():
            self._retries.missed()
            return
        for source in self._servers(only_lacking=True):
            self._begin(source)

    def _again_at(self, when: float, servers: bool) -> None:
        """Ask then, and once only, however many want it."""
        with self._lock:
            if self._closed or (self._later is not None and self._later.active):
                return
            self._later = self._node.io.call_at(when, lambda now: self._spawn(self._ask_all, servers))

    def _is_searching(self) -> bool:
        """Whether a session's traversal has its turn to search."""
        return self._node.traversals is not None and self._node.traversals.search.is_taken

    def _see_network(self) -> None:
        """What was learned on another network counts no more."""
        try:
            ips = frozenset(str(each.ip).partition("%")[0] for each in self._node.local_addresses(None, ()))
        except OSError:  # the system does not tell at the moment: the next round tries again
            return
        with self._lock:
            moved = bool(self._ips) and ips != self._ips
            self._ips = ips
            if moved:
                self._opinions.clear()
                self._trusted.clear()
                self._asked_at.clear()
        if moved:
            self._node.log.info("this machine has other addresses than before: what others see of it is asked anew")
            self.sounder.forget()
            self._retries.reset()

    def _spawn(self, target: Callable[..., object], *arguments: object) -> bool:
        try:
            self._node.spawn("crust-stun", target, *arguments)
        except RuntimeError:  # no thread to be had: the next round tries again
            return False
        return True

    # --- whom ---------------------------------------------------------------------------------------------------------

    def _servers(self, *, only_lacking: bool = False) -> Iterator[Source]:
        for text in self._node.config.nat.stun_servers:
            endpoints = (("utp", Endpoint.parse(f"utp://{text}")), ("tcp", Endpoint.parse(f"tcp://{text}")))
            yield Source(text, True, endpoints, only_lacking=only_lacking)

    def _peers(self) -> list[Source]:
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
        found: dict[str, Source] = {}
        for conversation in self._worth_asking():
            source = self._source(conversation, near)
            if source is not None:
                found.setdefault(source.network, source)
        chosen = list(found.values())[: limits.REFLEXIVE_PEERS]
        with self._lock:
            self._asked_before = tuple(each.conversation.peer_id for each in chosen if each.conversation is not None)
        return chosen

    def _worth_asking(self) -> list[Conversation]:
        """Some of our peers: those asked last, those that have named ports, others; however many there are."""
        registry = self._node.registry
        first = [conversation for conversation in map(registry.get, self._asked_before) if conversation is not None]
        everybody, most = registry.all(), limits.REFLEXIVE_LOOKED_AT
        others = random.sample(everybody, min(most, len(everybody)))
        return list(dict.fromkeys((*first, *self.desk.introducers(), *others)))[:most]

    def _trusts_all(self) -> bool:
        """Whether servers of ours have said lately where every listener is seen."""
        here = {listener.endpoint for listener in self._listeners()}
        with self._lock:
            return self._trusted >= here

    def _introducers(self) -> list[Source]:
        """Where servers of ours say all, a few peers with more ports all the same: they show how we are translated."""
        with self._lock:
            if self._closed:
                return []
        if not self._trusts_all():
            return []
        try:
            near = [each.network for each in self._node.local_addresses(None, ())]
        except OSError:
            return []
        found: dict[str, Source] = {}
        for conversation in self.desk.introducers():
            source = self._source(conversation, near, helps=True)
            if source is not None and len(found) < limits.SOUNDING_PEERS:
                found.setdefault(source.network, source)
        return list(found.values())

    def _source(self, conversation: Conversation, near: list[IPNetwork], *, helps: bool = False) -> Source | None:
        """A peer as somebody to ask; None: it cannot tell anything, or nobody knows where it listens."""
        path = conversation.path
        if path is None or path.path_class == "relay":
            return None
        link = Endpoint.parse(path.remote)
        if is_near(link, near):
            return None
        known = (*conversation.redial, *self._node.directory.places(conversation.peer_id))
        # Where it listens: µTP dials leave from there; a TCP caller comes from anywhere.
        here = [each for each in known if each.host == link.host]
        if link.transport == "utp" or not conversation.inbound:
            here.append(link)
        ports = self.desk.ports_of(conversation)
        if ports is not None:
            here += [Endpoint("utp", link.host, port) for port in ports.udp]
            here += [Endpoint("tcp", link.host, port) for port in ports.tcp]
        endpoints = tuple(dict.fromkeys((each.transport, each) for each in here))
        if not endpoints:
            return None
        return Source(str(conversation.peer_id), False, endpoints, conversation, helps)

    # --- asking -------------------------------------------------------------------------------------------------------

    def _begin(self, source: Source) -> None:
        with self._lock:
            if self._closed:
                return
            under_way = source.name in self._asking
            self._asking.add(source.name)
        if under_way:
            self._missed(source)  # there may be other listeners than its thread knows of
        elif not self._spawn(self._ask, source):
            with self._lock:
                self._asking.discard(source.name)

    def _ask(self, source: Source) -> None:
        """A source's thread: every listener that it can say something about."""
        try:
            found = [(transport, each) for transport, endpoint in source.endpoints for each in self._resolve(endpoint)]
            if not found:
                self._missed(source)
            with self._lock:
                known = frozenset(self._trusted if source.only_lacking else ())
            asked = True
            # A question by TCP may hold up those after it.
            for listener in sorted(self._listeners(), key=lambda each: each.endpoint.transport == "tcp"):
                local = listener.endpoint
                if local in known:
                    continue
                fitting = (each for transport, each in found if transport == local.transport)
                servers = tuple(each for each in fitting if goes(local, each))
                if source.helps and servers and self.filtering.awaits(local, self._first(local)):
                    asked = False  # it comes when that is over
                elif servers:
                    self._ask_burst(source, listener, Burst(local, servers, source.conversation))
            if asked and source.conversation is not None:
                with self._lock:
                    self._asked_at[source] = self._node.io.now()
        finally:
            with self._lock:
                self._asking.discard(source.name)

    def _missed(self, source: Source) -> None:
        """It has not said where a listener is."""
        if source.trusted and not self._trusts_all():
            self._retries.missed()

    def _first(self, local: Endpoint) -> Endpoint | None:
        return next(iter(self.reflexive().get(local, ())), None)

    def _ask_burst(self, source: Source, listener: Listener, burst: Burst) -> None:
        """In one go, and in order: translators count."""
        self.sounder.begin(burst, len(burst.servers))
        link = None if source.conversation is None else source.conversation.link
        for server in burst.servers:
            number = self.sounder.asked(burst.local)
            ask = self._ask_one
            if link is not None and link.observed is not None and leaves_from(link, burst.local, server):
                self._heard(source, burst.local, server, link.observed, number)  # it has said so already
                self._ended(burst)
            elif burst.local.transport == "tcp" and len(burst.servers) > 1:
                if not self._spawn(ask, source, listener, burst, server, number):
                    self._ended(burst)
            else:
                ask(source, listener, burst, server, number)

    def _ended(self, burst: Burst) -> None:
        if self.sounder.ended(burst):
            self._spawn(self.sounder.go_on, burst)

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

    def _ask_one(
        self, source: Source, listener: Listener, burst: Burst, server: Endpoint, number: int
    ) -> None:
        from ...transports.utp.listener import UtpListener

        local = burst.local
        self.filtering.sends(local, server.host)
        if isinstance(listener, UtpListener):
            schedule = limits.STUN_SCHEDULE if source.trusted else limits.SOUNDING_SCHEDULE
            self._udp.ask(
                listener.hub,
                (server.host, server.port) if server.family == 4 else (server.host, server.port, 0, 0),
                lambda question: self._answered(source, burst, server, number, question),
                schedule,
                source.timeout,
            )
            return
        tcp, io = self._node.transports["tcp"], self._node.io
        asked = TcpQuestion(tcp, io, server, local.port, source.timeout)
        try:
            self._heard(source, local, server, self._run_question(asked), number)
        except OSError as error:
            self._node.log.debug("STUN: %s does not say where %s is: %s", server, local, error)
            if error.errno == errno.ETIMEDOUT and asked.transaction is None:
                self.sounder.silent(local, server)
            self._missed(source)
        finally:
            self._ended(burst)

    def _run_question(self, question: TcpQuestion) -> tuple[str, int]:
        if not self._track(question):
            raise OSError(errno.ECANCELED, "the service is closing")
        try:
            return question.run()
        finally:
            self._untrack(question)

    def _answered(
        self, source: Source, burst: Burst, server: Endpoint, number: int, question: Question
    ) -> None:
        transaction = question.transaction
        found = transaction.answer.reflexive if transaction.answer is not None and not transaction.error else None
        if found is not None:
            self._heard(source, burst.local, server, found, number)
        else:
            error = transaction.error
            self._node.log.debug("STUN: %s does not say where %s is: %s", server, burst.local, error)
            if transaction.answer is None:
                self.sounder.silent(burst.local, server)
            self._missed(source)
        self._ended(burst)

    def _track(self, running: TcpQuestion | NameQuestion) -> bool:
        with self._lock:
            if not self._closed:
                self._running.add(running)
            return not self._closed

    def _untrack(self, running: TcpQuestion | NameQuestion) -> None:
        with self._lock:
            self._running.discard(running)

    # --- holding ------------------------------------------------------------------------------------------------------

    def _hold_soon(self) -> None:
        """While there are introducers: have a packet go out now and then, so that routers keep what they show us."""
        delay = limits.HOLD_INTERVAL * random.uniform(1 - _JITTER, 1)
        with self._lock:
            if self._closed or (self._hold is not None and self._hold.active):
                return
            self._hold = self._node.io.call_later(delay, lambda now: self._spawn(self._hold_on))

    def _hold_on(self) -> None:
        """A thread: one question by UDP from each listener that a translator has a port for, to one introducer."""
        if self._is_searching():
            self._hold_soon()
            return
        self._see_network()
        introducers = self.desk.introducers()
        if not introducers:
            return
        for listener in self._listeners():
            local = listener.endpoint
            if local.transport != "utp" or not self.sounder.is_mapped(local, self._ips):
                continue
            for conversation in introducers:
                source = self._source(conversation, [])
                servers = [each for _, each in source.endpoints if each.transport == "utp"] if source else []
                servers = [each for each in servers if goes(local, each)]
                if source is not None and servers:
                    self._ask_burst(source, listener, Burst(local, (servers[0],), None))
                    break
        self._hold_soon()

    # --- what is known ------------------------------------------------------------------------------------------------

    def _heard(
        self, source: Source, local: Endpoint, server: Endpoint, address: tuple[str, int], number: int
    ) -> None:
        now = self._node.io.now()
        seen = Endpoint(local.transport, *address)
        if not seen.is_dialable or seen.family != local.family:
            return
        if source.trusted and source.name not in self._node.config.nat.stun_servers:
            return  # it is no server of ours any more
        with self._lock:
            if self._closed:
                return
            opinions = self._opinions.setdefault(local, Opinions())
            opinions.heard(source.name, server.host, address, now, trusted=source.trusted)
            complete = source.trusted and local not in self._trusted
            if source.trusted:
                self._trusted.add(local)
        self.sounder.heard(local, number, server, address)
        self._look(now)
        if complete:
            self._retries.reset()
        if complete and self.desk.introducers():
            self._tried()

    def _look(self, now: float) -> None:
        """See whether what counts is another."""
        here = {listener.endpoint for listener in self._listeners()}
        with self._lock:
            if self._closed:
                return
            self._opinions = {local: said for local, said in self._opinions.items() if local in here}
            self._trusted &= {local for local, said in self._opinions.items() if said.is_trusted(now)}
            self.sounder.keep(here)
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
            timers = [timer for timer in (self._round, self._soon, self._later, self._hold) if timer is not None]
        for timer in timers:
            timer.cancel()
        self._retries.close()
        self._udp.close()
        self.desk.close()
        self.sounder.close()
        self.filtering.close()
        for each in running:
            each.cancel()

    def abandon(self) -> None:
        """In a forked child: forget everything (takes no lock)."""
        self._lock = threading.Lock()
        self._closed = True
        self._running = set()
        self._retries.abandon()
        self._udp.abandon()
        self.desk.abandon()
        self.sounder.abandon()
        self.filtering.abandon()
