"""One node per process: made on first use, again in each forked child, never shared."""

from __future__ import annotations

import copy
import os
import pickle
import threading

import pytest

import crust
from crust import ProcessLocal, Service
from tests.support.modes import on_greenlets, run_python
from tests.support.nodes import config
from tests.support.strikes import Struck
from tests.support.threads import Background


def test_making_one_does_nothing() -> None:
    """A module may have one at import: the factory is called at the first ``get``, and that node runs."""
    made: list[Service] = []

    def factory() -> Service:
        made.append(Service(config()))
        return made[-1]

    local = ProcessLocal(factory)
    assert made == []
    node = local.get()
    assert made == [node]
    assert node.addresses
    assert local.get() is node
    assert local.close()
    assert node.closed


def test_the_factory_may_start_it() -> None:
    """A node that runs already is not started twice."""
    local = ProcessLocal(lambda: Service(config()).start())
    assert local.get().addresses
    assert local.close()


def test_closing_nothing() -> None:
    """``close`` without a node is True and makes none."""
    assert ProcessLocal(lambda: pytest.fail("not needed")).close()


def test_a_closed_node_is_replaced() -> None:
    """Whoever closed it, the next ``get`` makes another."""
    local = ProcessLocal(lambda: Service(config()))
    first = local.get()
    first.close()
    second = local.get()
    assert second is not first
    assert not second.closed
    local.close()
    third = local.get()
    assert third is not second
    assert local.close()


def test_all_threads_get_the_same() -> None:
    """The first ``get`` of many threads at once makes one node; none of them sees it before it runs."""
    made: list[Service] = []
    go = threading.Event()

    def factory() -> Service:
        threading.Event().wait(0.05)
        made.append(Service(config()))
        return made[-1]

    local = ProcessLocal(factory)

    def use() -> tuple[Service, bool]:
        go.wait()
        node = local.get()
        return node, bool(node.addresses)

    users = [Background(use) for _ in range(8)]
    go.set()
    assert {user.result() for user in users} == {(made[0], True)}
    assert len(made) == 1
    assert local.close()


def test_a_failed_start_is_tried_again() -> None:
    """What the factory or the start raises comes out; the next call begins anew and nothing is left behind."""
    outcomes = iter([ZeroDivisionError, crust.ListenError, None])

    def factory() -> Service:
        outcome = next(outcomes)
        if outcome is ZeroDivisionError:
            raise ZeroDivisionError
        return Service(config(listen__addresses=("tcp://192.0.2.1:9",) if outcome else ("tcp://127.0.0.1:0",)))

    local = ProcessLocal(factory)
    with pytest.raises(ZeroDivisionError):
        local.get()
    with pytest.raises(crust.ListenError):
        local.get()
    assert local.get().addresses
    assert local.close()


def test_an_interrupt_leaves_a_node_that_the_next_call_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Struck between start and return, the node that runs is not lost."""
    local = ProcessLocal(lambda: Service(config()))
    start = Service.start
    made: list[Service] = []

    def struck(self: Service) -> Service:
        made.append(start(self))
        raise Struck

    monkeypatch.setattr(Service, "start", struck)
    with pytest.raises(Struck):
        local.get()
    assert local.get() is made[0]
    assert local.close()


def test_it_is_not_pickled() -> None:
    """Nor copied: the error says where to keep it instead."""
    local = ProcessLocal(lambda: Service(config()))
    for attempt in (lambda: pickle.dumps(local), lambda: copy.deepcopy(local)):
        with pytest.raises(TypeError, match="keep it at the top of a module"):
            attempt()


BEFORE = {
    "fresh": "",
    "used": "local.get()",
    "in the middle of get": (
        "making = threading.Thread(target=local.get)\n"
        "making.start()\n"
        "while not made:\n"
        "    time.sleep(0.01)"
    ),
}

CHILDREN = """
import os, threading, time
import crust
from tests.support.nodes import config
made = []
making, go = None, threading.Event()
def factory():
    made.append(os.getpid())
    if making is threading.current_thread():
        go.wait()  # in the middle of get(), its lock held
    return crust.Service(config())
local = crust.ProcessLocal(factory)
{before}
reading, writing = os.pipe()
children = []
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        node = local.get()
        assert node is local.get() and made[-1] == os.getpid()
        with crust.Service(config()) as other:
            other.connect(node.contact).send(str(os.getpid()).encode())
            while not node.peers:
                time.sleep(0.01)
            assert node.peers[0].recv(5) == str(os.getpid()).encode()
        os.write(writing, (str(node.id) + chr(10)).encode())
        assert local.close()
        os._exit(0)
    children.append(pid)
assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
ids = os.read(reading, 65536).decode().split()
assert len(set(ids)) == 3, ids
if making is not None:
    go.set()
    making.join()
node = local.get()
assert str(node.id) not in ids
print(made == [os.getpid()], node.closed, local.close())
"""


@pytest.mark.skipif(on_greenlets(), reason="the programs run on threads and on greenlets by themselves")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("gevent", [False, True], ids=["threads", "greenlets"])
@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE)
def test_each_child_makes_its_own(gevent: bool, before: str) -> None:
    """Workers forked from a process with a node, or without, or while a thread makes one, are peers of their own."""
    done = run_python(CHILDREN.format(before=before), gevent=gevent, forks=True, timeout=30.0)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "True False True\n")
