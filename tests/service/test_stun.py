"""What a running node answers to those who ask where they are, and how it learns where it is itself."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import crust
from crust import CandidateKind, Endpoint, ListenConfig, Service, limits
from crust.nat.stun.message import build_stun, parse_stun_untrusted
from crust.peers.echoes import Echo
from crust.service.network import filtering, reflection
from tests.support.nodes import Nodes, config
from tests.support.sockets import has_ipv6, unused_port
from tests.support.stun import StunServer, ask_udp, read_message, request
from tests.support.waiting import busy, wait_until

BOTH = ListenConfig(addresses=("tcp://127.0.0.1:0", "utp://127.0.0.1:0"))
OUTSIDE = ("20.0.9.9", 4711)


def address_of(node: Service, transport: str) -> tuple[str, int]:
    return next((each.host, each.port) for each in node.addresses if each.transport == transport)


@contextlib.contextmanager
def calling(node: Service):  # type: ignore[no-untyped-def]
    with socket.create_connection(address_of(node, "tcp"), timeout=5) as sock:
        yield sock


def reflexive(node: Service) -> dict[str, tuple[Endpoint, ...]]:
    """By the scheme of the listener."""
    assert node._network is not None
    return {local.transport: found for local, found in node._network.reflection.reflexive().items()}


def learned(node: Service, count: int = 2) -> dict[str, tuple[Endpoint, ...]]:
    wait_until(lambda: len(reflexive(node)) == count, what="where it is")
    return reflexive(node)


# --- answers ----------------------------------------------------------------------------------------------------------


def test_a_peer_is_answered_by_udp(nodes: Nodes) -> None:
    """On the port that listens, with nothing but the address; a program on the peer's machine counts as the peer."""
    pair = nodes.pair(config(listen=BOTH), config(listen=BOTH))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        answer = ask_udp(sock, address_of(pair.far, "utp"), request())
        assert (answer.xor_mapped, answer.mapped, answer.other, answer.software) == (sock.getsockname(), None, None, "")


def test_a_peer_is_answered_by_tcp(nodes: Nodes) -> None:
    """Several questions on one connection; the sessions go on."""
    pair = nodes.pair()
    with calling(pair.far) as sock:
        for _ in range(3):
            question = request(fingerprint=True)
            sock.sendall(build_stun(question)[:7])
            sock.sendall(build_stun(question)[7:])
            answer = parse_stun_untrusted(read_message(sock))
            assert (answer.transaction, answer.xor_mapped) == (question.transaction, sock.getsockname())
    pair.to_far.send(b"still here")
    assert pair.to_near.recv(timeout=5) == b"still here"
    wait_until(lambda: pair.far.stats().gate.current == 0, what="the slot to be free")


@pytest.mark.parametrize("transport", ["tcp", "utp"])
@pytest.mark.parametrize("serve", [False, True])
def test_strangers_are_answered_on_request_only(nodes: Nodes, serve: bool, transport: str) -> None:
    """``nat.serve_stun``; without it TCP ends at once, and UDP is silent."""
    node = nodes.start(config(listen=BOTH, nat__serve_stun=serve))
    if transport == "tcp":
        with calling(node) as sock:
            sock.sendall(build_stun(request()))
            try:
                answer = read_message(sock)
            except ConnectionResetError:
                answer = b""
            assert bool(answer) == serve
        return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        if serve:
            assert ask_udp(sock, address_of(node, "utp"), request()).xor_mapped == sock.getsockname()
            return
        sock.settimeout(5)
        sock.sendto(build_stun(request()), address_of(node, "utp"))
        sock.sendto(b"\x21\x00" + bytes(18), address_of(node, "utp"))
        assert sock.recv(100)[0] == 0x31  # the RESET of what came after it


