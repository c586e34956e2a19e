"""What a forked child finds of its parent's node: nothing that works, and nothing that harms."""

from __future__ import annotations

import pathlib

import pytest

from crust.crypto.identity import generate_network_secret_text
from tests.support.modes import on_greenlets, run_python

pytestmark = pytest.mark.skipif(on_greenlets(), reason="every program here runs on threads and on greenlets by itself")

BOTH = pytest.mark.parametrize("gevent", [False, True], ids=["threads", "greenlets"])

HEAD = """
import os, select, socket, sys, threading, time, traceback
import crust
from tests.support.nodes import config
from tests.support.sockets import silent_listener
from tests.support.waiting import busy, wait_until

def make(**arguments):
    return crust.Service(config(), **arguments).start()

def close(descriptor):
    os.closerange(descriptor, descriptor + 1)  # at once: gevent's os.close() waits for its event loop

def in_child(work):
    '''What ``work()`` returns in a forked child, as text; the parent goes on meanwhile.'''
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        close(reading)
        try:
            text = repr(work())
        except BaseException:
            text = traceback.format_exc()
        os.write(writing, text.encode())
        os._exit(0)
    close(writing)
    text = b""
    while select.select([reading], [], []) and (piece := os.read(reading, 65536)):
        text += piece
    close(reading)
    assert os.waitpid(pid, 0)[1] == 0
    return text.decode()

def targets():
    found = {}
    for number in os.listdir("/proc/self/fd"):
        try:
            found[int(number)] = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            pass
    return found

def pair(**arguments):
    near, far = make(**arguments), make()
    came = threading.Event()
    far.on(crust.ConnectSuccess, lambda event: came.set())
    to_far = near.connect(far.contact)
    assert came.wait(5)
    return near, far, to_far, far.peers[0]
"""


def run(code: str, gevent: bool, listen: str = "tcp://127.0.0.1:0", **options: float) -> list[str]:
    """Run a program that must end well and quietly; what it printed."""
    head = HEAD.replace("config()", f'config(listen__addresses=("{listen}",))')
    done = run_python(head + code, gevent=gevent, forks=True, timeout=options.get("timeout", 15.0))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout.split("\n")[:-1]


@BOTH
def test_everything_says_whose_it_is(gevent: bool) -> None:
    """Every method of Service, Peer, EventStream and the future raises ForkedError that names both processes."""
    code = """
near, far, to_far, to_near = pair()
stream = near.events()
subscription = near.on(crust.NewMessage, print)
future = near.dial(crust.Contact(crust.Identity.generate().peer_id, far.contact.endpoints))
parent = os.getpid()
def child():
    contact, peer_id = far.contact if False else crust.Contact(crust.Identity.generate().peer_id), to_far.id
    calls = {
        "start": near.start, "wait": near.wait, "on": lambda: near.on(crust.SendReady, print),
        "with": near.__enter__, "events": near.events, "stats": near.stats, "connect": lambda: near.connect(contact),
        "dial": lambda: near.dial(contact), "bootstrap": near.bootstrap, "send": lambda: near.send(peer_id, b"x"),
        "disconnect": lambda: near.disconnect(peer_id), "is_connected": lambda: near.is_connected(peer_id),
        "ban": lambda: near.ban(peer_id), "unban": lambda: near.unban(peer_id), "bans": lambda: near.bans,
        "start_listening": near.start_listening, "stop_listening": near.stop_listening,
        "rotate_ports": near.rotate_ports, "find": lambda: near.find(peer_id),
        "set_accept_bootstrap": lambda: near.set_accept_bootstrap(True),
        "start_bootstrap": near.start_bootstrap, "stop_bootstrap": near.stop_bootstrap,
        "group": lambda: near.group("all", 3), "reload": near.reload, "status": near.status,
        "start_service_discovery": near.start_service_discovery, "has_peers_on_lan": near.has_peers_on_lan,
        "prepare_connection_info": near.prepare_connection_info,
        "accept_files": lambda: near.accept_files("."), "refuse_files": near.refuse_files,
        "peer.send": lambda: to_far.send(b"x"), "peer.send_many": lambda: to_far.send_many([b"x"]),
        "peer.send_many nothing": lambda: to_far.send_many([]),
        "peer.flush": to_far.flush, "peer.recv": to_far.recv, "peer.recv_message": lambda: to_far.recv_message(0),
        "peer.iter": lambda: next(iter(to_far)), "peer.disconnect": to_far.disconnect, "peer.stats": to_far.stats,
        "peer.echo": lambda: to_far.echo("tcp", 5483),
        "peer.send_file": lambda: to_far.send_file(sys.executable), "peer.accepted": lambda: to_far.accepted,
        "peer.last_number": lambda: to_far.last_number,
        "stream.get": stream.get, "stream.fileno": stream.fileno, "stream.iter": lambda: next(iter(stream)),
        "future.result": future.result, "future.exception": future.exception, "future.cancel": future.cancel,
    }
    wrong = []
    for name, call in calls.items():
        try:
            wrong.append((name, call()))
        except crust.ForkedError as error:
            if str(parent) not in str(error) or str(os.getpid()) not in str(error):
                wrong.append((name, str(error)))
        except BaseException as error:
            wrong.append((name, error))
    public = {name for name in dir(near) if name[0] != "_"} - calls.keys()
    known = {"id", "addresses", "candidates", "contact", "peers", "via", "closed", "close"}
    assert public == {*known, "config", "groups", "lan_peers"}, public
    public = {name for name in dir(to_far) if name[0] != "_"} - {name[5:] for name in calls}
    own = {"id", "role", "inbound", "state", "path", "address", "max_message_size", "attempts", "relays"}
    assert public == own, public
    began = time.monotonic()
    assert near.close() and near.close(None)
    near.__exit__(None, None, None)
    subscription.cancel()
    stream.close()
    assert time.monotonic() - began < 4.0 * busy()  # close() waits for five seconds for a node that is not dead
    assert (near.closed, near.peers, near.addresses, to_far.state) == (True, [], (), "lost")
    assert "closed" in repr(near) and near.id.short in repr(near.id) and "lost" in repr(to_far)
    return wrong
print(in_child(child))
assert not near.closed
to_far.send(b"on")
assert to_near.recv(5) == b"on"
print(near.close(), far.close())
"""
    assert run(code, gevent) == ["[]", "True True"]


