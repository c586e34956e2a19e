"""``crust status``: which node it finds, what it says if there is none, and how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import crust
from crust.cli import main, options
from crust.cli.errors import CommandError
from crust.cli.status import client, command, places
from crust.cli.terminal import Terminal
from tests.cli.fakes import FakeService, make_context, make_terminal, printed, shown
from tests.cli.processes import LOCAL, Process, no_traceback
from tests.support.nodes import Nodes, config
from tests.support.source import ROOT
from tests.support.waiting import wait_until

SCHEMA = json.loads((ROOT / "conf" / "status.schema.json").read_text(encoding="utf-8"))


@pytest.fixture
def home() -> Iterator[Path]:
    """Where the user's files are; paths of Unix sockets must be short."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    with Nodes() as made:
        yield made


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_GLANCE", 0.01)
    monkeypatch.setattr(client, "TIMEOUT", 5.0)


def run(home: Path, *words: str, terminal: Terminal | None = None) -> tuple[int, Terminal]:
    terminal = terminal or make_terminal()
    arguments = main.build_parser().parse_args(["status", *words])
    environ = {"XDG_RUNTIME_DIR": str(home), "XDG_CONFIG_HOME": str(home)}
    return main.run(arguments.run, arguments, terminal, environ), terminal


def at_home(nodes: Nodes, home: Path, **changes: Any) -> crust.Service:
    """A node with its socket where ``crust node`` has it."""
    return nodes.start(config(status__socket=f"{home}/crust/{{peer}}.sock", **changes))


def answering(path: Path, answer: Callable[[socket.socket], object]) -> contextlib.AbstractContextManager[None]:
    """Somebody who listens there, and does that with each who comes."""

    @contextlib.contextmanager
    def listening() -> Iterator[None]:
        path.parent.mkdir(exist_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.fspath(path))
            listener.listen()
            listener.settimeout(10.0)

            def serve() -> None:
                with contextlib.suppress(OSError):
                    while True:
                        sock, _ = listener.accept()
                        with sock, contextlib.suppress(OSError):
                            answer(sock)

            thread = threading.Thread(target=serve, name="test-answering", daemon=True)
            thread.start()
            try:
                yield
            finally:
                with contextlib.suppress(OSError):
                    listener.shutdown(socket.SHUT_RDWR)
                with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as last:
                    last.connect(os.fspath(path))
                listener.close()
                thread.join(10.0)

    return listening()


# --- the one node -----------------------------------------------------------------------------------------------------


def test_the_only_node_is_found(nodes: Nodes, home: Path) -> None:
    """Its picture on stdout, with the peers by the names of the contact book."""
    node, far = at_home(nodes, home), nodes.start()
    node.connect(far.contact)
    (home / "crust").mkdir(exist_ok=True)
    (home / "crust" / "contacts").write_text(f"bob {far.contact}\n")
    code, terminal = run(home)
    assert code == 0, shown(terminal)
    text = printed(terminal)
    assert str(node.id) in text and "1 peer; " in text and "bob" in text and "direct-tcp" in text
    assert shown(terminal) == "" and max(map(len, text.splitlines())) <= 80


def test_as_json(nodes: Nodes, home: Path) -> None:
    """One object, as conf/status.schema.json describes it, with rates."""
    node, far = at_home(nodes, home), nodes.start()
    node.connect(far.contact).send(b"hello")
    code, terminal = run(home, "--json")
    found = json.loads(printed(terminal))
    jsonschema.validate(found, SCHEMA)
    assert code == 0 and found["id"] == str(node.id)
    assert found["rates"] is not None and found["peers"][0]["rates"] is not None


def test_a_program_that_embeds_crust_is_named(nodes: Nodes, home: Path) -> None:
    """By the path of its ``status.socket``."""
    node = nodes.start(config(status__socket=str(home / "app.sock")))
    code, terminal = run(home, "--socket", str(home / "app.sock"))
    assert code == 0 and str(node.id) in printed(terminal)


def test_several_nodes_are_listed(nodes: Nodes, home: Path) -> None:
    """With their sockets, and what to do; one is found by its path."""
    first, second = at_home(nodes, home), at_home(nodes, home, network__name="home")
    code, terminal = run(home)
    said = shown(terminal)
    assert (code, printed(terminal)) == (1, "")
    assert f"{home}/crust/{first.id.short}.sock" in said and f"{home}/crust/{second.id.short}.sock" in said
    assert "network home" in said and "2 nodes run here: name one with --socket PATH" in said


