"""``bootstrap``: the first node that takes us, out of many that may not."""

from __future__ import annotations

import functools
import threading
import time

import pytest

import crust
from crust import ConnectionInfo, Contact, Endpoint, Identity, Service
from crust.service.finding.blacklist import Blacklist
from crust.transports.tcp import TcpDialling
from crust.transports.tcp_connection import TcpConnection
from tests.service.finding.shared import nobody
from tests.support.nodes import Nodes, at, config
from tests.support.threads import Background
from tests.support.waiting import busy, wait_until

PATIENCE = 5.0  # seconds in which what should be at once must have happened, on a busy machine
ACCEPTING = {"bootstrap__accept": True}


def test_both_sides_hear_of_a_bootstrap(nodes: Nodes) -> None:
    """BootstrapConnect here, BootstrapAccept there, one each, and messages go both ways."""
    near, far = nodes.start(), nodes.start(config(**ACCEPTING))
    peer = near.bootstrap(contacts=[far.contact])
    out = nodes.heard(near).wait(crust.BootstrapConnect)
    into = nodes.heard(far).wait(crust.BootstrapAccept)
    assert (out.peer, into.peer.id) == (peer, near.id)
    assert (out.path.inbound, into.path.inbound) == (False, True)
    peer.send(b"ping")
    assert into.peer.recv(PATIENCE) == b"ping"
    into.peer.send(b"pong")
    assert peer.recv(PATIENCE) == b"pong"
    for service, other in ((near, far), (far, near)):
        assert len(nodes.heard(service).names(other.id)) == 1


def test_a_bootstrap_can_be_dropped_in_the_callback(nodes: Nodes) -> None:
    """The session is the application's to refuse."""
    far = nodes.make(config(**ACCEPTING))
    far.on(crust.BootstrapAccept, lambda event: event.peer.disconnect())
    far.start()
    near = nodes.start(contacts=[far.contact])
    near.bootstrap()
    assert nodes.heard(near).wait(crust.LostPeer).reason == "disconnected"


def test_nodes_do_not_accept_bootstraps_by_default(nodes: Nodes) -> None:
    """They say so; ``connect`` is another matter. The switch works while running, both ways."""
    near, far = nodes.start(), nodes.start()
    with pytest.raises(crust.ConnectError, match="does not accept bootstrap"):
        near.bootstrap(contacts=[far.contact])
    failed = nodes.heard(near).wait(crust.BootstrapFailed)
    assert [attempt.verdict for attempt in failed.attempts] == ["denied"]
    assert nodes.heard(near).of(crust.ConnectFailure) == []
    far.set_accept_bootstrap(True)
    near.bootstrap(contacts=[far.contact]).disconnect()
    nodes.heard(far).wait(crust.LostPeer)
    far.set_accept_bootstrap(False)
    with pytest.raises(crust.ConnectError):
        near.bootstrap(contacts=[far.contact])
    assert near.connect(far.contact).id == far.id


def test_contacts_come_from_everywhere(nodes: Nodes) -> None:
    """From the call, the constructor and the configuration."""
    far = nodes.start(config(**ACCEPTING))
    text = str(far.contact)
    assert nodes.start().bootstrap(contacts=[text]).id == far.id
    assert nodes.start(contacts=[text]).bootstrap().id == far.id
    assert nodes.start(config(bootstrap__contacts=(text,))).bootstrap().id == far.id


def test_the_first_that_takes_us_wins(nodes: Nodes, silent: Endpoint) -> None:
    """Among deaf, dead and unwilling ones the one that accepts is found soon, and the other dials end."""
    far, unwilling = nodes.start(config(**ACCEPTING)), nodes.start()
    contacts = [nobody(silent), nobody(), unwilling.contact, nobody(), far.contact]
    for _ in range(5):  # the order is random
        near = nodes.start()
        began = time.monotonic()
        assert near.bootstrap(contacts=contacts, timeout=60).id == far.id
        assert time.monotonic() - began < PATIENCE * busy()
        wait_until(functools.partial(has_one_dial, near), what="the end of the other dials")
        assert nodes.heard(near).of(crust.BootstrapFailed) == []


def has_one_dial(service: Service) -> bool:
    return len(dials(service)) == 1


def dials(service: Service) -> list[str]:
    assert service._node is not None
    return [name for name in service._node.threads.alive() if name.startswith("crust-dial")]


def test_one_of_several_willing_ones(nodes: Nodes) -> None:
    """However many would take us, ``bootstrap`` returns one of them, connected."""
    willing = [nodes.start(config(**ACCEPTING)) for _ in range(4)]
    near = nodes.start(contacts=[each.contact for each in willing])
    peer = near.bootstrap()
    assert peer in near.peers
    assert peer.state == "connected"


