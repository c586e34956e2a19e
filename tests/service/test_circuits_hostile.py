"""Circuits and peers that break the rules, take all they can get, or say nothing."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

import pytest

import crust
from crust import Identity, Service, limits
from crust.crypto.handshake import Initiator
from crust.peers.accounts import Account
from crust.peers.circuits.legs import Legs
from crust.wire import frames
from crust.wire.frames import CircuitReason
from crust.wire.handshake import Capability
from tests.support.nodes import Nodes, config
from tests.support.puppet import Caller, bring, handshake_config
from tests.support.trios import SERVES, Trio
from tests.support.waiting import wait_until

ALL = Capability.CIRCUITS | Capability.RELAY | Capability.TRAVERSAL
CREDIT = limits.CIRCUIT_CREDIT


class Puppet(Caller):
    """A peer of a node; ``number`` gives it those that it may use."""

    def __init__(self, service: Service) -> None:
        identity = Identity.generate()
        super().__init__(service, identity, capabilities=ALL)
        self.begin()
        self.id = identity.peer_id
        self._next = 1 if self.controller else 2
        wait_until(lambda: service.is_connected(self.id), what="the session")

    def number(self) -> int:
        self._next += 2
        return self._next - 2

    def ask_for(self, target: crust.PeerId, data: bytes = b"hi", relays: bool = True) -> int:
        number = self.number()
        self.send(frames.CircuitOpen(number, target.public_key, relays, data))
        return number

    def pour(self, number: int, size: int) -> None:
        """So many bytes of a circuit."""
        while size:
            data = bytes(min(size, limits.CIRCUIT_DATA_MAX))
            self.send(frames.CircuitData(number, data))
            size -= len(data)

    def drink(self, size: int) -> int:
        """Read so many bytes of whatever circuit."""
        while size > 0:
            frame = self.expect(frames.CircuitData)
            assert isinstance(frame, frames.CircuitData)
            size -= len(frame.data)
        return size

    def closed(self) -> frames.CircuitClose:
        frame = self.expect(frames.CircuitClose)
        assert isinstance(frame, frames.CircuitClose)
        return frame

    def answers(self) -> bool:
        """The node still reads what we send, and answers."""
        token = int.from_bytes(os.urandom(4), "big")
        self.send(frames.Ping(token))
        pong = self.expect(frames.Pong)
        return isinstance(pong, frames.Pong) and pong.token == token


@pytest.fixture
def relay(nodes: Nodes) -> Service:
    # All puppets are at one address, and stand for peers anywhere.
    return nodes.start(SERVES.replace(**{"limits.peers_per_address": SERVES.limits.max_peers}))


@contextlib.contextmanager
def pair(relay: Service) -> Iterator[tuple[Puppet, Puppet]]:
    with Puppet(relay) as near, Puppet(relay) as far:
        yield near, far


def joined(near: Puppet, far: Puppet, relays: bool = True) -> tuple[int, int]:
    """A circuit from one to the other: its two numbers."""
    number = near.ask_for(far.id, b"first", relays)
    offer = far.expect(frames.CircuitOffer)
    assert isinstance(offer, frames.CircuitOffer)
    assert (offer.data, offer.relays, offer.observed) == (b"first", relays, near.sock.getsockname())
    far.send(frames.CircuitAccept(offer.number, None, relays, b"second"))
    accept = near.expect(frames.CircuitAccept)
    assert isinstance(accept, frames.CircuitAccept)
    assert (accept.number, accept.data, accept.relays, accept.observed) == (
        *(number, b"second", relays),
        far.sock.getsockname(),
    )
    return number, offer.number


def current(relay: Service) -> int:
    return relay.stats().circuits.current


def check_over(relay: Service) -> None:
    """Nothing of any circuit is left at the introducer."""
    node = relay._node
    assert node is not None
    wait_until(lambda: current(relay) == 0, what="the end of all circuits")
    book = node.circuits.introducing._book
    assert not (book._data or book._signals or book._offers)
    for conversation in node.registry.all():
        link = conversation.link
        if link is not None and link.circuits is not None:
            check_empty(link.circuits)


def check_empty(legs: Legs) -> None:
    wait_until(lambda: not legs._ends and not legs.freight._row, what="an empty table")


# --- what an introducer carries ---------------------------------------------------------------------------------------


def test_bytes_go_both_ways_in_order(relay: Service) -> None:
    """And the end, with its reason, comes behind them."""
    with pair(relay) as (near, far):
        number, other = joined(near, far)
        near.send(frames.CircuitData(number, b"one"))
        near.send(frames.CircuitData(number, b"two"))
        near.send(frames.CircuitClose(number, CircuitReason.CLOSED, "enough"))
        received = b""
        while len(received) < 6:
            frame = far.expect(frames.CircuitData)
            assert isinstance(frame, frames.CircuitData)
            received += frame.data
        assert received == b"onetwo"
        close = far.closed()
        assert (close.number, close.reason, close.text) == (other, CircuitReason.CLOSED, "enough")
        check_over(relay)


def test_what_is_refused_says_why(relay: Service) -> None:
    """Whatever the asker wants of an introducer that cannot be."""
    with pair(relay) as (near, far):
        for target, reason, words in (
            (near.id, CircuitReason.REFUSED, "that peer is you"),
            (relay.id, CircuitReason.REFUSED, "that peer is the introducer itself"),
            (Identity.generate().peer_id, CircuitReason.NOT_LINKED, "not at the moment"),
        ):
            number = near.ask_for(target)
            close = near.closed()
            assert (close.number, close.reason, close.text) == (number, reason, words)
        number = near.ask_for(far.id)
        offer = far.expect(frames.CircuitOffer)
        assert isinstance(offer, frames.CircuitOffer)
        far.send(frames.CircuitClose(offer.number, CircuitReason.REFUSED, "not today"))
        close = near.closed()
        assert (close.number, close.reason, close.text) == (number, CircuitReason.REFUSED, "not today")
        check_over(relay)


def test_when_one_end_goes_the_other_hears(relay: Service) -> None:
    """A link that is cut ends every circuit over it."""
    with pair(relay) as (near, far):
        joined(near, far)
        near.ask_for(far.id)
        far.expect(frames.CircuitOffer)
        far.sock.close()
        assert {near.closed().reason, near.closed().reason} == {CircuitReason.LOST}
        check_over(relay)


# --- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["near", "far"])
def test_more_bytes_than_the_credit(relay: Service, who: str) -> None:
    """End the circuit: who sent them is told so, the other one that it is lost."""
    with pair(relay) as (near, far):
        number, other = joined(near, far)
        culprit, victim, its = (near, far, number) if who == "near" else (far, near, other)
        culprit.pour(its, CREDIT)
        close = culprit.closed()
        assert (close.number, close.reason) == (its, CircuitReason.PROTOCOL)
        assert "more than the credit" in close.text
        assert victim.closed().reason is CircuitReason.LOST
        assert culprit.answers()
        check_over(relay)


@pytest.mark.parametrize("who", ["near", "far"])
def test_credit_for_what_has_not_come(relay: Service, who: str) -> None:
    """Would have the introducer hold more than it has to."""
    with pair(relay) as (near, far):
        number, other = joined(near, far)
        culprit, victim, its = (near, far, number) if who == "near" else (far, near, other)
        culprit.send(frames.CircuitCredit(its, CREDIT))
        assert culprit.closed().reason is CircuitReason.PROTOCOL
        assert victim.closed().reason is CircuitReason.LOST
        check_over(relay)


def test_data_before_consent(relay: Service) -> None:
    """Ends the circuit, and the called peer hears that."""
    with pair(relay) as (near, far):
        number = near.ask_for(far.id)
        near.send(frames.CircuitData(number, b"too early"))
        assert near.closed().reason is CircuitReason.PROTOCOL
        far.expect(frames.CircuitOffer)
        assert far.closed().reason is CircuitReason.LOST
        check_over(relay)


def test_consent_that_nobody_asked_for(relay: Service) -> None:
    """Neither from the caller nor twice."""
    with pair(relay) as (near, far):
        number, other = joined(near, far)
        far.send(frames.CircuitAccept(other, None, True, b"again"))
        assert far.closed().reason is CircuitReason.PROTOCOL
        number = near.ask_for(far.id)
        near.send(frames.CircuitAccept(number, None, True, b"my own"))
        assert [near.closed().reason, near.closed().reason] == [CircuitReason.LOST, CircuitReason.PROTOCOL]
        check_over(relay)


@pytest.mark.parametrize("serves", [True, False])
def test_a_circuit_for_signals_carries_little(nodes: Nodes, serves: bool) -> None:
    """64 KiB both ways together; both ends hear that it was too much."""
    relay = nodes.start(SERVES if serves else config())
    with pair(relay) as (near, far):
        number, other = joined(near, far, relays=False)
        near.pour(number, 40_000)
        far.drink(40_000)
        far.pour(other, 40_000)
        for each in (near, far):
            close = each.closed()
            assert (close.reason, close.text) == (CircuitReason.QUOTA, "65536 bytes")
        check_over(relay)


def test_one_that_never_reads(relay: Service) -> None:
    """Holds no more of the introducer's memory than the credit, and slows nobody down."""
    with pair(relay) as (near, far), Puppet(relay) as other:
        numbers, others = zip(*(joined(near, far) for _ in range(4)), strict=True)
        for number in numbers:
            near.pour(number, CREDIT - 5)
        assert near.answers() and other.answers()
        node = relay._node
        assert node is not None
        held = [len(each.callee.out) for each in node.circuits.introducing._circuits]
        assert len(held) == 4 and max(held) <= CREDIT
        link = next(each.link for each in node.registry.all() if each.peer_id == far.id)
        assert link is not None and len(link._pending) < 3 * limits.CIRCUIT_DATA_MAX
        near.sock.close()
        left = dict.fromkeys(others, CREDIT - 5)
        while left:
            for frame in far.receive():
                if isinstance(frame, frames.CircuitData):
                    left[frame.number] -= len(frame.data)
                elif isinstance(frame, frames.CircuitClose) and frame.number in left:
                    assert (frame.reason, left.pop(frame.number)) == (CircuitReason.LOST, 0)
        check_over(relay)


