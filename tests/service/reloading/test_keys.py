"""Every key that is marked as taken while running is: a check of its effect for each, and one that none is missing."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

import crust
import crust.testing
from crust import Config, ListenConfig, Service, limits
from crust.config.sections import live_keys, values
from crust.transports.utp.packet import PacketType, build_header
from crust.wire.handshake import Capability
from tests.service.reloading.other_values import OTHER
from tests.support.nodes import Nodes, config
from tests.support.puppet import Caller
from tests.support.sockets import silent_listener
from tests.support.stun import StunServer, ask_udp, request
from tests.support.trios import SERVES, Trio, hidden
from tests.support.waiting import wait_until

Check = Callable[..., object]
CHECKS: dict[str, Check] = {}
BOTH = ListenConfig(addresses=("tcp://127.0.0.1:0", "utp://127.0.0.1:0"))


def checks(*keys: str) -> Callable[[Check], Check]:
    """The decorated function shows that these keys are taken."""

    def keep(function: Check) -> Check:
        CHECKS.update(dict.fromkeys(keys, function))
        return function

    return keep


def change(node: Service, **changes: Any) -> None:
    """Reload with these keys changed, all of which must be taken."""
    dotted = {name.replace("__", "."): value for name, value in changes.items()}
    told = node.reload(node.config.replace(**dotted))
    assert (set(told.applied), told.needs_restart, told.error) == (set(dotted), (), None)


def denial(near: Service, far: Service) -> str:
    with pytest.raises(crust.Denied) as caught:
        near.connect(far.contact)
    return caught.value.reason


def ends(sock: socket.socket) -> bool:
    """Whether the other side has closed that connection; waits for it."""
    sock.settimeout(5)
    with contextlib.suppress(ConnectionError):
        return sock.recv(1) == b""
    return True


def is_open(sock: socket.socket) -> bool:
    sock.settimeout(0.05)
    try:
        return sock.recv(1) != b""
    except TimeoutError:
        return True
    except ConnectionError:
        return False


def caller(node: Service) -> socket.socket:
    return socket.create_connection(("127.0.0.1", node.addresses[0].port))


# --- the checks -------------------------------------------------------------------------------------------------------


@checks("listen.advertise")
def advertise(nodes: Nodes) -> None:
    """The node says so in its contact, and as an event."""
    node = nodes.start()
    change(node, listen__advertise=["tcp://192.0.2.7:5483"])
    told = nodes.heard(node).wait(crust.AddressesChanged, 2)
    assert told.addresses == node.addresses
    assert str(node.addresses[0]) == "tcp://192.0.2.7:5483"
    change(node, listen__advertise=[])
    nodes.heard(node).wait(crust.AddressesChanged, 3)
    assert [each.host for each in node.addresses] == ["127.0.0.1"]


@checks("bootstrap.contacts")
def contacts(nodes: Nodes) -> None:
    """Those of the file come and go, those of the program stay."""
    one, other = nodes.start(config(bootstrap__accept=True)), nodes.start(config(bootstrap__accept=True))
    node = nodes.start(contacts=[other.contact])
    assert node._node is not None
    given = node._node.directory.given
    change(node, bootstrap__contacts=[str(one.contact)])
    assert {each.peer_id for each in given.contacts()} == {one.id, other.id}
    other.close()
    assert node.bootstrap().id == one.id
    change(node, bootstrap__contacts=[])
    assert {each.peer_id for each in given.contacts()} == {other.id}


@checks("bootstrap.links")
def links(nodes: Nodes) -> None:
    """With more of them others are dialled, in the background."""
    fars = [nodes.start(config(bootstrap__accept=True)) for _ in range(2)]
    node = nodes.start(contacts=[far.contact for far in fars])
    node.bootstrap()
    change(node, bootstrap__links=2)
    wait_until(lambda: len(node.peers) == 2, 10, "the second link")


@checks("bootstrap.max_links")
def max_links(nodes: Nodes) -> None:
    """Who joins is sent on, or is not."""
    far = nodes.start(config(bootstrap__accept=True))
    joining = [nodes.start(config(bootstrap__accept=True)) for _ in range(3)]
    joining[0].bootstrap(contacts=[far.contact])
    assert far._finding is not None
    part = far._finding.reachability
    wait_until(lambda: part.is_public(joining[0].id), 10, "somebody to name")
    change(far, bootstrap__max_links=1)
    assert joining[1].bootstrap(contacts=[far.contact]).id == joining[0].id
    change(far, bootstrap__max_links=2)
    assert joining[2].bootstrap(contacts=[far.contact]).id == far.id


@checks("bootstrap.accept")
def accept(nodes: Nodes) -> None:
    near, far = nodes.start(), nodes.start()
    with pytest.raises(crust.ConnectError):
        near.bootstrap(contacts=[far.contact])
    change(far, bootstrap__accept=True)
    assert near.bootstrap(contacts=[far.contact]).id == far.id


@checks("bootstrap.blacklist")
def blacklist(nodes: Nodes) -> None:
    near, far = nodes.start(), nodes.start(config(bootstrap__accept=True))
    change(near, bootstrap__blacklist=[str(far.id)])
    with pytest.raises(crust.ConnectError):
        near.bootstrap(contacts=[far.contact])
    change(near, bootstrap__blacklist=[])
    assert near.bootstrap(contacts=[far.contact]).id == far.id


@checks("bootstrap.reachability_test")
def reachability(nodes: Nodes) -> None:
    """Who joins is dialled back, or is not."""
    far = nodes.start(config(bootstrap__accept=True))
    assert far._node is not None
    knocked: list[crust.PeerId] = []
    far._node.knocks.knock = lambda peer_id, *_, **__: knocked.append(peer_id)  # type: ignore[method-assign]
    change(far, bootstrap__reachability_test=False)
    registry = far._node.registry
    one, other = nodes.start(), nodes.start()
    one.bootstrap(contacts=[far.contact])
    wait_until(lambda: (session := registry.get(one.id)) is not None and session.told, what="where the first one is")
    change(far, bootstrap__reachability_test=True)
    other.bootstrap(contacts=[far.contact])
    wait_until(lambda: other.id in knocked, what="a try")
    assert one.id not in knocked


@checks("bootstrap.only_contacts")
def only_contacts(nodes: Nodes) -> None:
    """What the cache knows is dialled, or is not."""
    far, node = nodes.start(config(bootstrap__accept=True)), nodes.start()
    assert node._finding is not None
    node._finding.caching.contacts = lambda: [far.contact]  # type: ignore[method-assign]
    change(node, bootstrap__only_contacts=True)
    with pytest.raises(crust.ConnectError):
        node.bootstrap()
    change(node, bootstrap__only_contacts=False)
    assert node.bootstrap().id == far.id


@checks("lan.wait")
def wait(nodes: Nodes) -> None:
    """Contacts come after that time, as long as the cache may help."""
    far, node = nodes.start(config(bootstrap__accept=True)), nodes.start()
    assert node._finding is not None
    sockets, port = silent_listener()
    dead = crust.Contact(crust.Identity.generate().peer_id, (crust.Endpoint("tcp", "127.0.0.1", port),))
    node._finding.caching.contacts = lambda: [dead]  # type: ignore[method-assign]
    with contextlib.ExitStack() as stack:
        for each in sockets:
            stack.enter_context(each)
        change(node, lan__wait=30)
        with pytest.raises(crust.Timeout):
            node.bootstrap(contacts=[far.contact], timeout=0.5)
        change(node, lan__wait=0)
        assert node.bootstrap(contacts=[far.contact], timeout=5).id == far.id


@checks("gossip.publish")
def publish(net: crust.testing.Network) -> None:
    """Others are told less, and more again."""
    near, far = (net.service(Config().replace(**{"bootstrap.cache.max_peers": 0})) for _ in range(2))
    net.connect(near, far)

    def known() -> int:
        net.advance(120)
        assert far._finding is not None
        record = far._finding.gossiping.record(near.id)
        assert record is not None
        return len(record.endpoints)

    assert known() > 0
    change(near, gossip__publish="via")
    assert known() == 0
    change(near, gossip__publish="full")
    assert known() > 0


@checks("bootstrap.timeout", "session.connect_timeout")
def timeouts(nodes: Nodes) -> None:
    node = nodes.start()
    change(node, bootstrap__timeout=0.2, session__connect_timeout=0.3)
    sockets, port = silent_listener()
    with contextlib.ExitStack() as stack:
        for each in sockets:
            stack.enter_context(each)
        contact = crust.Contact(crust.Identity.generate().peer_id, (crust.Endpoint("tcp", "127.0.0.1", port),))
        with pytest.raises(crust.Timeout, match=r"0\.2 s"):
            node.bootstrap(contacts=[contact])
        with pytest.raises(crust.Timeout, match=r"0\.3 s"):
            node.connect(contact)


@checks("nat.stun_servers")
def stun_servers(nodes: Nodes) -> None:
    """A new one is asked at once, and believed; a former one is not."""
    node = nodes.start(config(listen=BOTH))
    seen = ("20.0.9.9", 4711)
    with StunServer(mapped=seen) as server:
        change(node, nat__stun_servers=["{}:{}".format(*server.address)])
        wait_until(lambda: any(each.endpoint.host == seen[0] for each in node.candidates), what="an answer")
        change(node, nat__stun_servers=[])
        assert not any(each.endpoint.host == seen[0] for each in node.candidates)


@checks("nat.echo_for_others")
def echo(nodes: Nodes) -> None:
    pair = nodes.pair()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        assert pair.to_far.echo("udp", port).outcome == "sent"
        change(pair.far, nat__echo_for_others=False)
        with pytest.raises(crust.EchoRefused, match="echo_for_others"):
            pair.to_far.echo("udp", port)
        change(pair.far, nat__echo_for_others=True)
        assert pair.to_far.echo("udp", port).outcome == "sent"


@checks("nat.serve_stun")
def serve_stun(nodes: Nodes) -> None:
    node = nodes.start(config(listen=BOTH))
    (server,) = [(each.host, each.port) for each in node.addresses if each.transport == "utp"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        with pytest.raises(TimeoutError):
            ask_udp(sock, server, request(), timeout=0.1)
        change(node, nat__serve_stun=True)
        assert ask_udp(sock, server, request()).xor_mapped is not None


@checks("relay.serve", "relay.max_circuits")
def serve(nodes: Nodes) -> None:
    """A circuit that is opened now carries messages; one that does stays when there is room for none."""
    trio = Trio(nodes, config())
    change(trio.relay, relay__serve=True, relay__max_circuits=1)
    to_far, to_near = trio.meet()
    to_far.send(b"x")
    assert to_near.recv(timeout=5) == b"x"
    change(trio.relay, relay__serve=False)
    to_far.send(b"y")
    assert to_near.recv(timeout=5) == b"y"
    late = nodes.start()
    late.connect(trio.relay.contact)
    (seen,) = late.peers
    assert not seen.relays
    node = trio.relay._node
    assert node is not None and not node.registry.capabilities & Capability.RELAY
    change(trio.relay, relay__serve=True)
    again = nodes.start(hidden())
    again.stop_listening()
    again.connect(trio.relay.contact).send(b"")
    trio.near.disconnect(trio.relay.id)
    assert again.peers[0].relays


@checks("relay.bytes_per_second")
def rate(nodes: Nodes) -> None:
    """What is too much waits, by the new rate."""
    trio = Trio(nodes, SERVES)
    to_far, to_near = trio.meet()
    change(trio.relay, relay__bytes_per_second=200_000)
    began = time.monotonic()
    to_far.send(bytes(150_000))
    assert to_near.recv(timeout=20) == bytes(150_000)
    assert time.monotonic() - began > 0.5  # one peer's half of the rate, and what may be saved up


@checks("relay.use")
def use(nodes: Nodes) -> None:
    """A circuit that is opened now carries no messages if we do not want it."""
    trio = Trio(nodes, SERVES)
    change(trio.near, relay__use=False)
    to_far, _ = trio.meet()
    conversation = to_far._conversation
    wait_until(lambda: conversation.link is not None, what="a circuit")
    assert conversation.link is not None and not conversation.link.carries_data


@checks("session.send_timeout")
def send_timeout(nodes: Nodes) -> None:
    """For the peers that are there, and those that come."""
    pair = nodes.proxied(config(session__send_buffer__messages=2))
    pair.suspend()
    change(pair.near, session__send_timeout=0)
    with pytest.raises(crust.WouldBlock):
        for _ in range(3):
            pair.to_far.send(b"x")
    assert nodes.start().connect(pair.near.contact) is not None
    assert {each._conversation.send_timeout for each in pair.near.peers} == {0.0}


@checks("callbacks.warn_after")
def warn_after(nodes: Nodes, caplog: pytest.LogCaptureFixture) -> None:
    node = nodes.start()
    pause = 0.05

    @node.on(crust.ConnectionInfoPrepared)
    def slow(_: object) -> None:
        time.sleep(pause)  # a callback that takes its time

    node.prepare_connection_info()
    nodes.heard(node).wait(crust.ConnectionInfoPrepared)
    change(node, callbacks__warn_after=pause / 5)
    node.prepare_connection_info()
    wait_until(lambda: "took" in caplog.text, what="a warning")
    assert caplog.text.count("took") == 1


@checks("reload_interval")
def interval(nodes: Nodes, tmp_path: pathlib.Path) -> None:
    """From never to now, and back."""
    path = tmp_path / "crust.yaml"
    path.write_text("reload_interval: null\n")
    node = nodes.start(Config.load(path).replace(**{key: value for key, value in _flat(config())}))
    path.write_text("reload_interval: 0.01\n")
    assert node.reload().applied == ("reload_interval",)
    other = tmp_path / "other.yaml"
    other.write_text("reload_interval: null\nlimits: {max_peers: 5}\n")
    other.replace(path)  # at one stroke: it is looked at every 10 ms
    told = nodes.heard(node).wait(crust.ConfigReloaded, 2)
    assert told.applied == ("limits.max_peers", "reload_interval")
    assert node._reloading is not None and node._reloading._timer is None


def _flat(wanted: Config) -> list[tuple[str, Any]]:
    """What tests set, but for the keys of these files."""
    default = dict(values(Config()))
    mine = ("reload_interval", "limits.max_peers")
    return [(key, value) for key, value in values(wanted) if default.get(key) != value and key not in mine]


@checks("lan.announce", "lan.seek")
def lan(nodes: Nodes) -> None:
    """What the beacon is told to do."""
    node = nodes.start()
    assert node._finding is not None
    beacon: Any = node._finding.lan
    opened: list[Any] = []
    beacon._open = lambda: opened.append(Driver()) or opened[-1]
    change(node, lan__announce=True)
    assert (opened[0].wishes.announce, opened[0].wishes.seek) == (True, False)
    beacon._driver = opened[0]
    change(node, lan__announce=False, lan__seek="always")
    assert (opened[0].wishes.announce, opened[0].wishes.seek) == (False, True)
    change(node, lan__seek="never")
    assert opened[0].closed and len(opened) == 1


class Driver:
    """In place of the beacon: no test asks this machine's LAN for anybody."""

    closed = False

    def wish(self, wishes: Any) -> None:
        self.wishes = wishes

    def close(self) -> None:
        self.closed = True


