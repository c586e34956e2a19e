"""The bootstrap cache of running nodes: who gets in, who goes, and what becomes of the file."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import logging
import os
import pathlib
import threading
import time
from typing import Any

import pytest

import crust
import crust.testing
from crust import Contact, Endpoint, Identity, limits
from crust.discovery.cache.core import Entry
from crust.discovery.cache.form import build_cache
from crust.peers.knocks import Knocked
from crust.runtime.interfaces import InterfaceAddress
from crust.service.finding.caching import Caching
from tests.service.finding.shared import caching, config, nobody, write_cache
from tests.support.nodes import LOOPBACK, Nodes, at, through
from tests.support.threads import Background
from tests.support.waiting import wait_until

PATIENCE = 10.0
BOTH = (LOOPBACK, "utp://127.0.0.1:0")


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing, and looking at who has gone, take a tenth of their time."""
    monkeypatch.setattr(limits, "CACHE_SAVE_DELAY", 0.1)
    monkeypatch.setattr(limits, "CACHE_CHECKS", (0.05, 0.1, 0.2))


def listed(path: pathlib.Path) -> list[str]:
    """The ids in the file, in order."""
    if not path.exists():
        return []
    return [node["contact"].partition("@")[0] for node in json.loads(path.read_text())["nodes"]]


def knocks_of(node: crust.Service, answers: bool) -> list[tuple[crust.PeerId, Endpoint]]:
    """Whom that node knocks at from now on, and where; unless `answers`, no router lets a stranger in."""
    assert node._node is not None
    knocks = node._node.knocks
    knock, asked = knocks.knock, list[tuple[crust.PeerId, Endpoint]]()

    def knocking(peer_id: crust.PeerId, endpoint: Endpoint, heard: Any, **named: Any) -> None:
        asked.append((peer_id, endpoint))
        if answers:
            knock(peer_id, endpoint, heard, **named)
        else:
            heard(Knocked("timeout", "its router lets nobody in"))

    knocks.knock = knocking  # type: ignore[method-assign]
    return asked


# --- who gets in ------------------------------------------------------------------------------------------------------


def test_a_direct_link_puts_the_node_first_on_disk(nodes: Nodes, path: pathlib.Path) -> None:
    """At once, each before those that came earlier; over µTP, too."""
    near = nodes.start(caching(path))
    assert not path.exists()
    fars = [nodes.start(config()), nodes.start(config(listen__addresses=("utp://127.0.0.1:0",))), nodes.start(config())]
    seen: list[str] = []
    for far in fars:
        near.connect(far.contact)
        seen.insert(0, str(far.id))
        wait_until(lambda: listed(path) == seen, PATIENCE, "the file")
    assert near.is_connected(fars[0].id)


def test_who_called_us_does_not_get_in(nodes: Nodes, path: pathlib.Path) -> None:
    """Its router lets us in, and maybe nobody else; nor does a client, that others are not to dial."""
    near, caller = nodes.start(caching(path)), nodes.start(config())
    caller.connect(near.contact)
    client = nodes.start(config(network__role="client"))
    near.connect(client.contact)
    node = nodes.start(config())
    near.connect(node.contact)
    wait_until(lambda: listed(path) == [str(node.id)], PATIENCE, "the file")
    assert near.close()
    assert listed(path) == [str(node.id)]


@pytest.mark.parametrize("answers", [True, False])
def test_who_was_introduced_gets_in_if_strangers_do(nodes: Nodes, path: pathlib.Path, answers: bool) -> None:
    """An introducer may have told it of us: that we reach it shows nothing, but an answer to a knock does."""
    # By gossip its address might be known in time to be dialled at once.
    middle = nodes.start(config(relay__serve=True, gossip__enabled=False))
    far = nodes.start(config(gossip__enabled=False))
    far.connect(middle.contact)
    near = nodes.start(caching(path, gossip__enabled=False))
    asked = knocks_of(near, answers)
    near.connect(middle.contact)
    peer = near.connect(far.id)
    wait_until(lambda: peer.path is not None and peer.path.path_class == "direct-tcp", PATIENCE, "a direct path")
    conversation, way = peer._conversation, peer.path
    assert way is not None and near._finding is not None
    if way.inbound:  # the other end was quicker, and its link tells us nothing: as if it had been ours
        conversation.path = dataclasses.replace(way, inbound=False, remote=str(far.addresses[0]))
        near._finding.caching._connected(conversation)
    wait_until(lambda: bool(asked), PATIENCE, "a knock")
    expected = [str(far.id), str(middle.id)] if answers else [str(middle.id)]
    wait_until(lambda: listed(path) == expected, PATIENCE, "the file")
    assert near.close()
    assert listed(path) == expected and asked == [(far.id, far.addresses[0])]


