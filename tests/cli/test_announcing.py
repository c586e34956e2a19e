"""The contact that a command shows, and what its router makes of it later; on a fake node."""

from __future__ import annotations

from concurrent import futures
from pathlib import Path

import pytest

import crust
from crust.cli.announcing import Announcing
from crust.cli.rendezvous import Links
from crust.cli.terminal import Terminal
from tests.cli.fakes import BOB, FakePeer, FakeService, make_context, make_terminal, printed, shown

HERE = crust.Endpoint.parse("tcp://192.168.1.2:5483")
OUTSIDE = crust.Endpoint.parse("tcp://20.0.0.1:40000")


def announced(links: Links | None = None) -> tuple[FakeService, Announcing, Terminal]:
    terminal = make_terminal()
    announcing = Announcing(
        terminal, lambda contact: terminal.out(str(contact)), lambda contact: terminal.out(f"new {contact}"), links
    )
    node = FakeService(crust.Config())
    announcing.watch(node)  # type: ignore[arg-type]
    return node, announcing, terminal


def test_the_contact_is_shown_again_when_the_router_has_opened_a_port() -> None:
    node, announcing, terminal = announced()
    first = node.contact
    node.happen(crust.AddressesChanged((HERE,)))  # before the start is over: nothing is shown
    assert printed(terminal) == ""
    announcing.begin(node)  # type: ignore[arg-type]
    node.happen(crust.AddressesChanged(first.endpoints))  # nothing new
    assert printed(terminal).split() == [str(first)]
    node.contact = crust.Contact(first.peer_id, (OUTSIDE, *first.endpoints))
    node.happen(crust.AddressesChanged(node.contact.endpoints))
    assert printed(terminal).split() == [str(first), "new", str(node.contact)]
    assert "addresses have changed" in shown(terminal) and str(node.contact) in shown(terminal)


def test_a_contact_that_leads_nowhere_replaces_none() -> None:
    node, announcing, terminal = announced()
    announcing.begin(node)  # type: ignore[arg-type]
    before = printed(terminal)
    node.contact = crust.Contact(node.contact.peer_id, ())
    node.happen(crust.AddressesChanged(()))
    assert printed(terminal) == before


def test_a_router_that_opens_no_port() -> None:
    node, announcing, terminal = announced()
    announcing.begin(node)  # type: ignore[arg-type]
    node.happen(crust.PortMapFailed("no answer"))
    assert "no answer" in shown(terminal) and "punch-test report" in shown(terminal)


@pytest.mark.parametrize("linked", [True, False])
def test_with_a_rendezvous_a_closed_router_is_no_news(linked: bool, tmp_path: Path) -> None:
    """As long as others get here by it."""
    there = crust.Contact.parse(f"{BOB}@tcp://192.0.2.7:1")
    with Links([there], make_context(tmp_path)) as links:
        node, announcing, terminal = announced(links)
        done: futures.Future[crust.Peer] = futures.Future()
        done.set_result(FakePeer(BOB)) if linked else done.set_exception(crust.ConnectError("is off"))
        node.answers["dial"] = lambda to, **_: done
        links.begin(node)  # type: ignore[arg-type]
        assert links.wait(10.0) == linked
        announcing.begin(node)  # type: ignore[arg-type]
        node.happen(crust.PortMapFailed("no answer"))
    assert ("the router opens no port" in shown(terminal)) != linked
