"""How a program ends that has a node running: soon, quietly, and its peers hear goodbye."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

import crust
from tests.support.modes import on_greenlets, run_python
from tests.support.nodes import Nodes, through
from tests.support.source import ROOT
from tests.support.waiting import busy

pytestmark = pytest.mark.skipif(on_greenlets(), reason="every program here runs on threads and on greenlets by itself")

BOTH = pytest.mark.parametrize("gevent", [False, True], ids=["threads", "greenlets"])

HEAD = """
import os, sys, threading, time
import crust
from tests.support.nodes import config

def call(contact):
    node = crust.Service(config()).start()
    node.connect(contact).send(b"hello")
    return node
"""

ENDINGS = {
    "falls off the end": "node = call(sys.argv[1])",
    "nobody holds it": "call(sys.argv[1])",
    "sys.exit": "node = call(sys.argv[1])\nsys.exit(0)",
    "another thread": (
        "kept = []\n"
        "thread = threading.Thread(target=lambda: kept.append(call(sys.argv[1])))\n"
        "thread.start(); thread.join()"
    ),
    "a thread that goes on": (
        "node = call(sys.argv[1])\n"
        "def go_on():\n"
        "    while True:\n"
        "        node.peers and node.peers[0].send(b'again', timeout=0)\n"
        "        time.sleep(0.001)\n"
        "def quietly():\n"
        "    try: go_on()\n"
        "    except Exception: pass\n"
        "threading.Thread(target=quietly, daemon=True).start()\n"
        "time.sleep(0.1)"
    ),
    "a thread that waits in recv": (
        "node = call(sys.argv[1])\n"
        "def wait():\n"
        "    try: node.peers[0].recv()\n"
        "    except crust.ServiceClosed: pass\n"
        "threading.Thread(target=wait, daemon=True).start()\n"
        "time.sleep(0.1)"
    ),
    "several nodes": "nodes = [call(sys.argv[1]) for _ in range(4)]",
    "a stuck callback": (
        "node = call(sys.argv[1])\n"
        "stuck = threading.Event()\n"
        "def never(event):\n"
        "    stuck.set()\n"
        "    threading.Event().wait()\n"
        "node.on(crust.ConnectionInfoPrepared, never)\n"
        "node.prepare_connection_info()\n"
        "assert stuck.wait(5)"
    ),
    "sys.exit in a callback, then the end": (
        "node = call(sys.argv[1])\n"
        "went = threading.Event()\n"
        "node.on(crust.ConnectionInfoPrepared, lambda event: (went.set(), sys.exit(3)))\n"
        "node.prepare_connection_info()\n"
        "assert went.wait(5)"
    ),
    "a thread that is not a daemon": (
        "node = call(sys.argv[1])\n"
        "def work():\n"
        "    for _ in range(50):\n"
        "        node.peers[0].send(b'late')\n"
        "        time.sleep(0.002)\n"
        "    node.peers[0].flush(5)\n"
        "thread = threading.Thread(target=work)\n"
        "thread.start()\n"
        "if 'gevent' in sys.modules: thread.join()  # which ends the program without waiting for greenlets"
    ),
    "a dial under way": (
        "node = call(sys.argv[1])\n"
        "from tests.support.sockets import silent_listener\n"
        "kept, port = silent_listener()\n"
        "silent = crust.Contact(crust.Identity.generate().peer_id, (crust.Endpoint('tcp', '127.0.0.1', port),))\n"
        "future = node.dial(silent)"
    ),
    "closed already": "node = call(sys.argv[1])\nassert node.close()",
    "an exit handler of its own": (
        "import atexit\nnode = call(sys.argv[1])\natexit.register(lambda: node.peers[0].send(b'bye'))"
    ),
    "an exit handler that closes": "import atexit\nnode = call(sys.argv[1])\natexit.register(node.close)",
}


@BOTH
@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_a_program_ends(nodes: Nodes, ending: str, gevent: bool) -> None:
    """Within 2 s (and what starting takes), status 0, not a word on stderr, and the peer hears ``closed``."""
    far = nodes.start()
    calls = 4 if "range(4)" in ending else 1
    done = run_python(HEAD + ending, str(far.contact), gevent=gevent, timeout=15.0)
    ended = time.monotonic()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    nodes.heard(far).wait(crust.LostPeer, calls)
    assert time.monotonic() - ended < 1.0 * busy()
    assert {lost.reason for lost in nodes.heard(far).of(crust.LostPeer)} == {"closed"}
    assert len(nodes.heard(far).of(crust.LostPeer)) == calls


@BOTH
def test_what_was_sent_arrives(nodes: Nodes, gevent: bool) -> None:
    """Far more than one write takes, and nothing waits for it but the end of the program."""
    far = nodes.start()
    got: list[bytes] = []
    far.on(crust.NewMessage, lambda message: got.append(message.data))
    code = HEAD + (
        "node = call(sys.argv[1])\n"
        "for number in range(3000):\n"
        "    node.peers[0].send(number.to_bytes(1000, 'big'))\n"
    )
    done = run_python(code, str(far.contact), gevent=gevent, timeout=15.0)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    lost = nodes.heard(far).wait(crust.LostPeer)
    assert lost.reason == "closed"
    assert got == [b"hello", *(number.to_bytes(1000, "big") for number in range(3000))]


@BOTH
def test_an_unhandled_exception(nodes: Nodes, gevent: bool) -> None:
    """The interpreter shows it, and nothing else; the peer hears ``closed``."""
    far = nodes.start()
    done = run_python(HEAD + "node = call(sys.argv[1])\n1 / 0", str(far.contact), gevent=gevent, timeout=15.0)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback") and done.stderr.endswith("ZeroDivisionError: division by zero\n")
    assert done.stderr.count("Traceback") == 1
    assert nodes.heard(far).wait(crust.LostPeer).reason == "closed"


@BOTH
def test_an_interpreter_that_starts_no_more_threads(nodes: Nodes, gevent: bool) -> None:
    """As from Python 3.12 on: closing needs none, whoever begins it."""
    far = nodes.start()
    code = HEAD + (
        "import atexit\n"
        "node = call(sys.argv[1])\n"
        "def refuse(self):\n"
        "    raise RuntimeError('no more threads')\n"
        "atexit.register(lambda: setattr(threading.Thread, 'start', refuse))\n"
    )
    done = run_python(code, str(far.contact), gevent=gevent, timeout=15.0)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert nodes.heard(far).wait(crust.LostPeer).reason == "closed"


@BOTH
def test_exit_takes_no_longer_than_it_may(nodes: Nodes, gevent: bool) -> None:
    """With a stuck callback and a peer that does not answer it is the 2 seconds of exit handlers, and a little."""
    code = ENDINGS["a stuck callback"] + (
        "\npeer = node.peers[0]\n"
        "peer.send(b'stall')\n"
        "try:\n"
        "    while True:\n"
        "        peer.send(b'x')\n"
        "        peer.flush(0.5)\n"
        "except crust.Timeout:\n"
        "    peer.send(bytes(2_000_000))\n"
        "print(time.time())\n"
    )
    far = nodes.start()
    proxy = nodes.proxy(far)
    far.on(crust.NewMessage, lambda message: proxy.stall() if message.data == b"stall" else None)
    done = run_python(HEAD + code, str(through(proxy, far)), gevent=gevent, timeout=15.0)
    assert (done.returncode, done.stderr) == (0, "")
    assert 1.5 < time.time() - float(done.stdout) < 4.5 * busy()


@BOTH
def test_ctrl_c(nodes: Nodes, gevent: bool) -> None:
    """``with`` and ``wait()``: KeyboardInterrupt comes out once the node is closed and the peer has heard of it."""
    far = nodes.start()
    code = HEAD + (
        "try:\n"
        "    with crust.Service(config()) as node:\n"
        "        node.connect(sys.argv[1]).recv(10)\n"  # nothing more comes then
        "        print('ready', flush=True)\n"
        "        node.wait()\n"
        "except KeyboardInterrupt:\n"
        "    names = [t.name for t in threading.enumerate() if t.name.startswith('crust') and t.is_alive()]\n"
        "    print(node.closed, names)\n"
    )
    if gevent:
        code = "from gevent import monkey; monkey.patch_all()\n" + code
    program = subprocess.Popen(
        [sys.executable, "-c", code, str(far.contact)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert program.stdout is not None
        nodes.heard(far).wait(crust.ConnectSuccess).peer.send(b"hello")
        assert program.stdout.readline() == "ready\n"
        program.send_signal(signal.SIGINT)
        output, errors = program.communicate(timeout=10)
    finally:
        program.kill()
        program.communicate()
    assert (program.returncode, output) == (0, "True []\n")
    # gevent itself writes of it when the signal comes while its loop waits, or a thread begins or ends.
    assert errors == "" or (gevent and "\nKeyboardInterrupt\n" in f"\n{errors}" and str(ROOT / "crust") not in errors)
    # Also where the signal has struck a greenlet that reads, and cut its link.
    assert nodes.heard(far).wait(crust.LostPeer).reason == "closed"
    assert all(lost.reason == "closed" for lost in nodes.heard(far).of(crust.LostPeer))


def test_signals_of_the_hub(nodes: Nodes) -> None:
    """On greenlets: ``gevent.signal_handler`` strikes nobody, and ``wait()`` ends."""
    far = nodes.start()
    code = HEAD + (
        "import gevent, signal\n"
        "node = crust.Service(config()).start()\n"
        "gevent.signal_handler(signal.SIGTERM, node.close)\n"
        "node.connect(sys.argv[1])\n"
        "print('ready', flush=True)\n"
        "node.wait()\n"
        "print(node.closed, [t.name for t in threading.enumerate() if t.name.startswith('crust-')])\n"
    )
    program = subprocess.Popen(
        [sys.executable, "-c", "from gevent import monkey; monkey.patch_all()\n" + code, str(far.contact)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert program.stdout is not None and program.stdout.readline() == "ready\n"
        program.send_signal(signal.SIGTERM)
        assert program.communicate(timeout=20) == ("True []\n", "")
    finally:
        program.kill()
        program.communicate()
    assert program.returncode == 0
    assert nodes.heard(far).wait(crust.LostPeer).reason == "closed"


@BOTH
def test_callbacks_cannot_end_the_program(gevent: bool) -> None:
    """``sys.exit()``, and any other BaseException, in a callback: reported like every error, and the node goes on."""
    code = """
errors, went = [], threading.Event()
node = crust.Service(config(), on_callback_error=lambda event, error: errors.append(repr(error))).start()
def leave(event):
    sys.exit(3)
def generator(event):
    raise GeneratorExit
node.on(crust.ConnectionInfoPrepared, leave)
node.on(crust.ConnectionInfoPrepared, generator)
node.on(crust.ConnectionInfoPrepared, lambda event: went.set())
for _ in range(2):
    went.clear()
    node.prepare_connection_info()
    assert went.wait(5)
print(errors, node.stats().callback_errors, node.stats().crashes, node.close())
"""
    done = run_python(HEAD + code, gevent=gevent, timeout=15.0)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{['SystemExit(3)', 'GeneratorExit()'] * 2} 4 0 True\n"
