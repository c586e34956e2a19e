"""TCP and µTP side by side: which one a session begins on, and how it moves, in memory and on a clock of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import crust
import crust.testing
from crust import Identity, Service
from crust.testing import Network
from tests.support.nodes import pair_of_identities

BOTH = ("tcp://0.0.0.0:0", "utp://0.0.0.0:0")
SIDES = ("caller", "callee")
MESSAGE = bytes(1000)


@pytest.fixture
def net() -> Iterator[Network]:
    with crust.testing.network() as net:
        yield net
        assert net.close()
        assert [node for node in net._heard if node._node is not None and node._node.crashes] == []


def config(**changes: object) -> crust.Config:
    dotted = {name.replace("__", "."): value for name, value in changes.items()}
    return crust.Config().replace(**{"listen.addresses": BOTH, **dotted})


class Couple:
    """Two nodes on both transports; ``controller`` has the greater id."""

    def __init__(self, net: Network, controller: str = "callee", **changes: object) -> None:
        lesser, greater = pair_of_identities()
        ours, theirs = (greater, lesser) if controller == "caller" else (lesser, greater)
        self.net = net
        self.caller = self._node(ours, changes)
        self.callee = self._node(theirs, changes)

    def _node(self, identity: Identity, changes: dict[str, object]) -> Service:
        return self.net.service(config(**changes), identity=identity)

    def connect(self, within: float = 30.0) -> crust.Peer:
        self.to_callee = self.caller.connect(self.callee.contact, timeout=within)
        self.net.settle()
        while not self.callee.peers:  # what settles the callee may be on its way
            self.net.advance(0.01)
            assert self.net.now < within
        return self.to_callee

    @property
    def to_caller(self) -> crust.Peer:
        (peer,) = self.callee.peers
        return peer

    @property
    def transports(self) -> set[str]:
        """Of the session, as both sides see it."""
        paths = [peer.path for peer in (self.to_callee, self.to_caller)]
        return {path.transport for path in paths if path is not None}

    @property
    def words(self) -> list[list[str]]:
        """What both have heard of each other."""
        kinds = (crust.ListenerStarted, crust.AddressesChanged, crust.PathAttempted)
        return [
            [type(event).__name__ for event in self.net.heard(service) if not isinstance(event, kinds)]
            for service in (self.caller, self.callee)
        ]

    def check_alone(self) -> None:
        """One link carries the session, and all others are gone on both sides."""
        for service in (self.caller, self.callee):
            assert service._node is not None
            links = [link for link in service._node._links if link.stage.value != "dead"]
            assert len(links) == 1
            assert not service._node.dialer._pursuits


# --- how it begins ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.3, 1.0])
def test_with_both_open_it_is_tcp(net: Network, delay: float) -> None:
    """However far away the other is, and nobody hears of a move."""
    couple = Couple(net)
    net.delay(seconds=delay)
    couple.connect()
    net.advance(10)
    assert couple.transports == {"tcp"}
    assert couple.words[0] == couple.words[1] == ["ConnectSuccess"]
    couple.check_alone()


@pytest.mark.parametrize(("blocked", "used"), [("tcp", "utp"), ("utp", "tcp")])
@pytest.mark.parametrize("how", ["partition", "refuse", "cut"])
def test_a_firewall_that_drops_one_of_them(net: Network, blocked: str, used: str, how: str) -> None:
    """From the start: the session is there by the other within a second, at 40 ms a round trip."""
    couple = Couple(net)
    net.delay(seconds=0.02)
    getattr(net, how)(couple.caller, couple.callee, transport=blocked)
    couple.connect()
    assert net.now < 1.0
    assert couple.transports == {used}
    path = couple.to_callee.path
    assert path is not None
    assert (path.path_class, path.remote.split(":")[0]) == (f"direct-{used}", used)
    couple.to_callee.send(b"through")
    assert couple.to_caller.recv(timeout=1) == b"through"
    net.advance(30)
    assert couple.words[0] == couple.words[1] == ["ConnectSuccess"]
    couple.check_alone()


def test_bootstrap_over_utp_alone(net: Network) -> None:
    """Where nothing else goes through."""
    far = net.service(config(bootstrap__accept=True))
    near = net.service(config(), contacts=[far.contact])
    net.partition(transport="tcp")
    peer = near.bootstrap()
    assert peer.path is not None and peer.path.transport == "utp"
    assert net.now < 1.0


# --- a better way that comes late -------------------------------------------------------------------------------------


@pytest.mark.parametrize("controller", SIDES)
@pytest.mark.parametrize("late", [0.5, 1.0, 1.5])
def test_tcp_that_comes_late_takes_over(net: Network, controller: str, late: float) -> None:
    """The session begins on µTP at once, moves to TCP when that is there, and nobody hears of a break."""
    couple = Couple(net, controller)
    net.delay(seconds=0.01)
    net.delay(transport="tcp", seconds=late)
    couple.connect()
    assert net.now < 0.5
    assert couple.transports == {"utp"}
    net.advance(10 * late)
    assert couple.transports == {"tcp"}
    assert couple.words[0] == couple.words[1] == ["ConnectSuccess", "PathChanged"]
    (changed,) = net.heard(couple.caller, crust.PathChanged)
    assert changed.old is not None
    assert (changed.old.path_class, changed.new.path_class) == ("direct-utp", "direct-tcp")
    couple.check_alone()


@pytest.mark.parametrize("controller", SIDES)
def test_nothing_is_lost_doubled_or_reordered_by_a_move(net: Network, controller: str) -> None:
    """With data under way in both directions, before, during and after."""
    couple = Couple(net, controller)
    net.delay(seconds=0.05)
    net.delay(transport="tcp", seconds=0.4)
    peers = (couple.connect(), couple.to_caller)
    count = 0
    while net.now < 5.0:
        for peer in peers:
            peer.send(count.to_bytes(4, "big") + MESSAGE)
        count += 1
        net.advance(0.007)
    assert couple.transports == {"tcp"}
    for peer in peers:
        got = [int.from_bytes(peer.recv(timeout=5)[:4], "big") for _ in range(count)]
        assert got == list(range(count))
        with pytest.raises(crust.Timeout):
            peer.recv(timeout=5)
    assert couple.words[0] == couple.words[1] == ["ConnectSuccess", "PathChanged"]


def test_both_call_and_tcp_comes_late_for_both(net: Network) -> None:
    """Two calls that cross are one session on µTP, and then one on TCP."""
    for controller in SIDES:
        couple = Couple(net, controller)
        net.delay(seconds=0.02)
        net.delay(transport="tcp", seconds=0.6)
        futures = [couple.caller.dial(couple.callee.contact), couple.callee.dial(couple.caller.contact)]
        couple.to_callee = futures[0].result(timeout=5)
        assert futures[1].result(timeout=5) is couple.to_caller
        assert couple.transports == {"utp"}
        net.advance(10)
        assert couple.transports == {"tcp"}
        for words in couple.words:
            assert set(words) == {"ConnectSuccess", "PathChanged"}
            assert words.count("ConnectSuccess") == 1
        couple.to_callee.send(b"x")
        assert couple.to_caller.recv(timeout=5) == b"x"
        couple.check_alone()
        net.heal()


@pytest.mark.parametrize("who", SIDES)
def test_disconnect_ends_the_late_dial(net: Network, who: str) -> None:
    """Nobody is connected again by what was still under way."""
    couple = Couple(net)
    net.delay(transport="tcp", seconds=2.0)
    couple.connect()
    assert couple.transports == {"utp"}
    (couple.caller if who == "caller" else couple.callee).disconnect(
        couple.callee.id if who == "caller" else couple.caller.id
    )
    net.advance(30)
    assert couple.caller.peers == couple.callee.peers == []
    for words in couple.words:
        assert words == ["ConnectSuccess", "LostPeer"]
    for service in (couple.caller, couple.callee):
        assert service._node is not None
        assert not service._node.dialer._pursuits
        assert not [link for link in service._node._links if link.stage.value != "dead"]


def test_closing_ends_the_late_dial(net: Network) -> None:
    """It does not have to wait for it."""
    couple = Couple(net)
    net.partition(transport="tcp")
    couple.connect()
    began = net.now
    assert couple.caller.close()
    assert net.now - began < 0.5


@pytest.mark.parametrize("what", ["peer", "address"])
def test_a_ban_ends_the_late_dial(net: Network, what: str) -> None:
    """Of the peer, or of where it is."""
    couple = Couple(net)
    net.delay(transport="tcp", seconds=1.0)
    couple.connect()
    assert couple.to_callee.path is not None
    address = crust.Endpoint.parse(couple.to_callee.path.remote).host
    couple.caller.ban(couple.callee.id if what == "peer" else address)
    net.advance(30)
    assert couple.caller.peers == couple.callee.peers == []
    assert couple.caller._node is not None and not couple.caller._node.dialer._pursuits


@pytest.mark.parametrize("controller", SIDES)
@pytest.mark.parametrize("when", [0.3, 0.9, 1.2, 1.35, 1.5, 1.65, 1.8, 1.95, 2.1])
def test_a_late_tcp_that_dies_on_the_way(net: Network, controller: str, when: float) -> None:
    """At any moment of its dial, its handshake or the move: the session goes on, with all that it carried."""
    couple = Couple(net, controller)
    net.delay(seconds=0.02)
    net.delay(transport="tcp", seconds=0.3)
    peers = (couple.connect(), couple.to_caller)
    sent = 0
    while net.now < when:
        for peer in peers:
            peer.send(b"%d" % sent)
        sent += 1
        net.advance(0.03)
    net.cut(transport="tcp")
    for peer in peers:
        peer.send(b"%d" % sent)
    sent += 1
    net.advance(10)
    assert couple.transports == {"utp"}
    for peer in peers:
        assert [peer.recv(timeout=0) for _ in range(sent)] == [b"%d" % number for number in range(sent)]
    for words in couple.words:
        assert words[0] == "ConnectSuccess" and "LostPeer" not in words
    net.heal()
    couple.check_alone()


# --- a firewall that comes in mid-session -----------------------------------------------------------------------------


@pytest.mark.parametrize("controller", SIDES)
@pytest.mark.parametrize("sender", [*SIDES, "both"])
@pytest.mark.parametrize("blocked", ["tcp", "utp"])
def test_a_firewall_in_mid_session(net: Network, controller: str, sender: str, blocked: str) -> None:
    """With data flowing it takes less than five seconds, whoever sends; the caller alone knows where to call."""
    couple = Couple(net, controller)
    net.delay(seconds=0.02)
    if blocked == "utp":
        net.refuse(transport="tcp")
    couple.connect()
    assert couple.transports == {blocked}
    net.heal(transport="tcp")
    net.delay(seconds=0.02)
    pairs = [(couple.to_callee, couple.to_caller), (couple.to_caller, couple.to_callee)]
    flows = {"caller": pairs[:1], "callee": pairs[1:], "both": pairs}[sender]
    sent = 0

    def flow(seconds: float) -> None:
        nonlocal sent
        until = net.now + seconds
        while net.now < until:
            for peer, _ in flows:
                peer.send(b"%d" % sent + MESSAGE)
            sent += 1
            net.advance(0.05)

    flow(3.0)
    net.partition(transport=blocked)
    began = net.now
    while couple.transports & {blocked}:
        flow(0.05)
        assert net.now - began < 5.0
    flow(2.0)
    for _, receiver in flows:
        got = [int(receiver.recv(timeout=5).split(b"\0")[0]) for _ in range(sent)]
        assert got == list(range(sent))
    for words in couple.words:
        assert set(words) <= {"ConnectSuccess", "PathChanged"}
    net.advance(30)
    net.heal()
    net.advance(30)
    couple.check_alone()


def test_silence_without_data_is_noticed_by_a_heartbeat(net: Network) -> None:
    """Then the session moves, too."""
    couple = Couple(net)
    couple.connect()
    net.partition(transport="tcp")
    net.advance(40)
    assert couple.transports == {"utp"}
    assert couple.words[0] == couple.words[1] == ["ConnectSuccess", "PathChanged"]


def test_a_suspicion_that_was_wrong_changes_nothing(net: Network) -> None:
    """The old way comes back before another is found: the session stays where it is."""
    couple = Couple(net)
    net.delay(seconds=0.02)
    couple.connect()
    net.refuse()
    net.partition(couple.caller, couple.callee)
    couple.to_callee.send(b"x")
    net.advance(3)
    net.heal(couple.caller, couple.callee)
    net.advance(20)
    assert couple.to_caller.recv(timeout=0) == b"x"
    assert couple.words[0] == couple.words[1] == ["ConnectSuccess"]
    couple.check_alone()