@BOTH
@pytest.mark.parametrize("transport", ["tcp", "utp"])
def test_the_parent_is_not_disturbed(transport: str, gevent: bool) -> None:
    """Many children come and go, closing and exiting in their ways, while messages flow: none is missed or resumed."""
    code = """
near, far, to_far, to_near = pair()
suspended = []
near.on(crust.PeerSuspended, suspended.append)
far.on(crust.PeerSuspended, suspended.append)
count = 3000
def send():
    for number in range(count):
        try:
            to_far.send(b"%d" % number)
        except crust.ForkedError:
            threading.Event().wait()  # this greenlet of ours has been inherited too
        if number % 20 == 0:
            time.sleep(0.002)
sender = threading.Thread(target=send)
sender.start()
got, children = [], []
while len(got) < count:
    got.append(to_near.recv(10))
    if len(got) % 300 == 1:
        pid = os.fork()
        if pid == 0:
            kind = len(children) % 4
            if kind == 1:
                near.close(); far.close()
            if kind == 2:
                del near, far, to_far, to_near
                import gc; gc.collect()
            if kind == 3:
                time.sleep(0.2)
            os._exit(0) if kind else sys.exit(0)
        children.append(pid)
sender.join()
assert got == [b"%d" % number for number in range(count)]
print([os.waitpid(pid, 0)[1] for pid in children], suspended, to_far.state, to_near.state)
assert (near.stats().crashes, far.stats().crashes) == (0, 0)
print(near.close(), far.close())
"""
    listen = f"{transport}://127.0.0.1:0"
    assert run(code, gevent, listen) == [f"{[0] * 10} [] connected connected", "True True"]


@BOTH
def test_the_child_reads_nothing(gevent: bool) -> None:
    """While parent and peer talk, the child's copies of threads, if there are any, take nothing from the sockets."""
    code = """
near, far, to_far, to_near = pair()
heard = []
def child():
    seen = []
    for _ in range(30):  # greenlets get their chance to read
        time.sleep(0.02)
    threads = [thread.name for thread in threading.enumerate() if thread.name.startswith("crust-io")]
    return heard, [link for link in targets().values() if link.startswith("socket:")], near._node.crashes
near.on(crust.NewMessage, lambda event: heard.append(event.data))
def talk():
    for number in range(100):
        try:
            to_near.send(b"%d" % number)
        except crust.ForkedError:
            threading.Event().wait()  # this greenlet of ours has been inherited too
        time.sleep(0.005)
talking = threading.Thread(target=talk)
talking.start()
first = in_child(child)
talking.join()
wait_until(lambda: len(heard) == 100)
assert heard == [b"%d" % number for number in range(100)]
heard_by_child, sockets, crashes = eval(first)
print(len(heard_by_child) < 5, crashes, near.stats().crashes, to_far.state)
print(near.close(), far.close())
"""
    assert run(code, gevent) == ["True 0 0 connected", "True True"]