def test_a_share_of_what_there_is(nodes: Nodes) -> None:
    """Who opens many circuits for data gets a quarter of them; the others only signal."""
    relay = nodes.start(config(relay__serve=True, relay__max_circuits=8))
    with pair(relay) as (near, far):
        offers = []
        for _ in range(4):
            near.ask_for(far.id)
            offer = far.expect(frames.CircuitOffer)
            assert isinstance(offer, frames.CircuitOffer)
            offers.append(offer.relays)
        assert offers == [True, True, False, False]
        assert current(relay) == 4


def test_many_keys_at_one_address_do_not_get_all_there_is(nodes: Nodes) -> None:
    """Each may have a quarter, and all of them at one address no more than that; the node counts what they run into."""
    relay = nodes.start(config(relay__serve=True, relay__max_circuits=8))
    with pair(relay) as (near, far), Puppet(relay) as another:
        for opener, wanted in ((near, [True, True]), (another, [False, False])):
            for lends in wanted:
                opener.ask_for(far.id)
                offer = far.expect(frames.CircuitOffer)
                assert isinstance(offer, frames.CircuitOffer) and offer.relays == lends
    told = relay.stats().refusals
    assert (told["limits.peers_per_address"], told["relay.max_circuits"]) == (2, 0)


def test_an_address_may_have_all_where_all_are_at_one(nodes: Nodes) -> None:
    """As behind a proxy: ``limits.peers_per_address`` says so."""
    relay = nodes.start(config(relay__serve=True, relay__max_circuits=4, limits__peers_per_address=1024))
    with pair(relay) as (near, far), Puppet(relay) as another:
        for opener in (near, another):
            opener.ask_for(far.id)
            offer = far.expect(frames.CircuitOffer)
            assert isinstance(offer, frames.CircuitOffer) and offer.relays


