"""Bans: by function, of many at once, of whatever is under way; each session ends once, with its reason."""

from __future__ import annotations

import contextlib
import logging
import pathlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

import crust
import crust.testing
from crust import Contact, Endpoint, Identity, PeerView, Service, limits
from crust.nat.stun.message import build_stun, parse_stun_untrusted
from crust.peers.conversation import Conversation
from crust.peers.judging import Verdict
from crust.testing import Network
from crust.transports.utp.packet import Packet, PacketType, build_packet, parse_packet_untrusted
from tests.support.nodes import Heard, Nodes, config, pair_of_identities
from tests.support.puppet import Caller
from tests.support.sockets import silent_listener
from tests.support.stun import request
from tests.support.threads import Background
from tests.support.trios import Trio
from tests.support.waiting import wait_until

PATIENCE = 5.0


@pytest.fixture
def net() -> Iterator[Network]:
    with crust.testing.network() as network:
        yield network


def losses(net: Network, service: Service) -> list[tuple[str, str]]:
    """Whom it has lost, and why."""
    return [(str(event.peer.id), str(event.reason)) for event in net.heard(service, crust.LostPeer)]


# --- many at once -----------------------------------------------------------------------------------------------------


def test_each_of_many_ends_once(net: Network) -> None:
    """One ``LostPeer(banned)`` for each on both sides, whatever else was banned with them; the others stay."""
    hub = net.service()
    others = [net.service(crust.Config().replace(**{"gossip.enabled": False})) for _ in range(30)]
    for other in others:
        net.connect(other, hub)
    banned, kept = others[:25], others[25:]
    strangers = [Identity.generate().peer_id for _ in range(1000)]
    assert hub.ban(*strangers, *(other.id for other in banned), *(str(other.id) for other in banned)) == 1025
    net.advance(1.0)
    assert sorted(losses(net, hub)) == sorted((str(other.id), "banned") for other in banned)
    for other in banned:
        assert losses(net, other) == [(str(hub.id), "banned")]
        with pytest.raises(crust.Denied) as caught:
            other.connect(hub.contact)
        assert caught.value.reason == "banned"
    assert {peer.id for peer in hub.peers} == {other.id for other in kept}
    assert hub.status().sections["bans"]["peers"] == 1025
    assert hub.status().sections["bans"]["ended_total"] == 25
    assert hub.status().sections["bans"]["refused_total"] == 25