@pytest.mark.parametrize("noticed", [True, False])
@pytest.mark.parametrize("answers", [True, False])
def test_who_called_us_gets_in_when_our_own_link_shows_it(
    nodes: Nodes, path: pathlib.Path, answers: bool, noticed: bool
) -> None:
    """
    Who called us is as good a way in, once we have dialled it and a stranger would get in; but not before, and not
    either if its session was on our link when it was looked at first.
    """
    near, caller = nodes.start(caching(path)), nodes.start(config())
    caller.connect(near.contact)
    assert near._finding is not None and near._node is not None
    introduced = near._finding.caching._introduced
    wait_until(lambda: len(introduced) == 1, PATIENCE, "the caller")
    (conversation,) = introduced
    assert conversation.path is not None
    asked = knocks_of(near, answers)
    remote = str(caller.addresses[0])
    conversation.path = dataclasses.replace(conversation.path, inbound=False, remote=remote)
    if not noticed:
        introduced.clear()
    near._finding.caching._connected(conversation)
    wait_until(lambda: asked == [(caller.id, caller.addresses[0])], PATIENCE, "a knock")
    if answers:
        wait_until(lambda: listed(path) == [str(caller.id)], PATIENCE, "the file")
    else:
        other = nodes.start(config())
        near.connect(other.contact)
        wait_until(lambda: listed(path) == [str(other.id)], PATIENCE, "the file")


def test_nothing_is_kept_of_sessions_that_are_over(nodes: Nodes, path: pathlib.Path) -> None:
    """However many call, and go again."""
    near = nodes.start(caching(path))
    assert near._finding is not None
    for _ in range(3):
        caller = nodes.start(config())
        caller.connect(near.contact)
        wait_until(lambda: len(near._finding.caching._introduced) == 1, PATIENCE, "the caller")  # type: ignore[union-attr]
        caller.close()
        wait_until(lambda: not near._finding.caching._introduced, PATIENCE, "its end")  # type: ignore[union-attr]


# --- who goes ---------------------------------------------------------------------------------------------------------


def test_a_lost_node_goes_after_three_failures(nodes: Nodes, path: pathlib.Path) -> None:
    """It has said goodbye, and nobody is there any more."""
    near, far, other = nodes.start(caching(path)), nodes.start(config()), nodes.start(config())
    near.connect(far.contact)
    near.connect(other.contact)
    wait_until(lambda: len(listed(path)) == 2, PATIENCE, "both")
    far.close()
    wait_until(lambda: listed(path) == [str(other.id)], PATIENCE, "its end")
    assert near.is_connected(other.id)


def test_a_lost_node_that_is_there_stays(nodes: Nodes, path: pathlib.Path) -> None:
    """It hears nothing of our looking."""
    near, far = nodes.start(caching(path)), nodes.start(config())
    assert near._node is not None and near._finding is not None
    peer = near.connect(far.contact)
    wait_until(lambda: listed(path), PATIENCE, "the file")
    heard = len(nodes.heard(far).all)
    near._node.disconnect(peer.id)  # as if it had been lost: the application has not dropped it
    nodes.heard(far).wait(crust.LostPeer)
    before = nodes.heard(far).all[heard:]
    near._finding.dropped.lift(far.id)
    cache = near._finding.caching._cache
    far_id = far.id
    near._finding.caching._post(lambda: cache.lost(far_id, near._node.clock.now()))  # type: ignore[union-attr]
    wait_until(lambda: cache.get(far_id) is not None and far_id not in cache._checks, PATIENCE, "the look")
    wait_until(lambda: far_id not in cache._busy, PATIENCE, "its end")
    assert cache.get(far_id) is not None and listed(path) == [str(far.id)]
    assert nodes.heard(far).all[heard:] == before and far.peers == []


def test_a_suspended_session_is_looked_after(nodes: Nodes, path: pathlib.Path) -> None:
    """Two minutes pass until such a session is lost; its node is forgotten long before, and is back when it is."""
    near, far, other = nodes.start(caching(path)), nodes.start(config()), nodes.start(config())
    near.stop_listening()  # or the far one might take the session up again beside the proxy
    proxy = nodes.proxy(far)
    near.connect(other.contact)
    near.connect(through(proxy, far))
    wait_until(lambda: len(listed(path)) == 2, PATIENCE, "both")
    proxy.refuse()
    proxy.cut()
    wait_until(lambda: listed(path) == [str(other.id)], PATIENCE, "its end")
    assert {peer.state for peer in near.peers} == {"connected", "suspended"}
    proxy.heal()
    wait_until(lambda: listed(path)[0] == str(far.id), PATIENCE, "its return")


