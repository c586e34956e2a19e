"""``punch-test listen`` and ``connect`` on this machine: what both show and write, exit codes, what may go wrong."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import crust
from crust.cli.punch_test.pair import connect, listen
from crust.cli.punch_test.pair.messages import build
from tests.cli.fakes import make_terminal, printed, run_command, shown
from tests.cli.punch_test.test_pair_forms import SCHEMA
from tests.support.nodes import LOOPBACK, Nodes, config
from tests.support.sockets import silent_listener, unused_port
from tests.support.threads import Background
from tests.support.waiting import wait_until

PATIENCE = 20.0
LOOPBACK_UTP = "utp://127.0.0.1:0"
HERE = ("--no-portmap", "--listen", LOOPBACK, "--listen", LOOPBACK_UTP)
NOBODY = str(crust.Identity.generate().peer_id)


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    with Nodes() as made:
        yield made


class Action:
    """``punch-test WORDS`` on a thread of its own, with a home of its own."""

    def __init__(self, home: Path, *words: str) -> None:
        home.mkdir(exist_ok=True)
        self.terminal = make_terminal()
        self._call = Background(lambda: run_command(home, "punch-test", *words, terminal=self.terminal)[0])

    def line(self) -> list[str]:
        """The words of the line for the other end, once it is there."""
        wait_until(lambda: printed(self.terminal) or self._call.done, PATIENCE, "the line for the other end")
        words = shlex.split(printed(self.terminal).splitlines()[0])
        assert words[0] == "punch-test", shown(self.terminal)
        return words[1:]

    def ends(self) -> int:
        """Its exit code."""
        code = self._call.result(PATIENCE)
        assert isinstance(code, int)
        return code

    @property
    def seen(self) -> str:
        """What people saw."""
        return shown(self.terminal)

    @property
    def data(self) -> str:
        """What is on stdout."""
        return printed(self.terminal)

    @property
    def told(self) -> list[dict[str, Any]]:
        """The JSON lines, each as the schema says."""
        lines = [json.loads(line) for line in self.data.splitlines()]
        for line in lines:
            jsonschema.validate(line, SCHEMA, jsonschema.Draft202012Validator)
        return lines


def without_addresses(home: Path) -> Path:
    """A home whose nodes listen nowhere, so that only a rendezvous leads to them."""
    path = home / "crust" / "crust.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("version: 1\nlisten: {addresses: []}\nnat: {port_mapping: []}\n")
    return home


def rendezvous(nodes: Nodes, *, relays: bool = True) -> str:
    """The contact of a node that introduces, and carries data."""
    return str(nodes.start(config(relay__serve=relays)).contact)


# --- between two ends -------------------------------------------------------------------------------------------------


def test_with_an_address_it_is_direct(tmp_path: Path) -> None:
    """The line that one end shows is all that the other needs; both tell the same, and end with code 0."""
    listening = Action(tmp_path / "a", "listen", "--once", *HERE)
    line = listening.line()
    calling = Action(tmp_path / "b", *line, *HERE)
    assert (calling.ends(), listening.ends()) == (0, 0), calling.seen + listening.seen
    for end in (calling, listening):
        assert "Connected directly, by TCP" in end.data and "Grade A" in end.data
        assert "round trip" in end.data and "Tried from" in end.data
    assert "a call to 127.0.0.1:" in calling.seen and "by TCP: it worked" in calling.seen
    assert "calls: connected directly, by TCP" in listening.seen
    assert "no rendezvous was named" in listening.seen


@pytest.mark.parametrize("only", ["tcp", "utp"])
def test_one_transport_alone(only: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With JSON on both sides: every line is as the schema says, the last one is the result."""
    monkeypatch.setattr(connect, "QUIET", 0.3)
    listening = Action(tmp_path / "a", "listen", "--once", "--json", "--no-portmap", "--only", only, *HERE[1:])
    wait_until(lambda: listening.data, PATIENCE, "the first line")
    ready = listening.told[0]
    assert (ready["event"], ready["schema"], ready["end"]["role"]) == ("ready", 1, "listen")
    calling = Action(tmp_path / "b", "connect", ready["contact"], "--json", "--timeout", "5", "--only", only, *HERE)
    assert (calling.ends(), listening.ends()) == (0, 0), calling.seen + listening.seen
    for end, role in ((calling, "connect"), (listening, "listen")):
        result = end.told[-1]
        assert (result["event"], result["outcome"], result["grade"], result["fine"]) == ("result", "direct", "A", True)
        test = result["test"]
        assert (test["here"]["role"], test["path"]["class"], test["error"]) == (role, f"direct-{only}", "")
        [measurement] = test["measurements"]
        assert measurement["rtt"] > 0 and measurement["sent"] > 0 and measurement["received"] > 0
        assert 0 < measurement["volume"] <= 64 * 1024 * 1024
    assert [line["event"] for line in calling.told if line["event"] != "measured"] == ["connected", "attempt", "result"]
    assert calling.told[-1]["test"]["there"]["role"] == "listen"


