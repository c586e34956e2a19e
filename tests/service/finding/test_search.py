"""In which order first peers are looked for, and what keeps a node in its network afterwards."""

from __future__ import annotations

import functools
import pathlib
import time
from typing import Any

import pytest

import crust
from crust import Config, Contact, Endpoint, Identity, Service, limits
from crust.service.finding.search import Lead
from tests.service.finding import shared
from tests.service.finding.shared import config, nobody, write_cache
from tests.support.nodes import Nodes, at, through
from tests.support.sockets import unused_port
from tests.support.threads import Background
from tests.support.waiting import busy, wait_until

PATIENCE = 10.0
ACCEPTING = {"bootstrap__accept": True}


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BOOTSTRAP_PAUSE", 0.1)


def caching(path: pathlib.Path, *contacts: Contact, **changes: Any) -> Config:
    """A configuration whose cache has these, the first seen last."""
    write_cache(path, *contacts)
    return shared.caching(path, **changes)


def called(service: Service) -> bool:
    """Whether anybody has dialled it: even a handshake that came to nothing."""
    assert service._node is not None
    return service.stats().handshakes_started > 0 or bool(service.peers)


def ids(service: Service) -> set[crust.PeerId]:
    return {peer.id for peer in service.peers}


# --- the order --------------------------------------------------------------------------------------------------------


def test_with_a_live_cache_no_contact_is_dialled(nodes: Nodes, path: pathlib.Path) -> None:
    """Who was reached before is asked first, and is there."""
    known, contact = nodes.start(config(**ACCEPTING)), nodes.start(config(**ACCEPTING))
    proxy = nodes.proxy(contact)
    near = nodes.start(caching(path, known.contact), contacts=[through(proxy, contact)])
    began = time.monotonic()
    assert near.bootstrap().id == known.id
    assert time.monotonic() - began < PATIENCE * busy()
    assert proxy.connections == 0


@pytest.mark.parametrize("kind", ["silent", "refusing", "both"])
def test_with_a_dead_cache_a_contact_is_reached_soon(
    nodes: Nodes, path: pathlib.Path, silent: Endpoint, kind: str
) -> None:
    """Within three seconds, however many dead ones there are: they do not take all places."""
    dead = [nobody(silent if kind == "silent" or (kind == "both" and number % 2) else None) for number in range(40)]
    contact = nodes.start(config(**ACCEPTING))
    near = nodes.start(caching(path, *dead), contacts=[contact.contact])
    began = time.monotonic()
    assert near.bootstrap().id == contact.id
    assert time.monotonic() - began < 3.0 * busy()


def test_the_dead_of_the_cache_are_forgotten(nodes: Nodes, path: pathlib.Path) -> None:
    """After three searches in which another one was reached; before that they are known to have failed."""
    dead, contact = nobody(), nodes.start(config(**ACCEPTING))
    near = nodes.start(caching(path, dead), contacts=[contact.contact])
    assert near._finding is not None
    cache = near._finding.caching
    near._finding.caching.load()
    for round in range(limits.CACHE_FAILURES):
        assert dead.peer_id in {each.peer_id for each in cache.entries}, round
        near.bootstrap()
        near.disconnect(contact.id)
        nodes.heard(near).wait(crust.LostPeer, round + 1)
    wait_until(lambda: dead.peer_id not in {each.peer_id for each in cache.entries}, PATIENCE, "its end")


def test_a_node_that_is_offline_forgets_nobody(nodes: Nodes, path: pathlib.Path, silent: Endpoint) -> None:
    """It hears nothing from anybody: that is no fault of theirs. Online again it is back by itself."""
    far = nodes.start(config(**ACCEPTING))
    proxy = nodes.proxy(far)
    proxy.stall()
    setting = caching(path, through(proxy, far), bootstrap__links=1, bootstrap__timeout=0.5)
    near = nodes.start(setting)
    assert near._finding is not None
    near.start_bootstrap()
    nodes.heard(near).wait(crust.BootstrapFailed)
    near._finding.caching.load()
    assert [each.failures for each in near._finding.caching.entries] == [0]
    proxy.heal()
    wait_until(lambda: ids(near) == {far.id}, PATIENCE, "its return")
    assert len(nodes.heard(near).of(crust.BootstrapFailed)) == 1