@checks("limits.peers_per_address")
def peers_per_address(nodes: Nodes) -> None:
    """The same for those at one address."""
    pair, other = nodes.pair(), nodes.start()
    change(pair.far, limits__peers_per_address=1)
    assert denial(other, pair.far) == "busy"
    change(pair.far, limits__peers_per_address=2)
    assert other.connect(pair.far.contact).id == pair.far.id


@checks("limits.max_peers")
def max_peers(nodes: Nodes) -> None:
    """Nobody is cut off; new ones are refused."""
    pair, other = nodes.pair(), nodes.start()
    change(pair.far, limits__max_peers=1)
    assert denial(other, pair.far) == "busy"
    change(pair.far, limits__max_peers=2)
    assert other.connect(pair.far.contact).id == pair.far.id
    change(pair.far, limits__max_peers=1)
    assert len(pair.far.peers) == 2
    pair.to_far.send(b"still here")
    assert pair.to_near.recv(timeout=5) == b"still here"


@checks("limits.total_buffers")
def total_buffers(nodes: Nodes) -> None:
    """Readers pause when it is lowered, and go on when it is raised."""
    pair = nodes.pair()
    pair.to_far.send(bytes(1000))
    assert pair.to_near.recv(timeout=5) == bytes(1000)
    change(pair.far, limits__total_buffers=1000)
    for _ in range(4):
        pair.to_far.send(bytes(1000))
    assert pair.far._node is not None
    budget = pair.far._node.budget
    wait_until(lambda: budget.over and budget.awaited, what="a pause")
    pair.to_far.send(b"after that")
    change(pair.far, limits__total_buffers=2**28)
    pair.to_far.flush(timeout=5)
    assert [pair.to_near.recv(timeout=5) for _ in range(5)][-1] == b"after that"