def test_the_socket_of_dead_nodes_is_passed_over(nodes: Nodes, home: Path) -> None:
    """One node lives: it is meant. None does: that is said, and how many died."""
    node = at_home(nodes, home)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{home}/crust/dead.sock")
    assert run(home)[0] == 0
    node.close()
    code, terminal = run(home)
    assert code == 1 and "no crust node of this user runs here (1 that died left a socket behind)" in shown(terminal)


def test_no_node_at_all(home: Path) -> None:
    """What to do stands in the line."""
    code, terminal = run(home)
    assert code == 1
    assert f"nobody listens in {home}/crust. Start one with crust node" in shown(terminal)


# --- a socket that is none --------------------------------------------------------------------------------------------


def test_sockets_that_cannot_be_asked(home: Path) -> None:
    """Each by its reason."""
    (home / "file").write_text("text")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{home}/dead")
    for name, words in (
        ("nothing", "there is no such socket: the node does not run, or has none"),
        ("file", "this is not a socket"),
        ("dead", "nobody listens there any more: the node died"),
        ("x" * 110, "too long for the path of a Unix socket"),
    ):
        code, terminal = run(home, "--socket", f"{home}/{name}")
        assert (code, printed(terminal)) == (1, "") and words in shown(terminal), name


def test_no_permission(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said as such, and not as a node that does not run."""

    class Refusing(socket.socket):
        def connect(self, address: Any) -> None:
            raise PermissionError(13, "Permission denied")

    with answering(home / "s", lambda sock: None):
        with monkeypatch.context() as patch:
            patch.setattr(socket, "socket", Refusing)
            code, terminal = run(home, "--socket", str(home / "s"))
    assert code == 1 and "no permission: a node tells its own user alone (and root)" in shown(terminal)


def test_a_strangers_socket_is_not_asked(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else may have put it there."""
    asked: list[bytes] = []
    monkeypatch.setattr(client, "owner_of", lambda sock: 4321)
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    with answering(home / "s", lambda sock: asked.append(sock.recv(100))):
        code, terminal = run(home, "--socket", str(home / "s"))
    assert code == 1 and "another user (4321): not asked" in shown(terminal) and asked in ([], [b""])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "the node has ended, or turned us away"),
        (b"SSH-2.0-OpenSSH\n", "not a node of crust"),
        (b'"text"\n', "not a node of crust"),
        (b'{"event": "started"}\n{"id": 1, "ok": true, "status": {"schema": 99}}\n', "another version"),
        (b'{"id": 1, "ok": false, "text": "no\\u001b[2J"}\n', "gives no status: no"),
    ],
)
def test_what_answers_otherwise(home: Path, answer: bytes, words: str) -> None:
    def say(sock: socket.socket) -> None:
        sock.recv(1000)
        sock.sendall(answer)

    with answering(home / "s", say):
        code, terminal = run(home, "--socket", str(home / "s"))
    assert code == 1 and words in shown(terminal) and "\x1b" not in shown(terminal)


def test_who_does_not_answer_is_given_up(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "TIMEOUT", 0.1)
    released = threading.Event()
    with answering(home / "s", lambda sock: released.wait(10.0)):
        code, terminal = run(home, "--socket", str(home / "s"))
        released.set()
    assert code == 1 and "does not answer within 0.1 s" in shown(terminal)


# --- again and again --------------------------------------------------------------------------------------------------


def test_watching_ends_with_the_node(nodes: Nodes, home: Path) -> None:
    """The pictures so far stay, then a line says that it has ended; exit code 1."""
    node = at_home(nodes, home)
    terminal = make_terminal()
    result: list[int] = []
    watcher = threading.Thread(
        target=lambda: result.append(run(home, "--watch", "0.05", terminal=terminal)[0]),
        name="test-watcher",
        daemon=True,
    )
    watcher.start()
    wait_until(lambda: printed(terminal).count("listens on") >= 3, what="three pictures")
    node.close()
    watcher.join(20.0)
    assert result == [1] and "no such socket" in shown(terminal)
    assert "\x1b" not in printed(terminal) and printed(terminal).count("B/s in") >= 2