def test_through_a_rendezvous_alone(nodes: Nodes, tmp_path: Path) -> None:
    """Code 1, the reason for each better way, what would help; the other end's line names the rendezvous."""
    contact = rendezvous(nodes)
    listening = Action(without_addresses(tmp_path / "a"), "listen", "--once", "--contact", contact)
    line = listening.line()
    assert line[-2:] == ["--contact", contact]
    page = tmp_path / "page.html"
    home = without_addresses(tmp_path / "b")
    calling = Action(home, *line, "--timeout", "1.5", "--html", str(page))
    assert (calling.ends(), listening.ends()) == (1, 1), calling.seen + listening.seen
    for end in (calling, listening):
        assert "Connected through the rendezvous" in end.data and "Grade D" in end.data
        assert "Why nothing better" in end.data and "What would help" in end.data
        assert "direct, TCP       not tried" in end.data
    assert "a call through the rendezvous at 127.0.0.1:" in calling.seen
    assert "Connected through the rendezvous" in page.read_text() and "<svg" in page.read_text()


def test_a_better_way_is_found_behind_a_rendezvous(nodes: Nodes, tmp_path: Path) -> None:
    """The address of the one end is not in its contact, but its node tells it to the other one."""
    contact = rendezvous(nodes)
    listening = Action(tmp_path / "a", "listen", "--once", "--rendezvous", contact, *HERE)
    peer_id = listening.line()[1].partition("@")[0]
    calling = Action(tmp_path / "b", "connect", peer_id, "--contact", contact, "--json", *HERE)
    assert (calling.ends(), listening.ends()) == (0, 0), calling.seen + listening.seen
    result = calling.told[-1]
    assert result["outcome"] == "direct"
    assert result["test"]["best"] >= result["test"]["connected"]
    assert {each["method"] for each in result["test"]["here"]["attempts"]} >= {"circuit", "direct"}


# --- what may go wrong ------------------------------------------------------------------------------------------------


def test_nobody_listens_there(tmp_path: Path) -> None:
    """Code 1; all forms say what was tried."""
    contact = f"{NOBODY}@tcp://127.0.0.1:{unused_port()}"
    page = tmp_path / "page.html"
    calling = Action(tmp_path / "a", "connect", contact, *HERE, "--html", str(page))
    assert calling.ends() == 1
    for found in (calling.data, page.read_text()):
        assert "Not connected" in found and "nothing listens at that port" in found and "Use a rendezvous" in found


def test_what_was_tried_is_told_as_json_too(tmp_path: Path) -> None:
    contact = f"{NOBODY}@tcp://127.0.0.1:{unused_port()}"
    calling = Action(tmp_path / "a", "connect", contact, "--json", *HERE)
    assert calling.ends() == 1
    attempt, result = calling.told
    assert (attempt["event"], attempt["attempt"]["verdict"]) == ("attempt", "refused")
    assert (result["outcome"], result["grade"], result["test"]["path"]) == ("not_connected", "F", None)
    assert result["test"]["here"]["attempts"] == [attempt["attempt"]]


