"""Each kind of misbehaviour is told once, by the public event, and what the table or the application says is done."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import crust
from crust import Action, Identity, Service, limits
from crust.addresses import address_key
from crust.cli.status.text import _facts
from crust.nat.stun.message import build_stun
from crust.peers.accounts import Burden
from crust.peers.misdeeds import KINDS
from crust.peers.refusals import LIMITS
from crust.service.status.metrics import as_text as metrics_text
from crust.transports.utp.packet import PacketType, build_header
from crust.wire import frames
from crust.wire.handshake import DenialCode
from crust.wire.transfer import Refuse, build_transfer
from tests.support.nodes import Nodes, config
from tests.support.puppet import Caller, read_until_end
from tests.support.stun import request
from tests.support.trios import Trio, hidden
from tests.support.waiting import wait_until

PATIENCE = 10.0  # seconds for what should be at once, on a busy machine
ELSEWHERE = {
    # Kinds that the tests of what they are about raise.
    "gossip-forged": "tests/service/finding/gossip/test_gossiping_hostile.py",
    "gossip-unasked": "tests/service/finding/gossip/test_gossiping_hostile.py",
    "gossip-flood": "tests/discovery/gossip/test_lies.py",
    "unsigned": "tests/service/test_signed.py",
    "signature-flood": "tests/service/test_signed_flood.py",
}
POOR: dict[str, Any] = {"limits__overhead_per_peer": 0.001}

ECHO = frames.build_record([frames.EchoRequest(1, frames.EchoTransport.TCP, 4711, bytes(12))])

Misdeed = Callable[["Scene"], Any]


class Scene:
    """A node, and what it hears of one kind."""

    def __init__(self, nodes: Nodes, kind: str) -> None:
        self.nodes = nodes
        self.kind = kind
        self.node: Service
        self.identity = Identity.generate()

    def start(self, **changes: Any) -> Service:
        self.node = self.nodes.start(config(**changes))
        return self.node

    def heard(self) -> list[crust.PeerMisbehaved]:
        return [each for each in self.nodes.heard(self.node).of(crust.PeerMisbehaved) if each.kind == self.kind]

    @contextlib.contextmanager
    def caller(self, **more: Any) -> Iterator[Caller]:
        with Caller(self.node, self.identity, **more) as caller:
            caller.begin()
            yield caller

    def repeat(self, act: Callable[[], object]) -> None:
        """Do it until the application has heard of it, and once more."""
        for _ in range(20_000):
            act()
            if self.heard():
                break
        act()


def floods(plaintext: bytes, first: bytes = b"", **changes: Any) -> Misdeed:
    """A peer that sends the same records without end."""

    def run(scene: Scene) -> None:
        scene.start(**changes)
        with scene.caller() as caller:
            if first:
                caller.send_plaintext(first)
            caller.sock.settimeout(0.2)
            with contextlib.suppress(TimeoutError):  # it is held back: the socket takes no more
                for _ in range(3_000):
                    caller.sock.sendall(b"".join(caller.sealer.seal(each) for each in [plaintext] * 20))
                    if scene.heard():
                        return
            wait_until(scene.heard, PATIENCE, "the alert")

    return run


def numbered(kind: int, make: Callable[[int], bytes], **changes: Any) -> Misdeed:
    """The same with records of other numbers each time."""

    def run(scene: Scene) -> None:
        scene.start(**changes)
        with scene.caller() as caller:
            numbers = itertools.count()
            caller.sock.settimeout(0.2)
            with contextlib.suppress(TimeoutError):
                for _ in range(3_000):
                    made = [frames.build_batch(each, kind, 1, [make(each)]) for each in itertools.islice(numbers, 20)]
                    caller.sock.sendall(b"".join(map(caller.sealer.seal, made)))
                    if scene.heard():
                        return
            wait_until(scene.heard, PATIENCE, "the alert")

    return run


def key_updates(scene: Scene) -> None:
    scene.start(**POOR)
    with scene.caller() as caller:
        for _ in range(1000):
            caller.send(frames.KeyUpdate())
            caller.sealer.update_key()
        wait_until(scene.heard, PATIENCE, "the alert")


def protocol(scene: Scene) -> None:
    scene.start()
    with scene.caller() as caller:
        caller.send_plaintext(b"\x7f\x00\x00")
        scene.nodes.heard(scene.node).wait(crust.LostPeer)


def protocol_again(scene: Scene) -> None:
    scene.start()
    for number in range(1, 6):
        with scene.caller() as caller:
            caller.send_plaintext(b"\x7f\x00\x00")
            scene.nodes.heard(scene.node).wait(crust.LostPeer, number)
    wait_until(scene.heard, PATIENCE, "the alert")
    wait_until(lambda: scene.node.bans, PATIENCE, "the ban")
    with Caller(scene.node, scene.identity) as caller:
        denied = caller.expect(frames.Denied)
        assert isinstance(denied, frames.Denied) and denied.code is DenialCode.BANNED


def sessions(scene: Scene) -> None:
    scene.start(limits__sessions_per_peer_per_second=1)
    for _ in range(limits.SESSIONS_PER_PEER_BURST + 14):
        with contextlib.suppress(ConnectionError), Caller(scene.node, scene.identity) as caller:
            caller.expect(frames.Welcome)


def echoes(scene: Scene) -> None:
    scene.start()
    with scene.caller() as caller:
        for number in range(40):
            caller.send(frames.EchoRequest(number, frames.EchoTransport.TCP, 4711, bytes(12)))
        wait_until(scene.heard, PATIENCE, "the alert")
    assert scene.node.stats().refusals["ECHOES_PER_MINUTE"] >= KINDS["echo-flood"].threshold


def circuits(scene: Scene) -> None:
    scene.start()
    with scene.caller() as caller:
        odd = scene.identity.peer_id > scene.node.id
        for number in range(100):
            caller.send(frames.CircuitOpen(2 * number + (1 if odd else 2), os.urandom(32), False, b""))
        wait_until(scene.heard, PATIENCE, "the alert")
    assert scene.node.stats().refusals["CIRCUIT_OPENS_PER_SECOND"] >= KINDS["circuit-flood"].threshold


def starts(scene: Scene) -> None:
    node = scene.start(limits__starts_per_address_per_second=5)

    def begin() -> None:
        with contextlib.suppress(ConnectionError):  # refused even before it is heard that it stands
            connected(node).close()

    scene.repeat(begin)


def half_open(scene: Scene) -> None:
    node = scene.start(limits__half_open_per_address=2)
    with contextlib.ExitStack() as stack:

        def begin() -> None:
            with contextlib.suppress(ConnectionError):
                stack.enter_context(connected(node))

        scene.repeat(begin)


def invalid(scene: Scene) -> None:
    node = scene.start()

    def say() -> None:
        with contextlib.suppress(ConnectionError), connected(node) as sock:
            sock.sendall(bytes(2000))  # more than a first message can be: it is not waited for
            read_until_end(sock)

    scene.repeat(say)


def connected(node: Service) -> socket.socket:
    return socket.create_connection(("127.0.0.1", node.addresses[0].port), timeout=5)


def datagrams(make: Callable[[int], bytes], **changes: Any) -> Misdeed:
    """Whoever sends these to a port of UDP."""

    def run(scene: Scene) -> None:
        node = scene.start(listen__addresses=["utp://127.0.0.1:0"], **changes)
        numbers = itertools.count(2, 2)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            port = node.addresses[0].port
            scene.repeat(lambda: sock.sendto(make(next(numbers)), ("127.0.0.1", port)))

    return run


def syn(number: int) -> bytes:
    return build_header(PacketType.SYN, number & 0xFFFF, number, 0, 1 << 20, number & 0xFFFF, 0)


MISDEEDS: dict[str, Misdeed] = {
    "start-rate": starts,
    "half-open": half_open,
    "invalid-handshake": invalid,
    "utp-syn-flood": datagrams(syn),
    "udp-garbage": datagrams(lambda number: bytes([255]) * 40),
    "stun-flood": datagrams(lambda number: build_stun(request()), nat__serve_stun=True),
    "protocol": protocol,
    "protocol-again": protocol_again,
    "session-flood": sessions,
    "ack-flood": floods(frames.build_ack(0, 1 << 20), **POOR),
    "heartbeat-flood": floods(frames.build_record([frames.Ping(7)]), **POOR),
    "tiny-records": numbered(0, lambda number: b"x", **POOR),
    "duplicates": floods(frames.build_batch(0, 0, 1, [b"x"]), first=frames.build_batch(0, 0, 1, [b"x"]), **POOR),
    "key-update-flood": key_updates,
    "file-flood": numbered(1, lambda number: build_transfer(Refuse(number % 2**32, "")), **POOR),
    "request-flood": floods(ECHO, **POOR),
    "echo-flood": echoes,
    "circuit-flood": circuits,
}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little may be saved up."""
    monkeypatch.setattr(limits, "OVERHEAD_SAVED", 0.01)
    monkeypatch.setattr(limits, "CIRCUIT_OPENS_BURST", 5)