def test_only_contacts(nodes: Nodes, path: pathlib.Path) -> None:
    """Neither the cache nor anything else is asked then."""
    known, contact = nodes.start(config(**ACCEPTING)), nodes.start(config(**ACCEPTING))
    setting = caching(path, known.contact, bootstrap__only_contacts=True)
    assert nodes.start(setting, contacts=[contact.contact]).bootstrap().id == contact.id
    with pytest.raises(crust.ConnectError, match="nobody to call"):
        nodes.start(setting).bootstrap()
    assert nodes.heard(known).of(crust.BootstrapAccept) == []


def test_the_blacklist_holds_for_the_cache(nodes: Nodes, path: pathlib.Path) -> None:
    """For every source, and so do bans."""
    known = nodes.start(config(**ACCEPTING))
    near = nodes.start(caching(path, known.contact))
    with pytest.raises(crust.ConnectError, match="blacklisted"):
        near.bootstrap(blacklist=[known.id])
    near.ban(known.id)
    with pytest.raises(crust.ConnectError):
        near.bootstrap()
    near.unban(known.id)
    assert near.bootstrap().id == known.id


def test_each_failure_has_its_reason(nodes: Nodes, path: pathlib.Path) -> None:
    """In the error's text and in the event: contacts first, and where the others are from."""
    unwilling, dead, cached = nodes.start(config()), nobody(), nobody()
    near = nodes.start(caching(path, cached), contacts=[unwilling.contact, dead])
    with pytest.raises(crust.ConnectError) as caught:
        near.bootstrap()
    text = str(caught.value)
    reasons = nodes.heard(near).wait(crust.BootstrapFailed).reasons
    assert len(reasons) == 3 and reasons[2].endswith("(cache)") and str(cached.peer_id) in reasons[2]
    for contact in (unwilling.contact, dead, cached):
        assert str(contact.peer_id) in text
        assert sum(str(contact.peer_id) in reason for reason in reasons) == 1
    assert "not accepting" in text and "refused" in text


def test_an_error_does_not_tell_of_hundreds(nodes: Nodes, path: pathlib.Path) -> None:
    """The first of those from others, and how many more there are."""
    near = nodes.start(caching(path, *(nobody() for _ in range(50))), contacts=[nobody()])
    with pytest.raises(crust.ConnectError, match="and 42 more"):
        near.bootstrap(timeout=60)
    assert len(nodes.heard(near).wait(crust.BootstrapFailed).reasons) == 51


# --- alternates -------------------------------------------------------------------------------------------------------


def full_node(nodes: Nodes, monkeypatch: pytest.MonkeyPatch, *alternates: str) -> Service:
    full = nodes.start(config(limits__max_peers=1, **ACCEPTING))
    nodes.start(config()).connect(full.contact)
    nodes.heard(full).wait(crust.ConnectSuccess)
    monkeypatch.setattr(full._node, "alternates", lambda *_: alternates)
    return full


