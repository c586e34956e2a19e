"""A service from its making to its end: what each step may do, and what is refused at the wrong time."""

from __future__ import annotations

import copy
import gc
import os
import pathlib
import pickle
import socket
import threading
import weakref

import pytest

import crust
from crust import Config, Contact, Identity, IdentityConfig, Service
from tests.support import leaks
from tests.support.modes import run_python
from tests.support.nodes import LOOPBACK, Nodes, config
from tests.support.sockets import unused_port
from tests.support.threads import Background


def test_a_constructor_does_no_input_or_output() -> None:
    """``Service(…)`` opens nothing and starts no thread, whatever its arguments."""
    before = leaks.snapshot()
    identity = Identity.generate()
    service = Service(config(), contacts=[str(Contact(identity.peer_id))], identity=identity, on_event=print)
    service.on(crust.NewMessage, print)
    assert leaks.snapshot() == before
    assert service.id == identity.peer_id
    assert service.peers == []
    assert service.addresses == ()
    assert not service.closed


def test_a_constructor_touches_no_file(tmp_path: pathlib.Path) -> None:
    """The identity file is read, or made, by ``start``."""
    path = tmp_path / "sub" / "identity"
    service = Service(Config(identity=IdentityConfig(file=str(path))))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(crust.ServiceClosed):
        _ = service.id


def test_a_service_starts_once(nodes: Nodes) -> None:
    """A second ``start`` says so, and disturbs nothing."""
    service = nodes.start()
    addresses = service.addresses
    with pytest.raises(crust.LocalProtocolError, match="started already"):
        service.start()
    assert service.addresses == addresses


def test_there_is_no_restart(nodes: Nodes) -> None:
    """After ``close`` a service stays closed."""
    service = nodes.start()
    assert service.close()
    with pytest.raises(crust.ServiceClosed, match="make a new one"):
        service.start()


def test_a_service_closed_before_its_start_never_starts() -> None:
    """``close`` on a new service is True at once."""
    service = Service(config())
    assert service.close()
    assert service.closed
    assert service.wait(0)
    with pytest.raises(crust.ServiceClosed):
        service.start()


def test_start_returns_the_service_and_with_starts_it() -> None:
    """``with Service() as node`` gives a running node and closes it; ``start`` before ``with`` is no second start."""
    with Service(config()) as node:
        assert node.addresses
        assert not node.closed
    assert node.closed
    started = Service(config()).start()
    with started as again:
        assert again is started
    assert started.closed


def test_with_closes_after_an_exception() -> None:
    """What goes wrong inside ``with`` comes out, and nothing is left running."""
    with pytest.raises(ZeroDivisionError), Service(config()) as node:
        1 / 0  # noqa: B018
    assert node.wait(0)


@pytest.mark.parametrize(
    "use",
    [
        lambda node: node.connect(Contact(Identity.generate().peer_id)),
        lambda node: node.dial(Contact(Identity.generate().peer_id)),
        lambda node: node.bootstrap(),
        lambda node: node.send(Identity.generate().peer_id, b""),
        lambda node: node.disconnect(Identity.generate().peer_id),
        lambda node: node.is_connected(Identity.generate().peer_id),
        lambda node: node.ban("192.0.2.1"),
        lambda node: node.unban("192.0.2.1"),
        lambda node: node.start_listening(),
        lambda node: node.stop_listening(),
        lambda node: node.set_accept_bootstrap(True),
        lambda node: node.prepare_connection_info(),
        lambda node: node.events(),
        lambda node: node.stats(),
    ],
)
def test_what_needs_a_running_node_says_so(use: object) -> None:
    """Before ``start`` and after ``close`` every such call raises ServiceClosed, with what to do."""
    assert callable(use)
    service = Service(config())
    with pytest.raises(crust.ServiceClosed, match="has not been started"):
        use(service)
    service.close()
    with pytest.raises(crust.ServiceClosed, match="has been closed"):
        use(service)


def test_callbacks_cannot_register_after_the_end() -> None:
    """``on`` is allowed before ``start``, not after ``close``."""
    service = Service(config())
    service.on(crust.NewMessage, print)
    service.close()
    with pytest.raises(crust.ServiceClosed):
        service.on(crust.NewMessage, print)


def test_snapshots_work_at_any_time(nodes: Nodes) -> None:
    """``peers``, ``addresses`` and ``repr`` never raise."""
    service = nodes.make()
    assert (service.peers, service.addresses, "new" in repr(service)) == ([], (), True)
    service.start()
    assert service.id.short in repr(service)
    service.close()
    assert service.peers == []
    assert service.addresses == ()
    assert "closed" in repr(service)