@pytest.mark.parametrize("kind", MISDEEDS)
def test_each_kind_is_told_once(nodes: Nodes, kind: str) -> None:
    """By one event, that says who it was as far as that is proven."""
    scene = Scene(nodes, kind)
    MISDEEDS[kind](scene)
    wait_until(scene.heard, PATIENCE, f"the alert of {kind}")
    [event] = scene.heard()
    rule = KINDS[kind]
    assert event.attributable == rule.attributable and event.detail
    assert event.count >= 1
    if rule.proven:
        assert event.address == "127.0.0.1" if event.peer is None else event.address.startswith("tcp://127.0.0.1:")
        peer_id = scene.identity.peer_id
        assert str(peer_id) in event.detail if event.peer is None else event.peer.id == peer_id
    else:
        assert (event.peer, event.address) == (None, "127.0.0.1")
        assert sum(scene.node.stats().refusals.values()) >= (0 if kind == "invalid-handshake" else rule.threshold)
    assert scene.node.stats().crashes == 0


def test_who_looks_for_a_path_with_us_may_come_in_many_connections(nodes: Nodes) -> None:
    """Most of them come to nothing; the threshold of its address is twenty times as high for so long."""
    trio = Trio(nodes, near=hidden(nat__punch__tcp=True, nat__punch__birthday=False))
    trio.meet()
    node = trio.near._node
    assert node is not None and node.traversals is not None
    wait_until(lambda: node.traversals.expects(address_key("127.0.0.1")), PATIENCE, "the attempt")  # type: ignore
    heard = nodes.heard(trio.near)
    allowed = int(KINDS["half-open"].threshold / limits.SEARCHED_COUNTS) - 1
    node.misbehaviour.by_address("127.0.0.1", "half-open", allowed)
    node.misbehaviour.by_address("192.0.2.1", "half-open", int(KINDS["half-open"].threshold))
    assert heard.wait(crust.PeerMisbehaved).address == "192.0.2.1"
    node.misbehaviour.by_address("127.0.0.1", "half-open", 1)
    assert heard.wait(crust.PeerMisbehaved, 2).address == "127.0.0.1"