@checks("limits.half_open", "limits.half_open_per_address")
def half_open(nodes: Nodes) -> None:
    """The oldest makes room, whichever of the two is reached."""
    for key in ("limits__half_open", "limits__half_open_per_address"):
        node = nodes.start()
        with caller(node) as first, caller(node) as second:
            assert is_open(first) and is_open(second)
            change(node, **{key: 1})
            assert is_open(first) and is_open(second)
            with caller(node) as third:
                assert ends(first)
                assert is_open(third)


@checks("limits.starts_per_address_per_second", "limits.starts_per_second")
def starts(nodes: Nodes) -> None:
    """Who begins too often is refused, whichever of the two is reached."""
    for key in ("limits__starts_per_address_per_second", "limits__starts_per_second"):
        node = nodes.start()
        with caller(node) as early:
            assert is_open(early)
        change(node, **{key: 2})
        with contextlib.ExitStack() as stack:
            late = [stack.enter_context(caller(node)) for _ in range(8)]
            wait_until(lambda node=node: node.stats().gate.refused_by_rate > 0, what="a refusal")
            assert not all(map(is_open, late))


@checks("limits.utp_half_open", "limits.utp_half_open_per_network")
def utp_half_open(nodes: Nodes) -> None:
    """Callers by datagram are bounded, whichever of the two is reached."""
    for key in ("limits__utp_half_open", "limits__utp_half_open_per_network"):
        node = nodes.start(config(listen__addresses=["utp://127.0.0.1:0"]))
        change(node, **{key: 1})
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for number in (10, 20):
                syn = build_header(PacketType.SYN, number, number, 0, 1 << 20, number, 0)
                sock.sendto(syn, ("127.0.0.1", node.addresses[0].port))
            name = key.replace("__", ".")
            wait_until(lambda node=node, name=name: node.stats().refusals[name] == 1, what="the refusal")


