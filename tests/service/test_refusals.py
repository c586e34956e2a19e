"""Each limit of the table is counted by somebody, bites in some test, and is told by the node."""

from __future__ import annotations

import ast
import pathlib
import re
from types import SimpleNamespace
from typing import Any, cast

import pytest

import crust
from crust import Identity, limits
from crust.config import example
from crust.crypto.identity import KeyPair
from crust.discovery.beacon.driver import BeaconDriver
from crust.peers.access import Access
from crust.peers.refusals import LIMITS, Refusals
from crust.transports.utp.transport import UtpTransport
from crust.wire import frames
from crust.wire import gossip as wire
from tests.support.bitten import Bitten
from tests.support.nodes import Nodes, config
from tests.support.puppet import Caller
from tests.support.source import ROOT
from tests.support.waiting import wait_until

_TABLE = pathlib.Path("crust/peers/refusals.py")


def strings(folder: str) -> set[str]:
    """Every string in the code there."""
    found = set()
    for path in (ROOT / folder).rglob("*.py"):
        if path != ROOT / _TABLE:
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.add(node.value)
    return found


def test_all_of_the_table_is_counted_and_named_as_it_is_set() -> None:
    """By a key of the configuration, or a number of ``crust.limits``; and by nobody who counts something else."""
    assert set(LIMITS) <= strings("crust")
    keys = set(re.findall(r"^  (\w+):", example(), re.MULTILINE))
    for name, limit in LIMITS.items():
        if name.isupper():
            assert hasattr(limits, name) and limit.fixed, name
        else:
            assert name.rpartition(".")[2] in keys and not limit.fixed, name
    counted = set()
    for path in (ROOT / "crust").rglob("*.py"):
        counted.update(re.findall(r"""(?:bites|refusals\.count)\("([\w.]+)"\)""", path.read_text("utf-8")))
    assert len(counted) > 40 and counted <= set(LIMITS)


def test_all_of_the_table_bites_in_some_test() -> None:
    """Its name stands in an assertion there, or where one is made of it; setting the number is not enough."""
    text = "\n".join(path.read_text("utf-8") for path in sorted((ROOT / "tests").rglob("test_*.py")))
    text = text.replace("__", ".")
    assert set(LIMITS) - set(re.findall(r"""(?<!limits, )["']([\w.]+)["']""", text)) == set()


def inner(node: crust.Service) -> Any:
    assert node._node is not None
    return node._node


def test_who_counts_by_himself_is_asked(nodes: Nodes) -> None:
    """Nothing is lost, and a name that is not in the table is an error."""
    node = nodes.start()
    own = inner(node)
    own.acceptor.salts.forgotten, own.acceptor.gate.forgotten, own.accounts.forgotten = 2, 3, 4
    own.log.dropped = 5
    told = node.stats().refusals
    names = ("SALT_MEMORY", "GATE_ADDRESSES_MAX", "MISDEEDS_KEPT", "LOG_BACKLOG")
    assert [told[name] for name in names] == [2, 3, 4, 5]
    with pytest.raises(KeyError):
        Refusals().count("of nobody")


def test_the_parts_of_a_node_tell_it(nodes: Nodes) -> None:
    """Whatever they know of it."""
    node = nodes.start()
    own = inner(node)
    parts = [own.circuits, own.files, own.dialer, own.access, own.judging, own.subscriptions, own.traversals]
    parts += [transport.resolver for transport in own.transports.values()]
    for part in parts:
        part.bites("LOOKUPS_MAX")
    assert node.stats().refusals["LOOKUPS_MAX"] == len(parts) >= 8


