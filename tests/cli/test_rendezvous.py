"""How a command links to its rendezvous: on fake nodes, and on real ones on loopback."""

from __future__ import annotations

import ipaddress
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any

import pytest

import crust
from crust.cli import rendezvous as module
from crust.cli.context import Context
from crust.cli.main import build_parser
from crust.cli.rendezvous import Links, command_line, rendezvous_of
from crust.cli.terminal import Terminal
from tests.cli.fakes import (
    ALICE,
    BOB,
    PATH,
    FakePeer,
    FakeService,
    make_context,
    make_terminal,
    run_command,
    shown,
)
from tests.support.nodes import Nodes, config
from tests.support.sockets import unused_port
from tests.support.waiting import wait_until

CAROL, DAVE, ERIN = (crust.PeerId(bytes([number]) * 32) for number in (3, 4, 5))
NINE = [f"tcp://20.0.1.{number}:1" for number in range(9)]
PATIENCE = 10.0


def contact(peer_id: crust.PeerId, port: int = 1) -> crust.Contact:
    return crust.Contact.parse(f"{peer_id}@tcp://192.0.2.7:{port}")


class Dialled:
    """Makes the dials of a `FakeService`: each ends at once with what ``outcome`` says of the contact."""

    def __init__(self, outcome: Callable[[crust.Contact], crust.Peer | BaseException]) -> None:
        self.outcome = outcome
        self.contacts: list[crust.Contact] = []
        self.node = FakeService(crust.Config())
        self.node.answers["dial"] = self._dial

    def _dial(self, to: crust.Contact, **options: Any) -> futures.Future[Any]:
        self.contacts.append(to)
        future: futures.Future[Any] = futures.Future()
        made = self.outcome(to)
        if isinstance(made, BaseException):
            future.set_exception(made)
        else:
            future.set_result(made)
        return future

    @property
    def ids(self) -> list[crust.PeerId]:
        return [each.peer_id for each in list(self.contacts)]

    def begin(self, links: Links) -> None:
        links.watch(self.node)  # type: ignore[arg-type]
        links.begin(self.node)  # type: ignore[arg-type]


def reached(to: crust.Contact) -> FakePeer:
    return FakePeer(to.peer_id)


def made(tmp_path: Path, *contacts: crust.Contact, **options: Any) -> tuple[Links, Terminal]:
    terminal = make_terminal()
    return Links(contacts, make_context(tmp_path, terminal), **options), terminal


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    with Nodes() as nodes:
        yield nodes


# --- who they are -----------------------------------------------------------------------------------------------------


def found(tmp_path: Path, *words: str) -> list[crust.Contact]:
    arguments = build_parser().parse_args(["recv", *words])
    context: Context = make_context(tmp_path)
    return rendezvous_of(arguments, context)


def test_those_named_come_first_then_those_of_the_configuration(tmp_path: Path) -> None:
    """Each once, with all its addresses; names of the book will do."""
    (tmp_path / "crust").mkdir()
    (tmp_path / "crust" / "crust.yaml").write_text(
        f"bootstrap: {{contacts: ['{contact(CAROL)}', '{contact(BOB, 2)}', '{contact(DAVE)}'], blacklist: ['{DAVE}']}}"
    )
    run_command(tmp_path, "contacts", "add", "server", str(contact(BOB)))
    both = crust.Contact(BOB, (*contact(BOB).endpoints, *contact(BOB, 2).endpoints))
    assert found(tmp_path, "--contact", "server") == [both, contact(CAROL)]
    assert found(tmp_path) == [contact(CAROL), contact(BOB, 2)]
    (tmp_path / "crust" / "crust.yaml").write_text(
        f"bootstrap: {{contacts: ['{contact(CAROL)}'], blacklist: ['192.0.2.0/24', '2001:db8::/32']}}"
    )
    assert found(tmp_path) == []


@pytest.mark.parametrize("command", [("recv", "--yes"), ("send", str(ALICE), __file__), ("chat",), ("node",)])
@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        (("--contact", str(BOB)), 2, "no address is known"),
        (("--contact", str(contact(BOB)), "--only", "utp"), 2, "no address for utp is known"),
        (("--contact", str(contact(BOB))[1:]), 2, "peer id"),
        (("--contact", "nobody"), 1, "neither a contact nor the name of one"),
    ],
)
def test_a_wrong_contact_is_told_before_anything_starts(
    fake_service: type[FakeService],
    tmp_path: Path,
    command: tuple[str, ...],
    words: tuple[str, ...],
    code: int,
    hint: str,
) -> None:
    ended, terminal = run_command(tmp_path, *command, *words)
    assert (ended, shown(terminal).count("\n")) == (code, 1)
    assert hint in shown(terminal)
    assert fake_service.made == []