def test_watching_in_json_is_a_line_a_look(nodes: Nodes, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until Ctrl-C: exit code 130, and every line is whole."""
    at_home(nodes, home)
    left = [0, 0]

    def rest(seconds: float) -> None:
        assert seconds == 7
        if not left:
            raise KeyboardInterrupt
        left.pop()

    monkeypatch.setattr(command, "rest", rest)
    code, terminal = run(home, "--watch", "7", "--json")
    lines = [json.loads(line) for line in printed(terminal).splitlines()]
    assert code == 130 and [each["rates"] is None for each in lines] == [True, False, False]
    for each in lines:
        jsonschema.validate(each, SCHEMA)


def test_ctrl_c_gives_the_screen_back(nodes: Nodes, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_home(nodes, home)

    def rest(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "rest", rest)
    terminal = make_terminal(tty=True)
    code, _ = run(home, "--watch", terminal=terminal)
    drawn = printed(terminal)
    assert code == 130 and drawn.startswith("\x1b[?1049h") and "\x1b[?1049l" in drawn
    assert "every 2 s; Ctrl-C ends this" in drawn


@pytest.mark.parametrize("words", [["--watch", "0"], ["--watch", "x"], ["--socket"], ["more"], ["--sock", "x"]])
def test_wrong_arguments(home: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(home, *words)
    assert ended.value.code == 2 and "usage:" in capsys.readouterr().err


# --- crust node -------------------------------------------------------------------------------------------------------


def started_with(home: Path, *words: str, environ: dict[str, str] | None = None) -> tuple[str | None, Terminal]:
    """``status.socket`` of the node that the command would start."""
    arguments = main.build_parser().parse_args(["node", "-v", *words])
    terminal = make_terminal(verbosity=1)
    context = make_context(home, terminal, {"XDG_RUNTIME_DIR": str(home), **(environ or {})})
    options.start_node(arguments, context, one_shot=False)
    return FakeService.made[-1].config.status.socket, terminal


def test_crust_node_has_a_socket(fake_service: type[FakeService], home: Path) -> None:
    """For its user, unless told otherwise; what is configured counts first."""
    assert started_with(home)[0] == f"{home}/crust/{{peer}}.sock"
    assert (home / "crust").stat().st_mode & 0o777 == 0o700
    assert started_with(home, "--no-status")[0] is None
    (home / "c.yaml").write_text("status:\n  socket: /tmp/elsewhere\n")
    assert started_with(home, "--config", str(home / "c.yaml"))[0] == "/tmp/elsewhere"


def test_crust_node_removes_what_dead_ones_left(fake_service: type[FakeService], nodes: Nodes, home: Path) -> None:
    """And neither the sockets of those that live, nor what is none of its."""
    node = at_home(nodes, home)
    kept = {f"{node.id.short}.sock", "file.sock", "other"}
    (home / "crust" / "file.sock").write_text("precious")
    for name in ("dead.sock", "other"):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(f"{home}/crust/{name}")
    assert started_with(home)[0]
    assert {each.name for each in (home / "crust").iterdir()} == kept


def test_crust_node_runs_without_if_it_must(fake_service: type[FakeService], home: Path) -> None:
    """A folder that cannot be had, that others may write in, or whose name is too long: ``-v`` says why."""
    (home / "file").write_text("")
    (home / "open" / "crust").mkdir(parents=True)
    (home / "open" / "crust").chmod(0o777)
    for place, words in (("file", "Not a directory"), ("open", "others may write"), ("x" * 100, "too long")):
        found, terminal = started_with(home, environ={"XDG_RUNTIME_DIR": f"{home}/{place}"})
        assert found is None and "no status socket: " in shown(terminal) and words in shown(terminal)


def test_where_the_sockets_are(home: Path) -> None:
    """As the XDG base directory specification has it; relative folders do not count."""
    for environ, wanted in (
        ({"XDG_RUNTIME_DIR": "/run/user/7", "HOME": "/h"}, "/run/user/7/crust"),
        ({"XDG_RUNTIME_DIR": "run", "XDG_STATE_HOME": "/s", "HOME": "/h"}, "/s/crust/run"),
        ({"HOME": "/h"}, "/h/.local/state/crust/run"),
    ):
        assert str(places.status_folder(environ)) == wanted
    (home / "crust").write_text("")
    with pytest.raises(CommandError, match="Not a directory"):
        places.sockets({"XDG_RUNTIME_DIR": str(home)})


def test_the_real_commands(home: Path) -> None:
    """A node, a control socket, a status of each, and no traceback when the watched node is killed."""
    runtime = {"XDG_RUNTIME_DIR": str(home)}
    with Process(home, "node", "--control", str(home / "c"), "--listen", LOCAL, **runtime) as node:
        contact = node.line()
        for words in ([], ["--socket", str(home / "c")]):
            with Process(home, "status", *words, **runtime) as status:
                assert status.ends() == 0, status.errors
                assert contact.partition("@")[0] in "".join(status.rest())
        with Process(home, "status", "--watch", "0.1", "--json", **runtime) as watch:
            assert json.loads(watch.line())["id"] == contact.partition("@")[0]
            node.process.kill()
            assert watch.ends() == 1
            assert "nobody listens there any more" in watch.errors or "has ended" in watch.errors
            no_traceback(watch)
    with Process(home, "status", "--watch", **runtime) as none:
        assert none.ends() == 1 and "left a socket behind" in none.errors
