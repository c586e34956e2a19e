"""``punch-test listen`` and ``connect`` as processes: one caller after the other, and Ctrl-C in every phase."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import crust
from crust.cli.punch_test.pair.messages import build
from tests.cli.processes import PATIENCE, Process, no_traceback
from tests.support.nodes import LOOPBACK, Nodes, config
from tests.support.sockets import silent_listener

HERE = ("--no-portmap", "--listen", LOOPBACK)
NOBODY = str(crust.Identity.generate().peer_id)


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    with Nodes() as made:
        yield made


@pytest.fixture
def silent_contact() -> Iterator[str]:
    """Of somebody who never answers."""
    sockets, port = silent_listener()
    yield f"{NOBODY}@tcp://127.0.0.1:{port}"
    for sock in sockets:
        sock.close()


def listening(home: Path, *words: str) -> Process:
    home.mkdir(exist_ok=True)
    return Process(home, "punch-test", "listen", *HERE, *words)


def calling(home: Path, *words: str) -> Process:
    home.mkdir(exist_ok=True)
    return Process(home, "punch-test", "connect", *words, *HERE)


def contact_in(line: str) -> str:
    """Of the line for the other end."""
    words = shlex.split(line)
    assert words[:2] == ["punch-test", "connect"]
    return words[2]


def interrupted(process: Process) -> None:
    """Ctrl-C ends it at once, with one line and code 130."""
    process.interrupt()
    assert process.ends() == 130
    assert process.errors.rstrip().endswith("interrupted")
    no_traceback(process)


def test_one_after_the_other(tmp_path: Path) -> None:
    """Without --once it goes on until it is interrupted; who comes in the middle of a test is told so."""
    with listening(tmp_path / "a") as called:
        contact = contact_in(called.line())
        with crust.Service(config()) as first, crust.Service(config()) as second:
            test = first.connect(contact)
            called.shows("calls: connected directly")
            late = second.connect(contact)
            late.send(build("hello", role="connect", crust="0.1.0"))
            assert json.loads(late.recv(PATIENCE))["kind"] == "busy"
            test.send(build("hello", role="connect", crust="0.1.0"))
            assert json.loads(test.recv(PATIENCE))["kind"] == "hello"
            test.disconnect()
            called.shows("waiting for the next one")
        with calling(tmp_path / "b", contact) as caller:
            assert caller.ends() == 0, caller.errors
        interrupted(called)
        data = "\n".join(called.rest())
        assert "left before the test was over" in " ".join(data.split())
        assert data.count("Connected directly, by TCP") == 2


def test_ctrl_c_while_nobody_calls(tmp_path: Path) -> None:
    with listening(tmp_path) as called:
        called.line()
        interrupted(called)


@pytest.mark.parametrize("action", [["listen"], ["connect", NOBODY]])
def test_ctrl_c_while_the_rendezvous_is_silent(action: list[str], silent_contact: str, tmp_path: Path) -> None:
    with Process(tmp_path, "punch-test", *action, *HERE, "--contact", silent_contact) as process:
        process.shows("connecting to the rendezvous")
        interrupted(process)
        assert process.rest() == []


def test_ctrl_c_while_it_calls(silent_contact: str, tmp_path: Path) -> None:
    with calling(tmp_path, silent_contact) as caller:
        caller.shows("calling")
        interrupted(caller)
        assert caller.rest() == []


def test_ctrl_c_while_the_other_end_is_silent(nodes: Nodes, tmp_path: Path) -> None:
    """The session ends on the other side, too."""
    other = nodes.start()
    with calling(tmp_path, str(other.contact)) as caller:
        caller.shows("connected directly")
        interrupted(caller)
    lost = nodes.heard(other).wait(crust.LostPeer)
    assert lost.reason is crust.LostReason.CLOSED


def test_ctrl_c_while_a_better_way_is_awaited(nodes: Nodes, tmp_path: Path) -> None:
    """By the caller; the end that listens shows what it knows, and goes on."""
    contact = str(nodes.start(config(relay__serve=True)).contact)
    for name in "ab":
        path = tmp_path / name / "crust.yaml"
        path.parent.mkdir()
        path.write_text("version: 1\nlisten: {addresses: []}\nnat: {port_mapping: []}\n")
    called = Process(
        tmp_path / "a", "punch-test", "listen", "--config", str(tmp_path / "a" / "crust.yaml"), "--contact", contact
    )
    with called:
        words = shlex.split(called.line())[1:]
        caller = Process(tmp_path / "b", "punch-test", *words, "--config", str(tmp_path / "b" / "crust.yaml"))
        with caller:
            caller.shows("round trip")
            interrupted(caller)
        called.shows("waiting for the next one")
        interrupted(called)
        assert "Connected through the rendezvous" in "\n".join(called.rest())
