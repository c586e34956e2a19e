"""
What to ask over UDP to learn what a network does to it, and what the answers say. No I/O.

The plan for one family, all at once as far as the answers allow:

1. From the socket *main*, every server is asked where it sees us.
2. The first answer begins: *samples*, new sockets that ask that server in one go (how ports are chosen), and a request
   to our own outer address (hairpin).
3. The first server with a second address (RFC 5780) begins: *main* asks its other addresses (on what the mapping
   depends); *filter*, a fresh socket that has sent to the first address alone, asks for answers from the others (whom
   the filter lets in); *size*, requests and answers of growing size that must not be cut (MTU).

A question is repeated until it is answered or given up: what a lossy network swallowed must not look like a filter.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from ... import limits
from ...findings import Behaviour, ProtocolFinding, ServerFinding
from ..stun.message import HEADER_SIZE, Class, Message, build_stun
from .actions import Close, Open, Send
from .asking import AskingPlan
from .classes import Address, Observation, filtering_of, mapping_of, ports_of
from .questions import Key, Question
from .servers import Server, answered, shown, usable_other

__all__ = ["UdpPlan"]

_SAMPLES = [f"sample{number}" for number in range(limits.PROBE_SAMPLES)]
_REQUEST = Message(Class.REQUEST, b"")
_GREETINGS = 3  # datagrams to a helper, since nobody says whether one arrived
_HEADERS = {4: 20 + 8, 6: 40 + 8}  # bytes of IP and UDP


class UdpPlan(AskingPlan):
    """
    One family. Not thread-safe.

    Args:
        family: 4 or 6.
        servers: Whom to ask.
        random_bytes: Source of randomness.
    """

    protocol = "udp"

    def __init__(self, family: int, servers: Sequence[Server], random_bytes: Callable[[int], bytes]) -> None:
        super().__init__(random_bytes)
        self.family = family
        self.servers = tuple(servers)
        self.other: tuple[Address, Address] | None = None
        """The addresses of the server that tests filtering."""
        self._local: dict[str, Address] = {}
        self._seen: list[Observation] = []  # of the main socket
        self._cards: list[ServerFinding] = [server.finding() for server in servers]
        self._sent: dict[Key, float] = {}  # when a question was asked first
        self._expected: dict[bytes, Callable[[], object]] = {}  # tokens of helpers
        self._error = ""
        self._unsent: dict[Address, str] = {}  # where the system would not send from the main socket, and why
        self._hairpin = False
        self._mtu: int | None = None
        self._sampling = False
        self.echoed: dict[str, bool] = {}
        """What helpers' datagrams did: ``stranger`` and ``known_address``, and whether it came in."""

    # --- the verbs ----------------------------------------------------------------------------------------------------

    def begin(self, now: float) -> None:
        """Ask the servers."""
        self._begun = True
        if not self.servers:
            return
        self._actions.append(Open("main", self.servers[0].address))
        for number, server in enumerate(self.servers):
            self._ask(("server", number), "main", server.address, now)
        self.handle_timer(now)

    def opened(self, slot: str, local: Address, now: float) -> None:
        """A socket stands."""
        self._local[slot] = local

    def failed(self, slot: str, reason: str, now: float) -> None:
        """A socket could not be made, or has broken."""
        if slot == "main":
            self._error = reason
        for key in self._keys_of(slot):
            self._questions.give_up(key)

    def unsent(self, slot: str, address: Address, reason: str) -> None:
        """The system would not send there. It is tried again: the others go on."""
        if slot == "main":
            self._unsent[address] = reason

    def received(self, slot: str, data: bytes, source: Address, now: float) -> None:
        """A datagram came in."""
        message = self._read(data)
        if message is None:
            return
        if message.class_ is Class.REQUEST:
            question = self._questions.waiting(message.transaction)
            if question is not None and question.key[0] == "hairpin":  # our own, through the translator and back
                self._hairpin = True
                self._questions.answered(message.transaction, message)
            return
        if message.transaction in self._expected:
            self._expected.pop(message.transaction)()
            return
        question = self._questions.waiting(message.transaction)
        if question is None or not self._from_whom_was_asked(question, source):
            return
        self._questions.answered(message.transaction, message)
        if message.class_ is Class.SUCCESS:
            self._learn(question, message, now)

    # --- helpers ------------------------------------------------------------------------------------------------------

    @property
    def mapped(self) -> Address | None:
        """Where the main socket is seen, by the first that answered."""
        return self._seen[0][1] if self._seen else None

    @property
    def asked(self) -> set[str]:
        """IP addresses that the main socket has sent to."""
        found = {server.address[0] for server in self.servers}
        return found | {self.other[1][0]} if self.other else found

    def expect(self, token: bytes, on_came: Callable[[], object]) -> None:
        """A helper is about to send a datagram with this number to an outer address of ours."""
        self._expected[token] = on_came

    def prepare(self, now: float) -> None:
        """Open a second socket, for helpers that are no strangers to it; :attr:`known` is where it is seen."""
        server = self._seen[0][0]
        self._actions.append(Open("known", server))
        self._ask(("known", 0), "known", server, now)
        self.handle_timer(now)

    @property
    def known(self) -> Address | None:
        """Where the second socket is seen."""
        answer = self._questions.answer(("known", 0))
        return None if answer is None else answer.reflexive

    def greet(self, address: Address, now: float) -> None:
        """Send something to a helper from the second socket, so that its address is a known one."""
        data = build_stun(dataclasses.replace(_REQUEST, transaction=bytes(12)))
        self._actions += [Send("known", data, address)] * _GREETINGS

    # --- inside -------------------------------------------------------------------------------------------------------

    def _ask(self, key: Key, slot: str, address: Address, now: float, **fields: object) -> None:
        request = dataclasses.replace(_REQUEST, **fields)  # type: ignore[arg-type]
        self._sent[key] = now
        self._questions.ask(key, slot, address, now, limits.PROBE_SCHEDULE, request)

    def _keys_of(self, slot: str) -> list[Key]:
        return [key for key in self._sent if self._slot_of(key) == slot and self._questions.is_open(key)]

    @staticmethod
    def _slot_of(key: Key) -> str:
        kind, which = key
        if kind == "sample":
            return str(which)
        return "main" if kind in ("server", "mapping") else kind

    def _from_whom_was_asked(self, question: Question, source: Address) -> bool:
        kind, which = question.key
        if kind != "filter":
            return source == question.address
        if source == question.address:
            self._questions.give_up(question.key)  # it answers, but cannot do this: the test says nothing
            self._sent.pop(question.key, None)
            return False
        return bool((source[0] == question.address[0]) == (which == "port"))

    def _learn(self, question: Question, message: Message, now: float) -> None:
        kind, which = question.key
        reflexive = message.reflexive
        if kind == "size":
            self._mtu = max(self._mtu or 0, which)
        if reflexive is None:
            return
        if kind in ("server", "mapping"):
            self._seen.append((question.address, reflexive))
        if kind != "server":
            return
        other = usable_other(question.address, message.other)
        rtt = now - self._sent[question.key]
        self._cards[which] = answered(self._cards[which], rtt, reflexive, other is not None)
        if not self._sampling:
            self._sampling = True
            self._begin_samples(question.address, reflexive, now)
        if other is not None and self.other is None:
            self.other = (question.address, other)
            self._begin_behaviour(question.address, other, now)

    def _begin_samples(self, server: Address, mapped: Address, now: float) -> None:
        """In one go, so that no other flow of ours takes a number in between."""
        self._actions.extend(Open(slot, server) for slot in (*_SAMPLES, "hairpin"))
        for slot in _SAMPLES:
            self._ask(("sample", slot), slot, server, now)
        self._ask(("hairpin", None), "hairpin", mapped, now)
        self.handle_timer(now)

    def _begin_behaviour(self, primary: Address, other: Address, now: float) -> None:
        for address in ((other[0], primary[1]), (primary[0], other[1]), other):
            self._ask(("mapping", address), "main", address, now)
        self._actions.append(Open("filter", primary))
        self._ask(("filter", "address"), "filter", primary, now, change_ip=True, change_port=True)
        self._ask(("filter", "port"), "filter", primary, now, change_port=True)
        self._actions.append(Open("size", primary, whole=True))
        for size in limits.PROBE_SIZES:
            padding = size - _HEADERS[self.family] - HEADER_SIZE - 4
            self._ask(("size", size), "size", primary, now, padding=padding)
        self.handle_timer(now)

    # --- the result ---------------------------------------------------------------------------------------------------

    def finding(self) -> ProtocolFinding:
        """What is known by now."""
        local, mapped = self._local.get("main"), self.mapped
        if mapped is None or local is None:
            reachable = None if not self.servers else False
            return ProtocolFinding("udp", self.family, reachable, self._why_not(), servers=self._ended_cards())
        ports, step = ports_of(self._samples())
        translated = mapped != local
        mapping = mapping_of(self._seen)
        if not translated and mapping is None:
            mapping = Behaviour.INDEPENDENT
        hairpin = True if self._hairpin else False if self._questions.settled(("hairpin", None)) else None
        return ProtocolFinding(
            "udp",
            self.family,
            True,
            local=shown(local),
            mapped=shown(mapped),
            translated=translated,
            mapping=mapping,
            filtering=self._filtering(),
            ports=ports,
            step=step,
            hairpin=hairpin if translated else None,
            mtu=self._mtu,
            rtt=min((card.rtt for card in self._cards if card.rtt is not None), default=None),
            servers=self._ended_cards(),
        )

    def _samples(self) -> list[tuple[int, int]]:
        found = []
        for slot in _SAMPLES:
            answer = self._questions.answer(("sample", slot))
            if answer is not None and answer.reflexive is not None and slot in self._local:
                found.append((self._local[slot][1], answer.reflexive[1]))
        return found

    def _filtering(self) -> Behaviour | None:
        stranger, known = self._let_in("address"), self._let_in("port")
        if stranger is None:
            stranger, known = self.echoed.get("stranger"), self.echoed.get("known_address")
        return filtering_of(stranger, known)

    def _let_in(self, which: str) -> bool | None:
        key = ("filter", which)
        if key not in self._sent or not self._questions.settled(key):
            return None
        return self._questions.answer(key) is not None

    def _why_not(self) -> str:
        if not self.servers:
            return "no server to ask"
        if self._error:
            return self._error
        refused = [self._unsent.get(server.address, "") for server in self.servers]
        if all(refused):
            return "; ".join(dict.fromkeys(refused))
        names = ", ".join(dict.fromkeys(server.name for server in self.servers))
        return f"no answer from {names} by UDP"

    def _ended_cards(self) -> tuple[ServerFinding, ...]:
        """With a reason where there was no answer."""
        return tuple(
            card
            if card.rtt is not None
            else dataclasses.replace(card, error=self._error or self._unsent.get(server.address) or "no answer")
            for card, server in zip(self._cards, self.servers, strict=True)
        )

    def close(self) -> None:
        """Close all sockets."""
        self._actions.extend(Close(slot) for slot in self._local)