def test_silence_is_ours_as_long_as_nobody_is_heard(nodes: Nodes, path: pathlib.Path, silent: Endpoint) -> None:
    """A machine that is cut off forgets nobody; once others are heard, silence counts."""
    gone = nobody(silent)
    near = nodes.make(caching(path))
    near.start()
    write_cache(path, gone)
    assert near._finding is not None and near._node is not None
    part, clock = near._finding.caching, near._node.clock
    part.load()
    looks: list[str] = []
    knock = near._node.knocks.knock

    def counted(peer_id: crust.PeerId, endpoint: Endpoint, heard: Any, **others: Any) -> None:
        looks.append(str(peer_id))
        knock(peer_id, endpoint, heard, **{**others, "seconds": 0.1})

    near._node.knocks.knock = counted  # type: ignore[method-assign]
    part._post(lambda: part._cache.lost(gone.peer_id, clock.now()))
    wait_until(lambda: looks and gone.peer_id not in part._cache._busy, PATIENCE, "a look")
    assert [each.failures for each in part.entries] == [0]
    near.connect(nodes.start(config()).contact)
    part._post(lambda: part._cache.lost(gone.peer_id, clock.now()))
    wait_until(lambda: gone.peer_id not in part._cache, PATIENCE, "its end")


def test_who_was_dropped_is_left_alone(nodes: Nodes, path: pathlib.Path) -> None:
    """By our application: it is not knocked at, and stays."""
    near, far = nodes.start(caching(path)), nodes.start(config())
    assert near._finding is not None
    part = near._finding.caching
    peer = near.connect(far.contact)
    wait_until(lambda: listed(path), PATIENCE, "the file")
    peer.disconnect()
    far.close()
    nodes.heard(near).wait(crust.LostPeer)
    other = nodes.start(config())
    near.connect(other.contact)
    wait_until(lambda: listed(path)[:1] == [str(other.id)], PATIENCE, "the other")
    assert far.id in part._cache and part._cache.entries()[-1].failures == 0


# --- the file ---------------------------------------------------------------------------------------------------------


def test_who_may_not_be_dialled_is_not_looked_at_either(path: pathlib.Path) -> None:
    """Whoever was banned or dropped, however long nobody has seen that node: it is not even knocked at."""
    places = [Contact(Identity.generate().peer_id, (Endpoint("tcp", f"45.0.0.{n}", 5000),)) for n in (7, 8, 9)]
    banned, dropped, other = (each.peer_id for each in places)
    with crust.testing.network() as net:
        node = net.service(caching(path, access__ban__peers=[str(banned)]))
        assert node._node is not None and node._finding is not None
        asked: list[crust.PeerId] = []
        node._node.knocks.knock = lambda peer_id, *_, **__: asked.append(peer_id)  # type: ignore[method-assign]
        node._finding.dropped.add(dropped, node._node.clock.now())
        cache, long_ago = node._finding.caching, node._node.wall() - 2 * limits.CACHE_AGE
        cache._post(lambda: [cache._cache.met(each, long_ago) for each in places])
        net.advance(min(limits.DROPPED_SECONDS / 2, 5 * limits.CACHE_PACE))
        assert asked == [other]


def test_the_next_run_knows_them(nodes: Nodes, path: pathlib.Path) -> None:
    """By id alone they can be connected to; what cannot be meant here is not dialled."""
    far = nodes.start(config())
    first = nodes.start(caching(path))
    first.connect(far.contact)
    assert first.close()
    assert listed(path) == [str(far.id)]
    second = nodes.start(caching(path))
    assert second._finding is not None
    second._finding.caching.load()
    assert second.connect(far.id).id == far.id
    elsewhere = Contact(nobody().peer_id, (Endpoint("tcp", "10.99.0.1", 5), Endpoint("tcp", "127.0.0.1", 5)))
    moved = path.with_name("moved.json")
    assert second._node is not None
    moved.write_bytes(build_cache([Entry(elsewhere, time.time())], second._node.handshake.network_id, time.time()))
    third = nodes.start(caching(moved))
    assert third._finding is not None
    third._finding.caching.load()
    assert len(third._finding.caching.entries) == 1
    assert third._finding.caching.contacts() == []


