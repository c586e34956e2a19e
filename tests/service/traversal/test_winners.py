"""What becomes of a UDP socket that has won: whom the node calls from there, and whose call it takes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from crust import limits
from crust.addresses import Endpoint
from crust.nat.methods import Method
from crust.nat.punch.allowance import Allowance
from crust.nat.punch.udp_hand import WonUdp
from crust.peers.race import Candidate
from crust.service.traversal.hands import Hands

METHOD = Method("punch-udp", "punched-utp", lambda ours, theirs: None)
THERE = ("198.51.100.7", 4000)


class Connection:
    """A call that came."""

    def __init__(self, host: str) -> None:
        self.remote = Endpoint("utp", host, 5000)
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


class Listener:
    """What takes calls, as soon as it runs."""

    def __init__(self) -> None:
        self.on_connection: Any = None
        self.closed = False

    def run(self, on_connection: Any) -> None:
        self.on_connection = on_connection

    def close(self) -> None:
        self.closed = True


class Scene:
    """Hands, with everything around them made up."""

    def __init__(self) -> None:
        self.pursued: list[Candidate] = []
        self.accepted: list[Connection] = []
        self.listener = Listener()
        self.later: list[Any] = []
        self.released = 0
        self.utp: Any = SimpleNamespace(listen_over=lambda hub: self.listener)
        self.hub: Any = SimpleNamespace(acceptor=None, release=self._release)
        node = SimpleNamespace(
            dialer=SimpleNamespace(pursue=lambda conversation, candidate: self.pursued.append(candidate)),
            acceptor=SimpleNamespace(accepted=self.accepted.append),
            io=SimpleNamespace(call_later=lambda delay, call: self.later.append((delay, call))),
            spawn=lambda name, run, *more: run(*more),
        )
        self.hands = Hands(cast(Any, node), cast(Any, None))

    def _release(self) -> None:
        self.released += 1

    def won(self, leads: bool, allowance: Allowance, address: tuple[str, int] = THERE) -> None:
        won = WonUdp(self.hub, address)
        self.hands._won_udp(self.utp, cast(Any, None), METHOD, leads, allowance, won)


def test_nobody_is_called_where_no_more_may_be_sent() -> None:
    """A method may say that it has won at an address that has proven nothing; that is counted as any packets are."""
    scene, allowance = Scene(), Allowance()
    for _ in range(20):
        scene.won(True, allowance)
    assert len(scene.pursued) == limits.UNSEEN_PROBES // limits.DIRECT_PROBES
    allowance.answered(THERE[0])
    scene.won(True, allowance)
    assert len(scene.pursued) == limits.UNSEEN_PROBES // limits.DIRECT_PROBES + 1
    assert scene.released == 21


def test_a_stranger_does_not_take_the_other_ends_place() -> None:
    """It is hung up on, whoever may have reached that port; the other end's call is taken, and no more after it."""
    scene = Scene()
    scene.won(False, Allowance())
    strangers, peer = [Connection("192.0.2.66"), Connection("2001:db8::1")], Connection(THERE[0])
    for stranger in strangers:
        scene.listener.on_connection(stranger)
    assert all(each.aborted for each in strangers) and not scene.accepted and not scene.listener.closed
    scene.listener.on_connection(peer)
    assert scene.accepted == [peer] and not peer.aborted and scene.listener.closed


def test_nobody_is_waited_for_long() -> None:
    """The socket goes when no call has come."""
    scene = Scene()
    scene.won(False, Allowance())
    assert [delay for delay, _ in scene.later] == [limits.PUNCHED_CALL_TIMEOUT]
    scene.later[0][1](0.0)
    assert scene.listener.closed and scene.released == 1
