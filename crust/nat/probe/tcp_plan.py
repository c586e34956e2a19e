"""
What to ask over TCP to learn what a network does to it, and what the answers say. No I/O.

The plan for one family:

1. All servers are dialled from one port, *main*, which listens too; each is asked where it sees us. The first of them
   is dialled from fresh ports as well, in one go: the *samples* (how ports are chosen). They come so early since the
   system waits for seconds when it repeats what got lost. If that server does not answer, the next one that does is
   dialled so.
2. The first answer to *main* begins a connection to our own outer address (hairpin).
3. As soon as a server's second address is known, from its answer or from the UDP plan, *main* dials its other addresses
   (on what the mapping depends). They stay open until the end, and the mapping with them.
4. If nobody answers for a while, the ports of the web are tried; if only those worked, some others are, to see whether
   anything else is closed.

Who is let in from outside cannot be seen from inside: a helper has to dial (:attr:`TcpPlan.echoed`).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence

from ... import limits
from ...exceptions import MalformedMessage
from ...findings import Behaviour, ProtocolFinding, ServerFinding, Unsolicited
from ...values import dataclass
from ..stun.message import HEADER_SIZE, Class, Message, build_stun, parse_stun_untrusted, stun_length
from .actions import Action, Close, Dial, Listen, Write
from .classes import Address, Observation, filtering_of, mapping_of, ports_of
from .servers import Server, answered, shown, usable_other

__all__ = ["TcpPlan"]

_PORTAL = re.compile(rb"HTTP/1\.. ([23]|511)")  # 511: "Network Authentication Required", RFC 6585


@dataclass(frozen=True)
class _Call:
    """A connection under way."""

    kind: str
    """``server``, ``mapping``, ``sample``, ``web``, ``other``, ``hairpin``, ``holding`` or ``greeting``."""

    number: int
    address: Address
    begun: float

    @property
    def end(self) -> float:
        """When it has had its time."""
        if self.kind == "hairpin":
            return self.begun + limits.PROBE_HAIRPIN_SECONDS
        return self.begun + limits.PROBE_DIAL_SECONDS[self.kind in ("server", "mapping", "sample", "holding")]


class TcpPlan:
    """
    One family. Not thread-safe.

    Args:
        family: 4 or 6.
        servers: Whom to ask.
        random_bytes: Source of randomness.
    """

    protocol = "tcp"

    def __init__(self, family: int, servers: Sequence[Server], random_bytes: Callable[[int], bytes]) -> None:
        self.family = family
        self.servers = tuple(servers)
        self._random_bytes = random_bytes
        self._actions: list[Action] = []
        self._calls: dict[str, _Call] = {}  # not settled yet
        self._transactions: dict[str, bytes] = {}
        self._answers: dict[str, bytes] = {}  # what has come of an answer
        self._local: dict[str, Address] = {}
        self._everything: list[str] = []  # every slot, in order
        self._seen: list[Observation] = []
        self._samples: dict[Address, dict[int, tuple[int, int]]] = {}  # by server
        self._cards: list[ServerFinding] = [server.finding() for server in servers]
        self._connected: dict[Address, float] = {}  # who took a connection, and seconds until then
        self._refused: dict[Address, float] = {}
        self._hairpin: bool | None = None
        self._known: Address | None = None
        self._intercepted = ""
        self._asked: set[str] = set()
        self._others: tuple[Address, ...] = ()  # of the last of those
        self._other_of: set[Address] = set()  # primaries whose other addresses are known
        self._begun_at: float | None = None
        self._web_tried = self._others_tried = False
        self.echoed: dict[str, str] = {}
        """How helpers' dials ended: ``stranger`` and ``known_address``, and ``connected``, ``refused``, ``timeout``."""

    # --- the verbs ----------------------------------------------------------------------------------------------------

    def begin(self, now: float) -> None:
        """Dial the servers."""
        self._begun_at = now
        if not self.servers:
            return
        self._actions.append(Listen("main", self.servers[0].address))
        self._everything.append("main")
        for number, server in enumerate(self.servers):
            self._dial("server", number, server.address, now, "main")
        self._begin_samples(self.servers[0].address, now)

    def _begin_samples(self, address: Address, now: float) -> None:
        """In one go, so that no other flow of ours takes a number in between."""
        for number in range(limits.PROBE_SAMPLES):
            self._dial("sample", number, address, now)

    def actions(self) -> list[Action]:
        """What is to be done with sockets, once each."""
        actions, self._actions = self._actions, []
        return actions

    def get_timer(self) -> float | None:
        """When :meth:`handle_timer` is due."""
        times = [call.end for call in self._calls.values()]
        if self._silent and self._begun_at is not None:
            times.append(self._begun_at + limits.PROBE_DIAL_SILENCE)
        return min(times, default=None)

    def handle_timer(self, now: float) -> None:
        """Give up what has had its time; try other ports if nothing has answered."""
        for slot, call in list(self._calls.items()):
            if now >= call.end - 1e-9:
                self._settle(slot, "no answer", now)
        if self._silent and self._begun_at is not None and now - self._begun_at >= limits.PROBE_DIAL_SILENCE - 1e-9:
            self._try_web(now)

    @property
    def done(self) -> bool:
        """Nothing more will be learned."""
        return self._begun_at is not None and not self._calls

    def opened(self, slot: str, local: Address, now: float) -> None:
        """The listener stands, or a connection does."""
        self._local[slot] = local
        call = self._calls.get(slot)
        if call is None:
            return
        if call.kind not in ("hairpin", "greeting"):
            self._connected[call.address] = now - call.begun
        if call.kind in ("hairpin", "other", "greeting"):
            self._settle(slot, "", now)
            return
        transaction = self._transactions[slot] = self._random_bytes(12)
        self._answers[slot] = b""
        self._actions.append(Write(slot, build_stun(Message(Class.REQUEST, transaction))))

    def failed(self, slot: str, reason: str, now: float, *, refused: bool = False) -> None:
        """A connection came to nothing, or has been closed; or the listener could not be made."""
        call = self._calls.get(slot)
        if slot == "main":
            for each in list(self._calls):
                self._settle(each, reason, now)
        if call is None:
            return
        if refused and call.kind not in ("hairpin", "greeting"):
            self._refused[call.address] = now - call.begun
        self._settle(slot, reason, now)

    def received(self, slot: str, data: bytes, now: float) -> None:
        """Bytes came on a connection."""
        call = self._calls.get(slot)
        if call is None or slot not in self._answers:
            return
        answer = self._answers[slot] = self._answers[slot] + data
        if len(answer) < HEADER_SIZE:
            return
        try:
            length = stun_length(answer[:HEADER_SIZE])
            if len(answer) < length:
                return
            message = parse_stun_untrusted(answer[:length])
        except MalformedMessage:
            self._strange(slot, call, answer, now)
            return
        ours = message.transaction == self._transactions[slot]
        if ours and message.class_ is Class.SUCCESS and message.reflexive is not None:
            self._learn(slot, call, message, message.reflexive, now)
        self._settle(slot, "it answered, but not what was asked", now)

    def accepted(self, source: Address, now: float) -> None:
        """Somebody reached the listener: ourselves by the way of the translator, or a helper, who shows no hairpin."""
        own = self._local.get("main", ("", 0))[0]
        for slot, call in list(self._calls.items()):
            if call.kind == "hairpin" and source[0] in (call.address[0], own):
                self._hairpin = True
                self._settle(slot, "", now)

    # --- helpers ------------------------------------------------------------------------------------------------------

    @property
    def mapped(self) -> Address | None:
        """Where the main port is seen, by the first that answered."""
        return self._seen[0][1] if self._seen else None

    @property
    def asked(self) -> set[str]:
        """IP addresses that the main port has dialled."""
        return self._asked

    def other_known(self, primary: Address, other: Address, now: float) -> None:
        """A server has a second address."""
        if primary in self._other_of:
            return
        self._other_of.add(primary)
        self._others = ((other[0], primary[1]), (primary[0], other[1]), other)
        for number, address in enumerate(self._others):
            self._dial("mapping", number, address, now, "main")

    def prepare(self, now: float) -> None:
        """Open a second port, for helpers that are no strangers to it; :attr:`known` is where it is seen."""
        server = self._seen[0][0]
        self._actions.append(Listen("known", server))
        self._everything.append("known")
        for number, address in enumerate((server, *self._others)):  # the first answer will do
            self._dial("holding", number, address, now, "known")

    @property
    def known(self) -> Address | None:
        """Where the second port is seen."""
        return self._known

    def greet(self, address: Address, now: float) -> None:
        """Dial a helper from the second port, so that its address is a known one."""
        self._dial("greeting", len(self._everything), address, now, "known")

    # --- inside -------------------------------------------------------------------------------------------------------

    @property
    def _silent(self) -> bool:
        """Nobody has taken a connection, or refused one, and the ports of the web have not been tried."""
        return not self._web_tried and not self._connected and bool(self.servers)

    def _dial(self, kind: str, number: int, address: Address, now: float, source: str = "") -> None:
        slot = f"{kind}-{number}-{address[0]}-{address[1]}"
        if slot in self._everything:
            return
        self._everything.append(slot)
        if source == "main":
            self._asked.add(address[0])
        self._calls[slot] = _Call(kind, number, address, now)
        self._actions.append(Dial(slot, address, source))

    def _strange(self, slot: str, call: _Call, answer: bytes, now: float) -> None:
        """
        Not STUN: somebody else took the connection. At the ports of the web that may well be a web server of the
        machine that was asked: it refuses what is no request of its own, while a portal leads elsewhere.
        """
        if call.kind == "web" and not _PORTAL.match(answer):
            self._settle(slot, "", now)
            return
        who = "a web page, which a captive portal or a proxy sends" if answer.startswith(b"HTTP/") else "something else"
        self._intercepted = f"{shown(call.address)} answered {who}"
        self._settle(slot, self._intercepted, now)

    def _settle(self, slot: str, error: str, now: float) -> None:
        """A connection has told what it can."""
        call = self._calls.pop(slot, None)
        if call is None:
            return
        if call.kind == "hairpin" and self._hairpin is None:
            self._hairpin = not error
        if call.kind == "server":
            card = self._cards[call.number]
            if card.rtt is None:
                self._cards[call.number] = dataclasses.replace(card, error=error or "it answered nothing")
            if not any(each.kind == "server" for each in self._calls.values()) and self._silent:
                self._try_web(now)  # all were refused
        if call.kind not in ("server", "mapping", "holding", "greeting"):
            self._actions.append(Close(slot))
        self._try_others(now)

    def _learn(self, slot: str, call: _Call, message: Message, mapped: Address, now: float) -> None:
        if call.kind == "web":
            return
        if call.kind == "holding":
            self._known = self._known or mapped
            return
        other = usable_other(call.address, message.other)
        if call.kind == "sample":
            self._samples.setdefault(call.address, {})[call.number] = (self._local[slot][1], mapped[1])
        else:
            self._seen.append((call.address, mapped))
        if call.kind == "server":
            self._cards[call.number] = answered(self._cards[call.number], now - call.begun, mapped, other is not None)
            if mapped != self._local[slot]:
                self._dial("hairpin", 0, mapped, now)
            if not self._samples and self._first_is_dead:
                self._begin_samples(call.address, now)
        if other is not None and call.kind != "mapping":
            self.other_known(call.address, other, now)

    @property
    def _first_is_dead(self) -> bool:
        """The first server has taken no connection yet, although another one has."""
        return self.servers[0].address not in self._connected

    def _try_web(self, now: float) -> None:
        self._web_tried = True
        for number, ip in enumerate(dict.fromkeys(server.address[0] for server in self.servers)):
            for port in limits.PROBE_WEB_PORTS:
                if (ip, port) not in [server.address for server in self.servers]:
                    self._dial("web", number, (ip, port), now)

    def _try_others(self, now: float) -> None:
        """Only ports of the web were asked, and worked: are others closed?"""
        if self._others_tried or not self._connected:
            return
        if any(server.address[1] not in limits.PROBE_WEB_PORTS for server in self.servers):
            return  # they show it
        self._others_tried = True
        for number, ip in enumerate(dict.fromkeys(address[0] for address in self._connected)):
            for port in limits.PROBE_OTHER_PORTS:
                self._dial("other", number, (ip, port), now)

    # --- the result ---------------------------------------------------------------------------------------------------

    def finding(self) -> ProtocolFinding:
        """What is known by now."""
        local, mapped = self._local.get("main"), self.mapped
        base = ProtocolFinding(
            "tcp",
            self.family,
            bool(self._connected or self._open_ports()) if self.servers else None,
            self._why_not() if not self._connected else "",
            local=shown(local) if local is not None else "",
            open_ports=self._open_ports(),
            intercepted=self._intercepted,
            servers=tuple(self._cards),
        )
        if mapped is None or local is None:
            return base
        samples = max(self._samples.values(), key=len, default={})
        ports, step = ports_of([samples[number] for number in sorted(samples)])
        translated = mapped != local
        mapping = mapping_of(self._seen)
        if not translated and mapping is None:
            mapping = Behaviour.INDEPENDENT
        return dataclasses.replace(
            base,
            mapped=shown(mapped),
            translated=translated,
            mapping=mapping,
            filtering=self._filtering(),
            unsolicited=self._unsolicited(),
            ports=ports,
            step=step,
            hairpin=self._hairpin if translated else None,
            rtt=min((card.rtt for card in self._cards if card.rtt is not None), default=None),
        )

    def _open_ports(self) -> tuple[int, ...]:
        """Ports of the web, if nothing else can be reached."""
        if any(address[1] not in limits.PROBE_WEB_PORTS for address in self._reached):
            return ()
        if any(call.kind in ("server", "other") for call in self._calls.values()):
            return ()
        ports = {address[1] for address in self._reached}  # a refusal came from there as well
        return tuple(port for port in limits.PROBE_WEB_PORTS if port in ports)

    @property
    def _reached(self) -> set[Address]:
        """Who answered, be it to refuse. What refuses in less than half the time of the way is a firewall before it."""
        quickest: dict[str, float] = {}
        for (ip, _), seconds in self._connected.items():
            quickest[ip] = min(seconds, quickest.get(ip, seconds))
        real = (address for address, seconds in self._refused.items() if 2 * seconds >= quickest.get(address[0], 0.0))
        return {*self._connected, *real}

    def _filtering(self) -> Behaviour | None:
        def came_in(which: str) -> bool | None:
            outcome = self.echoed.get(which)
            return None if outcome is None else outcome == "connected"

        return filtering_of(came_in("stranger"), came_in("known_address"))

    def _unsolicited(self) -> Unsolicited | None:
        stranger, known = self.echoed.get("stranger"), self.echoed.get("known_address")
        words = {"refused": Unsolicited.RESET, "timeout": Unsolicited.DROPPED}
        if stranger is not None:
            return Unsolicited.ACCEPTED if stranger == "connected" else words.get(stranger)
        return words.get(known or "")  # what is done to those that were called is done to strangers, but not let in

    def _why_not(self) -> str:
        if not self.servers:
            return "no server to ask"
        told = [f"{card.name}: {card.error}" for card in self._cards if card.error]
        return "; ".join(dict.fromkeys(told)) or "no answer by TCP"

    def close(self) -> None:
        """Close all sockets."""
        self._actions.extend(Close(slot) for slot in self._everything)
