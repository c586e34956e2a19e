"""A process that runs out of descriptors: what works goes on, what cannot says why, and nothing spins."""

from __future__ import annotations

import pytest

from tests.support.modes import on_greenlets, run_python

pytestmark = pytest.mark.skipif(on_greenlets(), reason="every program here runs on threads and on greenlets by itself")

BOTH = pytest.mark.parametrize("gevent", [False, True], ids=["threads", "greenlets"])

HEAD = """
import logging, os, resource, socket, threading, time
import crust
from tests.support.nodes import config
from tests.support.waiting import wait_until

lines = []
class Keep(logging.Handler):
    def emit(self, record):
        lines.append(record.getMessage())
logging.getLogger("crust").addHandler(Keep(logging.WARNING))

near, far = (crust.Service(config()).start() for _ in range(2))
came = threading.Event()
far.on(crust.ConnectSuccess, lambda event: came.set())
to_far = near.connect(far.contact)
assert came.wait(5)
to_near = far.peers[0]
contact = far.contact

def exhaust(free=0):
    '''From now on the process gets so many descriptors more; none: also none of those that become free.'''
    global limit
    limit = 3
    if free:
        unused = []
        for number in range(3, 10_000):
            try:
                os.fstat(number)
            except OSError:
                unused.append(number)
        limit = unused[free]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))

def recover():
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
"""


def run(code: str, gevent: bool) -> list[str]:
    """Run a program that must end well and quietly; what it printed."""
    done = run_python(HEAD + code, gevent=gevent, timeout=40.0)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout.split("\n")[:-1]


@BOTH
def test_accepting_pauses(gevent: bool) -> None:
    """Callers wait in the kernel; the listener looks once a second, says so once, and takes them in later."""
    code = """
callers = [socket.socket() for _ in range(3)]
exhaust()
for caller in callers:
    caller.setblocking(False)
    caller.connect_ex(("127.0.0.1", contact.endpoints[0].port))
began, cpu = time.monotonic(), time.process_time()
while time.monotonic() - began < 2.5:
    time.sleep(0.1)
    to_far.send(b"meanwhile")
    assert to_near.recv(5) == b"meanwhile"
print(time.process_time() - cpu < 0.5)
said = [line for line in lines if line.startswith("cannot accept")]
most = time.monotonic() - began + 2
print(2 <= far.stats().accept_pauses <= most, len(said), f"of its {limit}" in said[0], "ulimit -n" in said[0])
recover()
wait_until(lambda: far.stats().gate.admitted >= 4)
for caller in callers:
    caller.close()
third = crust.Service(config()).start()
print(third.connect(contact).id == far.id)
print([(each.stats().crashes, each.close()) for each in (near, far, third)])
"""
    assert run(code, gevent) == ["True", "True 1 True True", "True", "[(0, True), (0, True), (0, True)]"]


@BOTH
def test_dialling_says_why(gevent: bool) -> None:
    """The error names the cause and what to look at; when there are descriptors again, dialling works."""
    code = """
# a message 1 for another key is waited out, meanwhile a circuit is tried: it does not wait long
hasty = crust.Service(config(session__handshake_timeout=0.5)).start()
other = crust.Contact(crust.Identity.generate().peer_id, hasty.contact.endpoints)
exhaust()
try:
    near.connect(other, timeout=5)
except crust.ConnectError as error:
    print(f"this process has no file descriptors left of its {limit}: raise the limit (ulimit -n" in str(error))
    print(error.attempts[0].verdict)
to_far.send(b"on")
print(to_near.recv(5))
recover()
try:
    near.connect(other, timeout=20)
except crust.ConnectError as error:
    print(*(each.verdict for each in error.attempts if each.method == "direct"), "descriptors" in str(error))
print([(each.stats().crashes, each.close()) for each in (near, far, hasty)])
"""
    assert run(code, gevent) == ["True", "failed", "b'on'", "failed False", "[(0, True), (0, True), (0, True)]"]


@BOTH
def test_a_lost_link_comes_back_when_it_can(gevent: bool) -> None:
    """A session without a link waits for descriptors like for anything else, and loses nothing."""
    code = """
resumed = threading.Event()
near.on(crust.PeerResumed, lambda event: resumed.set())
exhaust()
to_far.send(b"before")
assert to_near.recv(5) == b"before"
to_far._conversation.link.fail("failed", "cut by the test")
wait_until(lambda: to_far.state == "suspended")
to_far.send(b"during")
print(resumed.wait(1.0))
recover()
print(resumed.wait(15), to_near.recv(5))
print([(each.stats().crashes, each.close()) for each in (near, far)])
"""
    assert run(code, gevent) == ["False", "True b'during'", "[(0, True), (0, True)]"]