def test_a_running_node_knows_its_contact(nodes: Nodes) -> None:
    """``contact`` is our id and where we listen, with the ports that the system chose."""
    service = nodes.start()
    [endpoint] = service.addresses
    assert (endpoint.host, endpoint.port > 0) == ("127.0.0.1", True)
    assert service.contact == Contact(service.id, service.addresses)
    started = nodes.heard(service).wait(crust.ListenerStarted)
    assert started.endpoint == endpoint


def test_wait_ends_with_the_service(nodes: Nodes) -> None:
    """``wait`` is False at its timeout and True once anybody has closed the service."""
    service = nodes.start()
    assert not service.wait(0.01)
    waiting = Background(service.wait)
    service.close()
    assert waiting.result() is True


def test_the_identity_is_kept_in_its_file(nodes: Nodes, tmp_path: pathlib.Path) -> None:
    """``identity.file`` is made at the first start and read at the next: the id stays."""
    path = str(tmp_path / "keys" / "identity")
    first = nodes.start(config(identity__file=path))
    peer_id = first.id
    assert first.close()
    second = nodes.start(config(identity__file=path))
    assert second.id == peer_id
    assert os.stat(path).st_mode & 0o077 == 0


def test_one_identity_runs_once(nodes: Nodes, tmp_path: pathlib.Path) -> None:
    """A second node with the same identity file gets IdentityInUse and leaves nothing behind; the first goes on."""
    path = str(tmp_path / "identity")
    first = nodes.start(config(identity__file=path))
    second = nodes.make(config(identity__file=path))
    with pytest.raises(crust.IdentityInUse, match="in use by another node"):
        second.start()
    assert nodes.start().connect(first.contact).id == first.id
    first.close()
    assert nodes.start(config(identity__file=path)).id == first.id


def test_who_keeps_a_service() -> None:
    """While it runs nobody needs to hold it; once it is closed nothing of crust does."""
    services: weakref.WeakSet[Service] = weakref.WeakSet()
    services.add(Service(config()).start())
    gc.collect()
    (service,) = services
    assert service.close()
    del service
    gc.collect()
    assert not services


def test_an_identity_that_was_loaded_runs_once_too(nodes: Nodes, tmp_path: pathlib.Path) -> None:
    """Given as an object it is locked by its file, until the node is closed; one without a file is not."""
    path = tmp_path / "identity"
    identity = Identity.load_or_create(path)
    first = nodes.start(identity=identity)
    for second in (nodes.make(identity=Identity.load(path)), nodes.make(config(identity__file=str(path)))):
        with pytest.raises(crust.IdentityInUse, match="in use by another node"):
            second.start()
    first.close()
    assert nodes.start(config(identity__file=str(path))).id == identity.peer_id
    nameless = Identity.generate()
    assert nodes.start(identity=nameless).id == nodes.start(identity=nameless).id


def test_a_damaged_identity_file_stops_the_start(nodes: Nodes, tmp_path: pathlib.Path) -> None:
    """The error names the file; nothing runs, and the file is not touched."""
    path = tmp_path / "identity"
    path.write_text("not a key\n")
    path.chmod(0o600)
    before = leaks.snapshot()
    with pytest.raises(crust.IdentityError, match="identity"):
        nodes.make(config(identity__file=str(path))).start()
    assert leaks.snapshot() == before
    assert path.read_text() == "not a key\n"


def test_the_contact_is_written_where_the_configuration_says(nodes: Nodes, tmp_path: pathlib.Path) -> None:
    """``write_contact_to`` has the contact once ``start`` has returned."""
    path = tmp_path / "contact"
    service = nodes.start(config(write_contact_to=str(path)))
    assert Contact.parse(path.read_text().strip()) == service.contact


def test_a_contact_that_cannot_be_written_stops_the_start(nodes: Nodes, tmp_path: pathlib.Path) -> None:
    """Then nothing is left running or listening."""
    before = leaks.snapshot()
    with pytest.raises(OSError):
        nodes.make(config(write_contact_to=str(tmp_path / "none" / "contact"))).start()
    leaks.check(before)


def test_live_objects_refuse_pickling(nodes: Nodes) -> None:
    """A Service and a Peer say what to pass instead; ids, contacts, configurations and errors pickle."""
    pair = nodes.pair()
    for alive, advice in ((pair.near, "one node per process"), (pair.to_far, "peer.id")):
        with pytest.raises(TypeError, match=advice):
            pickle.dumps(alive)
        with pytest.raises(TypeError, match=advice):
            copy.copy(alive)
    info = pair.far.prepare_connection_info()
    error = crust.Denied("no", (), "banned", ("a",))
    for value in (pair.far.id, pair.far.contact, info, pair.far.addresses, config(), pair.to_far.path, crust.CONFIG):
        assert pickle.loads(pickle.dumps(value)) == value
    copied = pickle.loads(pickle.dumps(error))
    assert (str(copied), copied.reason, copied.alternates) == (str(error), "banned", ("a",))