def test_many_keys_at_one_address_keep_nobody_waiting(nodes: Nodes, path: pathlib.Path, silent: Endpoint) -> None:
    """Each of them answered once, was seen last, and swallows dials now; who is elsewhere is dialled with the first."""
    far = nodes.start(config(bootstrap__accept=True, listen__addresses=("tcp://127.0.0.2:0",)))
    write_cache(path, *(nobody(silent) for _ in range(180)), far.contact)
    assert nodes.start(caching(path)).bootstrap(timeout=30).id == far.id


def test_two_nodes_share_a_file(nodes: Nodes, path: pathlib.Path) -> None:
    """Each keeps what the other found, itself too: it only does not dial itself."""
    one, other = nodes.start(caching(path)), nodes.start(caching(path))
    fars = [nodes.start(config()) for _ in range(4)]
    for number, far in enumerate(fars):
        (one, other)[number % 2].connect(far.contact)
    one.connect(other.contact)
    everybody = {str(far.id) for far in (*fars, other)}
    wait_until(lambda: set(listed(path)) == everybody, PATIENCE, "all")
    assert other._finding is not None
    other.connect(nodes.start(config()).contact)
    part = other._finding.caching
    wait_until(lambda: len(part.contacts()) == 5, PATIENCE, "what the other found")
    assert other.id not in {contact.peer_id for contact in part.contacts()}