def test_the_other_end_is_no_punch_test(nodes: Nodes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is silent, or says something else: a clear word, and code 1 however good the path is."""
    monkeypatch.setattr(connect, "HELLO_PATIENCE", 0.3)
    silent, other = nodes.start(), nodes.start()
    other.on(crust.ConnectSuccess, lambda event: event.peer.send(b"what do you want?"))
    calling = Action(tmp_path / "a", "connect", str(silent.contact), *HERE)
    assert calling.ends() == 1
    assert "start `punch-test listen` there" in " ".join(calling.data.split())
    calling = Action(tmp_path / "b", "connect", str(other.contact), *HERE)
    assert calling.ends() == 1
    assert "the other end does not speak punch-test" in " ".join(calling.data.split())


def test_who_calls_is_no_punch_test(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(listen, "_HELLO_PATIENCE", 0.3)
    listening = Action(tmp_path / "a", "listen", "--once", *HERE)
    with crust.Service(config()) as node:
        node.connect(listening.line()[1])
        assert listening.ends() == 1
    assert "who called says nothing" in listening.data


def test_another_version_says_so(nodes: Nodes, tmp_path: Path) -> None:
    other = nodes.start()
    other.on(crust.ConnectSuccess, lambda event: event.peer.send(b'{"punch_test":2,"kind":"hello"}'))
    calling = Action(tmp_path / "a", "connect", str(other.contact), *HERE)
    assert calling.ends() == 1
    assert "another version of punch-test" in calling.data


def test_the_other_end_goes_away_in_the_middle(nodes: Nodes, tmp_path: Path) -> None:
    other = nodes.start()

    def answer(message: crust.NewMessage) -> None:
        if b"hello" in message.data:
            message.peer.send(build("hello", role="listen", crust="0.1.0"))
        else:
            message.peer.disconnect()

    other.on(crust.NewMessage, answer)
    calling = Action(tmp_path / "a", "connect", str(other.contact), *HERE)
    assert calling.ends() == 1
    assert "Connected directly, by TCP" in calling.data and "the connection was lost (disconnected)" in calling.data


@pytest.mark.parametrize("action", [("listen",), ("connect", NOBODY)])
def test_no_rendezvous_can_be_reached(action: tuple[str, ...], tmp_path: Path) -> None:
    """Its name, and why; nothing is tested."""
    contact = f"{crust.Identity.generate().peer_id}@tcp://127.0.0.1:{unused_port()}"
    found = Action(tmp_path / "a", *action, "--contact", contact, *HERE)
    assert (found.ends(), found.data) == (1, "")
    assert "refused" in found.seen and "crust: error: no rendezvous can be reached" in found.seen


def test_one_rendezvous_of_two_is_enough(nodes: Nodes, tmp_path: Path) -> None:
    """Who is silent is not waited for, once the other one is there; the line names the one that works."""
    sockets, port = silent_listener()
    contact = rendezvous(nodes)
    try:
        silent = f"{NOBODY}@tcp://127.0.0.1:{port}"
        listening = Action(
            tmp_path / "a", "listen", "--timeout", "0.1", "--contact", silent, "--contact", contact, *HERE
        )
        assert listening.line()[2:] == ["--contact", contact]
        assert listening.ends() == 1
    finally:
        for sock in sockets:
            sock.close()
    assert "cannot be reached: no answer in time" in listening.seen


def test_an_id_alone_needs_a_rendezvous(tmp_path: Path) -> None:
    found = Action(tmp_path / "a", "connect", NOBODY, *HERE)
    assert (found.ends(), found.data) == (1, "")
    assert "no rendezvous was named" in found.seen and "--serve-relay" in found.seen


def test_a_rendezvous_that_carries_no_data(nodes: Nodes, tmp_path: Path) -> None:
    """Both ends warn. Their addresses they still tell each other, so a direct way is found."""
    contact = rendezvous(nodes, relays=False)
    listening = Action(tmp_path / "a", "listen", "--once", "--contact", contact, *HERE)
    peer_id = listening.line()[1].partition("@")[0]
    calling = Action(tmp_path / "b", "connect", peer_id, "--contact", contact, *HERE)
    assert (calling.ends(), listening.ends()) == (0, 0), calling.seen + listening.seen
    for end in (calling, listening):
        assert "carries no data for others" in end.seen


def test_the_result_is_the_last_word(tmp_path: Path) -> None:
    """What is given up at the end is told before, or not at all."""
    sockets, port = silent_listener()
    try:
        contact = f"{NOBODY}@tcp://127.0.0.1:{port}"
        calling = Action(tmp_path / "a", "connect", contact, "--json", "--timeout", "0.3", *HERE)
        assert calling.ends() == 1
    finally:
        for sock in sockets:
            sock.close()
    *attempts, result = calling.told
    assert {line["event"] for line in attempts} <= {"attempt"}
    assert result["event"] == "result" and "No connection came about within 0.3 s" in result["text"]


def test_nobody_calls(tmp_path: Path) -> None:
    listening = Action(tmp_path / "a", "listen", "--timeout", "0.2", *HERE)
    assert listening.ends() == 1
    assert "nobody called within 0.2 s" in listening.seen


@pytest.mark.parametrize(
    "words",
    [
        ["connect", "nonsense@nowhere"],
        ["connect", f"{NOBODY}@tcp://127.0.0.1:1", "--contact", f"{NOBODY}@nonsense"],
        ["listen", "--listen", "tcp://127.0.0.1"],
        ["listen", "--stun", "192.0.2.1:99999"],
    ],
)
def test_arguments_that_make_no_sense_are_code_2(words: list[str], tmp_path: Path) -> None:
    code, terminal = run_command(tmp_path, "punch-test", *words)
    assert (code, printed(terminal)) == (2, "")
    assert shown(terminal).startswith("crust: error:")


@pytest.mark.parametrize(
    "words", [["connect"], ["listen", "here"], ["connect", NOBODY, "--timeout", "0"], ["listen", "-x"]]
)
def test_unknown_arguments_are_code_2(words: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        run_command(tmp_path, "punch-test", *words)
    assert caught.value.code == 2


@pytest.mark.parametrize("action", [["listen"], ["connect", f"{NOBODY}@tcp://127.0.0.1:1"]])
def test_a_page_that_cannot_be_written_is_known_before(action: list[str], tmp_path: Path) -> None:
    code, terminal = run_command(tmp_path, "punch-test", *action, "--html", str(tmp_path))
    assert (code, printed(terminal)) == (1, "") and "is a directory" in shown(terminal)