def test_a_caller_that_only_asks_has_little_time(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of a first message; then its slot is free again."""
    monkeypatch.setattr(limits, "FIRST_MESSAGE_TIMEOUT", 0.3)
    node = nodes.start(config(nat__serve_stun=True))
    with calling(node) as sock:
        sock.sendall(build_stun(request()))
        assert read_message(sock)
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(1) == b""
    wait_until(lambda: node.stats().gate.current == 0, what="the slot to be free")


def test_callers_that_ask_count_as_half_open(nodes: Nodes) -> None:
    """One who holds connections open cannot have more of them than one who stalls a handshake."""
    node = nodes.start(config(nat__serve_stun=True, limits__half_open_per_address=2))
    with contextlib.ExitStack() as stack:
        callers = []
        for _ in range(2):
            callers.append(stack.enter_context(calling(node)))
            callers[-1].sendall(build_stun(request()))
            assert read_message(callers[-1])
        assert (node.stats().gate.current, node.stats().gate.evicted) == (2, 0)
        third = stack.enter_context(calling(node))
        third.sendall(build_stun(request()))
        assert read_message(third)
        assert (node.stats().gate.current, node.stats().gate.evicted) == (2, 1)
        with contextlib.suppress(ConnectionResetError):
            assert callers[0].recv(1) == b""  # it made room


# --- where we are -----------------------------------------------------------------------------------------------------


def test_a_server_says_where_we_are(nodes: Nodes) -> None:
    """It is asked from the very ports that listen; the answer is a candidate, and strangers are not told."""
    with StunServer(mapped=OUTSIDE) as server:
        node = nodes.start(config(listen=BOTH, nat__stun_servers=[server.name]))
        found = learned(node)
        assert found == {
            "tcp": (Endpoint("tcp", *OUTSIDE),),
            "utp": (Endpoint("utp", *OUTSIDE),),
        }
        assert {("tcp", address_of(node, "tcp")), ("udp", address_of(node, "utp"))} == set(server.heard)
    kinds = {(each.kind, each.shown): each for each in node.candidates if each.endpoint.host == OUTSIDE[0]}
    assert list(kinds) == [(CandidateKind.REFLEXIVE, False)]
    assert kinds[CandidateKind.REFLEXIVE, False].local in node.addresses
    assert all(endpoint.host != OUTSIDE[0] for endpoint in (*node.addresses, *node.contact.endpoints))
    node.stop_listening()
    assert node.candidates == ()  # nothing leads to a listener that is closed


def test_an_address_of_our_own_is_one_candidate(nodes: Nodes) -> None:
    """Where nobody translates, others see what we know already."""
    with StunServer() as server:
        node = nodes.start(config(listen=BOTH, nat__stun_servers=[server.name]))
        learned(node)
    kinds = [each.kind for each in node.candidates]
    assert kinds == [CandidateKind.INTERFACE] * 2
    assert tuple(each.endpoint for each in node.candidates) == node.addresses
    assert all(each.local == each.endpoint and each.shown for each in node.candidates)


def test_what_is_configured_is_a_candidate(nodes: Nodes) -> None:
    """Before all others."""
    listen = ListenConfig(addresses=("tcp://127.0.0.1:0",), advertise=("tcp://20.0.0.1:5483",))
    node = nodes.start(config(listen=listen))
    first = node.candidates[0]
    assert (first.kind, str(first.endpoint), first.local, first.shown) == (
        CandidateKind.CONFIGURED,
        "tcp://20.0.0.1:5483",
        None,
        True,
    )
    node.stop_listening()
    assert [each.kind for each in node.candidates] == [CandidateKind.CONFIGURED]
    assert nodes.make().candidates == ()


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
def test_each_family_is_asked_for_itself(nodes: Nodes) -> None:
    """Of a server that has both, by its name; here it is one for each."""
    listen = ListenConfig(addresses=("utp://127.0.0.1:0", "utp://[::1]:0"))
    with StunServer() as one, StunServer("::1") as other:
        node = nodes.start(config(listen=listen, nat__stun_servers=[one.name, other.name]))
        assert node._network is not None
        about = node._network.reflection
        wait_until(lambda: len(about.reflexive()) == 2, what="both families")
        assert {local: found for local, found in about.reflexive().items()} == {e: (e,) for e in node.addresses}


def test_it_asks_again(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """At intervals; a new address takes the old one's place, on TCP too, where the port must be free again."""
    monkeypatch.setattr(limits, "REFLEXIVE_INTERVAL", 0.2)
    with StunServer(mapped=OUTSIDE) as server:
        node = nodes.start(config(listen=BOTH, nat__stun_servers=[server.name]))
        learned(node)
        server.mapped = moved = ("20.0.7.7", 4712)
        wait_until(
            lambda: set(reflexive(node).values()) == {(Endpoint("tcp", *moved),), (Endpoint("utp", *moved),)},
            what="the new address",
        )


def test_a_server_that_was_silent_is_asked_again_soon(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been the network that was not there yet, or this machine that stood still."""
    monkeypatch.setattr(limits, "STUN_TIMEOUT", 0.3)
    with StunServer(mapped=OUTSIDE, mute=True) as server:
        node = nodes.start(config(listen=BOTH, nat__stun_servers=[server.name]))
        assert node._network is not None
        about = node._network.reflection
        wait_until(lambda: {protocol for protocol, _ in server.heard} == {"tcp", "udp"}, what="the questions")
        wait_until(lambda: not about._udp._asked and not about._asking, what="the end of both")
        assert reflexive(node) == {}
        server.mute = False
        assert learned(node) == {name: (Endpoint(name, *OUTSIDE),) for name in ("tcp", "utp")}


def test_a_name_that_was_not_known_is_asked_for_again_soon(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """There may have been no network to ask by."""
    with StunServer(mapped=OUTSIDE) as server:
        real, asked = reflection.Reflection._resolve, list[Endpoint]()

        def resolve(about: reflection.Reflection, endpoint: Endpoint) -> list[Endpoint]:
            asked.append(endpoint)
            return real(about, endpoint) if len(asked) > 2 else []

        monkeypatch.setattr(reflection.Reflection, "_resolve", resolve)
        learned(nodes.start(config(listen=BOTH, nat__stun_servers=[server.name])))
        assert len(asked) == 4


def test_who_listens_anew_while_a_server_is_asked_asks_soon(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that asks knows nothing of new ports."""
    holds, goes_on = threading.Event(), threading.Event()
    with StunServer(mapped=OUTSIDE) as server:
        real = reflection.Reflection._ask_burst

        def ask_burst(about: reflection.Reflection, *arguments: Any) -> None:
            holds.set()
            goes_on.wait(20)
            real(about, *arguments)

        monkeypatch.setattr(reflection.Reflection, "_ask_burst", ask_burst)
        node = nodes.start(config(listen=BOTH, nat__stun_servers=[server.name]))
        assert node._network is not None
        about = node._network.reflection
        assert holds.wait(20)
        opened = node.rotate_ports(0.0)
        wait_until(lambda: about._retries._timer is not None, what="that they are to be asked about")
        goes_on.set()
        wait_until(lambda: opened and set(opened) <= set(about.reflexive()), what="where the new ones are")


def test_silent_servers_delay_nothing(nodes: Nodes) -> None:
    """Neither the start, nor the end, nor each other."""
    began = time.monotonic()
    with StunServer(mute=True) as mute, StunServer(mapped=OUTSIDE) as server:
        servers = ["no-such-name.invalid", "127.0.0.1:9", mute.name, server.name]
        node = nodes.start(config(listen=BOTH, nat__stun_servers=servers))
        learned(node)
        wait_until(lambda: len(mute.heard) > 1, what="the questions")
        assert node.close()
    assert time.monotonic() - began < limits.STUN_TIMEOUT * busy()


def test_lies_are_not_believed(nodes: Nodes) -> None:
    """Addresses that nobody can have, or of the other family."""
    with (
        StunServer(mapped=("0.0.0.0", 5)) as nowhere,
        StunServer(mapped=("20.0.0.1", 0)) as portless,
        StunServer(mapped=("2a10::1", 5)) as other,
        StunServer(mapped=OUTSIDE) as honest,
    ):
        names = [each.name for each in (nowhere, portless, other, honest)]
        node = nodes.start(config(listen=BOTH, nat__stun_servers=names))
        servers = (nowhere, portless, other, honest)
        # Who takes his time on a busy machine is asked again.
        wait_until(lambda: all(len(each.heard) >= 2 for each in servers), what="all questions")
        learned(node)
        assert {each.host for found in reflexive(node).values() for each in found} == {OUTSIDE[0]}


@pytest.fixture
def far_peers(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ListenConfig]:
    """Peers on loopback pass for distant ones, each address in a network of its own."""
    for module in (filtering, reflection):
        monkeypatch.setattr(module, "is_near", lambda endpoint, networks: False)
    return lambda host: ListenConfig(addresses=(f"tcp://{host}:0", f"utp://{host}:0"))


def test_two_peers_say_where_we_are(nodes: Nodes, far_peers: Callable[[str], ListenConfig]) -> None:
    """One is hearsay; when a second one from elsewhere agrees, it counts."""
    one, other = (nodes.start(config(listen=far_peers(host))) for host in ("127.0.1.1", "127.0.2.1"))
    node = nodes.start(config(listen=ListenConfig(addresses=("tcp://0.0.0.0:0", "utp://0.0.0.0:0"))))
    node.connect(one.contact)
    assert one._network is not None
    answers = one._network.reflection.responder
    wait_until(lambda: answers.answered >= 2, what="the first peer's answers")
    assert reflexive(node) == {}
    node.connect(other.contact)
    found = learned(node)
    ports = {each.transport: each.port for each in node.addresses}
    assert {transport: [(each.host, each.port) for each in seen] for transport, seen in found.items()} == {
        transport: [("127.0.0.1", ports[transport])] for transport in ("tcp", "utp")
    }


def open_to_strangers(node: Service) -> set[str]:
    """The transports by which they are told to come where others see us."""
    return {each.endpoint.transport for each in node.candidates if each.kind is CandidateKind.REFLEXIVE and each.shown}


def stranger_to_itself(nodes: Nodes, server: StunServer) -> Service:
    """A node that does not know its own interfaces."""
    listen = ListenConfig(addresses=("tcp://0.0.0.0:0", "utp://0.0.0.0:0"))
    node = nodes.make(config(listen=listen, nat__stun_servers=[server.name], nat__port_mapping=[]))
    node._machine.addresses = lambda include, exclude: []  # type: ignore[method-assign]
    return node.start()


def test_strangers_are_told_if_they_get_in(nodes: Nodes, far_peers: Callable[[str], ListenConfig]) -> None:
    """A peer that our ports have sent nothing to tries it; then contact and addresses have what others see."""
    helper = nodes.start(config(listen=far_peers("127.0.1.1")))
    with StunServer("127.0.3.1") as server:
        node = stranger_to_itself(nodes, server)
        found = learned(node)
        assert node.addresses == ()
        node.connect(helper.contact)
        wait_until(lambda: open_to_strangers(node) == {"tcp", "utp"}, what="that strangers get in")
        assert set(node.addresses) == {each for seen in found.values() for each in seen}
        heard = nodes.heard(node)
        wait_until(lambda: heard.of(crust.AddressesChanged)[-1].addresses == node.addresses, what="the event")
        stranger = nodes.start(config(listen=ListenConfig(addresses=())))
        assert stranger.connect(node.contact).id == node.id
        node.stop_listening()
        assert node.addresses == ()


def test_strangers_are_not_told_if_they_do_not_get_in(
    nodes: Nodes, far_peers: Callable[[str], ListenConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address where nobody answers stays a candidate."""
    monkeypatch.setattr(limits, "ECHO_GRACE", 0.1)
    helper = nodes.start(config(listen=far_peers("127.0.1.1")))
    with StunServer(mapped=("127.0.0.1", unused_port())) as server:
        node = stranger_to_itself(nodes, server)
        learned(node)
        node.connect(helper.contact)
        assert node._network is not None
        filtering = node._network.reflection.filtering
        wait_until(lambda: len(filtering._open) == 2, what="both attempts")
        assert filtering.open_places() == {}
        assert node.addresses == ()
        assert open_to_strangers(node) == set()
        # And when others see it elsewhere, what was found is forgotten.
        filtering._open = dict.fromkeys(filtering._open, True)
        assert len(node.addresses) == 2
        seen, look = dict(filtering._places), filtering.look
        monkeypatch.setattr(filtering, "look", lambda places: None)  # so does the node after each attempt

        def addresses(places: dict[Endpoint, Endpoint]) -> int:
            look({local: (place,) for local, place in places.items()})
            return len(node.addresses)

        wait_until(lambda: addresses({}) == 0, what="what was found to be forgotten")
        # But not by us, if it is to and fro that they do.
        wait_until(lambda: addresses(seen) == 2, what="it to hold again")


def test_an_address_that_opens_or_closes_is_no_reason_to_ask(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for more often from then on, or less. At once, that would never end where it goes to and fro."""
    with StunServer() as server:
        node = stranger_to_itself(nodes, server)
        learned(node)
        assert node._network is not None
        about = node._network.reflection
        asked: list[bool] = []
        monkeypatch.setattr(about, "_ask_all", asked.append)
        round_before = about._round
        about._filtered()
        assert asked == [] and about._round is not round_before and not round_before.active  # type: ignore[union-attr]
        about.refresh()
        wait_until(lambda: asked == [True], what="a question to everybody")


def test_no_peer_is_asked_more_than_it_answers(nodes: Nodes, far_peers: Callable[[str], ListenConfig]) -> None:
    """What others see goes to and fro, or is another each time, as some routers have it: nobody is flooded for that."""
    helper = nodes.start(config(listen=far_peers("127.0.1.1")))
    node = nodes.make(config(listen=ListenConfig(addresses=("tcp://0.0.0.0:0",)), nat__port_mapping=[]))
    node._machine.addresses = lambda include, exclude: []  # type: ignore[method-assign]
    node.start()
    assert node._network is not None
    about = node._network.reflection
    # Whom a port has asked, or called, is no stranger to it.
    about._ask_all = lambda servers: None  # type: ignore[method-assign]
    node._node.local_port = lambda endpoint: None  # type: ignore[union-attr]
    node.connect(helper.contact)
    filtering = about.filtering
    (local,) = node._network.listeners.endpoints()
    asked: list[int] = []

    def ask(conversation: object, transport: str, port: int, token: object, timeout: float) -> Echo:
        asked.append(port)
        return Echo("refused", 0.0)

    node._node.echoes.ask = ask  # type: ignore[method-assign]
    to_and_fro = [Endpoint("tcp", "127.0.0.1", port) for port in (4711, 4712)]
    for place in 30 * to_and_fro:
        filtering.look({local: (place,)})
        wait_until(lambda: not filtering._busy, what="the attempt")
    assert sorted(asked) == [4711, 4712]
    for port in range(5000, 5100):
        filtering.look({local: (Endpoint("tcp", "127.0.0.1", port),)})
    wait_until(lambda: not filtering._busy, what="the attempts")
    assert len(asked) == limits.ECHOES_ASKED_PER_MINUTE < limits.ECHOES_PER_MINUTE
    assert len(filtering._due) <= limits.FILTER_PLACES_MAX + 1
    assert filtering.open_places() == {}


def test_a_helper_that_lies_is_not_believed(
    nodes: Nodes, far_peers: Callable[[str], ListenConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    It says that it gets in where nobody has come, or that it does not where all do, or nothing: somebody at another
    address is asked soon. Who has been asked by that port, or called, may come in without being a stranger.
    """
    helpers = [nodes.start(config(listen=far_peers(host))) for host in ("127.0.1.1", "127.0.2.1")]
    node = nodes.make(config(listen=ListenConfig(addresses=("tcp://0.0.0.0:0",)), nat__port_mapping=[]))
    node._machine.addresses = lambda include, exclude: []  # type: ignore[method-assign]
    node.start()
    assert node._network is not None and node._node is not None
    about, echoes = node._network.reflection, node._node.echoes
    about._ask_all = lambda servers: None  # type: ignore[method-assign]
    node._node.local_port = lambda endpoint: None
    filtering = about.filtering
    (local,) = node._network.listeners.endpoints()
    place = Endpoint("tcp", "127.0.0.1", local.port)
    now, asked = [node._machine.clock.now()], []
    monkeypatch.setattr(filtering, "_now", lambda: now[0])

    def ask(conversation: Any, transport: str, port: int, token: object, timeout: float) -> Echo:
        where = conversation.link.connection.remote.host
        asked.append(where)
        said = says[len(asked) - 1]
        # Who has called a listener may be heard of late; for who has not, or is no stranger, nothing is to be awaited.
        monkeypatch.setattr(limits, "ECHO_GRACE", 30.0 if said == "from 127.0.5.1" else 0.1)
        if said == "nothing":
            raise crust.Timeout("as it says nothing")
        if said.startswith("from "):
            with socket.create_connection(("127.0.0.1", port), source_address=(said[5:], 0)):
                return Echo("connected", 0.0)
        return Echo(said, 0.0)

    echoes.ask, echoes.may_ask = ask, lambda conversation: True  # type: ignore[method-assign]

    def look(later: float) -> bool:
        """Whether strangers are said to get in, after so many seconds and one attempt at most."""
        now[0] += later
        filtering.look({local: (place,)})
        wait_until(lambda: not filtering._busy, what="the attempt")
        return bool(filtering.open_places())

    for helper in helpers:
        node.connect(helper.contact)
    filtering.sends(local, "127.0.4.1")
    says = ["connected", "from 127.0.4.1", "refused", "nothing", "from 127.0.5.1"]
    says += ["refused", "from 127.0.5.1", "refused", "refused", "from 127.0.5.1"]
    assert not look(0.0)  # nobody has come
    assert not look(0.0) and len(asked) == 1
    assert not look(limits.FILTER_AGAIN)  # not a stranger
    assert set(asked) == {"127.0.1.1", "127.0.2.1"}
    assert not look(limits.FILTER_AGAIN) and len(asked) == 2  # both have been asked
    now[0] += limits.FILTER_MEMORY
    assert not look(limits.FILTER_INTERVAL) and len(asked) == 3
    assert not look(limits.FILTER_AGAIN) and len(asked) == 4
    assert len(set(asked[2:])) == 2
    assert look(limits.FILTER_INTERVAL) and len(asked) == 5
    assert look(limits.FILTER_AGAIN) and len(asked) == 5  # it is known
    assert look(limits.FILTER_INTERVAL) and len(asked) == 6  # a lie: somebody has come before
    assert look(limits.FILTER_AGAIN) and asked[5] != asked[6]
    assert look(limits.FILTER_INTERVAL) and len(asked) == 8
    assert not look(limits.FILTER_AGAIN) and len(asked) == 9 and asked[7] != asked[8]  # two say so
    assert look(limits.FILTER_INTERVAL) and len(asked) == 10


def test_whoever_has_heard_from_a_port_cannot_tell(nodes: Nodes, far_peers: Callable[[str], ListenConfig]) -> None:
    """A server or peer that was asked, or that has a link from that very port."""
    helper = nodes.start(config(listen=ListenConfig(addresses=("utp://127.0.1.1:0",))))
    with StunServer("127.0.3.1") as server:
        node = stranger_to_itself(nodes, server)
        seen = learned(node)
        node.connect(helper.contact)
        wait_until(lambda: open_to_strangers(node), what="that strangers get in by TCP")
        assert node._network is not None
        filtering = node._network.reflection.filtering
        places = {local.transport: (local, seen[local.transport][0]) for local in node._network.listeners.endpoints()}
        now = node._machine.clock.now()
        assert filtering._helper(places["utp"], [], now) is None
        helping = filtering._helper(places["tcp"], [], now)
        assert helping is not None and helping.link is not None
        true, helping.link.observed = helping.link.observed, ("20.0.6.6", 5483)
        assert filtering._helper(places["tcp"], [], now) is None  # its echo would go there
        helping.link.observed = true
        filtering.sends(places["tcp"][0], "127.0.1.1")
        assert filtering._helper(places["tcp"], [], now) is None
        assert filtering._helper(places["tcp"], [], now + limits.FILTER_MEMORY + 1) is not None


def test_peers_as_near_as_ourselves_are_not_asked(nodes: Nodes) -> None:
    """There is no translator between us."""
    pair = nodes.pair(config(listen=BOTH), config(listen=BOTH))
    assert pair.near._network is not None
    about = pair.near._network.reflection
    assert about._peers() == []
    assert isinstance(pair.to_far, crust.Peer)