def test_the_rate_is_kept(nodes: Nodes) -> None:
    """What is too much waits, and all of it arrives."""
    relay = nodes.start(config(relay__serve=True, relay__bytes_per_second=200_000))
    with pair(relay) as (near, far):
        number, _ = joined(near, far)
        node = relay._node
        assert node is not None
        began = node.clock.now()
        near.pour(number, 100_000)
        far.drink(100_000)
        took = node.clock.now() - began
        assert 0.4 < took < 3.0  # 75 KB at 100 KB/s: one peer's half of the rate


# --- floods -----------------------------------------------------------------------------------------------------------


def test_thousands_of_circuits(relay: Service) -> None:
    """Are refused, briefly; whoever else wants one gets it."""
    with pair(relay) as (near, far), Puppet(relay) as other:
        for _ in range(3000):
            near.ask_for(far.id)
        assert near.answers()
        assert current(relay) <= limits.CIRCUIT_OFFERS_PER_PEER
        node = relay._node
        assert node is not None
        for conversation in node.registry.all():
            link = conversation.link
            assert link is not None
            if link.circuits is not None:
                assert len(link.circuits.freight._refusals) <= limits.CIRCUIT_REFUSALS_MAX
                assert len(link.circuits._ends) <= limits.CIRCUIT_OFFERS_PER_PEER
        joined(far, other)
        near.sock.close()
        wait_until(lambda: current(relay) == 1, what="the flood's end")


