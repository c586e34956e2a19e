"""What a node makes of the router's ports: events, addresses, and that it leaves the router alone where it must."""

from __future__ import annotations

import pathlib
import threading
import time
from collections.abc import Callable, Iterator

import pytest

import crust
from crust import limits
from crust.candidates import CandidateKind
from crust.nat.mapping.gateway import Gateway
from crust.runtime.native import native_workers
from crust.service.machine import Machine
from crust.service.network.network_watch import Change
from tests.nat.mapping.fake import FakeRouter
from tests.support.modes import run_python
from tests.support.nodes import config
from tests.support.waiting import busy, eventually, wait_until

ANY = ("tcp://0.0.0.0:0", "utp://0.0.0.0:0")


class Behind(Machine):
    """This machine, behind another router."""

    def __init__(self, find: Callable[[], list[Gateway]]) -> None:
        super().__init__()
        self.find = find

    def gateways(self) -> Callable[[], list[Gateway]]:
        return self.find


class Home:
    """A router, and nodes behind it."""

    def __init__(self, fake: FakeRouter) -> None:
        self.fake = fake
        self.find: Callable[[], list[Gateway]] = lambda: [fake.gateway]
        self.asked = 0
        self.nodes: list[crust.Service] = []
        self.events: list[crust.Event] = []

    def _find(self) -> list[Gateway]:
        self.asked += 1
        return self.find()

    def start(self, addresses: tuple[str, ...] = ANY, **changes: object) -> crust.Service:
        home = self

        class Node(crust.Service):
            def _make_machine(self) -> Machine:
                return Behind(home._find)

        node = Node(config(listen__addresses=addresses, **changes))
        for kind in (crust.PortMapped, crust.PortMapFailed, crust.AddressesChanged):
            node.on(kind, self.events.append)
        self.nodes.append(node)
        node.start()
        return node

    def of(self, kind: type[crust.Event]) -> list[crust.Event]:
        return [each for each in list(self.events) if isinstance(each, kind)]

    def wait(self, kind: type[crust.Event], count: int = 1) -> list[crust.Event]:
        wait_until(lambda: len(self.of(kind)) >= count, what=f"{count} {kind.__name__}")
        return self.of(kind)