@BOTH
def test_descriptors_are_closed_in_the_child(gevent: bool) -> None:
    """No socket of the node is left in the child, and collecting the copies closes no descriptor that came later."""
    code = """
near, far, to_far, to_near = pair()
near.events().fileno()
kept, port = silent_listener()
silent = crust.Contact(crust.Identity.generate().peer_id, (crust.Endpoint("tcp", "127.0.0.1", port),))
stranger = socket.create_connection((near.addresses[0].host, near.addresses[0].port))  # waits in the lobby
wait_until(lambda: near.stats().gate.current == 1)
future = near.dial(silent)  # a dial under way, by now with all that it needs:
dials = near._node.transports["tcp"]._openings.dials
wait_until(lambda: any(each._selector is not None for each in dials.all()))
inherited = targets()
ours = {sock.fileno() for sock in (*kept, stranger)}
def child():
    global near, far, to_far, to_near, future
    left = [number for number, link in targets().items() if link.startswith("socket:") and number not in ours]
    polls = [link for number, link in targets().items() if "eventpoll" in link]
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(40)]  # they get the numbers that became free
    near = far = to_far = to_near = future = None
    import gc; gc.collect(); time.sleep(0.05); gc.collect()
    for number in files:
        os.fstat(number)
    return len(left), len(polls)
print(in_child(child))
assert targets() == inherited
to_far.send(b"on")
assert to_near.recv(5) == b"on"
stranger.sendall(bytes(2000))  # the parent's lobby is still served
try:
    assert stranger.recv(1) == b""
except ConnectionResetError:
    pass
wait_until(lambda: near.stats().gate.current == 0)
near.close(); far.close()
"""
    [left] = run(code, gevent)
    assert left == ("(0, 1)" if gevent else "(0, 0)")  # the one is gevent's own


@BOTH
def test_keys_are_forgotten_in_the_child(gevent: bool) -> None:
    """Those of the records; and the identity's own, unless the application gave it and may use it again."""
    code = """
given = crust.Identity.generate()
near, far, to_far, to_near = pair(identity=given)
link = to_far._conversation.link
sealer, opener = link._sealer, link._opener
def child():
    keys = sealer._key, sealer._length_key, opener._key, opener._length_key, link._sealer, link._opener
    assert given.encode()
    try:
        far._node.handshake.key_pair.dh_private
    except crust.IdentityError:
        return keys
print(in_child(child))
assert sealer._key and far._node.handshake.key_pair.dh_private
near.close(); far.close()
"""
    assert run(code, gevent) == ["(b'', b'', b'', b'', None, None)"]


@BOTH
def test_the_secret_of_a_network_is_forgotten_in_the_child(gevent: bool, tmp_path: pathlib.Path) -> None:
    """The node has read it from its file: nobody else of the child has it. The parent goes on with it."""
    path = tmp_path / "network.secret"
    path.write_text(generate_network_secret_text())
    path.chmod(0o600)
    code = f"""
near, far = (crust.Service(config(network__secret_file={str(path)!r})).start() for _ in "12")
shared = near._node.handshake
print(in_child(lambda: shared.secrets), len(shared.secrets))
near.connect(far.contact).send(b"still there")
near.close(); far.close()
"""
    assert run(code, gevent) == ["() 1"]


@BOTH
def test_a_child_makes_its_own(gevent: bool) -> None:
    """A new Service works in the child, also one that was made, but not started, before the fork."""
    code = """
near, far, to_far, to_near = pair()
contact = far.contact
prepared = crust.Service(config())
def child():
    with prepared as node, crust.Service(config()) as other:
        node.connect(other.contact).send(b"in the child")
        wait_until(lambda: other.peers)
        data = other.peers[0].recv(5)
        node.connect(contact).send(b"to the parent")
        node.peers[-1].flush(5)
    return data, node.closed
print(in_child(child))
wait_until(lambda: len(far.peers) == 1)
print(near.connect(far.contact) is to_far)
near.close(); far.close(); prepared.close()
"""
    assert run(code, gevent) == ["(b'in the child', True)", "True"]


