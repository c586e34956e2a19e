"""What a reload does to nodes that are busy: bans and lists, all or nothing, races, interrupts, fork."""

from __future__ import annotations

import os
import pathlib
import threading

import pytest

import crust
from crust import Config, ConfigError, Identity, Service
from crust.peers.registry import Registry
from crust.service.reloading import reloading
from tests.support.nodes import Nodes
from tests.support.threads import Background
from tests.support.waiting import wait_until


def changed(node: Service, **changes: object) -> Config:
    return node.config.replace(**{name.replace("__", "."): value for name, value in changes.items()})


# --- bans -------------------------------------------------------------------------------------------------------------


def test_bans_of_the_program_stay(nodes: Nodes) -> None:
    """Whatever the file says, and also if it says the same and then takes it back."""
    near, far = nodes.start(), nodes.start()
    far.ban(near.id)
    far.reload(changed(far, access__ban__peers=[str(near.id)]))
    far.reload(changed(far, access__ban__peers=[]))
    with pytest.raises(crust.Denied, match="banned"):
        near.connect(far.contact)
    assert far.unban(near.id) == 1
    assert near.connect(far.contact).id == far.id


def test_what_was_lifted_by_name_stays_lifted(nodes: Nodes) -> None:
    """A ban of the file that the program has lifted does not come back when another is added."""
    near, far = nodes.start(), nodes.start()
    far.reload(changed(far, access__ban__peers=[str(near.id)]))
    assert far.unban(near.id) == 1
    stranger = str(Identity.generate().peer_id)
    far.reload(changed(far, access__ban__peers=[str(near.id), stranger]))
    assert near.connect(far.contact).id == far.id
    assert far.ban(stranger) == 0


def test_a_peer_that_is_suspended_is_ended_too(nodes: Nodes) -> None:
    """It hears why when it comes back."""
    pair = nodes.proxied()
    pair.suspend()
    pair.far.reload(changed(pair.far, access__allow_peers=[]))
    assert pair.far_heard.wait(crust.LostPeer).reason == "role"
    pair.wire.heal()
    pair.near.is_connected(pair.far.id)
    assert pair.near_heard.wait(crust.LostPeer, timeout=10).reason in ("role", "gone")