def test_nobody_takes_us(nodes: Nodes) -> None:
    """The error and the event have every attempt."""
    near = nodes.start()
    contacts = [nobody() for _ in range(5)]
    with pytest.raises(crust.ConnectError, match="reached nobody") as caught:
        near.bootstrap(contacts=contacts)
    tried = {attempt.endpoint for attempt in caught.value.attempts}
    assert tried == {str(contact.endpoints[0]) for contact in contacts}
    assert nodes.heard(near).wait(crust.BootstrapFailed).attempts == caught.value.attempts


def test_nobody_to_call(nodes: Nodes) -> None:
    """Without contacts it says what to set."""
    with pytest.raises(crust.ConnectError, match="nobody to call"):
        nodes.start().bootstrap()


def test_a_bootstrap_has_a_timeout(nodes: Nodes, silent: Endpoint) -> None:
    """Its own, or the configured one."""
    near = nodes.start(config(bootstrap__timeout=0.1))
    for arguments in ({}, {"timeout": 0.05}):
        began = time.monotonic()
        with pytest.raises(crust.Timeout, match="reached nobody"):
            near.bootstrap(contacts=[nobody(silent)], **arguments)  # type: ignore[arg-type]
        assert time.monotonic() - began < PATIENCE * busy()
    failure = nodes.heard(near).wait(crust.BootstrapFailed, 2)
    assert [each.endpoint for each in failure.attempts] == [str(silent)]
    wait_until(lambda: not dials(near), what="the end of the dials")


def test_the_blacklist(nodes: Nodes) -> None:
    """Ids, addresses and networks, from the call and the configuration; nobody on it is dialled."""
    far = nodes.start(config(**ACCEPTING))
    for entry in (far.id, str(far.id), far.contact, str(far.contact), "127.0.0.1", "127.0.0.0/8"):
        near = nodes.start()
        with pytest.raises(crust.ConnectError, match="blacklisted"):
            near.bootstrap(contacts=[far.contact], blacklist=[entry])
        assert nodes.heard(near).wait(crust.BootstrapFailed).attempts == ()
    configured = nodes.start(config(bootstrap__blacklist=(str(far.id),)), contacts=[far.contact])
    with pytest.raises(crust.ConnectError):
        configured.bootstrap()
    other = nodes.start(config(**ACCEPTING))
    assert configured.bootstrap(contacts=[other.contact]).id == other.id


def test_the_blacklist_holds_for_what_a_name_stands_for(nodes: Nodes) -> None:
    """As a ban does: nothing is said at such an address. ``connect`` goes there all the same."""
    near, far = nodes.start(), nodes.start(config(**ACCEPTING))
    contact = at(far, f"tcp://localhost:{far.addresses[0].port}")
    with pytest.raises(crust.ConnectError, match="blacklisted") as caught:
        near.bootstrap(contacts=[contact], blacklist=["127.0.0.0/8", "::1"])
    assert [attempt.verdict for attempt in caught.value.attempts] == ["failed"]
    assert nodes.heard(far).of(crust.BootstrapAccept) == []
    near.connect(contact).disconnect()
    nodes.heard(near).wait(crust.LostPeer)
    assert near.bootstrap(contacts=[contact], blacklist=["192.0.2.0/24"]).id == far.id