def test_a_line_to_paste() -> None:
    """A shell leaves it as it is, and it has what else is needed to get here."""
    given = crust.Config.from_dict({"network": {"name": "our net", "secret_file": "/etc/secret"}})
    six = crust.Contact.parse(f"{BOB}@tcp://[2001:db8::7]:1")
    assert command_line(["crust", "chat", str(ALICE)], [six], given) == (
        f"crust chat {ALICE} --contact '{six}' --network 'our net' --network-secret-file FILE"
    )
    assert command_line(["crust", "chat", str(ALICE)], [], crust.Config()) == f"crust chat {ALICE}"


# --- linking ----------------------------------------------------------------------------------------------------------


def test_without_any_nothing_happens(tmp_path: Path) -> None:
    links, terminal = made(tmp_path)
    dialled = Dialled(reached)
    with links:
        dialled.begin(links)
        assert not links.wait(PATIENCE) and not links
    assert dialled.contacts == [] and shown(terminal) == ""


def test_three_are_linked_at_once(tmp_path: Path) -> None:
    """In the order given; another one takes the place of one that fails."""
    down = {BOB}
    links, terminal = made(tmp_path, *map(contact, (BOB, CAROL, DAVE, ERIN, ALICE)))
    dialled = Dialled(lambda to: crust.ConnectError("is off") if to.peer_id in down else reached(to))
    dialled.node.id = crust.PeerId(bytes([9]) * 32)
    with links:
        dialled.begin(links)
        assert links.wait(PATIENCE)
        assert dialled.ids == [BOB, CAROL, DAVE, ERIN]
        assert [each.peer_id for each in links.linked] == [CAROL, DAVE, ERIN] == [e.peer_id for e in links.wanted]
    assert shown(terminal).count("cannot be reached: is off") == 1


