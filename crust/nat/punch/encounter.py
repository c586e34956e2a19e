"""
Two ends meet: what is common to all UDP methods from the first probe that comes through to the way that both agree on.

A *way* is a socket of ours and an address that something came from, or goes to. Whoever answers for an address must
repeat a nonce that was sent there, so a way counts for an end as soon as it has heard such an echo on it. The leading
end waits a moment for nearer ways, and nominates the best; the other end confirms it if the way counts for it too.

Whatever the other end sent, wherever it came from, is answered there: so the ports of a router that has one for each
destination are learned. But as long as such an address has proven nothing it gets three datagrams, no more.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from typing import TypeVar

from ... import limits
from ...exceptions import MalformedMessage
from .contract import Action, Address, Context, Finish, Note, Probe, Proven, Win
from .probe_packet import NO_ECHO, Kind, Message, ProbeOpener, ProbeSealer

K = TypeVar("K")
V = TypeVar("V")

__all__ = ["Encounter", "Way"]


@dataclasses.dataclass(slots=True)
class Way:
    """From a socket of ours to an address."""

    socket: str
    address: Address
    counts: bool = False
    """The other end is there: it has answered what was sent there."""
    rtt: float = float("inf")
    """Seconds; the shortest so far."""
    theirs: bytes = NO_ECHO
    """The newest nonce that came from there."""
    reply: bytes = NO_ECHO
    """The newest one that came in reply: it was sent to the port that our router has for this very way."""
    answers: int = 0
    """Datagrams sent there before it counted, but those that look for the other end."""
    nominated_at: float | None = None
    """When the leading end chose it first."""
    given_up: bool = False

    @property
    def is_near(self) -> bool:
        """In a network that is ours as well."""
        ip = ipaddress.ip_address(self.address[0])
        return ip.is_private and ip not in _SHARED_SPACE


_SHARED_SPACE = ipaddress.ip_network("100.64.0.0/10")


class Encounter:
    """
    For one plan: not thread-safe.

    Args:
        context: The attempt's.
        method: The name of the method.
        actions: Where actions go.
    """

    def __init__(self, context: Context, method: str, actions: list[Action]) -> None:
        self._leads = context.leads
        self._rtt = context.rtt
        self._seal = ProbeSealer(context.key_out, method, context.random)
        self._open = ProbeOpener(context.key_in, method)
        self._actions = actions
        self._ways: dict[tuple[str, Address], Way] = {}
        self._sent: dict[bytes, tuple[str, Address, float]] = {}  # nonces, oldest first
        self._heard: dict[tuple[bytes, str, Address], None] = {}
        self._choosing = False
        self._choose_at: float | None = None
        self._chosen: Way | None = None
        self._again_at: float | None = None
        self._over_at: float | None = None
        self._began = 0.0
        self._wins = 0
        self.won: Way | None = None
        """What both agreed on."""

    # --- what happens -------------------------------------------------------------------------------------------------

    def begin(self, now: float) -> None:
        """Durations are counted from now on."""
        self._began = now

    @property
    def met(self) -> bool:
        """Whether there is a way that counts: looking for more is hardly worth it."""
        return any(way.counts and not way.given_up for way in self._ways.values())

    def probe(self, socket: str, to: Address, now: float, ttl: int | None = None) -> None:
        """Send a probe there. It repeats what came from there last: the other end may not know that it got through."""
        way = self._ways.get((socket, to))
        self._send(socket, to, Kind.PROBE, NO_ECHO if way is None else way.reply, now, ttl)

    def receive(self, socket: str, source: Address, data: bytes, now: float) -> Way | None:
        """A datagram came; the way that it came, if it is the other end's."""
        try:
            message = self._open.parse_probe_untrusted(data)
        except MalformedMessage:
            return None
        heard = (message.nonce, socket, source)
        way = self._ways.get((socket, source))
        if heard in self._heard or way is None and len(self._ways) >= limits.PUNCH_PATHS_MAX:
            return None
        _remember(self._heard, heard, None)
        if way is None:
            way = self._ways[socket, source] = Way(socket, source)
        way.theirs = message.nonce
        if message.kind is not Kind.PROBE or way.reply == NO_ECHO:
            way.reply = message.nonce
        news = self._check_echo(way, message, now)
        self._react(way, message, news, now)
        return way

    def _check_echo(self, way: Way, message: Message, now: float) -> bool:
        """Whether the way counts from now on."""
        socket, address, sent_at = self._sent.get(message.echo, ("", None, 0.0))
        if (socket, address) != (way.socket, way.address):
            return False
        way.rtt = min(way.rtt, now - sent_at)
        if way.counts:
            return False
        way.counts = True
        self._actions.append(Proven(way.address[0]))
        return True

    def _react(self, way: Way, message: Message, news: bool, now: float) -> None:
        kind = message.kind
        if kind is Kind.PROBE or kind is Kind.ANSWER and news:
            self._answer(way, Kind.ANSWER, now)
        elif kind is Kind.NOMINATE and not self._leads:
            if way.counts:
                self._win(way, now)
                self._answer(way, Kind.CONFIRM, now)
            else:
                self._answer(way, Kind.ANSWER, now)
        elif kind is Kind.CONFIRM and self._leads and way.nominated_at is not None and message.echo in self._sent:
            if self._sent[message.echo][:2] == (way.socket, way.address):
                self._win(way, now)
        if news and self._leads and not self._choosing and self.won is None:
            self._choosing = True
            self._choose_at = now if way.is_near else now + limits.PUNCH_CHOICE

    def _win(self, way: Way, now: float) -> None:
        if self.won is way or self.won is not None and (self._leads or way.given_up):
            return
        self._wins += 1
        if self._wins > limits.PUNCH_WINS_MAX:
            return
        if self.won is not None:
            self.won.given_up = True  # the leading end did not hear that we agreed, and has chosen anew
        self.won = way
        host, port = way.address
        endpoint = f"utp://[{host}]:{port}" if ":" in host else f"utp://{host}:{port}"
        self._actions += [Win(way.socket, way.address), Note(endpoint, now - self._began, "connected")]
        self._choose_at = self._again_at = None
        self._over_at = now if self._leads else now + limits.PUNCH_LINGER

    # --- sending ------------------------------------------------------------------------------------------------------

    def _answer(self, way: Way, kind: Kind, now: float) -> None:
        if not way.counts:
            if way.answers >= limits.PUNCH_ANSWERS:
                return
            way.answers += 1
        self._send(way.socket, way.address, kind, way.theirs, now, None)

    def _send(self, socket: str, to: Address, kind: Kind, echo: bytes, now: float, ttl: int | None) -> None:
        nonce = self._seal.nonce()
        _remember(self._sent, nonce, (socket, to, now))
        self._actions.append(Probe(socket, to, self._seal.seal(kind, nonce, echo), ttl))

    # --- choosing -----------------------------------------------------------------------------------------------------

    def get_timer(self) -> float | None:
        """When to call :meth:`handle_timer`."""
        times = [each for each in (self._choose_at, self._again_at, self._over_at) if each is not None]
        return min(times, default=None)

    def handle_timer(self, now: float) -> None:
        """The leading end chooses, or says again what it has chosen; a plan that has won ends."""
        if self._over_at is not None and now >= self._over_at:
            self._over_at = None
            self._actions.append(Finish())
        if self._choose_at is not None and now >= self._choose_at:
            self._choose_at = None
            self._choose(now)
        if self._again_at is not None and now >= self._again_at:
            self._nominate(now)

    def _choose(self, now: float) -> None:
        ways = [way for way in self._ways.values() if way.counts]
        self._chosen = min((way for way in ways if not way.given_up), key=_rank, default=None)
        if self._chosen is None:
            for way in ways:
                way.given_up = False
            self._choose_at, self._again_at = now + limits.PUNCH_NOMINATE_PATIENCE, None
            return
        self._chosen.nominated_at = now
        self._nominate(now)

    def _nominate(self, now: float) -> None:
        way = self._chosen
        if way is None or way.nominated_at is None or self.won is not None:
            self._again_at = None
            return
        if now - way.nominated_at > limits.PUNCH_NOMINATE_PATIENCE + 2 * self._rtt:
            way.given_up = True
            self._choose(now)
            return
        self._send(way.socket, way.address, Kind.NOMINATE, way.reply, now, None)
        self._again_at = now + limits.PUNCH_NOMINATE_GAP


def _remember(memory: dict[K, V], key: K, value: V) -> None:
    memory[key] = value
    if len(memory) > limits.PUNCH_MEMORY:
        del memory[next(iter(memory))]


def _rank(way: Way) -> tuple[bool, float, bool]:
    """Near ones first; then by time, in which 10 ms are no difference; of two alike the one of IPv6."""
    return not way.is_near, round(way.rtt, 2), ":" not in way.address[0]