def test_a_blacklist_binds_only_who_gave_it(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever connects to the same peer meanwhile is not held up by it."""
    near, far = nodes.start(), nodes.start(config(**ACCEPTING))
    contact = at(far, f"tcp://localhost:{far.addresses[0].port}")
    dial, reached = TcpDialling.run, threading.Event()

    def held_up(dialling: TcpDialling) -> TcpConnection:
        reached.set()
        wait_until(lambda: len(waiting(near, far)) == 2, what="both to want the peer")
        return dial(dialling)

    monkeypatch.setattr(TcpDialling, "run", held_up)
    bootstrap = Background(functools.partial(near.bootstrap, contacts=[contact], blacklist=["127.0.0.0/8", "::1"]))
    assert reached.wait(PATIENCE)
    peer = near.connect(contact)
    assert peer.id == far.id
    assert bootstrap.result(PATIENCE) is peer


def waiting(near: Service, far: Service) -> list[object]:
    """Who wants ``near`` to reach ``far``."""
    assert near._node is not None
    effort = near._node.dialer._efforts.get(far.id)
    return [] if effort is None else effort.waiters


def test_blacklisted_endpoints_are_left_out() -> None:
    """A network on the list takes away the endpoints in it, not the contact's others."""
    good, bad = Endpoint("tcp", "192.0.2.1", 1), Endpoint("tcp", "198.51.100.1", 1)
    contact = Contact(Identity.generate().peer_id, (bad, good))
    assert Blacklist(["198.51.100.0/24"]).filter(contact) == Contact(contact.peer_id, (good,))
    assert Blacklist(["198.51.100.0/24", "192.0.2.1"]).filter(contact) is None
    assert Blacklist([]).filter(contact) == contact
    info = ConnectionInfo(contact, bytes(32))
    assert Blacklist([info]).filter(contact) is Blacklist([str(info)]).filter(contact) is None
    with pytest.raises(crust.ContactSyntaxError, match="none of them"):
        Blacklist(["nonsense"])


def test_our_own_contact_among_others(nodes: Nodes) -> None:
    """A list that everybody gets contains oneself, too."""
    far = nodes.start(config(**ACCEPTING))
    near = nodes.start()
    assert near.bootstrap(contacts=[near.contact, far.contact]).id == far.id
    with pytest.raises(crust.ConnectError, match="own id"):
        near.bootstrap(contacts=[near.contact])


def test_bootstrapping_off_a_peer_that_we_have(nodes: Nodes) -> None:
    """The session that exists is the answer, undisturbed, even where the peer accepts no bootstraps."""
    pair = nodes.pair()
    pair.near_heard.wait(crust.ConnectSuccess)
    assert pair.near.bootstrap(contacts=[pair.far.contact]) is pair.to_far
    assert pair.near_heard.names(pair.far.id) == ["ConnectSuccess"]
    assert pair.far_heard.names(pair.near.id) == ["ConnectSuccess"]


def test_connect_and_bootstrap_to_one_peer_at_once(nodes: Nodes) -> None:
    """A refusal of the one purpose is no refusal of the other."""
    far = nodes.start()
    proxy = nodes.proxy(far)
    proxy.delay(0.05)
    contact = Contact(far.id, (Endpoint.parse(proxy.endpoint),))
    near = nodes.start()
    bootstrapping = Background(lambda: near.bootstrap(contacts=[contact]))
    wait_until(lambda: proxy.connections, what="the dial of bootstrap()")
    assert near.connect(contact).id == far.id
    try:
        assert bootstrapping.result() is near.peers[0]  # or it was refused before
    except crust.ConnectError as error:
        assert "bootstrap" in str(error)


def test_an_invalid_contact_is_told_before_anything_is_dialled(nodes: Nodes) -> None:
    """One mistyped contact stops the call."""
    far = nodes.start(config(**ACCEPTING))
    with pytest.raises(crust.ContactSyntaxError):
        nodes.start().bootstrap(contacts=[far.contact, str(far.id)[:-1] + "1"])


def test_many_nodes_bootstrap_off_one(nodes: Nodes) -> None:
    """Twelve at once, all accepted."""
    far = nodes.start(config(**ACCEPTING))
    others = [nodes.start(heard=False, contacts=[far.contact]) for _ in range(12)]
    calls = [Background(other.bootstrap) for other in others]
    for call in calls:
        call.result()
    nodes.heard(far).wait(crust.BootstrapAccept, 12)
    assert {peer.id for peer in far.peers} == {other.id for other in others}


def test_a_busy_nodes_alternates_are_tried(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full node that names others leads to them."""
    roomy = nodes.start(config(**ACCEPTING))
    full = nodes.start(config(limits__max_peers=1, **ACCEPTING))
    nodes.start().connect(full.contact)
    nodes.heard(full).wait(crust.ConnectSuccess)
    monkeypatch.setattr(full._node, "alternates", lambda *_: ("not a contact", str(roomy.contact)))
    assert nodes.start().bootstrap(contacts=[full.contact]).id == roomy.id


def test_of_what_calls_name_the_newest_is_kept(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """However many calls there are; who is named again is new again, and forgotten bans are told of."""
    monkeypatch.setattr(crust.limits, "BOOTSTRAP_NAMED", 3)
    monkeypatch.setattr(crust.limits, "BOOTSTRAP_AVOIDED", 2)
    near = nodes.start()
    assert near._finding is not None
    bootstrap = near._finding.bootstrap
    first, second, third, fourth = (nobody() for _ in range(4))
    near.start_bootstrap(contacts=[first, second], blacklist=["192.0.2.1", "192.0.2.2"])
    elsewhere = Contact(first.peer_id, (Endpoint("tcp", "127.0.0.1", 1),))
    near.start_bootstrap(contacts=[third, elsewhere], blacklist=["192.0.2.1"])
    assert bootstrap.named == [second, third, elsewhere]
    assert "oldest are forgotten" not in caplog.text
    near.start_bootstrap(contacts=[fourth], blacklist=["192.0.2.3"])
    assert bootstrap.named == [third, elsewhere, fourth]
    assert bootstrap._blacklist == ("192.0.2.1", "192.0.2.3")
    wait_until(lambda: "oldest are forgotten" in caplog.text, what="a warning")
    near.stop_bootstrap()
    assert (bootstrap.named, bootstrap._blacklist) == ([], ())