def test_who_is_unreachable_is_tried_again_less_and_less_often(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is told once, and that it is there at last."""
    monkeypatch.setattr(module, "_PAUSE", 0.01)
    monkeypatch.setattr(module, "_JITTER", 0.0)
    links, terminal = made(tmp_path, contact(BOB))
    times: list[float] = []

    def outcome(to: crust.Contact) -> crust.Peer | BaseException:
        times.append(time.monotonic())
        return crust.Timeout("no answer \x1b[2J") if len(times) < 5 else FakePeer(to.peer_id)

    dialled = Dialled(outcome)
    with links:
        dialled.begin(links)
        assert not links.wait(PATIENCE)  # it has failed once: nobody waits longer
        wait_until(lambda: links.linked, PATIENCE, "the link")
    gaps = [later - earlier for earlier, later in zip(times, times[1:], strict=False)]
    assert all(gap >= 0.01 * 2**number for number, gap in enumerate(gaps)), gaps
    assert shown(terminal).count("warning:") == 1 and "\x1b[2J" not in shown(terminal)
    assert shown(terminal).count("linked to the rendezvous") == 1


def test_a_session_that_is_over_is_begun_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of a rendezvous; the ends of others, and that of the node itself, are nothing to it."""
    monkeypatch.setattr(module, "_PAUSE", 0.01)
    links, terminal = made(tmp_path, contact(BOB))
    dialled = Dialled(reached)
    with links:
        dialled.begin(links)
        assert links.wait(PATIENCE)
        dialled.node.happen(crust.LostPeer(FakePeer(CAROL), crust.LostReason.CLOSED, ()))
        dialled.node.happen(crust.LostPeer(FakePeer(BOB), crust.LostReason.SERVICE_CLOSED, ()))
        assert len(links.linked) == 1
        dialled.node.happen(crust.LostPeer(FakePeer(BOB), crust.LostReason.TIMEOUT, ()))
        wait_until(lambda: len(dialled.contacts) == 2 and links.linked, PATIENCE, "the second link")
    assert "has gone (timeout); linking again" in shown(terminal)


def test_another_configuration_names_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """They are linked to; who is no longer named is left alone; other changes are nothing to them."""
    monkeypatch.setattr(module, "_PAUSE", 0.01)
    links, terminal = made(tmp_path)
    dialled = Dialled(reached)
    node = dialled.node
    arguments = build_parser().parse_args(["node", "--contact", str(contact(ERIN))])

    def change(*contacts: crust.Contact, keys: tuple[str, ...] = ("bootstrap.contacts",)) -> None:
        node.config = node.config.replace(**{"bootstrap.contacts": [str(each) for each in contacts]})
        node.happen(crust.ConfigReloaded(keys, ()))

    with links:
        links.follow(node, lambda section: rendezvous_of(arguments, make_context(tmp_path), section))  # type: ignore[arg-type]
        dialled.begin(links)
        change(contact(BOB), contact(ALICE), keys=("limits.max_peers",))
        assert dialled.ids == [] and not links
        change(contact(BOB), contact(ALICE))
        wait_until(lambda: len(links.linked) == 2, PATIENCE, "the links")
        assert set(dialled.ids) == {ERIN, BOB}  # the node itself is ALICE
        change(contact(CAROL))
        wait_until(lambda: {each.peer_id for each in links.linked} == {ERIN, CAROL}, PATIENCE, "the new one")
        node.happen(crust.LostPeer(FakePeer(BOB), crust.LostReason.TIMEOUT, ()))
        node.happen(crust.LostPeer(FakePeer(CAROL), crust.LostReason.TIMEOUT, ()))
        wait_until(lambda: dialled.ids.count(CAROL) == 2, PATIENCE, "a new link")
        assert dialled.ids.count(BOB) == 1
    change(contact(DAVE))
    assert DAVE not in dialled.ids
    assert "cannot be reached" not in shown(terminal)


def test_a_busy_one_names_others(tmp_path: Path) -> None:
    """They are tried instead, except for whom the user talks to."""
    links, _ = made(tmp_path, contact(BOB), people=[DAVE])
    texts = (str(contact(CAROL)), str(contact(DAVE)), "nonsense", str(ERIN))
    dialled = Dialled(lambda to: crust.Denied("full", (), "busy", texts) if to.peer_id == BOB else reached(to))
    with links:
        dialled.begin(links)
        assert links.wait(PATIENCE)
        assert [each.peer_id for each in links.linked] == [CAROL]
        assert DAVE not in dialled.ids and links.covers(FakePeer(CAROL)) and not links.covers(FakePeer(ERIN))


def full(*told: str) -> Callable[[crust.Contact], crust.Peer | BaseException]:
    """BOB has no room and names these; nobody else answers."""
    busy = crust.Denied("full", (), "busy", tuple(told))
    return lambda to: busy if to.peer_id == BOB else crust.ConnectError("nobody is there")


@pytest.mark.parametrize(
    ("where", "told", "dialled_at"),
    [
        ("tcp://20.0.0.1:1", "tcp://localhost:1", ()),
        ("tcp://20.0.0.1:1", "tcp://127.0.0.1:1", ()),
        ("tcp://20.0.0.1:1", "tcp://192.168.1.1:80", ()),
        ("tcp://20.0.0.1:1", "tcp://[::ffff:127.0.0.1]:1", ()),
        ("tcp://20.0.0.1:1", "tcp://[64:ff9b::7f00:1]:1", ()),
        ("tcp://192.168.1.9:1", "tcp://[::ffff:127.0.0.1]:1", ()),
        ("tcp://192.168.1.9:1", "tcp://127.0.0.1:1", ()),
        ("tcp://192.168.1.9:1", "tcp://224.0.0.1:1", ()),
        ("tcp://192.168.1.9:1", "tcp://240.0.0.1:1", ()),
        ("tcp://192.168.1.9:1", "tcp://192.168.1.1:80", ("tcp://192.168.1.1:80",)),
        ("tcp://127.0.0.1:1", "tcp://127.0.0.1:2", ("tcp://127.0.0.1:2",)),
        ("tcp://20.0.0.1:1", "tcp://20.0.0.2:1,utp://20.0.0.2:1", ("tcp://20.0.0.2:1", "utp://20.0.0.2:1")),
        ("tcp://20.0.0.1:1", "tcp://20.0.0.2:1,tcp://20.0.0.2:2,tcp://20.0.0.2:3", ("tcp://20.0.0.2:1",)),
        ("tcp://20.0.0.1:1", ",".join(NINE), NINE[:4]),
    ],
)
def test_a_busy_one_may_name_any_machine(tmp_path: Path, where: str, told: str, dialled_at: Sequence[str]) -> None:
    """So only what can be a node is dialled, and not by name."""
    links, _ = made(tmp_path, crust.Contact.parse(f"{BOB}@{where}"))
    dialled = Dialled(full(f"{CAROL}@{told}"))
    with links:
        dialled.begin(links)
        assert not links.wait(PATIENCE)
    assert [str(each) for to in dialled.contacts if to.peer_id == CAROL for each in to.endpoints] == list(dialled_at)


def test_a_busy_one_cannot_have_others_dialled_again_and_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each time it names other keys at one machine, and those name yet others: one dial comes of it."""
    monkeypatch.setattr(module, "_PAUSE", 0.01)
    monkeypatch.setattr(module, "_PAUSE_MAX", 0.01)
    links, terminal = made(tmp_path, crust.Contact.parse(f"{BOB}@tcp://20.0.0.1:1"))

    def outcome(to: crust.Contact) -> BaseException:
        host = "20.0.0.2" if to.peer_id == BOB else "20.0.0.3"
        told = (f"{crust.Identity.generate().peer_id}@tcp://{host}:{port}" for port in range(1, 9))
        return crust.Denied("full", (), "busy", tuple(told))

    dialled = Dialled(outcome)
    with links:
        dialled.begin(links)
        wait_until(lambda: dialled.ids.count(BOB) >= 9, PATIENCE, "nine refusals")
        assert [each.peer_id for each in links.wanted] == [BOB]
    assert sum(to.peer_id != BOB for to in list(dialled.contacts)) == 1
    assert shown(terminal).count("warning:") == 1


def test_a_busy_one_cannot_have_all_the_world_dialled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Others at three machines each, whenever it is asked."""
    monkeypatch.setattr(module, "_PAUSE", 0.01)
    monkeypatch.setattr(module, "_PAUSE_MAX", 0.01)
    links, _ = made(tmp_path, crust.Contact.parse(f"{BOB}@tcp://20.0.0.1:1"))
    numbers = itertools.count()

    def outcome(to: crust.Contact) -> BaseException:
        hosts = (crust.Endpoint("tcp", str(ipaddress.IPv4Address(0x1E000000 + n)), 1) for n in numbers)
        places = (",".join(map(str, itertools.islice(hosts, 3))) for _ in range(8))
        return crust.Denied("full", (), "busy", tuple(f"{crust.Identity.generate().peer_id}@{each}" for each in places))

    dialled = Dialled(lambda to: outcome(to) if to.peer_id == BOB else crust.ConnectError("nobody is there"))
    with links:
        dialled.begin(links)
        wait_until(lambda: dialled.ids.count(BOB) >= 6, PATIENCE, "six refusals")
    hosts = {each.host for to in dialled.contacts if to.peer_id != BOB for each in to.endpoints}
    assert len(hosts) == 64


def test_whom_a_busy_one_names_is_dialled_again_only_where_it_answered(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It may be a node, and name machines that are none."""
    monkeypatch.setattr(module, "_PAUSE", 0.01)
    there = crust.Endpoint.parse(PATH.remote)
    links, _ = made(tmp_path, crust.Contact(BOB, (there,)))
    told = f"{CAROL}@tcp://127.0.0.200:1,{there}"
    dialled = Dialled(lambda to: reached(to) if to.peer_id == CAROL else full(told)(to))
    with links:
        dialled.begin(links)
        assert links.wait(PATIENCE)
        dialled.node.happen(crust.LostPeer(FakePeer(CAROL), crust.LostReason.TIMEOUT, ()))
        wait_until(lambda: dialled.ids.count(CAROL) == 2 and links.linked, PATIENCE, "the second link")
    assert [each.endpoints for each in dialled.contacts if each.peer_id == CAROL][1] == (there,)


def test_whom_a_busy_one_names_takes_no_place_from_those_of_the_user(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It names three that answer while the user's other one is away: that one is linked again all the same."""
    monkeypatch.setattr(module, "_PAUSE", 0.01)
    there = crust.Endpoint.parse(PATH.remote)
    links, _ = made(tmp_path, crust.Contact(BOB, (there,)), contact(ERIN))
    others = (CAROL, DAVE, crust.PeerId(bytes([6]) * 32))
    told = tuple(f"{each}@tcp://127.0.0.1:{port}" for port, each in enumerate(others, 2))
    busy = crust.Denied("full", (), "busy", told)
    away = {ERIN}

    def outcome(to: crust.Contact) -> crust.Peer | BaseException:
        if to.peer_id in away:
            return crust.ConnectError("is off")
        return busy if to.peer_id == BOB else reached(to)

    dialled = Dialled(outcome)
    with links:
        dialled.begin(links)
        wait_until(lambda: {each.peer_id for each in links.linked} == set(others), PATIENCE, "the links to the others")
        away.clear()
        wait_until(lambda: ERIN in {each.peer_id for each in links.linked}, PATIENCE, "the link to the user's own")


def test_whom_a_busy_one_names_may_be_a_person(tmp_path: Path) -> None:
    """One who has called here, or says something; the user's own rendezvous is none, whatever it does."""
    links, _ = made(tmp_path, contact(BOB), contact(ERIN))
    told = (f"{CAROL}@tcp://192.0.2.8:1", f"{DAVE}@tcp://192.0.2.9:1")
    dialled = Dialled(lambda to: crust.Denied("full", (), "busy", told) if to.peer_id == BOB else reached(to))
    with links:
        dialled.begin(links)
        wait_until(lambda: len(links.linked) == 3, PATIENCE, "the links")
        caller, quiet, own = FakePeer(CAROL), FakePeer(DAVE), FakePeer(ERIN)
        caller.inbound = own.inbound = True  # type: ignore[misc]
        assert [links.covers(each) for each in (caller, quiet, own)] == [False, True, True]
        links.heard(quiet)
        links.heard(own)
        assert [links.covers(each) for each in (caller, quiet, own)] == [False, False, True]


def test_waiting_ends_in_time(tmp_path: Path) -> None:
    """Before a dial has ended; and with Ctrl-C, or at the end, nothing is left."""
    links, terminal = made(tmp_path, contact(BOB))
    dialled = Dialled(reached)
    dialled.node.answers["dial"] = lambda to, **_: futures.Future()
    with links:
        dialled.begin(links)
        assert not links.wait(0.05)
        assert links.wanted == (contact(BOB),)
    assert "no rendezvous has answered within 0.05 s; going on without" in shown(terminal)
    assert links._thread is not None and not links._thread.is_alive()


def test_the_node_itself_is_left_out(tmp_path: Path) -> None:
    links, terminal = made(tmp_path, contact(ALICE))
    dialled = Dialled(reached)
    with links:
        dialled.begin(links)
        assert not links and not links.wait(PATIENCE)
    assert dialled.contacts == [] and "is this node itself" in shown(terminal)


def test_who_is_called_is_a_person(tmp_path: Path) -> None:
    links, _ = made(tmp_path, contact(BOB), contact(CAROL), people=[BOB])
    assert not links.covers(FakePeer(BOB)) and links.covers(FakePeer(CAROL)) and not links.covers(FakePeer(DAVE))


def test_one_that_only_introduces_says_so(tmp_path: Path) -> None:
    peer = FakePeer(BOB)
    peer.relays = False  # type: ignore[misc]
    links, terminal = made(tmp_path, contact(BOB))
    with links:
        Dialled(lambda to: peer).begin(links)
        assert links.wait(PATIENCE) and not links.relays
    assert "it carries no data" in shown(terminal)


# --- on real nodes ----------------------------------------------------------------------------------------------------


def test_a_rendezvous_that_starts_anew_is_linked_again(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With the same key at the same port; two nodes find each other by id before and after."""
    monkeypatch.setattr(module, "_PAUSE", 0.05)
    identity = crust.Identity.generate()
    standing = config(relay__serve=True, listen__addresses=(f"tcp://127.0.0.1:{unused_port()}",))
    first = nodes.start(standing, identity=identity)
    one, other = nodes.make(), nodes.make()
    with made(tmp_path, first.contact)[0] as here, made(tmp_path, first.contact)[0] as there:
        for links, node in ((here, one), (there, other)):
            links.watch(node)
            node.start()
            links.begin(node)
        assert here.wait(PATIENCE) and there.wait(PATIENCE)
        one.connect(other.id, timeout=PATIENCE).disconnect()
        first.close()
        wait_until(lambda: not here.linked and not there.linked, PATIENCE, "the loss")
        again = nodes.start(standing, identity=identity)
        wait_until(lambda: here.linked and there.linked, PATIENCE, "the links to the new one")
        wait_until(lambda: again.is_connected(one.id) and again.is_connected(other.id), PATIENCE, "both other ends")
        assert one.connect(other.id, timeout=PATIENCE).id == other.id