def test_a_newcomer_is_not_charged_for_what_all_use_up(nodes: Nodes) -> None:
    """Its refusals count for all together, and name nobody."""
    scene = Scene(nodes, "start-rate")
    node = scene.start(limits__starts_per_second=1)
    for _ in range(int(KINDS["start-rate"].threshold) + 10):
        with contextlib.suppress(ConnectionError):
            connected(node).close()
    wait_until(lambda: node.stats().refusals["limits.starts_per_second"] >= 50, PATIENCE, "the refusals")
    assert scene.heard() == []
    gate = node._node.acceptor.gate  # type: ignore[union-attr]
    for _ in range(int(KINDS["start-rate"].many or 0)):
        gate.refused("limits.starts_per_second", None)
    wait_until(scene.heard, PATIENCE, "the alert")
    [event] = scene.heard()
    assert (event.peer, event.address) == (None, "")


@pytest.mark.parametrize(
    ("endpoint", "address"),
    [
        ("tcp://192.0.2.1:4711", "192.0.2.1"),
        ("utp://[2001:db8:1:2::3]:4711", "2001:db8:1:2::/64"),
        ("relay://192.0.2.7:5483", ""),
    ],
)
def test_the_address_of_an_event_without_a_peer_can_be_banned(nodes: Nodes, endpoint: str, address: str) -> None:
    """Also of one that has proven its key and has no session; never that of an innocent peer in between."""
    scene = Scene(nodes, "session-flood")
    inner = scene.start()._node
    assert inner is not None
    for _ in range(int(KINDS[scene.kind].threshold)):
        inner.misbehaviour._by_key(scene.kind, scene.identity.peer_id, endpoint, "", 1.0, None)
    wait_until(scene.heard, PATIENCE, "the alert")
    [event] = scene.heard()
    assert (event.peer, event.address) == (None, address)
    assert str(scene.identity.peer_id) in event.detail
    assert not address or scene.node.ban(event.address) == 1