def test_circuits_to_many_that_answer(relay: Service) -> None:
    """One peer's are bounded, too."""
    with pair(relay) as (near, far), contextlib.ExitStack() as others:
        for number in range(limits.CIRCUITS_PER_PEER):
            if number % limits.CIRCUIT_CALLS_BURST == 0:
                far = others.enter_context(Puppet(relay))
            joined(near, far, relays=False)
        number = near.ask_for(others.enter_context(Puppet(relay)).id, relays=False)
        close = near.closed()
        assert (close.number, close.reason) == (number, CircuitReason.BUSY)
        assert close.text == "you have too many open already"
        assert current(relay) == limits.CIRCUITS_PER_PEER


def test_frames_of_no_circuit(relay: Service) -> None:
    """Come late, or mean nothing: nobody keeps anything for them."""
    with Puppet(relay) as near:
        for number in range(0, 400, 7):
            near.send(frames.CircuitData(number, b"late"))
            near.send(frames.CircuitCredit(number, 5))
            near.send(frames.CircuitAccept(number, None, True, b""))
            near.send(frames.CircuitClose(number, CircuitReason.CLOSED))
        assert near.answers()
        check_over(relay)


def test_data_of_no_circuit_is_not_free(relay: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much of it there is in a record: nobody has asked for it."""
    spent: list[float] = []
    monkeypatch.setattr(Account, "spend", lambda account, burden, cost: spent.append(cost))
    with Puppet(relay) as near:
        for _ in range(100):
            near.send(frames.CircuitData(7, bytes(1000)))
        assert near.answers()
    assert sum(spent) >= 100 * limits.COST_RECORD


@pytest.mark.parametrize("frame", ["open", "offer"])
@pytest.mark.parametrize("wrong", ["parity", "zero", "twice"])
def test_numbers_that_are_not_theirs(nodes: Nodes, relay: Service, frame: str, wrong: str) -> None:
    """Who uses them breaks the protocol, and is out."""
    with pair(relay) as (near, far):
        number = near.number()
        if wrong == "parity":
            number += 1
        elif wrong == "zero":
            number = 0
        opening = frames.CircuitOpen(number, far.id.public_key, True, b"x")
        hello = Initiator(handshake_config(Identity.generate()), relay.id).start()
        offering = frames.CircuitOffer(number, None, True, hello)
        for _ in range(2 if wrong == "twice" else 1):
            near.send(opening if frame == "open" else offering)
        goodbye = near.expect(frames.Goodbye)
        assert isinstance(goodbye, frames.Goodbye)
        assert goodbye.code is frames.GoodbyeCode.PROTOCOL
        assert nodes.heard(relay).wait(crust.PeerMisbehaved).peer.id == near.id
        check_over(relay)


# --- introducers ------------------------------------------------------------------------------------------------------


def test_an_introducer_that_floods_with_offers(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has a few of them considered at once; no thread, and nobody else pays for it."""
    node = nodes.start()
    inner = node._node
    assert inner is not None
    monkeypatch.setattr(inner.acceptor, "offered", lambda connection: None)  # none has been answered yet

    def readers() -> int:
        return sum(name.startswith("crust-link") for name in inner.threads.alive())

    with Puppet(node) as near, Puppet(node) as other:
        assert readers() == 2
        for _ in range(500):
            near.send(frames.CircuitOffer(near.number(), ("192.0.2.7", 5), True, b"x"))
        reasons = [near.closed().reason for _ in range(50)]
        assert set(reasons) <= {CircuitReason.BUSY, CircuitReason.REFUSED}
        assert near.answers() and other.answers()
        assert len(inner.circuits._connections) <= limits.CIRCUIT_OFFERS_PER_INTRODUCER
        assert inner.refusals.all()["CIRCUIT_OFFERS_PER_INTRODUCER"] >= 1
        assert readers() == 2
        near.sock.close()
        wait_until(lambda: not inner.circuits._connections and not inner.circuits._offers, what="their end")
        assert node.stats().gate.current == 0


@pytest.mark.parametrize("lies", [True, False])
def test_an_introducer_does_not_fill_a_node(nodes: Nodes, lies: bool) -> None:
    """Whoever it says is behind it, wherever: those that come through it count where it is, as it does itself."""
    node = nodes.start(config(limits__peers_per_address=3))

    with Puppet(node) as near:
        for expected in (frames.Welcome, frames.Welcome, frames.Denied):
            number = near.number()
            seen = (f"192.0.2.{number % 250}", 5) if lies else None
            assert isinstance(bring(near, node, number, seen), expected)
        assert len(node.peers) == 3
        assert node.stats().refusals["limits.peers_per_address"] == 1


def test_who_stalls_behind_an_introducer_keeps_nobody_else_there_out(nodes: Nodes) -> None:
    """One address there begins as many handshakes as may come through one introducer: they make room for others that it
    introduces, not for more of that address."""
    node = nodes.start(config(limits__half_open_per_address=limits.HALF_OPEN_PER_ADDRESS))

    def call(near: Puppet, host: str) -> frames.Frame:
        number = near.number()
        hello = Initiator(handshake_config(Identity.generate()), node.id).start()
        near.send(frames.CircuitOffer(number, (host, 5), True, hello))
        while True:
            for frame in near.receive():
                if isinstance(frame, frames.CircuitAccept | frames.CircuitClose) and frame.number == number:
                    return frame

    with Puppet(node) as near:
        for _ in range(limits.HALF_OPEN_PER_ADDRESS):
            assert isinstance(call(near, "192.0.2.1"), frames.CircuitAccept)
        assert isinstance(call(near, "192.0.2.1"), frames.CircuitClose)
        assert isinstance(call(near, "192.0.2.2"), frames.CircuitAccept)
        assert isinstance(call(near, "192.0.2.1"), frames.CircuitClose)
        assert near.answers()


@pytest.mark.parametrize("data", [b"", bytes(10), bytes(300)])
def test_a_call_without_a_first_message_is_refused_at_once(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    """It is not waited out: nothing more comes before consent, and an introducer offers no more than so many others."""
    monkeypatch.setattr(limits, "FIRST_MESSAGE_REST", 600.0)
    monkeypatch.setattr(limits, "FIRST_MESSAGE_TIMEOUT", 600.0)
    node = nodes.start(config(session__handshake_timeout=600.0))
    with Puppet(node) as near:
        for _ in range(limits.CIRCUIT_OFFERS_PER_INTRODUCER + 1):
            near.send(frames.CircuitOffer(near.number(), ("192.0.2.1", 5), True, data))
            assert near.closed().reason is CircuitReason.REFUSED
        hello = Initiator(handshake_config(Identity.generate()), node.id).start()
        near.send(frames.CircuitOffer(near.number(), ("192.0.2.1", 5), True, hello))
        near.expect(frames.CircuitAccept)


def test_who_calls_those_whom_its_neighbour_floods_is_not_blamed(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One address may call one peer only so often; whose doing it is that it has is known of who did it by himself."""
    monkeypatch.setattr(limits, "CIRCUIT_CALLS_PER_SECOND", 0.001)
    relay = nodes.start(SERVES)
    heard = nodes.heard(relay)
    targets = [Identity.generate().peer_id for _ in range(6)]

    def ask(caller: Puppet, times: int) -> list[CircuitReason]:
        for target in targets:
            for _ in range(times):
                caller.ask_for(target)
        return [caller.closed().reason for _ in range(times * len(targets))]

    with Puppet(relay) as flooder, Puppet(relay) as neighbour:
        assert set(ask(flooder, limits.CIRCUIT_CALLS_BURST)) == {CircuitReason.NOT_LINKED}
        assert set(ask(neighbour, 5)) == {CircuitReason.BUSY}
        assert relay.stats().refusals["limits.peers_per_address"] == 30
        assert set(ask(flooder, 5)) == {CircuitReason.BUSY}
        assert heard.wait(crust.PeerMisbehaved).peer.id == flooder.id
        assert len(heard.of(crust.PeerMisbehaved)) == 1


def test_an_introducer_is_not_asked_for_more_than_it_gives(nodes: Nodes) -> None:
    """However many peers are called through it at once, those who have all gone, say: it would say that we flood it."""
    pair = nodes.pair(SERVES)
    node = pair.near._node
    assert node is not None
    began, opened = node.clock.now(), 0
    with pytest.raises(OSError, match="too many circuits") as refused:
        while True:
            (candidate,) = node.circuits.towards(Identity.generate().peer_id)
            assert candidate.prepare is not None
            candidate.prepare(1.0).run().abort()
            opened += 1
    assert refused.value.errno == errno.EAGAIN
    seconds = node.clock.now() - began
    assert opened <= limits.CIRCUIT_OPENED_BURST + limits.CIRCUIT_OPENED_PER_SECOND * seconds
    assert limits.CIRCUIT_OPENED_BURST < limits.CIRCUIT_OPENS_BURST
    assert limits.CIRCUIT_OPENED_PER_SECOND < limits.CIRCUIT_OPENS_PER_SECOND


def test_lost_peers_leave_calls_some_of_what_an_introducer_is_asked(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hundred keys that had hung up kept sixteen of twenty callers from an introducer, as long as they liked."""
    monkeypatch.setattr(limits, "CIRCUIT_OPENED_PER_SECOND", 1e-6)  # what has been used up stays so
    trio = Trio(nodes)
    node = trio.near._node
    assert node is not None
    with pytest.raises(OSError, match="too many circuits"):
        while True:  # nobody waits for these
            (candidate,) = node.circuits.towards(Identity.generate().peer_id)
            assert candidate.prepare is not None
            candidate.prepare(1.0).run().abort()
    to_far = trio.near.connect(trio.far.id)
    assert not node.dialer.is_called(trio.far.id), "nobody waits any more"
    trio.far.close()
    wait_until(lambda: not trio.near.is_connected(trio.far.id), what="the end of the session")
    assert not node.dialer.is_called(to_far.id)


def test_offers_of_rubbish(nodes: Nodes) -> None:
    """Are refused without a word to who may be behind them."""
    node = nodes.start()
    with Puppet(node) as near:
        number = near.number()
        near.send(frames.CircuitOffer(number, None, True, os.urandom(1000)))
        close = near.closed()
        assert (close.number, close.reason) == (number, CircuitReason.REFUSED)
        assert near.answers()


def test_a_banned_address_is_refused(nodes: Nodes) -> None:
    """By the word of the introducer about where the caller is."""
    node = nodes.start()
    node.ban("192.0.2.0/24")
    with Puppet(node) as near:
        near.send(frames.CircuitOffer(near.number(), ("192.0.2.7", 5), True, b"x"))
        assert near.closed().reason is CircuitReason.REFUSED
        inner = node._node
        assert inner is not None and not inner.circuits._connections


@pytest.mark.parametrize("answer", ["credit", "data", "flood", "banned"])
def test_an_introducer_that_lies_to_the_caller(nodes: Nodes, answer: str) -> None:
    """The attempt fails, and says what was wrong."""
    node = nodes.start()
    node.ban("192.0.2.7")
    with Puppet(node) as near:
        future = node.dial(Identity.generate().peer_id)
        opened = near.expect(frames.CircuitOpen)
        assert isinstance(opened, frames.CircuitOpen)
        if answer == "data":
            near.send(frames.CircuitData(opened.number, b"x"))
        elif answer == "banned":
            near.send(frames.CircuitAccept(opened.number, ("192.0.2.7", 5), True, b"x"))
        elif answer == "credit":
            near.send(frames.CircuitCredit(opened.number, 1))
        else:
            node_pair = frames.CircuitAccept(opened.number, None, True, b"")
            near.send(node_pair)
            near.pour(opened.number, CREDIT + 1)
        error = future.exception(5)
        assert isinstance(error, crust.NoRoute)
        assert error.attempts[0].verdict == "failed"
        assert error.attempts[0].error
        near.closed()
        inner = node._node
        assert inner is not None
        wait_until(lambda: not inner.circuits._connections, what="its end")
