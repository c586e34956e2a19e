"""Groups of real nodes on loopback: names, processes, forks, interrupts, and many threads at once."""

from __future__ import annotations

import os
import threading
import time

import pytest

import crust
from crust import Identity
from tests.support.modes import on_greenlets
from tests.support.nodes import Nodes, config
from tests.support.sockets import unused_port
from tests.support.waiting import busy, wait_until

DEADLINE = 5.0


def test_one_after_another_goes(nodes: Nodes) -> None:
    """A group of 4 among 10: whoever of it goes, it is back to 4 in time."""
    others = [nodes.start(heard=False) for _ in range(10)]
    me = nodes.start(contacts=[each.contact for each in others])
    group = me.group("swarm", 4)
    assert group.wait(DEADLINE)
    for _ in range(3):
        victim = next(each for each in others if each.id == group.peers[0].id)
        began = time.monotonic()
        victim.close()
        wait_until(
            lambda gone=victim.id: len(group.peers) == 4 and gone not in {each.id for each in group.peers},
            timeout=DEADLINE,
            what="four peers again",
        )
        assert time.monotonic() - began < DEADLINE * busy()
    assert nodes.heard(me).of(crust.ConnectFailure) == []


def test_kept_over_restarts(nodes: Nodes) -> None:
    """The other program is started anew at its port: ``LostPeer``, ``ConnectSuccess``, each time, and quickly."""
    identity = Identity.generate()
    there = config(listen__addresses=(f"tcp://127.0.0.1:{unused_port()}",))
    server = nodes.start(there, identity=identity)
    me = nodes.start()
    peer = me.connect(server.contact, keep=True)
    for number in range(2, 4):
        nodes.heard(server).wait(crust.ConnectSuccess)
        server.close()
        nodes.heard(me).wait(crust.LostPeer, number - 1)
        server = nodes.start(there, identity=identity)
        new = nodes.heard(me).wait(crust.ConnectSuccess, number).peer
        assert new is not peer and new.id == peer.id
        peer = new
    nodes.heard(server).wait(crust.ConnectSuccess)
    server.disconnect(me.id, "that was all")
    lost = nodes.heard(me).wait(crust.LostPeer, 3)
    assert lost.text == "that was all"
    assert me._finding is not None and me._finding.groups.kept == frozenset()


def test_many_threads_change_a_group(nodes: Nodes) -> None:
    """Whoever does what at the same time: nothing breaks, and the last word holds."""
    others = [nodes.start(heard=False) for _ in range(6)]
    me = nodes.start(contacts=[each.contact for each in others])
    group = me.group("busy", 3, offer=lambda peer: True)
    errors: list[BaseException] = []

    def change(number: int) -> None:
        try:
            for turn in range(25):
                group.want = (number + turn) % 6
                group.remove(others[number].id)
                group.add(others[number].contact)
                assert len(group.peers) <= 6
                with me.group(f"{number} {turn}", 1):
                    group.wait(0)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=change, args=(number,), daemon=True) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    group.want = 2
    assert group.wait(DEADLINE)
    wait_until(lambda: len(group.peers) == len(me.peers) == 2, timeout=DEADLINE, what="two peers, and no more")
    group.close()
    wait_until(lambda: not me.peers, timeout=DEADLINE, what="the end of what the group had begun")


def test_two_that_want_each_other(nodes: Nodes) -> None:
    """Both have a group with the other in it, and both dial at once: one session, which counts on both sides."""
    for _ in range(5):
        one, other = nodes.start(), nodes.start()
        groups = [one.group("g", 1, members=[other.contact]), other.group("g", 1, members=[one.contact])]
        assert all(group.wait(DEADLINE) for group in groups)
        wait_until(lambda: all(len(group.peers) == 1 for group in groups), what="both to count it")  # noqa: B023
        assert len(one.peers) == len(other.peers) == 1


@pytest.mark.skipif(on_greenlets(), reason="a signal would strike the hub; tests of interrupts on greenlets are apart")
def test_waiting_can_be_interrupted(nodes: Nodes) -> None:
    """Ctrl-C ends the wait; the group goes on."""
    import signal

    me = nodes.start()
    group = me.group("empty", 1)

    def strike() -> None:
        wait_until(lambda: bool(group._waiting), what="somebody to wait")
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=strike, daemon=True)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        group.wait(30)
    thread.join()
    assert group._waiting == ()
    group.add(nodes.start().contact)
    assert group.wait(DEADLINE)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child(nodes: Nodes) -> None:
    """There the group is dead, says so, and does nothing; the parent's goes on."""
    other = nodes.start()
    me = nodes.start(contacts=[other.contact])
    group = me.group("g", 1)
    assert group.wait(DEADLINE)
    child = os.fork()
    if not child:
        try:
            calls = [
                lambda: me.group("h", 1),
                lambda: group.add(other.id),
                lambda: group.remove(other.id),
                lambda: group.wait(0),
                lambda: setattr(group, "want", 3),
                lambda: me.connect(other.id, keep=True),
            ]
            group.close()  # harmless
            wrong = [number for number, call in enumerate(calls) if not _is_forked(call)]
            os._exit(1 if wrong or group.peers or not group.closed or me.groups else 0)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert group.is_full and len(group.peers) == 1
    group.want = 0
    wait_until(lambda: not me.peers, timeout=DEADLINE, what="the parent's group to act")


def _is_forked(call: object) -> bool:
    assert callable(call)
    try:
        call()
    except crust.ForkedError:
        return True
    return False