@checks("limits.sessions_per_peer_per_second", "limits.overhead_per_peer", "limits.ban_seconds")
def misbehaviour(nodes: Nodes) -> None:
    """Sessions, costs and bans go by what is said last; sessions that stand, too."""
    node = nodes.start(on_misbehaviour=lambda event: crust.Action.BAN)
    identity = crust.Identity.generate()
    change(node, limits__sessions_per_peer_per_second=1000, limits__overhead_per_peer=0.5, limits__ban_seconds=3000.0)
    with Caller(node, identity) as caller:
        caller.begin()
        conversation = nodes.heard(node).wait(crust.ConnectSuccess).peer._conversation
        assert conversation.meter.account.share == 0.5
        change(node, limits__overhead_per_peer=0.25)
        assert conversation.meter.account.share == 0.25
        for _ in range(2 * limits.SESSIONS_PER_PEER_BURST):
            Caller(node, identity).__exit__()
        assert node.stats().refusals["limits.sessions_per_peer_per_second"] == 0
    with Caller(node, crust.Identity.generate()) as caller:  # one of those calls may be newer to the node than a next
        caller.begin()
        caller.send_plaintext(b"\x7f\x00\x00")
        wait_until(lambda: node.bans, what="the ban")
        assert 2900 < (node.bans[0].seconds or 0) <= 3000