def test_alternates_are_hearsay(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one machine cannot have, or cannot mean the same here, is not dialled, and names are not looked up."""
    bad = ("tcp://224.0.0.1:9", "tcp://255.255.255.255:9", "tcp://10.1.2.3:9", "tcp://localhost:9", "tcp://0.0.0.0:9")
    alternates = [f"{Identity.generate().peer_id}@{address}" for address in bad]
    near, full = nodes.start(config()), full_node(nodes, monkeypatch, *alternates)
    with pytest.raises(crust.ConnectError) as caught:
        near.bootstrap(contacts=[full.contact])
    assert {attempt.endpoint for attempt in caught.value.attempts} == {str(full.contact.endpoints[0])}


def test_a_silent_alternate_is_soon_given_up(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, silent: Endpoint
) -> None:
    """Before the system has sent many packets to somebody who may have no part in it."""
    monkeypatch.setattr(limits, "HEARSAY_SECONDS", 0.3)
    full = full_node(nodes, monkeypatch, str(nobody(silent)))
    near = nodes.start(config())
    began = time.monotonic()
    with pytest.raises(crust.ConnectError, match="not taken us within"):
        near.bootstrap(contacts=[full.contact], timeout=60)
    assert time.monotonic() - began < PATIENCE * busy()


def test_a_full_node_names_whom_it_knows(nodes: Nodes, path: pathlib.Path) -> None:
    """Nodes that it reached itself, or that showed that strangers reach them: the newcomer gets in there."""
    roomy = nodes.start(config(**ACCEPTING))
    full = nodes.start(caching(path, limits__max_peers=1, **ACCEPTING))
    full.connect(roomy.contact)
    near = nodes.start(config())
    assert near.bootstrap(contacts=[full.contact]).id == roomy.id


# --- staying in -------------------------------------------------------------------------------------------------------


def test_three_links_are_kept(nodes: Nodes) -> None:
    """Once one has been reached; a lost one is replaced, and bootstrap() returns the first without waiting."""
    fars = [nodes.start(config(**ACCEPTING)) for _ in range(5)]
    near = nodes.start(config(bootstrap__links=3), contacts=[far.contact for far in fars])
    near.bootstrap()
    wait_until(lambda: len(near.peers) >= 3, PATIENCE, "three links")  # of dials at once more may succeed
    lost = near.peers[0].id
    leaving = next(far for far in fars if far.id == lost)
    nodes.heard(leaving).wait(crust.BootstrapAccept)
    leaving.close()
    wait_until(lambda: len(ids(near) - {lost}) >= 3 and lost not in ids(near), PATIENCE, "another one")
    assert nodes.heard(near).of(crust.BootstrapFailed) == []


def test_more_contacts_are_more_links(nodes: Nodes, path: pathlib.Path) -> None:
    """Those of a later call are linked to soon, though its answer is the link that stands, to a node of the cache."""
    fars = [nodes.start(config(**ACCEPTING)) for _ in range(2)]
    near = nodes.start(caching(path, bootstrap__links=3))
    first = near.bootstrap(contacts=[fars[0].contact])
    finding = near._finding
    assert finding is not None
    wait_until(lambda: first.id in [each.contact.peer_id for each in finding.caching.entries], PATIENCE, "the cache")
    assert near.bootstrap(contacts=[fars[1].contact]) is first
    wait_until(lambda: ids(near) == {far.id for far in fars}, PATIENCE, "the other one")


def test_who_was_dropped_is_not_taken_again(nodes: Nodes) -> None:
    """By either side: others are."""
    fars = [nodes.start(config(**ACCEPTING)) for _ in range(3)]
    near = nodes.start(config(bootstrap__links=1), contacts=[far.contact for far in fars])
    first = near.bootstrap().id
    near.disconnect(first)
    wait_until(lambda: ids(near) and first not in ids(near), PATIENCE, "another one")
    second = near.peers[0].id
    leaving = next(far for far in fars if far.id == second)
    wait_until(lambda: leaving.disconnect(near.id), PATIENCE, "its link")  # it has it a little later
    wait_until(lambda: len(ids(near) - {first, second}) == 1, PATIENCE, "the third")


def test_a_network_that_comes_back(nodes: Nodes) -> None:
    """It is told once that all are gone; when one is there again it is linked to, and all begins anew."""
    port = unused_port()
    far = nodes.start(config(listen__addresses=(f"tcp://127.0.0.1:{port}",), **ACCEPTING))
    identity = far._node.handshake.key_pair if far._node is not None else None
    near = nodes.start(config(bootstrap__links=2))
    near.start_bootstrap(contacts=[at(far, f"tcp://127.0.0.1:{port}")])
    nodes.heard(near).wait(crust.BootstrapConnect)
    nodes.heard(far).wait(crust.BootstrapAccept)
    far.close()
    nodes.heard(near).wait(crust.BootstrapFailed, timeout=PATIENCE)
    again = nodes.start(config(listen__addresses=(f"tcp://127.0.0.1:{port}",), **ACCEPTING), identity=identity)
    wait_until(lambda: ids(near) == {again.id}, PATIENCE, "its return")
    assert len(nodes.heard(near).of(crust.BootstrapFailed)) == 1


def test_it_ends_when_told(nodes: Nodes) -> None:
    """The links that stand stay, and no thread does."""
    fars = [nodes.start(config(**ACCEPTING)) for _ in range(3)]
    near = nodes.start(config(bootstrap__links=2), contacts=[far.contact for far in fars])
    near.start_bootstrap()
    wait_until(lambda: len(near.peers) >= 2, PATIENCE, "two links")
    near.stop_bootstrap()
    assert near._node is not None
    threads = near._node.threads
    wait_until(lambda: "crust-bootstrap" not in threads.alive(), PATIENCE, "the end of the thread")
    assert len(near.peers) >= 2
    near.start_bootstrap()
    wait_until(lambda: "crust-bootstrap" in threads.alive(), PATIENCE, "the thread")


def test_a_search_under_way_ends_when_told(nodes: Nodes, silent: Endpoint) -> None:
    """Nobody is dialled any more, and nothing is said of those who were."""
    near = nodes.start(config(bootstrap__links=1, bootstrap__timeout=60.0, session__handshake_timeout=60.0))
    failed: list[crust.BootstrapFailed] = []
    near.on(crust.BootstrapFailed, failed.append)
    contact = nobody(silent)
    near.start_bootstrap(contacts=[contact])
    assert near._node is not None
    threads = near._node.threads
    wait_until(lambda: any(each.startswith("crust-dial-") for each in threads.alive()), PATIENCE, "a dial")
    near.stop_bootstrap()
    wait_until(lambda: "crust-bootstrap" not in threads.alive(), PATIENCE, "the end of the thread")
    wait_until(lambda: not any(each.startswith("crust-dial-") for each in threads.alive()), PATIENCE, "no dial")
    near.close()
    assert not failed


def test_begun_again_while_it_ends(nodes: Nodes) -> None:
    """There is one thread, however close the two come."""
    near = nodes.start()
    assert near._finding is not None and near._node is not None
    bootstrap, threads = near._finding.bootstrap, near._node.threads
    near.start_bootstrap()
    lock, again = bootstrap._lock, []

    class Gap:
        """The lock, and who takes it as soon as the thread has said that it ends."""

        def __enter__(self) -> None:
            lock.acquire()

        def __exit__(self, *_: object) -> None:
            ends = not bootstrap._kept and not bootstrap._runs and not again
            lock.release()
            if ends:
                again.append(True)
                near.start_bootstrap()

    bootstrap._lock = Gap()  # type: ignore[assignment]
    near.stop_bootstrap()
    wait_until(lambda: bool(again), PATIENCE, "the end of the first thread")
    near.start_bootstrap()  # the thread that may go on in vain takes notice
    wait_until(lambda: threads.alive().count("crust-bootstrap") == 1, PATIENCE, "one thread")
    assert bootstrap._runs


def test_two_programs_with_one_identity_do_not_fight_for_ever(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who loses its link to another one again and again leaves it alone for a while."""
    monkeypatch.setattr(limits, "BOOTSTRAP_PAUSE", 60.0)
    identity = Identity.generate()
    far = nodes.start(config(**ACCEPTING))
    one = nodes.start(config(bootstrap__links=1), contacts=[far.contact], identity=identity)
    other = nodes.start(identity=identity)
    assert one._finding is not None
    bootstrap = one._finding.bootstrap
    one.bootstrap()
    for number in range(limits.KEEP_REPLACED + 1):
        wait_until(lambda: one.is_connected(far.id), PATIENCE, f"link {number}")
        wait_until(lambda: not other.peers, PATIENCE, "the end of the other's")
        other.connect(far.contact)
        wait_until(lambda number=number: bootstrap._replaced.get(far.id, (0, 0.0))[0] > number, PATIENCE, "its end")
    failures, until = bootstrap._rests[far.id]
    assert failures == 1 and until > time.monotonic() + 30.0
    assert other.is_connected(far.id)


def test_there_is_room_for_others(nodes: Nodes) -> None:
    """A node that has as many peers as it may have looks for no more."""
    fars = [nodes.start(config(**ACCEPTING)) for _ in range(3)]
    near = nodes.start(config(bootstrap__links=3, limits__max_peers=2), contacts=[far.contact for far in fars])
    near.bootstrap()
    wait_until(lambda: len(near.peers) >= 2, PATIENCE, "two links")
    assert near._finding is not None
    before = len(near.peers)
    assert near._finding.bootstrap._top_up() == limits.BOOTSTRAP_LOOK
    assert len(near.peers) == before


def test_a_close_waits_for_no_search(nodes: Nodes, silent: Endpoint) -> None:
    """Neither in the background nor in a call."""
    near = nodes.start(config(bootstrap__links=3))
    near.start_bootstrap(contacts=[nobody(silent)])
    call = Background(functools.partial(near.bootstrap, contacts=[nobody(silent)], timeout=None))
    assert near._node is not None
    threads = near._node.threads
    wait_until(lambda: sum(name.startswith("crust-dial") for name in threads.alive()) == 2, PATIENCE, "both dials")
    began = time.monotonic()
    assert near.close()
    assert time.monotonic() - began < PATIENCE * busy()
    with pytest.raises(crust.ServiceClosed):
        call.result()


def test_a_mistyped_contact_is_told_at_once(nodes: Nodes) -> None:
    """Nothing has begun then."""
    near = nodes.start(config())
    with pytest.raises(crust.ContactSyntaxError):
        near.start_bootstrap(contacts=["nonsense"])
    with pytest.raises(crust.ContactSyntaxError):
        near.start_bootstrap(blacklist=["nonsense"])
    assert near._node is not None and "crust-bootstrap" not in near._node.threads.alive()


def test_little_is_sent_where_others_alone_say_that_somebody_is(nodes: Nodes) -> None:
    """One address once in ten minutes, whoever is said to be there; so many in all. The cache is free of that."""
    near = nodes.start(config())
    assert near._finding is not None and near._node is not None
    now = near._node.clock.now()
    search = near._finding.bootstrap._search(1, ())

    def affordable(source: str, address: str, at: float = now) -> bool:
        contact = Contact(Identity.generate().peer_id, (Endpoint("tcp", address, 5000), Endpoint("utp", address, 5000)))
        return bool(search._affordable(Lead(contact, source), at))

    assert affordable("gossip", "8.8.8.8")
    assert not affordable("alternate", "8.8.8.8")
    assert not affordable("gossip", "8.8.8.8", now + limits.HEARSAY_REST / 2)
    assert affordable("alternate", "8.8.8.8", now + limits.HEARSAY_REST + 1)
    assert all(affordable("cache", "8.8.8.8") for _ in range(9))
    later = now + 2 * limits.HEARSAY_REST
    dialled = sum(affordable("gossip", f"9.9.{number >> 8}.{number & 255}", later) for number in range(1000))
    assert dialled <= limits.HEARSAY_AT_ONCE + 1
    assert len(search.failures) == 1000 - dialled + 2
