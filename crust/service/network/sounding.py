"""
How the translators on the way treat our listening ports: what the answers that
:mod:`crust.service.network.reflection` collects show, and the few questions more that some of them call for.

Introducers answer at several ports of one address (:mod:`crust.service.network.echo_desk`), so a single one is enough.
All of them are asked in one go, from the very port that listens. Two things may follow, once:

* *more ports*, where each destination sees another one and no order is found: fresh ports ask, too, until eight have
  been seen, which shows whether they come from a small block;
* *an echo* by TCP to an outer port that nobody uses: it shows whether strangers' SYNs are answered with a reset.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING

from ... import limits
from ...addresses import Endpoint
from ...exceptions import CrustError
from ...nat.punch.standing import DEPENDENT, INDEPENDENT, Soundings
from ...nat.stun.tcp import TcpQuestion
from ...nat.stun.udp import Question, UdpStun
from ...peers.conversation import Conversation
from ...wire.frames import Standing, TransportCode
from ...wire.handshake import Capability
from ..node import Node

if TYPE_CHECKING:
    from ...transports.udp import UdpHub
    from ...transports.utp.transport import UtpTransport

__all__ = ["Burst", "Sounder"]

_CODES = {"tcp": TransportCode.TCP, "utp": TransportCode.UTP}


class Burst:
    """
    Questions to one source from one listener, that go out together.

    Args:
        local: The listener, as bound.
        servers: Whom to ask; IP addresses and ports, of one host.
        conversation: With the peer that answers there; None: nothing is to follow.
    """

    __slots__ = ("conversation", "local", "servers")

    def __init__(self, local: Endpoint, servers: tuple[Endpoint, ...], conversation: Conversation | None) -> None:
        self.local = local
        self.servers = servers
        self.conversation = conversation


class Sounder:
    """
    Thread-safe.

    Args:
        node: The node, not started.
        udp: Asks by UDP.
        run: Runs a question by TCP on the calling thread, as long as nothing is closed; OSError: no answer.
        changed: Called, on any thread of the node, when :meth:`standings` may have changed; must not block.
    """

    def __init__(
        self,
        node: Node,
        udp: UdpStun,
        run: Callable[[TcpQuestion], tuple[str, int]],
        changed: Callable[[], object],
    ) -> None:
        self._node = node
        self._udp = udp
        self._run = run
        self._changed = changed
        self._lock = threading.Lock()  # guards what follows
        self._soundings: dict[Endpoint, Soundings] = {}
        self._left: dict[Burst, int] = {}  # questions without an end yet
        self._echoed: dict[Endpoint, float] = {}  # when to have an echo again
        self._hubs: set[UdpHub] = set()  # of fresh ports

    # --- what comes in ------------------------------------------------------------------------------------------------

    def begin(self, burst: Burst, count: int) -> None:
        """So many questions of a burst go out."""
        with self._lock:
            self._left[burst] = count

    def asked(self, local: Endpoint) -> int:
        """A question goes out from a listener now: its number."""
        now = self._node.io.now()
        with self._lock:
            return self._of(local).asked(now)

    def _of(self, local: Endpoint) -> Soundings:
        if local not in self._soundings:
            self._soundings[local] = Soundings(_CODES[local.transport], local.family or 4)
        return self._soundings[local]

    def heard(
        self, local: Endpoint, number: int, server: Endpoint, seen: tuple[str, int], *, is_own: bool = True
    ) -> None:
        """Somebody says where a listener is seen; ``is_own``: it is about the listener's own port."""
        now = self._node.io.now()
        with self._lock:
            self._of(local).answered(number, (server.host, server.port), seen, now, is_own=is_own)
        self._changed()

    def silent(self, local: Endpoint, server: Endpoint) -> None:
        """Nothing came back from there."""
        with self._lock:
            self._of(local).silent((server.host, server.port), self._node.io.now())
        self._changed()

    def ended(self, burst: Burst) -> bool:
        """One question of a burst has ended; True if that was the last one: :meth:`go_on` is due."""
        with self._lock:
            left = self._left.get(burst, 0) - 1
            if left > 0:
                self._left[burst] = left
            else:
                self._left.pop(burst, None)
            return left == 0

    def keep(self, here: Collection[Endpoint]) -> None:
        """Only these listen now."""
        with self._lock:
            self._soundings = {local: each for local, each in self._soundings.items() if local in here}

    def forget(self) -> None:
        """Our network is another one."""
        with self._lock:
            for each in self._soundings.values():
                each.forget()
            self._echoed.clear()
        self._changed()

    # --- what is known ------------------------------------------------------------------------------------------------

    def standings(
        self, bound: Iterable[Endpoint], ips: Collection[str], passes: Callable[[str, int], bool]
    ) -> tuple[Standing, ...]:
        """
        One for each transport and family of which something is known: that of the first listener.

        Args:
            bound: The listeners.
            ips: The addresses of this machine.
            passes: Whether a link stands by that transport (``tcp``, ``utp``) and family.
        """
        now = self._node.io.now()
        found: dict[tuple[str, int], Standing] = {}
        bound = tuple(bound)
        # Not with the lock: it takes that of the sessions, whose holder may be waiting, over others, for ours.
        passing = {key: passes(*key) for key in {(local.transport, local.family or 4) for local in bound}}
        with self._lock:
            for local in bound:
                soundings = self._soundings.get(local)
                if soundings is None:
                    continue
                key = local.transport, local.family or 4
                here = {(ip, local.port) for ip in ips}
                standing = soundings.standing(now, here, passes=passing[key])
                if standing is not None:
                    found.setdefault(key, standing)
        return tuple(found.values())

    def hearsay(self, bound: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
        """Where somebody sees these listeners, whether it is believed or not."""
        now = self._node.io.now()
        with self._lock:
            return tuple(
                Endpoint(local.transport, *seen)
                for local in bound
                if (soundings := self._soundings.get(local)) is not None
                for seen in soundings.latest(now)[: limits.HEARSAY_MAX]
            )

    def is_mapped(self, local: Endpoint, ips: Collection[str]) -> bool:
        """Whether that listener is behind a translator that keeps one outer port for it, so that it can be held."""
        now = self._node.io.now()
        here = {(ip, local.port) for ip in ips}
        with self._lock:
            soundings = self._soundings.get(local)
            standing = None if soundings is None else soundings.standing(now, here)
            if soundings is None or standing is None or standing.mapping != INDEPENDENT:
                return False
            return any(each not in here for each in soundings.latest(now))

    # --- what follows (a thread) --------------------------------------------------------------------------------------

    def go_on(self, burst: Burst) -> None:
        """All questions of a burst to an introducer have ended: ask more, if that tells more. Blocks."""
        if burst.conversation is None:
            return
        now = self._node.io.now()
        with self._lock:
            wants = self._of(burst.local).wants_more(now)
        if wants and burst.local.transport == "tcp":
            for place in range(limits.BLOCK_SAMPLES - len(burst.servers)):  # in one go: others take ports, too
                server = burst.servers[place % len(burst.servers)]
                try:
                    self._node.spawn("crust-stun", self._ask_fresh, burst.local, server, self.asked(burst.local))
                except RuntimeError:
                    break  # no thread to be had: what has been seen must do
        elif wants:
            self._ask_from_fresh_hub(burst)
        if burst.local.transport == "tcp":
            self._have_echo(burst.local, burst.conversation)

    def _ask_fresh(self, local: Endpoint, server: Endpoint, number: int) -> None:
        question = TcpQuestion(self._node.transports["tcp"], self._node.io, server, None, limits.SOUNDING_TIMEOUT)
        try:
            self.heard(local, number, server, self._run(question), is_own=False)
        except OSError as error:
            self._node.log.debug("STUN: %s does not say where a fresh port is: %s", server, error)

    def _ask_from_fresh_hub(self, burst: Burst) -> None:
        from ...transports.utp.transport import UtpTransport

        transport = self._node.transports.get("utp")
        if not isinstance(transport, UtpTransport):
            return
        try:
            hub = self._open_hub(transport, burst)
        except OSError as error:
            self._node.log.debug("STUN: no socket to ask more with: %s", error)
            return
        left = [len(burst.servers)]

        def answered(question: Question, number: int, server: Endpoint) -> None:
            answer = question.transaction.answer
            if answer is not None and answer.reflexive is not None:
                self.heard(burst.local, number, server, answer.reflexive, is_own=False)
            with self._lock:
                left[0] -= 1
                is_over = not left[0]
                if is_over:
                    self._hubs.discard(hub)
            if is_over:
                hub.release()

        with self._lock:
            self._hubs.add(hub)
        for server in burst.servers:
            number = self.asked(burst.local)
            self._udp.ask(
                hub,
                _address(server),
                lambda question, number=number, server=server: answered(question, number, server),  # type: ignore[misc]
                limits.SOUNDING_SCHEDULE,
                limits.SOUNDING_TIMEOUT,
            )

    @staticmethod
    def _open_hub(transport: UtpTransport, burst: Burst) -> UdpHub:
        ipv6 = burst.local.family == 6
        sock = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sock.bind(("::" if ipv6 else "0.0.0.0", 0))
        except BaseException:
            sock.close()
            raise
        return transport.read(transport.adopt(sock, silent=True))

    def _have_echo(self, local: Endpoint, conversation: Conversation) -> None:
        """See what becomes of a stranger's SYN. Blocks for some seconds where nothing becomes of it."""
        now = self._node.io.now()
        link = conversation.link
        with self._lock:
            soundings = self._of(local)
            seen = next(iter(soundings.latest(now)), None)
            standing = soundings.standing(now)
            if seen is None or standing is None or standing.mapping not in (INDEPENDENT, DEPENDENT):
                return
            if self._echoed.get(local, now) > now or not conversation.capabilities & Capability.ECHO:
                return
            if link is None or link.observed is None or link.observed[0] != seen[0]:
                return  # its echo would go to another address
            if seen[0] == link.connection.local.host:
                return  # nothing but this machine answers there
            if not self._node.echoes.may_ask(conversation):
                return
            self._echoed[local] = now + limits.FILTER_INTERVAL
        port = seen[1] ^ 1  # not the one that is mapped: the introducer may be no stranger to that
        try:
            resets = conversation.peer.echo("tcp", port).outcome == "refused"
        except (CrustError, ValueError) as error:  # ValueError: a port that nobody may try
            self._node.log.debug("cannot see what becomes of strangers' SYNs: %s", error)
            return
        with self._lock:
            changed = soundings.resets != resets
            soundings.resets = resets
        if changed:
            self._changed()

    # --- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of sockets. Never blocks; idempotent."""
        with self._lock:
            hubs, self._hubs = self._hubs, set()
        for hub in hubs:
            hub.close()

    def abandon(self) -> None:
        """In a forked child (takes no lock): the transport closes the sockets."""
        self._lock = threading.Lock()
        self._hubs = set()


def _address(server: Endpoint) -> tuple[object, ...]:
    return (server.host, server.port) if server.family == 4 else (server.host, server.port, 0, 0)