def test_callers_over_utp_that_nobody_takes_in(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The listener is behind: there is no place for one more."""
    monkeypatch.setattr(limits, "LISTEN_BACKLOG", 0)
    node = nodes.start(config(listen__addresses=["utp://127.0.0.1:0"]))
    with pytest.raises(crust.ConnectError):
        nodes.start().connect(node.contact, timeout=2.0)
    assert node.stats().refusals["LISTEN_BACKLOG"] >= 1


class Call:
    """A call that has come by an introducer."""

    def __init__(self, legs: int) -> None:
        self.legs = legs


def test_calls_through_others_that_wait_for_an_answer(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all introducers together."""
    monkeypatch.setattr(limits, "CIRCUIT_OFFERS_MAX", 1)
    node = nodes.start()
    circuits = inner(node).circuits
    calls = [circuits._count(Call(number)) for number in range(3)]
    assert list(map(bool, calls)) == [False, True, True]
    assert node.stats().refusals["CIRCUIT_OFFERS_MAX"] == 2
    circuits._connections.clear()
    circuits._offers.clear()


def test_circuits_that_all_together_ask_for(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who meets the bound of all has not broken it."""
    monkeypatch.setattr(limits, "CIRCUIT_OPENS_ALL_PER_SECOND", 1)
    node, identity = nodes.start(), Identity.generate()
    with Caller(node, identity) as caller:
        caller.begin()
        first = 1 if identity.peer_id > node.id else 2
        for number in range(50):
            caller.send(frames.CircuitOpen(first + 2 * number, bytes(32), False, b""))
        wait_until(lambda: node.stats().refusals["CIRCUIT_OPENS_ALL_PER_SECOND"] >= 30, what="the refusals")
    assert nodes.heard(node).of(crust.PeerMisbehaved) == []


def test_sessions_that_look_for_a_path(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more than may at once."""
    monkeypatch.setattr(limits, "TRAVERSALS_MAX", 1)
    node = nodes.start()
    traversals, first, second = inner(node).traversals, object(), object()
    assert [traversals.may_begin(each, (b"", b"")) for each in (first, first, second)] == [True, True, False]
    assert node.stats().refusals["TRAVERSALS_MAX"] == 1
    traversals.ended(first)


class Weak:
    """A traversal that notes that it had to give way."""

    def __init__(self, gone: list[str], name: str) -> None:
        self.give_way = lambda: gone.append(name)


def test_who_has_most_sessions_that_look_for_a_path_gives_way(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is told to it, and counted."""
    monkeypatch.setattr(limits, "TRAVERSALS_MAX", 2)
    node = nodes.start()
    gone: list[str] = []
    traversals = inner(node).traversals
    first, second = Weak(gone, "first"), Weak(gone, "second")
    assert traversals.may_begin(first, (b"bad", b"bad")) and traversals.may_begin(second, (b"bad", b"bad"))
    other = object()
    assert traversals.may_begin(other, (b"good", b"good"))
    assert gone == ["first"] and node.stats().refusals["TRAVERSALS_MAX"] == 1
    traversals.ended(second)
    traversals.ended(other)


def test_gossip_of_too_many_peers(nodes: Nodes) -> None:
    """While the thread is busy with others."""
    node = nodes.start()
    assert node._finding is not None
    gossiping: Any = node._finding.gossiping
    gossiping._waiting.update(dict.fromkeys(range(limits.GOSSIP_WAITING_PEERS + 1), 1))
    gossiping._received(SimpleNamespace(peer_id=Identity.generate().peer_id), object(), wire.Request((1,)))
    assert node.stats().refusals["GOSSIP_WAITING_PEERS"] == 1


def test_peers_of_whom_predicates_were_asked(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who passed, and those who did not."""
    monkeypatch.setattr(limits, "JUDGED_MAX", 2)
    monkeypatch.setattr(limits, "BANS_CONDEMNED_MAX", 2)
    node = nodes.start()
    node.ban(lambda view: False)
    judging = inner(node).judging
    for _ in range(3):
        judging._judge(SimpleNamespace(id=Identity.generate().peer_id))
    assert node.stats().refusals["JUDGED_MAX"] == 1
    access = Access(config().access)
    access.bites = bitten = Bitten()
    for number in range(5):
        access.condemn(Identity.generate().peer_id, access, now=float(number))
    assert bitten["BANS_CONDEMNED_MAX"] == 3


def test_datagrams_of_the_lan_that_are_not_read() -> None:
    """The budget is used up: nothing is taken from the socket."""
    bitten = Bitten()
    driver = BeaconDriver(
        (),
        KeyPair.generate(),
        (0, 0),
        links=frozenset,
        offer=lambda link: None,
        found=lambda found: None,
        tell=lambda known: None,
        trouble=lambda error: None,
        now=lambda: 1.0,
        bites=bitten,
    )
    try:
        driver._reading.take(driver._reading.tokens(1.0))
        assert driver._read(cast(Any, None), 1.0, 10) == 0 and bitten["BEACON_READS_PER_SECOND"] == 1
    finally:
        driver.release()


def test_what_is_lost_as_streams_keep_too_much_is_counted(nodes: Nodes) -> None:
    """By their transport, which all of them share."""
    node = nodes.start(config(listen__addresses=["utp://127.0.0.1:0"]))
    inner = node._node
    assert inner is not None and node.stats().refusals["UTP_KEPT_MAX"] == 0
    [transport] = [each for each in inner.transports.values() if isinstance(each, UtpTransport)]
    assert not transport.reserve.take("a place", limits.UTP_KEPT_MAX + 1)
    assert node.stats().refusals["UTP_KEPT_MAX"] == 1