@checks("access.node_networks", "access.client_networks")
def networks(nodes: Nodes) -> None:
    """Those of the role end and hear why; those of the other, and whom we called, stay."""
    for role in ("node", "client"):
        near = nodes.start(config(network__role=role))
        other = nodes.start(config(network__role="client" if role == "node" else "node"))
        called, far = nodes.start(config(network__role=role)), nodes.start()
        near.connect(far.contact)
        other.connect(far.contact)
        far.connect(called.contact)
        change(far, **{f"access__{role}_networks": ["192.0.2.0/24"]})
        for each in (near, far):
            assert nodes.heard(each).wait(crust.LostPeer).reason == "role"
        assert {peer.id for peer in far.peers} == {other.id, called.id}
        assert denial(near, far) == "role"
        change(far, **{f"access__{role}_networks": ["127.0.0.0/8"]})
        assert near.connect(far.contact).id == far.id


@checks("access.allow_peers")
def allow_peers(nodes: Nodes) -> None:
    near, other, far = nodes.start(), nodes.start(), nodes.start()
    near.connect(far.contact)
    other.connect(far.contact)
    change(far, access__allow_peers=[str(other.id)])
    lost = nodes.heard(near).wait(crust.LostPeer)
    assert lost.reason == "role" and "list" in lost.text
    wait_until(lambda: [peer.id for peer in far.peers] == [other.id], what="the one that stays")
    change(far, access__allow_peers=None)
    assert near.connect(far.contact).id == far.id