def test_a_wait_is_not_counted_again_while_it_lasts(nodes: Nodes) -> None:
    """Less than the second that is told of, however often it is noticed."""
    scene = Scene(nodes, "tiny-records")
    node = scene.start()
    with scene.caller():
        nodes.heard(node).wait(crust.ConnectSuccess)
        inner = node._node
        assert inner is not None
        [conversation] = inner.registry.all()
        link = conversation.link
        assert link is not None
        with conversation.lock:
            conversation.meter.account.spend(Burden.TINY, 0.05)
        until = inner.clock.now() + 0.5
        for _ in range(10):
            inner.misbehaviour.overspent(conversation, link, until - inner.clock.now())
        assert scene.heard() == []
        inner.misbehaviour.overspent(conversation, link, 2.0)
        wait_until(scene.heard, PATIENCE, "the alert")


def test_as_many_are_remembered_as_may_be_connected(nodes: Nodes) -> None:
    """What they cost, and how often they came; also when more may be from now on."""
    node = nodes.start(config(limits__max_peers=5000))
    inner = node._node
    assert inner is not None
    assert inner.accounts.kept == inner.misbehaviour._sessions._keys == 5000
    node.reload(config(limits__max_peers=10))
    assert inner.accounts.kept == inner.misbehaviour._sessions._keys == limits.MISDEEDS_KEPT


def test_no_kind_is_forgotten() -> None:
    """Every kind of the table is raised by a test, here or where its subject is."""
    assert set(MISDEEDS) | set(ELSEWHERE) == set(KINDS)


# --- what becomes of it -----------------------------------------------------------------------------------------------


def has_banned(node: Service, count: int) -> bool:
    return len(node.bans) == count


def break_a_rule(nodes: Nodes, node: Service, identity: Identity, times: int) -> None:
    with Caller(node, identity) as caller:
        caller.begin()
        caller.send_plaintext(b"\x7f\x00\x00")
        nodes.heard(node).wait(crust.LostPeer, times)


def test_the_application_decides(nodes: Nodes) -> None:
    """It is asked once, after its callbacks have heard, on the thread that runs them; here it bans."""
    order: list[Any] = []

    def judge(event: crust.PeerMisbehaved) -> Action:
        order.append(("asked", threading.current_thread()))
        return Action.BAN

    node = nodes.start(config(limits__ban_seconds=1000), on_misbehaviour=judge)
    node.on(crust.PeerMisbehaved, lambda event: order.append(("heard", threading.current_thread())))
    identity = Identity.generate()
    break_a_rule(nodes, node, identity, 1)
    wait_until(lambda: node.bans, PATIENCE, "the ban")
    [ban] = node.bans
    assert ban.who == identity.peer_id and ban.seconds is not None and 900 < ban.seconds <= 1000
    assert [each for each, _ in order] == ["heard", "asked"] and order[0][1] is order[1][1]


def test_what_it_decided_holds_for_others_there_until_the_next_event(nodes: Nodes) -> None:
    """They are not told of, and not spared."""
    node = nodes.start(on_misbehaviour=lambda event: Action.BAN)
    identities = [Identity.generate() for _ in range(3)]
    for number, identity in enumerate(identities, 1):
        break_a_rule(nodes, node, identity, number)
        wait_until(functools.partial(has_banned, node, number), PATIENCE, "the ban")
    assert len(nodes.heard(node).of(crust.PeerMisbehaved)) == 1