@pytest.mark.parametrize("broken", [b"garbage", b"[]", b" " * (limits.CACHE_FILE_MAX + 1)])
def test_a_broken_file_is_told_and_put_aside(
    nodes: Nodes, path: pathlib.Path, broken: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """The node goes on with a new one."""
    path.write_bytes(broken)
    near = nodes.start(caching(path))
    far = nodes.start(config())
    near.connect(far.contact)
    wait_until(path.with_name("cache.json.bad").exists, PATIENCE, "the old one out of the way")
    wait_until(lambda: listed(path) == [str(far.id)], PATIENCE, "a new one")
    assert near.close()
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1 and "kept as cache.json.bad" in warnings[0]
    assert path.with_name("cache.json.bad").read_bytes() == broken


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no folder that refuses")
def test_a_disk_that_refuses_is_told_once(
    nodes: Nodes, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node goes on, tries again, and says when it is well."""
    monkeypatch.setattr(limits, "CACHE_SAVE_RETRY", 0.05)
    folder = tmp_path / "folder"
    folder.write_text("a file is in the way, which refuses root, too")
    path = folder / "cache.json"
    near = nodes.start(caching(path))
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            near.connect(nodes.start(config()).contact)
        said = [record.getMessage() for record in caplog.records]
        wait_until(lambda: any("cannot be" in record.getMessage() for record in caplog.records), PATIENCE, str(said))
        folder.unlink()
        wait_until(lambda: len(listed(path)) == 3, PATIENCE, "the file")
        wait_until(lambda: any("written again" in record.getMessage() for record in caplog.records), PATIENCE, "word")
    assert sum("cannot be" in record.getMessage() for record in caplog.records) == 1


def test_many_links_at_once_begin_one_thread(nodes: Nodes, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that both see that there is none yet."""
    node = nodes.start(caching(path))
    assert node._finding is not None and node._node is not None
    found, both, spawned = node._finding.caching, threading.Barrier(2), []

    class Together(Caching):
        @property
        def _begun(self) -> bool:  # type: ignore[override]
            begun = bool(spawned)
            if not begun:
                both.wait(PATIENCE)
            return begun

        @_begun.setter
        def _begun(self, begun: bool) -> None:
            pass

    monkeypatch.setattr(node._node, "spawn", lambda *args: spawned.append(args))
    monkeypatch.setattr(found, "__class__", Together)
    for each in [Background(found._begin) for _ in range(2)]:
        each.result()
    assert len(spawned) == 1


def test_nothing_is_kept_where_that_is_said(nodes: Nodes, path: pathlib.Path) -> None:
    """max_peers 0: no file, and no thread."""
    near = nodes.start(config(bootstrap__cache={"file": str(path), "max_peers": 0}))
    near.connect(nodes.start(config()).contact)
    assert near._node is not None
    assert "crust-cache" not in near._node.threads.alive()
    assert near.close() and not path.exists()


def test_by_default_it_is_in_the_state_folder(nodes: Nodes, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """One file a network, and none before there is something to keep."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for name in (None, "chess"):
        near = nodes.start(config(bootstrap__cache={"max_peers": 9}, network__name=name))
        near.connect(nodes.start(config(network__name=name)).contact)
        assert near.close()
    assert len(list((tmp_path / "crust").glob("*.json"))) == 2


def test_addresses_of_ours_are_no_secret_way_in(nodes: Nodes, path: pathlib.Path) -> None:
    """A node that is reached at a name is kept by the address that it stood for."""
    near, far = nodes.start(caching(path)), nodes.start(config())
    near.connect(at(far, f"tcp://localhost:{far.addresses[0].port}"))
    wait_until(lambda: listed(path), PATIENCE, "the file")
    assert "localhost" not in path.read_text()


def test_private_addresses_go_by_the_network(nodes: Nodes, path: pathlib.Path) -> None:
    """At once after the file has been read those of ours are of use, and after a move those of the next one."""
    there = Contact(Identity.generate().peer_id, (Endpoint("tcp", "10.1.2.3", 5),))
    afar = Contact(Identity.generate().peer_id, (Endpoint("tcp", "10.9.9.9", 5),))
    node = nodes.make(caching(path))
    network = ipaddress.ip_network("10.1.2.0/24")

    def addresses(*_: object) -> list[InterfaceAddress]:
        return [InterfaceAddress("lan0", network[77], network.prefixlen)]

    entries = [Entry(there, time.time()), Entry(afar, time.time())]
    path.write_bytes(build_cache(entries, crust.addresses.network_id(None), time.time()))
    node._machine.addresses = addresses  # type: ignore[method-assign]
    node.start()
    assert node._finding is not None
    part = node._finding.caching
    part.load()
    assert part.contacts() == [there]
    network = ipaddress.ip_network("10.9.9.0/24")
    part.moved()
    wait_until(lambda: part.contacts() == [afar], PATIENCE, "the other one")


# --- the thread -------------------------------------------------------------------------------------------------------


def test_the_thread_ends_when_there_is_nothing_to_do(
    nodes: Nodes, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And begins again for what comes; all is on disk before it ends, so closing has nothing to wait for."""
    monkeypatch.setattr(limits, "CACHE_LINGER", 0.2)
    near = nodes.start(caching(path))
    assert near._node is not None
    threads = near._node.threads
    seen: list[str] = []
    for _ in range(3):
        far = nodes.start(config())
        near.connect(far.contact)
        seen.insert(0, str(far.id))
        wait_until(lambda: listed(path) == seen, PATIENCE, "the file")
        wait_until(lambda: "crust-cache" not in threads.alive(), PATIENCE, "the end of the thread")
    assert near._finding is not None
    near._finding.caching.load()  # has been read
    assert "crust-cache" not in threads.alive()
    assert near.close() and listed(path) == seen


def test_a_look_that_is_due_begins_the_thread(
    nodes: Nodes, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though nothing else happens: who is gone is found out by looking."""
    monkeypatch.setattr(limits, "CACHE_LINGER", 0.2)
    monkeypatch.setattr(limits, "CACHE_PACE", 1.5)
    monkeypatch.setattr(limits, "CACHE_AGE", 0.1)
    far = nodes.start(config())
    write_cache(path, far.contact)
    near = nodes.start(caching(path))
    assert near._node is not None and near._finding is not None
    knocks, cache, looks = near._node.knocks, near._finding.caching, list[Endpoint]()
    knock = knocks.knock

    def knocking(peer_id: crust.PeerId, endpoint: Endpoint, heard: Any, **named: Any) -> None:
        looks.append(endpoint)
        knock(peer_id, endpoint, heard, **named)

    knocks.knock = knocking  # type: ignore[method-assign]
    for _ in range(2):
        wait_until(lambda: not cache._begun, PATIENCE, "the end of the thread")
        before = len(looks)
        wait_until(lambda before=before: len(looks) > before, PATIENCE, "another look")


def test_a_job_that_comes_as_the_thread_ends_is_done(nodes: Nodes, path: pathlib.Path) -> None:
    """Whoever put it down saw a thread that was there."""
    near = nodes.start(caching(path))
    assert near._node is not None and near._finding is not None
    cache, done, spawned = near._finding.caching, [], []
    beginning = cache._beginning
    near._node.spawn = lambda *args: spawned.append(args)  # type: ignore[method-assign, assignment, return-value]

    class Gap:
        """The lock, and a job that comes before it is let go."""

        def acquire(self, blocking: bool = True) -> bool:
            return beginning.acquire(blocking)

        def release(self) -> None:
            cache._jobs.put(lambda: done.append(True))
            beginning.release()

    cache._beginning = Gap()  # type: ignore[assignment]
    assert cache._beginning.acquire()
    cache._begun, cache._present_at = True, near._node.clock.now() + 60.0
    assert not cache._ends()
    assert cache._begun and spawned == []
    cache._jobs.get(timeout=0)()
    assert done == [True]
    assert not cache._beginning.acquire(blocking=False)