def test_who_goes_through_a_list_does_not_slip_in(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller that was admitted, and waits for its word that it uses the link, when the list is changed."""
    admitted, go = threading.Event(), threading.Event()
    original = Registry.used

    def used(self: Registry, link: object, decision: int) -> None:
        admitted.set()
        assert go.wait(5)
        original(self, link, decision)  # type: ignore[arg-type]

    one, other = sorted((Identity.generate(), Identity.generate()), key=lambda each: each.peer_id)
    far, near = nodes.start(identity=one), nodes.start(identity=other)  # the caller is the controller
    monkeypatch.setattr(Registry, "used", used)
    dialled = Background(lambda: near.connect(far.contact))
    assert admitted.wait(5)
    far.reload(changed(far, access__allow_peers=[]))
    go.set()
    dialled.thread.join(5)
    assert nodes.heard(near).wait(crust.LostPeer).reason == "role"
    assert near.peers == far.peers == []
    assert nodes.heard(far).of(crust.ConnectSuccess) == []


# --- all or nothing ---------------------------------------------------------------------------------------------------


def test_nothing_is_changed_if_something_cannot_be(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even the configuration that it shows; the error is an event, too."""
    node = nodes.start()
    before = node.config
    monkeypatch.setattr("crust.service.reloading.applying.Access", lambda _: (_ for _ in ()).throw(ValueError("no")))
    with pytest.raises(ConfigError, match="no"):
        node.reload(changed(node, limits__max_peers=1, listen__advertise=["tcp://192.0.2.7:1"]))
    monkeypatch.undo()
    assert node._node is not None
    assert node.config is before and node._node.config is before
    assert node._node.registry.max_peers == before.limits.max_peers
    told = nodes.heard(node).wait(crust.ConfigReloaded)
    assert (str(told.error), told.applied) == ("no", ())
    other = nodes.start()
    assert other.connect(node.contact).id == node.id


def test_what_the_program_has_switched_stays_while_the_file_says_nothing_new_of_it(nodes: Nodes) -> None:
    """Whether bootstraps are accepted: another key that changes leaves that as it is."""
    near, far = nodes.start(), nodes.start()
    far.set_accept_bootstrap(True)
    assert far.reload(changed(far, limits__max_peers=7)).applied == ("limits.max_peers",)
    assert near.bootstrap(contacts=[far.contact]).id == far.id


def test_what_fits_only_after_a_restart_changes_nothing(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that are valid together with others alone, of which some need a restart."""
    node = nodes.start()
    before = node.config

    def fail(self: Config, **changes: object) -> Config:
        raise ConfigError("these do not go together")

    wanted = changed(node, limits__max_peers=1)
    monkeypatch.setattr(Config, "replace", fail)
    with pytest.raises(ConfigError, match="together"):
        node.reload(wanted)
    assert node.config is before


def test_many_at_once(nodes: Nodes, tmp_path: pathlib.Path) -> None:
    """Reloads from several threads, and by the clock, of a file that is being replaced: each sees a whole one."""
    path, new = tmp_path / "crust.yaml", tmp_path / "new"
    quiet = "bootstrap: {cache: {max_peers: 0}}\nlisten: {addresses: []}\nlan: {seek: never}\nreload_interval: 0.01\n"

    def say(number: int) -> None:
        new.write_text(f"{quiet}limits: {{max_peers: {number}, half_open: {number}}}\n")
        os.replace(new, path)

    say(1)
    node = nodes.start(Config.load(path))

    def reload() -> list[Config]:
        found = []
        for _ in range(30):
            node.reload()
            found.append(node.config)
        return found

    threads = [Background(reload) for _ in range(4)]
    for number in range(2, 40):
        say(number)
    for each in threads:
        for found in each.result(20.0):  # type: ignore[attr-defined]
            assert found.limits.max_peers == found.limits.half_open
    wait_until(lambda: node.config.limits.max_peers == 39, what="the last one")
    assert all(each.error is None for each in nodes.heard(node).of(crust.ConfigReloaded))


def test_while_peers_come_and_go(nodes: Nodes) -> None:
    """Nobody who is allowed is cut off, nobody is left who is not, and nothing breaks."""
    far = nodes.start(heard=False)
    friend = nodes.start()
    to_far = friend.connect(far.contact)
    strangers = [nodes.start(heard=False) for _ in range(3)]
    stop = threading.Event()

    def come_and_go(node: Service) -> int:
        count = 0
        while not stop.is_set():
            try:
                node.connect(far.contact, timeout=5).disconnect()
                count += 1
            except (crust.ConnectError, crust.PeerLost):
                pass
        return count

    callers = [Background(come_and_go, each) for each in strangers]
    for number in range(30):
        only = None if number % 2 else [str(friend.id)]
        banned = [str(strangers[number % 3].id)]
        far.reload(changed(far, access__allow_peers=only, access__ban__peers=banned, limits__max_peers=number + 2))
        to_far.send(b"%d" % number)
    far.reload(changed(far, access__allow_peers=[str(friend.id)], access__ban__peers=[]))
    assert [peer.id for peer in far.peers if peer.state != "lost"] == [friend.id]  # some may be about to go
    stop.set()
    assert sum(each.result(20.0) for each in callers) >= 0  # type: ignore[misc]
    (from_friend,) = [peer for peer in far.peers if peer.id == friend.id]
    assert [from_friend.recv(timeout=5) for _ in range(30)] == [b"%d" % number for number in range(30)]
    assert nodes.heard(friend).of(crust.LostPeer) == []


def test_while_it_closes(nodes: Nodes) -> None:
    """A reload during close is done, or says that the service is closed; close is clean."""
    for _ in range(5):
        node = nodes.start(heard=False)
        begun = threading.Event()

        def reload(node: Service = node, begun: threading.Event = begun) -> str:
            for number in range(1, 1000):
                begun.set()
                try:
                    node.reload(changed(node, limits__max_peers=number))
                except crust.ServiceClosed:
                    return "closed"
            return "done"

        caller = Background(reload)
        assert begun.wait(5)
        assert node.close()
        assert caller.result(10.0) == "closed"


# --- from everywhere --------------------------------------------------------------------------------------------------


def test_from_a_callback(nodes: Nodes) -> None:
    """It may be called there; its event comes after the callback."""
    node = nodes.start()
    told: list[crust.ConfigReloaded] = []
    node.on(crust.ConnectionInfoPrepared, lambda _: told.append(node.reload(changed(node, limits__max_peers=7))))
    node.prepare_connection_info()
    assert nodes.heard(node).wait(crust.ConfigReloaded).applied == ("limits.max_peers",)
    assert told[0].applied == ("limits.max_peers",)


def test_without_a_thread_to_be_had(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is done on the caller's."""
    node = nodes.start()
    assert node._node is not None

    def spawn(*_: object) -> threading.Thread:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(node._node, "spawn", spawn)
    assert node.reload(changed(node, limits__max_peers=7)).applied == ("limits.max_peers",)
    monkeypatch.undo()


def test_an_interrupt_does_not_stop_it(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is interrupted while waiting hears that; the change is made all the same."""
    node = nodes.start()
    wanted = changed(node, limits__max_peers=7)

    class Struck:
        def set(self) -> None:
            pass

        def wait(self) -> None:
            raise KeyboardInterrupt

    assert node._node is not None
    monkeypatch.setattr(node._node.clock, "event", Struck)
    with pytest.raises(KeyboardInterrupt):
        node.reload(wanted)
    monkeypatch.undo()
    wait_until(lambda: node.config.limits.max_peers == 7, what="the change")


def test_a_part_that_fails_is_a_fault_of_its_own(nodes: Nodes) -> None:
    """The others hear of the change all the same."""
    node = nodes.make()
    node.start()
    heard: list[frozenset[str]] = []
    inner = node._node
    assert inner is not None
    inner.on_reloaded += [lambda keys: 1 // 0, heard.append]
    assert node.reload(changed(node, limits__max_peers=7)).error is None
    assert heard == [frozenset({"limits.max_peers"})]
    assert inner.crashes == 1
    inner.crashes = 0


def test_a_forked_child_watches_nothing(nodes: Nodes, tmp_path: pathlib.Path) -> None:
    """Its copy is dead, whatever was held at the time."""
    node = nodes.start()
    assert isinstance(node._reloading, reloading.Reloading)
    part = reloading.Reloading(node._node, node._network, (), lambda _: None)  # type: ignore[arg-type]
    with part._lock, part._timer_lock:
        part.abandon()
        part._look_in(0.0)
    assert part._timer is None and part._closed