@BOTH
def test_locks_held_at_the_fork_do_not_matter(gevent: bool) -> None:
    """A child of a thread that was in the middle of something finds no lock held."""
    code = """
near, far, to_far, to_near = pair()
stream = near.events()
subscription = near.on(crust.SendReady, print)
held = [near._lock, to_far._conversation.lock, stream._lock, near._node.subscriptions._lock, near._node.registry._lock]
for lock in held:
    lock.acquire()
def child():
    outcome = []
    for call in (near.stats, to_far.stats, lambda: to_far.send(b"x"), lambda: stream.get(0)):
        try:
            call()
        except crust.ForkedError:
            outcome.append("forked")
    stream.close()
    subscription.cancel()
    return outcome, near.close()
print(in_child(child))
for lock in held:
    lock.release()
to_far.send(b"on")
assert to_near.recv(5) == b"on"
near.close(); far.close()
"""
    assert run(code, gevent) == ["(['forked', 'forked', 'forked', 'forked'], True)"]


@BOTH
def test_the_child_ends_quietly(gevent: bool) -> None:
    """By falling off the end of the program, inside ``with``, with exit handlers and finalisers run."""
    code = """
with make() as near, make() as far:
    to_far = near.connect(far.contact)
    pid = os.fork()
    if pid:
        assert os.waitpid(pid, 0)[1] == 0
        to_far.send(b"on")
        wait_until(lambda: far.peers)
        print(far.peers[0].recv(5))
"""
    assert run(code, gevent) == ["b'on'"]


@BOTH
def test_a_fork_in_a_callback(gevent: bool) -> None:
    """The child's copy of the dispatcher runs nothing but the callback that forked."""
    code = """
near, far, to_far, to_near = pair()
ends = []
def fork(event):
    pid = os.fork()
    if pid == 0:
        try:
            to_far.send(b"x")
        except crust.ForkedError:
            os._exit(7)
        os._exit(1)
    ends.append(os.waitpid(pid, 0)[1] >> 8)
near.on(crust.NewMessage, fork)
to_near.send(b"go"); to_near.send(b"again")
wait_until(lambda: len(ends) == 2)
print(ends)
near.close(); far.close()
"""
    assert run(code, gevent) == ["[7, 7]"]


@BOTH
def test_the_identity_stays_locked_by_the_parent_alone(gevent: bool) -> None:
    """A child that outlives its parent's node does not keep the identity file locked."""
    code = """
import tempfile
path = os.path.join(tempfile.mkdtemp(), "identity")
made = config(identity__file=path)
node = crust.Service(made).start()
reading, writing = os.pipe()
told, tell = os.pipe()
pid = os.fork()
if pid == 0:
    close(writing)
    try:
        crust.Service(made).start()
    except crust.IdentityInUse as error:
        assert str(os.getppid()) in str(error)
    else:
        os._exit(1)
    os.write(tell, b"locked")
    os.read(reading, 1)
    os._exit(0)
close(reading); close(tell)
assert os.read(told, 6) == b"locked"
assert node.close()
again = crust.Service(made).start()
close(writing)
print(os.waitpid(pid, 0)[1], again.close())
"""
    assert run(code, gevent) == ["0 True"]


@BOTH
def test_files_under_way_stay_the_parents(gevent: bool) -> None:
    """A child neither removes nor completes what the parent is receiving."""
    code = """
import tempfile, pathlib
near, far, to_far, to_near = pair()
folder = pathlib.Path(tempfile.mkdtemp())
far.accept_files(folder)
source = folder.parent / (folder.name + ".source")
source.write_bytes(os.urandom(6_000_000))
children = []
def fork(done, total):
    if done * 3 > total and not children:
        pid = os.fork()
        if pid == 0:
            time.sleep(0.3)
            far.close()
            os._exit(0)
        children.append(pid)
to_far.send_file(source, name="arrived", progress=fork, timeout=30)
print([path.name for path in folder.iterdir()], (folder / "arrived").read_bytes() == source.read_bytes())
print([os.waitpid(pid, 0)[1] for pid in children])
near.close(); far.close()
"""
    assert run(code, gevent) == ["['arrived'] True", "[0]"]