@checks("access.ban.peers", "access.ban.networks")
def bans(nodes: Nodes) -> None:
    """Everything with those ends, whoever called; lifting works."""
    for key in ("peers", "networks"):
        pair = nodes.pair()
        who = [str(pair.far.id)] if key == "peers" else ["127.0.0.0/8"]
        change(pair.near, **{f"access__ban__{key}": who})
        assert pair.near_heard.wait(crust.LostPeer).reason == "banned"
        assert pair.far_heard.wait(crust.LostPeer).reason == "banned"
        assert denial(pair.far, pair.near) == "banned" if key == "peers" else True
        change(pair.near, **{f"access__ban__{key}": []})
        assert pair.far.connect(pair.near.contact).id == pair.near.id


# --- all of them ------------------------------------------------------------------------------------------------------


def test_every_marked_key_has_a_check() -> None:
    assert set(CHECKS) == live_keys(Config)


@pytest.mark.parametrize("check", dict.fromkeys(CHECKS.values()), ids=lambda check: check.__name__)
def test_a_marked_key_is_taken(
    check: Callable[..., object], nodes: Nodes, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What it does is done, and undone, without a restart."""
    wanted = check.__code__.co_varnames[: check.__code__.co_argcount]
    with crust.testing.network() as net:
        known = {"nodes": nodes, "tmp_path": tmp_path, "caplog": caplog, "net": net}
        check(**{name: known[name] for name in wanted})
        assert net.close()


def test_the_others_are_named(nodes: Nodes) -> None:
    """All at once: none of them counts, all are named, and those that can be taken are."""
    node = nodes.start()
    before = node.config
    live, running = live_keys(Config), dict(values(before))
    wanted = before.replace(**{**OTHER, "listen.addresses": ("tcp://127.0.0.1:9",)})
    differing = {key for key, value in values(wanted) if running[key] != value}
    told = node.reload(wanted)
    assert set(OTHER) - differing <= {"lan.seek", "bootstrap.cache.max_peers"}  # tests set these
    assert set(told.needs_restart) == differing - live
    assert set(told.applied) == differing & live
    assert node.config == before.replace(**{key: OTHER[key] for key in told.applied})
    assert node.reload(wanted).needs_restart == told.needs_restart