def test_a_closed_service_leaves_nothing(nodes: Nodes) -> None:
    """No thread and no descriptor is left by a node that listened, dialled, was dialled, and sent."""
    before = leaks.snapshot()
    pair = nodes.pair()
    pair.to_far.send(b"there")
    assert pair.to_near.recv(5) == b"there"
    with pair.near.events() as stream:
        assert stream.fileno() >= 0
        assert pair.near.close()
        assert pair.far.close()
    leaks.check(before)


def test_listeners_stop_answering_with_close(nodes: Nodes) -> None:
    """After ``close`` the port is free for the next."""
    port = unused_port()  # held for this test: nobody else gets it in between
    there = config(listen__addresses=(f"tcp://127.0.0.1:{port}",))
    service = nodes.start(there)
    service.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    assert nodes.start(there).addresses[0].port == port


def test_peer_hears_that_a_node_was_closed_in_order(nodes: Nodes) -> None:
    """The other side gets LostPeer(closed), our own LostPeer says that we closed; both tell nothing was left."""
    pair = nodes.pair()
    pair.to_far.send(b"last words")
    assert pair.near.close()
    lost = pair.far_heard.wait(crust.LostPeer)
    assert (lost.peer, lost.reason, lost.unacknowledged) == (pair.to_near, "closed", ())
    own = pair.near_heard.wait(crust.LostPeer)
    assert (own.peer, own.reason, own.unacknowledged) == (pair.to_far, "service_closed", ())
    assert pair.to_near.recv(0) == b"last words"
    assert (pair.to_far.state, pair.to_near.state) == ("lost", "lost")


def test_a_name_of_each_thread(nodes: Nodes) -> None:
    """Every thread of a node is named ``crust-…``, for logs and debuggers."""
    before = {thread.ident for thread in threading.enumerate()}
    nodes.pair()
    new = [thread.name for thread in threading.enumerate() if thread.ident not in before]
    named = sorted({name.rsplit("-", 1)[0] for name in new})
    assert named == ["crust", "crust-dial", "crust-link", "crust-listen"]


@pytest.mark.parametrize("gevent", [False, True])
def test_the_interpreter_ends_with_a_node_still_running(gevent: bool) -> None:
    """A program that forgot ``close`` ends at once, says goodbye to its peers, and reports nothing."""
    code = (
        "import crust, threading\n"
        f"make = lambda: crust.Service(crust.Config(listen=crust.ListenConfig(addresses=({LOOPBACK!r},)))).start()\n"
        "near, far = make(), make()\n"
        "came = threading.Event()\n"
        "far.on(crust.ConnectSuccess, lambda event: came.set())\n"
        "far.on(crust.LostPeer, lambda event: print(event.reason))\n"
        "near.connect(far.contact).send(b'x' * 100_000)\n"
        "assert came.wait(5)\n"
        "print('end')\n"
    )
    done = run_python(code, gevent=gevent, timeout=20.0)
    assert done.returncode == 0
    assert done.stderr == ""
    lines = done.stdout.split()
    assert lines[0] == "end"
    assert lines[1] in ("closed", "service_closed")


def test_a_late_monkey_patch_is_an_error_with_advice() -> None:
    """``start`` names the fix instead of hanging later."""
    code = (
        "import crust\n"
        "from gevent import monkey; monkey.patch_all()\n"
        "try: crust.Service().start()\n"
        "except crust.LocalProtocolError as error: print(error)\n"
    )
    done = run_python(code, timeout=20.0)
    assert "monkey.patch_all()" in done.stdout
    assert "after crust was imported" in done.stdout


def test_importing_crust_starts_nothing() -> None:
    """``import crust`` loads neither gevent nor yaml, makes no thread, and opens nothing."""
    code = (
        "import sys, threading, os\n"
        "before = set(os.listdir('/proc/self/fd'))\n"
        "import crust\n"
        "crust.Service(crust.Config())\n"
        "assert threading.active_count() == 1\n"
        "assert set(os.listdir('/proc/self/fd')) == before\n"
        "assert not {'gevent', 'yaml'} & set(sys.modules), sys.modules\n"
    )
    done = run_python(code, timeout=20.0)
    assert done.returncode == 0, done.stderr