@pytest.mark.parametrize("answer", [None, ValueError("a fault of the application"), "nonsense"])
def test_who_does_not_decide_leaves_it_to_the_table(nodes: Nodes, answer: Any) -> None:
    """A fault is reported like that of any callback; five violations of a peer are a ban."""
    failed: list[Any] = []

    def judge(event: crust.PeerMisbehaved) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    node = nodes.start(on_misbehaviour=judge, on_callback_error=lambda event, error: failed.append((event, error)))
    identity = Identity.generate()
    for number in range(1, 6):
        break_a_rule(nodes, node, identity, number)
    wait_until(lambda: node.bans, PATIENCE, "the ban")
    if answer is None:
        assert not failed
    else:
        assert isinstance(failed[0][0], crust.PeerMisbehaved) and isinstance(failed[0][1], ValueError)


def test_the_application_may_drop_a_peer(nodes: Nodes) -> None:
    """Its session ends, and says why; it may come back."""
    node = nodes.start(on_misbehaviour=lambda event: Action.DROP)
    identity = Identity.generate()
    with Caller(node, identity) as caller:
        caller.begin()
        for number in range(40):
            caller.send(frames.EchoRequest(number, frames.EchoTransport.TCP, 4711, bytes(12)))
        goodbye = caller.expect(frames.Goodbye)
        assert isinstance(goodbye, frames.Goodbye) and "echoes" in goodbye.text
    assert nodes.heard(node).wait(crust.LostPeer).reason is crust.LostReason.DISCONNECTED
    with Caller(node, identity) as caller:
        caller.begin()


def test_a_warning_lets_a_link_go_on(nodes: Nodes) -> None:
    """It is held back until the application has said so; nothing is lost."""
    node = nodes.start(config(**POOR), on_misbehaviour=lambda event: Action.WARN)
    with Caller(node, Identity.generate()) as caller:
        caller.begin()
        for _ in range(100):
            caller.sock.sendall(b"".join(caller.sealer.seal(frames.build_ack(0, 1 << 20)) for _ in range(30)))
        caller.send(frames.Batch(0, 0, 1, [b"last"]))
        peer = nodes.heard(node).wait(crust.ConnectSuccess).peer
        assert peer.recv(PATIENCE) == b"last"  # else it would take half a minute
    assert nodes.heard(node).wait(crust.PeerMisbehaved).kind == "ack-flood"


class Verdicts:
    """What a node would ban, of peers that break the protocol in one session after the other."""

    def __init__(self, nodes: Nodes, monkeypatch: pytest.MonkeyPatch, judge: Any) -> None:
        self.node = nodes.start(on_misbehaviour=judge)
        assert self.node._node is not None
        self.inner = self.node._node
        self.banned: list[Any] = []
        monkeypatch.setattr(self.inner.bans, "soon", lambda who, **_: self.banned.append(who))

    def break_rules(self, count: int = 1, *, network: int = 0, times: int = 5) -> list[Any]:
        """So many peers do, each at its own address."""
        identities = [Identity.generate().peer_id for _ in range(count)]
        for number, peer_id in enumerate(identities, 1):
            place = f"tcp://10.0.{network}.{number}:4711"
            for _ in range(times):
                self.inner.misbehaviour._by_key("protocol-again", peer_id, place, "", 1.0, None)
        return identities

    def settle(self) -> None:
        """Until the application has answered."""
        done = threading.Event()
        self.inner.dispatcher.post(done.set)
        assert done.wait(PATIENCE)