def test_who_ends_while_another_ends_is_counted_too(net: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """The total never goes back, however many threads ban at once."""
    hub, one, other = net.service(), net.service(), net.service()
    net.connect(one, hub)
    net.connect(other, hub)
    inner = hub._running()
    lost = inner.dialer.session_lost

    def ban_another(conversation: Conversation) -> None:
        lost(conversation)
        if conversation.peer_id == one.id:
            inner.access.ban(other.id, now=inner.clock.now(), seconds=None)
            inner.bans.enforce([other.id])

    monkeypatch.setattr(inner.dialer, "session_lost", ban_another)
    hub.ban(one.id)
    assert hub.status().sections["bans"]["ended_total"] == 2


# --- by function ------------------------------------------------------------------------------------------------------


def test_a_function_bans_whom_it_is_true_of(net: Network) -> None:
    """Those who are here, those who come later, and those whom we call; until it is lifted, and they with it."""
    hub, good = net.service(), net.service()
    bad, late, called = (net.service() for _ in range(3))
    names = {bad.id, late.id, called.id}

    def is_bad(peer: PeerView) -> bool:
        return peer.id in names

    net.connect(good, hub)
    net.connect(bad, hub)
    assert hub.ban(is_bad) == 1
    net.advance(1.0)
    assert losses(net, hub) == [(str(bad.id), "banned")] and losses(net, bad) == [(str(hub.id), "banned")]
    for other in (bad, late):
        with pytest.raises(crust.Denied) as caught:
            other.connect(hub.contact)
        assert caught.value.reason == "banned"
    with pytest.raises(crust.ConnectError, match="banned"):
        hub.connect(called.contact)
    assert net.heard(called, crust.ConnectSuccess) == []
    assert [peer.id for peer in hub.peers] == [good.id]
    assert {ban.who for ban in hub.bans} == {is_bad, *names}
    assert hub.unban(is_bad) == 1
    assert hub.bans == () and hub.unban(is_bad) == 0
    for other in (bad, late):
        net.connect(other, hub)
    net.connect(hub, called)


def test_what_a_function_is_asked(net: Network) -> None:
    """Who it is, which way it comes, what for; and of those who are called that they have not said their role."""
    hub = net.service(crust.Config().replace(**{"bootstrap.accept": True}), address="192.0.2.1")
    caller = net.service(crust.Config().replace(**{"network.role": "client"}), address="192.0.2.2")
    joiner = net.service(address="192.0.2.3")
    called = net.service(address="192.0.2.4")
    present = net.service(address="192.0.2.5")
    net.connect(present, hub)
    seen: dict[crust.PeerId, PeerView] = {}

    def look(peer: PeerView) -> bool:
        seen[peer.id] = peer
        return False

    assert hub.ban(look) == 0
    net.connect(caller, hub)
    joiner.bootstrap(contacts=[hub.contact])
    net.connect(hub, called)
    told = {
        each: (view.role, view.inbound, view.address, view.purpose, view.has_session) for each, view in seen.items()
    }
    assert told[present.id] == ("node", True, "192.0.2.5", "connect", True)
    assert told[caller.id] == ("client", True, "192.0.2.2", "connect", False)
    assert told[joiner.id] == ("node", True, "192.0.2.3", "bootstrap", False)
    assert told[called.id] == (None, False, "192.0.2.4", "connect", False)
    assert seen[caller.id].path.path_class == "direct-tcp" and seen[caller.id].path.inbound
    assert Endpoint.parse(seen[called.id].path.remote).host == "192.0.2.4"


def test_a_function_by_address_and_for_a_time(net: Network) -> None:
    """After its seconds neither it nor what it has found counts."""
    hub, other = net.service(), net.service(address="198.51.100.7")
    assert hub.ban(lambda peer: str(peer.address).startswith("198.51.100."), seconds=60) == 0
    with pytest.raises(crust.Denied):
        other.connect(hub.contact)
    assert sorted(type(ban.who).__name__ for ban in hub.bans) == ["PeerId", "function"]
    assert all(ban.seconds is not None and ban.seconds <= 60 for ban in hub.bans)
    net.advance(61.0)
    assert hub.bans == ()
    net.connect(other, hub)


def test_a_function_whose_time_is_over_costs_nothing(net: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits to be asked about any more, neither whoever calls nor whom we call."""
    hub, before, caller, called = (net.service() for _ in range(4))
    asked: list[PeerView] = []
    judging = hub._running().judging
    ask = judging.ask

    def counted(who: object, view: PeerView, then: Callable[[Verdict], object]) -> None:
        asked.append(view)
        ask(who, view, then)

    monkeypatch.setattr(judging, "ask", counted)
    hub.ban(lambda peer: False, seconds=5.0)
    net.connect(before, hub)
    assert [each.id for each in asked] == [before.id]
    net.advance(5.1)
    net.connect(caller, hub)
    net.connect(hub, called)
    assert [each.id for each in asked] == [before.id]


def test_one_that_was_found_can_be_lifted_alone(net: Network) -> None:
    """``unban(id)`` makes the function be asked again the next time."""
    hub, other = net.service(), net.service()
    answers = [True, False]
    hub.ban(lambda peer: answers.pop(0))
    with pytest.raises(crust.Denied):
        other.connect(hub.contact)
    assert hub.unban(other.id) == 1
    net.connect(other, hub)
    assert answers == []


def test_a_method_is_the_same_each_time(net: Network) -> None:
    """Bound methods are new objects each time they are named, and equal."""

    class Policy:
        def is_bad(self, peer: PeerView) -> bool:
            return False

    hub, policy = net.service(), Policy()
    hub.ban(policy.is_bad)
    hub.ban(policy.is_bad, seconds=5)
    assert [ban.seconds for ban in hub.bans] == [None]
    assert hub.unban(policy.is_bad) == 1


def test_a_function_that_raises_lets_nobody_in(nodes: Nodes, caplog: pytest.LogCaptureFixture) -> None:
    """It is refused, not banned; the hook hears of it, the log names the function, and whoever is here stays."""
    heard: list[tuple[object, BaseException]] = []
    hub = nodes.start(on_callback_error=lambda what, error: heard.append((what, error)))
    there, other = nodes.start(), nodes.start()
    there.connect(hub.contact)
    wait_until(lambda: hub.peers, what="the peer")
    broken = [False]

    def judge(peer: PeerView) -> bool:
        if broken[0]:
            raise RuntimeError("the database is away")
        return False

    hub.ban(judge)
    broken[0] = True
    with caplog.at_level(logging.ERROR), pytest.raises(crust.Denied) as caught:
        other.connect(hub.contact)
    assert caught.value.reason == "busy" and "cannot tell" in str(caught.value)
    wait_until(lambda: heard, what="the hook")
    view, error = heard[0]
    assert isinstance(view, PeerView) and view.id == other.id and str(error) == "the database is away"
    assert any("judge raised" in record.getMessage() for record in caplog.records)
    with pytest.raises(crust.ConnectError, match="raised"):
        hub.connect(other.contact)
    assert [peer.id for peer in hub.peers] == [there.id]
    broken[0] = False
    assert other.connect(hub.contact).id == hub.id


def test_a_function_that_raises_about_who_has_just_come_ends_it(nodes: Nodes) -> None:
    """It was put in force while those before it were asked, so that it is asked when the session has begun."""
    hub, other = nodes.start(on_callback_error=lambda what, error: None), nodes.start()

    def broken(peer: PeerView) -> bool:
        raise RuntimeError("the database is away")

    def first(peer: PeerView) -> bool:
        hub.ban(broken)
        return False

    hub.ban(first)
    heard = Heard(hub)
    with contextlib.suppress(crust.ConnectError, crust.Denied):  # it may have been let in, for a moment
        other.connect(hub.contact)
    lost = heard.wait(crust.LostPeer)
    assert lost.peer.id == other.id and lost.reason is crust.LostReason.BANNED and not hub.peers


def test_a_function_that_is_slow_or_raises_is_named_now_and_then(
    net: Network, caplog: pytest.LogCaptureFixture
) -> None:
    """Strangers can cause it: not each time."""
    hub = net.service()
    inner = hub._running()
    heard: list[BaseException] = []
    inner.subscriptions.report = lambda what, view, error: heard.append(error)  # type: ignore[method-assign]

    def judge(peer: PeerView) -> bool:
        return False

    most = hub.config.callbacks.warn_after
    with caplog.at_level(logging.WARNING, "crust"):
        inner.bans.judge_took(judge, most)
        for _ in range(2):
            for _ in range(3):
                inner.bans.judge_took(judge, most + 2.0)
                inner.bans.judge_raised(judge, None, ValueError("a bug"))  # type: ignore[arg-type]
            net.advance(limits.JUDGE_REPORT_INTERVAL)
        inner.log.warning("that is all")
        wait_until(lambda: "that is all" in caplog.text, what="the log")
    told = [text for text in caplog.messages if "whoever wants a session waits" in text]
    assert len(told) == len(heard) == 2
    assert f"judge took {most + 2.0:.1f} s" in told[0]


def test_a_function_that_raises_at_once_is_not_in_force(nodes: Nodes) -> None:
    """``ban`` raises it, and has banned nobody."""
    pair = nodes.pair()
    with pytest.raises(ZeroDivisionError):
        pair.far.ban(Identity.generate().peer_id, lambda peer: True, lambda peer: 1 / 0)
    assert pair.far.bans == ()
    pair.to_far.send(b"x")
    assert pair.to_near.recv(PATIENCE) == b"x"


def test_a_callback_that_connects_waits_for_no_function_in_vain(nodes: Nodes) -> None:
    """The dispatcher stands still while a callback waits for a session: the function runs elsewhere."""
    hub, other, third = nodes.make(), nodes.start(), nodes.start()
    came: list[object] = []
    hub.start()
    threads: set[str] = set()

    def judge(peer: PeerView) -> bool:
        threads.add(threading.current_thread().name)
        return False

    hub.ban(judge)
    hub.on(crust.ConnectSuccess, lambda event: came.append(hub.connect(third.contact).id) if not came else None)
    other.connect(hub.contact)
    wait_until(lambda: came, what="the session that the callback wanted")
    assert came == [third.id] and threads == {"crust-judge"}


def test_a_function_that_takes_its_time_holds_up_nobody_who_is_here(nodes: Nodes) -> None:
    """Only those wait who want a session; whoever gives up meanwhile, or is given up, leaves nothing behind."""
    hub = nodes.start(config(session__handshake_timeout=2.0))
    there, other = nodes.start(), nodes.start()
    to_hub = there.connect(hub.contact)
    gate, asked = threading.Event(), threading.Event()

    def judge(peer: PeerView) -> bool:
        if peer.has_session:
            return False
        asked.set()
        gate.wait(PATIENCE)
        return False

    hub.ban(judge)
    calling = Background(other.connect, hub.contact)
    assert asked.wait(PATIENCE)
    to_hub.send(b"on")
    assert hub.peers[0].recv(PATIENCE) == b"on"
    with pytest.raises(crust.ConnectError):
        calling.result()
    wait_until(lambda: hub.stats().gate.current == 0, what="the free slots")
    gate.set()
    assert other.connect(hub.contact).id == hub.id
    wait_until(lambda: {peer.id for peer in hub.peers} == {there.id, other.id}, what="both peers")


def test_a_function_is_not_asked_about_callers_who_have_gone(nodes: Nodes) -> None:
    """However many have come and been given up while it took its time: who is there is next."""
    hub = nodes.start(config(session__handshake_timeout=2.0))
    gate, asked = threading.Event(), list[crust.PeerId]()

    def judge(peer: PeerView) -> bool:
        asked.append(peer.id)
        gate.wait(PATIENCE)
        return False

    hub.ban(judge)
    first, other = Identity.generate(), nodes.start()
    with Caller(hub, first):
        wait_until(lambda: asked, what="the first question")
        for _ in range(5):
            Caller(hub, Identity.generate()).sock.close()
        wait_until(lambda: hub.stats().gate.current == 0, what="the free slots")
        gate.set()
        other.connect(hub.contact)
    assert asked == [first.peer_id, other.id]


@pytest.mark.parametrize("controller", ["near", "far"])
def test_whoever_is_let_in_by_a_function_loses_nothing(nodes: Nodes, controller: str) -> None:
    """Whichever side decides about links: the first messages of both arrive."""
    lesser, greater = pair_of_identities()
    hub = nodes.start(identity=greater if controller == "near" else lesser)
    other = nodes.start(identity=lesser if controller == "near" else greater)
    hub.ban(lambda peer: False)
    other.ban(lambda peer: False)
    to_hub = other.connect(hub.contact)
    to_hub.send(b"a" * 100_000)
    wait_until(lambda: hub.peers, what="the peer")
    assert hub.peers[0].recv(PATIENCE) == b"a" * 100_000
    hub.peers[0].send(b"b")
    assert to_hub.recv(PATIENCE) == b"b"


def test_a_close_waits_for_no_function(nodes: Nodes) -> None:
    """Whoever waits to be judged is let go."""
    hub, other = nodes.start(), nodes.start()
    gate, asked = threading.Event(), threading.Event()

    def judge(peer: PeerView) -> bool:
        asked.set()
        return gate.wait(PATIENCE)

    hub.ban(judge)
    calling = Background(other.connect, hub.contact)
    assert asked.wait(PATIENCE)
    closing = Background(hub.close)
    with pytest.raises(crust.ConnectError):
        calling.result()
    gate.set()
    assert closing.result() is True


# --- whatever is under way --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["id", "address"])
def test_a_ban_ends_a_dial_that_nobody_answers(nodes: Nodes, what: str) -> None:
    """By id, and by the address that is being dialled."""
    sockets, port = silent_listener()
    try:
        near = nodes.start()
        contact = Contact(Identity.generate().peer_id, (Endpoint("tcp", "127.0.0.1", port),))
        dialling = Background(near.connect, contact)
        node = near._node
        assert node is not None
        wait_until(lambda: [n for n in node.threads.alive() if n.startswith("crust-dial")], what="a dial")
        near.ban(contact.peer_id if what == "id" else "127.0.0.1")
        with pytest.raises(crust.ConnectError):
            dialling.result()
        wait_until(lambda: not [n for n in node.threads.alive() if n.startswith("crust-dial")], what="its end")
    finally:
        for sock in sockets:
            sock.close()


def test_a_ban_ends_a_look_whether_somebody_is_there(nodes: Nodes) -> None:
    """No knock on the door of who is banned, and none goes on."""
    sockets, port = silent_listener()
    try:
        near = nodes.start()
        node = near._node
        assert node is not None
        came: list[str] = []
        peer_id = Identity.generate().peer_id
        node.knocks.knock(peer_id, Endpoint("tcp", "127.0.0.1", port), lambda k: came.append(k.verdict), seconds=60)
        wait_until(lambda: node.knocks._dials or node.knocks._links, what="the knock")
        near.ban(peer_id)
        wait_until(lambda: came, what="its end")
        assert came == ["cancelled"]
    finally:
        for sock in sockets:
            sock.close()


@pytest.mark.parametrize("who", ["far", "relay"])
def test_a_ban_ends_what_goes_through_others(nodes: Nodes, who: str) -> None:
    """The session on a circuit, and every circuit of an introducer; the other end hears why at once."""
    trio = Trio(nodes)
    trio.meet()
    banned = trio.far if who == "far" else trio.relay
    trio.near.ban(trio.far.id, trio.relay.id) if who == "relay" else trio.near.ban(trio.far.id)
    assert nodes.heard(trio.far).wait(crust.LostPeer).reason == "banned"
    assert not trio.near.is_connected(banned.id)
    wait_until(lambda: trio.circuits() == 0, what="the circuit to end")


def test_a_ban_ends_a_file(nodes: Nodes, tmp_path: pathlib.Path) -> None:
    """As any loss does: the sender is told, nothing is under the final name, and both sides hear why."""
    pair = nodes.pair()
    source, folder = tmp_path / "source", tmp_path / "received"
    source.write_bytes(b"x" * 4_000_000)
    folder.mkdir()
    pair.far.accept_files(folder, progress=lambda progress: pair.far.ban(pair.near.id))
    with pytest.raises((crust.TransferError, crust.PeerLost)):
        pair.to_far.send_file(source)
    assert pair.near_heard.wait(crust.LostPeer).reason == "banned"
    assert pair.far_heard.wait(crust.LostPeer).reason == "banned"
    assert not (folder / "source").exists()


def test_a_ban_by_the_introducer_ends_what_it_carries(nodes: Nodes) -> None:
    """Whoever is banned at the relay has no circuit there."""
    trio = Trio(nodes)
    trio.meet()
    trio.relay.ban(trio.near.id)
    wait_until(lambda: trio.circuits() == 0, what="the circuit to end")
    assert nodes.heard(trio.near).wait(crust.LostPeer).reason == "banned"


def test_the_node_bans_with_locks_held(net: Network) -> None:
    """What the node itself finds out it may say from anywhere: it holds at once, and the rest ends in a moment."""
    near, far = net.service(), net.service()
    net.connect(near, far)
    node = far._node
    assert node is not None
    conversation = node.registry.all()[0]
    with conversation.lock:
        assert node.bans.soon(near.id, seconds=60) == 1
        assert node.is_banned(near.id, None)
    net.advance(1.0)
    assert losses(net, far) == [(str(near.id), "banned")] == [(str(near.id), losses(net, near)[0][1])]


ENTRIES: dict[str, Callable[[Service], object]] = {
    "text": lambda service: "nobody",
    "number": lambda service: 7,
    "class instance": lambda service: object(),
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_mistake_beside_a_function_bans_nobody(net: Network, entry: str) -> None:
    """All or nothing."""
    near, far = net.service(), net.service()
    net.connect(near, far)
    with pytest.raises((TypeError, ValueError)):
        far.ban(lambda peer: True, ENTRIES[entry](near))  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        far.ban(lambda peer: True, seconds=-1)
    assert far.bans == () and len(far.peers) == 1


# --- who gets no answer at all ----------------------------------------------------------------------------------------


def test_a_banned_address_gets_no_datagram(nodes: Nodes) -> None:
    """Neither a SYN of µTP nor a question of STUN is answered; those that come after the ban's end are."""
    both = ("tcp://127.0.0.1:0", "utp://127.0.0.1:0")
    node = nodes.start(config(listen__addresses=both, nat__serve_stun=True))
    (port,) = {each.port for each in node.addresses if each.transport == "utp"}
    assert node._network is not None
    responder = node._network.reflection.responder
    node.ban("127.0.0.1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(("127.0.0.1", port))
        sock.send(build_packet(Packet(PacketType.SYN, 100, 1, 0, 0, 1, 0)))
        wait_until(lambda: node.status().sections["bans"]["refused_total"] == 1, what="the SYN")
        sock.send(build_stun(request()))
        wait_until(lambda: responder.ignored == 1, what="the question")
        node.unban("127.0.0.1")
        question = request()
        sock.send(build_stun(question))
        assert parse_stun_untrusted(sock.recv(2048)).transaction == question.transaction
        sock.send(build_packet(Packet(PacketType.SYN, 200, 1, 0, 0, 1, 0)))
        answer = parse_packet_untrusted(sock.recv(2048))
        assert (answer.type, answer.connection_id) == (PacketType.STATE, 200)


def test_no_echo_goes_to_who_has_been_banned(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was wanted before: the dial to the peer's silent port ends with the session."""
    monkeypatch.setattr(limits, "ECHO_DIALS", (600.0,))
    sockets, port = silent_listener()
    try:
        near, far = nodes.start(), nodes.start()
        asking = Background(near.connect(far.contact).echo, "tcp", port)
        node = far._node
        assert node is not None
        wait_until(lambda: node.echoes._dials, what="the dial")
        far.ban(near.id)
        with pytest.raises(crust.PeerLost):
            asking.result()
        wait_until(lambda: "crust-echo" not in node.threads.alive(), what="its end")
    finally:
        for sock in sockets:
            sock.close()