@BOTH
def test_looking_for_a_better_path(gevent: bool) -> None:
    """An attempt that gets no socket has failed, and says why; what finds paths needs no file any more."""
    code = """
import sys
from crust.peers.race import Candidate
from crust.service.network.loading import LATER
from crust.service.traversal.direct import fresh_utp
print([name for name in LATER if f"crust.{name}" not in sys.modules])
node, endpoint = near._node, crust.Endpoint.parse("utp://127.0.0.1:9")
candidate = Candidate(endpoint, prepare=lambda seconds: fresh_utp(node.transports["utp"], endpoint, seconds))
exhaust()
print(node.dialer.pursue(to_far._conversation, candidate))
last = to_far.attempts[-1]
print(last.verdict, "cannot dial: " in last.error, "open files" in last.error)
to_far.send(b"on")
print(to_near.recv(5))
recover()
print([(each.stats().crashes, each.close()) for each in (near, far)])
"""
    assert run(code, gevent) == ["[]", "False", "failed True True", "b'on'", "[(0, True), (0, True)]"]


@BOTH
def test_starting_without_descriptors(gevent: bool) -> None:
    """With however few are left: ``start`` raises and leaves nothing behind, or the node works."""
    code = """
near.close(); far.close()
before = set(os.listdir("/proc/self/fd"))
outcomes = []
for free in range(16):
    node = crust.Service(config())
    exhaust(free)
    try:
        node.start()
    except OSError as error:
        outcomes.append("fails")
        assert "file descriptors" in str(error) or "Too many open files" in str(error), error
    else:
        outcomes.append("works")
        assert node.addresses and node.stats().accept_pauses == 0
    assert node.close() and (node._node is None or node._node.crashes == 0), node._node.crashes
    recover()
print(outcomes == sorted(outcomes), set(outcomes) == {"fails", "works"}, set(os.listdir("/proc/self/fd")) - before)
with crust.Service(config()) as node:
    print(bool(node.addresses))
"""
    assert run(code, gevent) == ["True True set()", "True"]


@BOTH
def test_files(gevent: bool) -> None:
    """A file that cannot be opened, at either end, fails with the reason; the session and later files do not."""
    code = """
import tempfile, pathlib
folder = pathlib.Path(tempfile.mkdtemp())
(folder / "source").write_bytes(b"x" * 1000)
def decide(offer):
    if offer.name == "second":
        exhaust()  # the sender has opened its own
    return True
far.accept_files(folder, decide=decide)
failed = threading.Event()
far.on(crust.FileFailed, lambda event: failed.set())
assert to_far.send_file(folder / "source", name="first", timeout=10).size == 1000
exhaust()
try:
    to_far.send_file(folder / "source", timeout=10)
except OSError as error:
    print(error.strerror)
recover()
try:
    to_far.send_file(folder / "source", name="second", timeout=10)
except crust.TransferError as error:
    print("the receiving disk: Too many open files" in str(error), failed.wait(5))
recover()
to_far.send_file(folder / "source", name="third", timeout=10)
print(sorted(path.name for path in folder.iterdir()), to_far.state)
print([(each.stats().crashes, each.close()) for each in (near, far)])
"""
    assert run(code, gevent) == [
        "Too many open files",
        "True True",
        "['first', 'source', 'third'] connected",
        "[(0, True), (0, True)]",
    ]


@BOTH
def test_a_listener_cannot_be_opened(gevent: bool) -> None:
    """The error names the limit and what to do; the node goes on, and listens when it can."""
    code = """
threads = threading.enumerate
far.stop_listening()
failed = threading.Event()
far.on(crust.ListenerFailed, lambda event: failed.set())
wait_until(lambda: not any(each.name.startswith(f"crust-listen-{contact.endpoints[0].port}") for each in threads()))
for free in range(3):
    exhaust(free)
    try:
        far.start_listening()
    except crust.ListenError as error:
        assert f"no file descriptors left of its {limit}: raise the limit (ulimit -n" in str(error), error
        print(failed.wait(5), far.addresses)
    recover()
to_far.send(b"on")
print(to_near.recv(5))
far.start_listening()
third = crust.Service(config()).start()
print(third.connect(far.contact).id == far.id)
print([(each.stats().crashes, each.close()) for each in (near, far, third)])
"""
    assert run(code, gevent) == ["True ()"] * 3 + ["b'on'", "True", "[(0, True), (0, True), (0, True)]"]