def test_nobody_is_banned_before_the_application_has_answered(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be slow: whoever goes on meanwhile is not banned, neither by the table nor by what was answered before."""
    free = threading.Event()
    answers = [Action.WARN, Action.BAN, Action.WARN]

    def judge(event: crust.PeerMisbehaved) -> Action:
        assert free.wait(PATIENCE)
        return answers.pop(0)

    world = Verdicts(nodes, monkeypatch, judge)
    world.break_rules(times=7)
    assert world.banned == []
    free.set()
    world.settle()
    world.break_rules()
    assert world.banned == []  # it said so
    monkeypatch.setattr(limits, "MISBEHAVIOUR_INTERVAL", 0.0)  # time goes by
    [second] = world.break_rules()
    world.settle()
    assert world.banned == [second]
    free.clear()
    world.break_rules()  # told of at once...
    monkeypatch.setattr(limits, "MISBEHAVIOUR_INTERVAL", 1000.0)
    world.break_rules()  # ...and not again
    assert world.banned == [second]
    free.set()
    world.settle()
    assert world.banned == [second]


@pytest.mark.parametrize("answer", [Action.WARN, Action.BAN, None])
def test_what_is_answered_about_all_goes_for_those_not_named(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, answer: Action | None
) -> None:
    """Peers beyond those that are told of by themselves: none is banned before, then by the answer about all."""
    free = threading.Event()

    def judge(event: crust.PeerMisbehaved) -> Action | None:
        if event.address:
            return Action.WARN
        assert free.wait(PATIENCE)
        return answer

    world = Verdicts(nodes, monkeypatch, judge)
    world.break_rules(limits.ALERTS_PER_KIND)
    [first, *_] = world.break_rules(3, network=1)
    assert world.banned == []
    free.set()
    world.settle()
    others = world.break_rules(3, network=2)
    assert world.banned == ([] if answer is Action.WARN else [first, *others])


def test_the_table_holds_for_those_not_named(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one whose deed is told of as that of many included."""
    world = Verdicts(nodes, monkeypatch, None)
    assert world.break_rules(limits.ALERTS_PER_KIND + 3) == world.banned


@pytest.mark.parametrize("is_much", [True, False])
def test_an_address_that_is_not_named_is_slowed_if_it_did_much(nodes: Nodes, is_much: bool) -> None:
    """Not if only all together did."""
    kind = KINDS["invalid-handshake"]
    times, count = (int(kind.threshold), limits.ALERTS_PER_KIND + 1) if is_much else (1, int(kind.many or 0))
    scene = Scene(nodes, kind.name)
    inner = scene.start()._node
    assert inner is not None
    hosts = [f"10.0.{number >> 8}.{number & 255}" for number in range(1, count + 1)]
    for host in hosts:
        inner.misbehaviour.by_address(host, kind.name, times)
    done = threading.Event()
    inner.io.call_soon(done.set)
    assert done.wait(PATIENCE)
    wait_until(lambda: any(not each.address for each in scene.heard()), PATIENCE, "the alert about all")
    assert set(inner.acceptor.gate._slowed) == ({address_key(host) for host in hosts} if is_much else set())


def test_nobody_is_banned_for_what_others_can_feign(nodes: Nodes) -> None:
    """Whatever the application says."""
    scene = Scene(nodes, "utp-syn-flood")
    scene.node = nodes.start(config(listen__addresses=["utp://127.0.0.1:0"]), on_misbehaviour=lambda event: Action.BAN)
    numbers = itertools.count(2, 2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = scene.node.addresses[0].port
        scene.repeat(lambda: sock.sendto(syn(next(numbers)), ("127.0.0.1", port)))
    gate = scene.node._node.acceptor.gate  # type: ignore[union-attr]
    wait_until(lambda: gate._slowed, PATIENCE, "the milder verdict")
    assert scene.node.bans == ()


def test_an_honest_peer_of_the_same_address_gets_in(nodes: Nodes) -> None:
    """Where strangers of its address have been throttled, its own start still has its share."""
    scene = Scene(nodes, "invalid-handshake")
    invalid(scene)
    near = nodes.start()
    near.connect(scene.node.contact, timeout=PATIENCE).send(b"hello")
    assert nodes.heard(scene.node).wait(crust.ConnectSuccess).peer.recv(PATIENCE) == b"hello"


def test_limits_that_bite_are_shown(nodes: Nodes) -> None:
    """In the statistics and the status, for people and for Prometheus, each under its name."""
    node = nodes.start(config(limits__max_peers=1))
    first, second = nodes.start(), nodes.start()
    first.connect(node.contact)
    with pytest.raises(crust.Denied):
        second.connect(node.contact, timeout=PATIENCE)
    assert node.stats().refusals["limits.max_peers"] >= 1
    status = node.status()
    told = status.as_dict()["stats"]["refusals"]
    assert told["limits.max_peers"] >= 1 and set(told) == set(LIMITS)
    assert 'crust_refusals_total{limit="limits.max_peers"}' in metrics_text(status)
    shown = [text for _, texts, _ in _facts(status.as_dict(), str) for text in texts]
    assert any("by limits.max_peers" in text for text in shown)