@pytest.fixture
def home(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with FakeRouter() as fake:
        made = Home(fake)
        yield made
        assert all([node.close() for node in made.nodes])
        assert all(node._node.crashes == 0 for node in made.nodes if node._node is not None)
    wait_until(lambda: native_workers() == [], 10.0, "the end of the native threads")


def test_a_node_is_mapped_unasked(home: Home) -> None:
    """TCP and µTP; told once each, and in addresses, contact and candidates; closed at the end."""
    node = home.start()
    mapped = home.wait(crust.PortMapped, 2)
    port = node.addresses[-1].port
    ports = {crust.Endpoint(name, "20.0.1.1", port) for name in ("tcp", "utp")}
    assert {each.endpoint for each in mapped} == ports  # type: ignore[attr-defined]
    assert {str(each.listener) for each in mapped} == {f"{each[:-2]}:{port}" for each in ANY}  # type: ignore[attr-defined]
    wait_until(lambda: ports <= set(home.of(crust.AddressesChanged)[-1].addresses))  # type: ignore[attr-defined]
    assert ports == set(node.addresses[:2]) == set(node.contact.endpoints[:2])
    found = {each.endpoint: each for each in node.candidates if each.kind is CandidateKind.MAPPED}
    assert set(found) == ports and all(each.shown and each.local is not None for each in found.values())
    assert node.close() and home.fake.router.table == {}
    assert node.addresses == ()


def test_the_routers_table_shows_no_id(home: Home) -> None:
    """All of the LAN may read it: an entry says crust, and nothing of whose it is."""
    home.fake.router.pcp = home.fake.router.natpmp = False
    home.start(nat__port_mapping=["igd"])
    home.wait(crust.PortMapped, 2)
    assert {line.description for line in home.fake.router.table.values()} == {"crust"}


def test_a_start_takes_no_longer(home: Home) -> None:
    """With a router that is looked for for long, and whatever it does."""
    release = threading.Event()

    def slow() -> list[Gateway]:
        release.wait(60.0)
        return []

    home.find = slow
    before = time.monotonic()
    node = home.start()
    seconds = time.monotonic() - before
    assert node.addresses and home.asked <= 1 and not release.is_set()
    release.set()
    home.wait(crust.PortMapFailed)
    assert seconds < 20.0


@pytest.mark.parametrize(
    ("addresses", "changes"),
    [
        (("tcp://127.0.0.1:0", "utp://127.0.0.1:0"), {}),
        (("tcp://[::1]:0",), {}),
        ((), {}),
        (ANY, {"nat__port_mapping": ()}),
    ],
)
def test_the_router_is_left_alone(home: Home, addresses: tuple[str, ...], changes: dict[str, object]) -> None:
    """Listeners on loopback, none, or a configuration that says so: no thread, no packet, no event."""
    node = home.start(addresses, **changes)
    assert node._node is not None
    assert not any(name == "crust-portmap" for name in node._node.threads.alive())
    assert home.asked == 0 and home.fake.router.asked == [] and home.of(crust.PortMapFailed) == []


def test_the_environment_keeps_a_node_from_it() -> None:
    """As it keeps all tests: a node that listens everywhere asks nobody."""
    with crust.Service(config(listen__addresses=ANY)) as node:
        assert node._node is not None and "crust-portmap" not in node._node.threads.alive()


def test_a_node_that_listens_anew(home: Home) -> None:
    """Other ports: the old ones are closed, the new ones opened."""
    node = home.start()
    home.wait(crust.PortMapped, 2)
    before = set(home.fake.router.table)
    node.stop_listening()
    wait_until(lambda: home.fake.router.table == {}, what="the closing")
    assert node.addresses == ()
    node.start_listening()
    home.wait(crust.PortMapped, 4)
    after = set(home.fake.router.table)
    assert len(after) == 2 and after.isdisjoint(before)
    assert {each.port for each in node.addresses} == {port for _, port in after}


def test_a_failure_is_told_once(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAPPING_PROBES", 2)
    home.fake.router.pcp = home.fake.router.natpmp = home.fake.router.igd = False
    node = home.start(nat__port_mapping=("pcp", "natpmp"))
    home.wait(crust.PortMapFailed)
    assert not eventually(lambda: len(home.of(crust.PortMapFailed)) > 1, 0.5)
    assert "opens no port" in str(home.of(crust.PortMapFailed)[0].reason)  # type: ignore[attr-defined]
    assert all(each.host != "20.0.1.1" for each in node.addresses)


def test_behind_a_carrier(home: Home) -> None:
    """It is said, and strangers are not told; neighbours behind the same carrier may try."""
    home.fake.router.external_ip = "100.64.7.7"
    node = home.start(("tcp://0.0.0.0:0",))
    (event,) = home.wait(crust.PortMapped)
    assert "provider" in event.reason  # type: ignore[attr-defined]
    assert all(each.host != "100.64.7.7" for each in node.addresses)
    assert [each.shown for each in node.candidates if each.kind is CandidateKind.MAPPED] == [False]


def test_a_router_that_does_not_name_its_address(home: Home) -> None:
    """What others see us at is taken, once that is known."""
    home.fake.router.external_ip = "0.0.0.0"
    node = home.start(("tcp://0.0.0.0:0",), nat__port_mapping=("igd",))
    assert "does not name" in home.wait(crust.PortMapFailed)[0].reason  # type: ignore[attr-defined]
    assert node._network is not None
    node._network.port_mapping.seen_at("20.0.5.5")
    (event,) = home.wait(crust.PortMapped)
    assert event.endpoint.host == "20.0.5.5"  # type: ignore[attr-defined]


def test_close_with_a_router_that_hangs(home: Home) -> None:
    """An HTTP server that never answers: close() is as quick as ever, and says that nothing is left."""
    home.fake.hangs = True
    node = home.start(nat__port_mapping=("igd",))
    wait_until(lambda: home.fake.requests, what="the call")
    before = time.monotonic()
    assert node.close()
    assert time.monotonic() - before < 4.0 * busy()  # the library waits for five seconds


FORKED = """
import os, sys, time
import crust
from crust.service.machine import Machine
from crust.service.network.network_watch import Change
from tests.nat.mapping.fake import FakeRouter

os.environ["XDG_STATE_HOME"] = sys.argv[1]

with FakeRouter() as fake:
    class Behind(Machine):
        def gateways(self):
            return lambda: [fake.gateway]

    class Node(crust.Service):
        def _make_machine(self):
            return Behind()

    node = Node(crust.Config().replace(**{"listen.addresses": ["tcp://0.0.0.0:0"]}))
    opened = []
    node.on(crust.PortMapped, opened.append)
    node.start()
    while not opened:
        time.sleep(0.01)
    child = os.fork()
    if not child:
        node.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert len(fake.router.table) == 1, "the child closed the parent's port"
    (listed,) = [each for each in os.scandir(sys.argv[1] + "/crust/port-mappings") if each.name.endswith(".json")]
    assert node.close()
    assert not fake.router.table and not os.path.exists(listed.path)
print("well")
"""


@pytest.mark.parametrize("gevent", [False, True])
def test_a_forked_child_leaves_the_ports_alone(tmp_path: pathlib.Path, gevent: bool) -> None:
    """They are the parent's, as is the list on disk; the parent closes them."""
    done = run_python(FORKED, str(tmp_path), gevent=gevent, forks=True)
    assert (done.returncode, done.stdout) == (0, "well\n"), done.stderr


# --- other ports, another network -------------------------------------------------------------------------------------


def test_other_ports_are_mapped_while_the_old_ones_answer(home: Home) -> None:
    """The router has both for the grace, but only the new ones are told; then the old ones are gone there, too."""
    node = home.start()
    home.wait(crust.PortMapped, 2)
    old = dict(home.fake.router.table)
    assert node._network is not None
    opened = node.rotate_ports(grace=600.0)
    home.wait(crust.PortMapped, 4)
    assert old.items() < dict(home.fake.router.table).items() and len(home.fake.router.table) == 4
    mapped = {each.endpoint.port for each in node.candidates if each.kind is CandidateKind.MAPPED}
    assert mapped == {each.port for each in opened}
    node._network.rotation._end(list(node._network.listeners._retired))
    wait_until(lambda: len(home.fake.router.table) == 2, what="the end of the old ports")
    assert not old.keys() & home.fake.router.table.keys()


def test_on_another_network_the_router_is_looked_for_at_once(home: Home) -> None:
    """Not at the next look, a minute later."""
    node = home.start()
    home.wait(crust.PortMapped, 2)
    asked = home.asked
    assert node._network is not None
    node._network.moved(Change(frozenset(), is_elsewhere=True, came_up=False))
    wait_until(lambda: home.asked > asked, what="a look for routers")
