"""Forks as programs come to them: worker pools, threads, forks at bad moments, nodes half started or half closed."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

from tests.service.test_fork import BOTH, run
from tests.support.modes import on_greenlets
from tests.support.source import ROOT

pytestmark = pytest.mark.skipif(on_greenlets(), reason="every program here runs on threads and on greenlets by itself")

WORKERS = """
import multiprocessing, pickle, sys
import crust
from tests.support.nodes import config
from tests.support.waiting import wait_until

def make():
    return crust.Service(config())

nodes = crust.ProcessLocal(make)

def work(contact, name):
    node = nodes.get()
    node.connect(contact).send(name.encode())
    assert nodes.get() is node and nodes.close()

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    heard, lost = [], []
    far = crust.Service(config())
    far.on(crust.NewMessage, lambda message: heard.append((message.data.decode(), message.peer.id)))
    far.on(crust.LostPeer, lambda event: lost.append(event.reason))
    far.start()
    mine = nodes.get().connect(far.contact)
    workers = [context.Process(target=work, args=(str(far.contact), f"worker {n}")) for n in range(3)]
    for worker in workers:
        worker.start()
    mine.send(b"parent")
    for worker in workers:
        worker.join(30)
    wait_until(lambda: len(heard) == 4 and len(lost) == 3)
    codes = {worker.exitcode for worker in workers} - {None}  # where libev has reaped a child, nobody knows
    print(codes <= {0}, sorted(name for name, _ in heard), len({who for _, who in heard}))
    print({reason.value for reason in lost}, mine.state, far.stats().crashes, nodes.get().stats().crashes)
    try:
        context.Process(target=work, args=(far, "x")).start() if sys.argv[1] == "spawn" else pickle.dumps(far)
    except TypeError as error:
        print("one node per process" in str(error))
    print(nodes.close(), far.close())
"""


@BOTH
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_of_multiprocessing(method: str, gevent: bool, tmp_path: pathlib.Path) -> None:
    """Each worker has a node of its own by the same ``ProcessLocal``; the parent's goes on; a node is not passed on."""
    program = tmp_path / "program.py"
    patch = "from gevent import monkey; monkey.patch_all()\n" if gevent else ""
    program.write_text(f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{patch}{WORKERS}")
    done = subprocess.run(
        [sys.executable, str(program), method], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split("\n")[:-1] == [
        "True ['parent', 'worker 0', 'worker 1', 'worker 2'] 4",
        "{'closed'} connected 0 0",
        "True",
        "True True",
    ]


@BOTH
def test_a_fork_in_a_thread(gevent: bool) -> None:
    """The child has that one thread, as its main one: what it does with the node, and its end, harm nothing."""
    code = """
near, far, to_far, to_near = pair()
outcome = []
def fork():
    pid = os.fork()
    if pid == 0:
        try:
            to_far.recv()
        except crust.ForkedError:
            with crust.Service(config()) as own:
                own.connect(far_contact).send(b"from the child")
            os._exit(7 if near.close() else 1)
        os._exit(1)
    outcome.append(os.waitpid(pid, 0)[1] >> 8)
far_contact = far.contact
for _ in range(3):
    thread = threading.Thread(target=fork)
    thread.start()
    thread.join()
to_far.send(b"on")
assert to_near.recv(5) == b"on"
print(outcome, to_far.state, near.stats().crashes, far.stats().crashes)
print(near.close(), far.close())
"""
    assert run(code, gevent) == ["[7, 7, 7] connected 0 0", "True True"]


@BOTH
def test_a_fork_while_a_node_starts_and_closes(gevent: bool) -> None:
    """At whatever step: the child may close the copy, exits, and starts another node; the parent's does not notice."""
    code = """
import atexit, signal
steps = []
def fork_at(step):
    def fork(*_):
        signal.alarm(10)  # a child that hangs is killed, and its status tells
        pid = os.fork()
        if pid == 0:
            signal.alarm(10)
            node.close()
            with crust.Service(config()) as own:
                assert own.addresses
            os._exit(0)
        signal.alarm(0)
        steps.append((step, os.waitpid(pid, 0)[1]))
    return fork

def around(owner, name, fork):
    original = getattr(owner, name)
    def wrapped(*args, **kwargs):
        setattr(owner, name, original)
        fork()
        try:
            return original(*args, **kwargs)
        finally:
            fork()
    setattr(owner, name, wrapped)

from crust.service import lifecycle as module
from crust.service.network.network import Network
import tempfile
path = os.path.join(tempfile.mkdtemp(), "identity")
node = crust.Service(config(identity__file=path))
around(module.Identity, "load_or_create", fork_at("identity"))
around(node, "_make_node", fork_at("make"))
around(module.Node, "start", fork_at("start"))
around(Network, "listen", fork_at("listen"))
node.start()
around(node._node, "close", fork_at("close"))
assert node.close()
fork_at("closed")()
print([step for step, _ in steps], {status for _, status in steps})
with crust.Service(config(identity__file=path)) as again:
    print(again.id == node.id)
"""
    steps = [step for step in ("identity", "make", "start", "listen", "close") for _ in range(2)] + ["closed"]
    assert run(code, gevent, timeout=40.0) == [f"{steps} {{0}}", "True"]


@BOTH
def test_a_fork_in_the_middle_of_a_handshake(gevent: bool) -> None:
    """Sessions that are about to begin, and dials under way, end in the parent as they would have."""
    code = """
from crust.peers.registry import Registry
near, far = make(), make()
ends = []
def around(name):
    original = getattr(Registry, name)
    def wrapped(self, *args):
        result = original(self, *args)
        pid = os.fork()
        if pid == 0:
            try:
                near.stats()
            except crust.ForkedError:
                os._exit(7)
            os._exit(1)
        ends.append(os.waitpid(pid, 0)[1] >> 8)
        return result
    setattr(Registry, name, wrapped)
for name in ("introduction", "introduced", "welcomed", "used"):
    around(name)
to_far = near.connect(far.contact)
to_far.send(b"on")
wait_until(lambda: far.peers)
wait_until(lambda: len(ends) >= 3)
print(far.peers[0].recv(5), set(ends), near.stats().crashes, far.stats().crashes)
print(near.close(), far.close())
"""
    assert run(code, gevent) == ["b'on' {7} 0 0", "True True"]
