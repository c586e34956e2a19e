"""``crust chat``, ``crust demo`` and the rest, for real."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import crust
from tests.cli.processes import LOCAL, Process, environment, no_traceback

pytestmark = pytest.mark.slow  # several processes each


def test_two_people_chat(tmp_path: Path) -> None:
    with Process(tmp_path, "chat", "--listen", LOCAL, "--identity", "bob") as bob:
        contact = crust.Contact.parse(bob.line())
        with Process(tmp_path, "contacts", "add", "bob", str(contact)) as adding:
            assert adding.ends() == 0
        with Process(tmp_path, "chat", "bob", "--listen", LOCAL, "--identity", "alice") as alice:
            alice.shows("bob is here (direct-tcp, ")
            bob.shows(" is here")
            alice.type("grüß dich")
            assert bob.line().endswith(": grüß dich")
            bob.type("\x1b[2Jhello")
            assert alice.line() == "bob: \\x1b[2Jhello"
            bob.close_stdin()
            assert bob.ends() == 0
            assert alice.ends() == 0  # though its stdin is open: who was called has left
            assert "bob has left: closed" in alice.errors
            no_traceback(alice)


def test_the_last_words_arrive(tmp_path: Path) -> None:
    """A line and the end of stdin right behind it."""
    with Process(tmp_path, "chat", "--listen", LOCAL, "--identity", "bob") as bob:
        contact = bob.line()
        with Process(tmp_path, "chat", contact, "--listen", LOCAL, "--identity", "alice") as alice:
            alice.type("goodbye")
            alice.close_stdin()
            assert alice.ends() == 0
        assert bob.line().endswith(": goodbye")
        bob.interrupt()
        assert bob.ends() == 130
        no_traceback(bob)


def test_the_demonstration(tmp_path: Path) -> None:
    with Process(tmp_path, "demo") as demo:
        assert demo.ends(90.0) == 0, demo.errors  # within its own limit of a minute
        text = "\n".join(demo.rest())
    words = (
        "Identities",
        "handshake",
        "Cipher",
        "Hello bob!",
        "cut 2 times",
        "in order",
        "MB/s",
        "All of it worked",
    )
    assert [word for word in words if word not in text] == []
    assert demo.errors == ""
    assert list(tmp_path.iterdir()) == []  # nothing of the user's was touched


@pytest.mark.parametrize("step", ["1. ", "5. ", "7. "])
def test_ctrl_c_ends_the_demonstration_and_its_programs(tmp_path: Path, step: str) -> None:
    with Process(tmp_path, "demo", TMPDIR=str(tmp_path)) as demo:
        while not demo.line().startswith(step):
            pass
        children = children_of(demo.process.pid)
        assert children
        demo.interrupt()
        assert demo.ends() == 130
        assert demo.errors.endswith("interrupted\n")
        no_traceback(demo)
    assert [pid for pid in children if os.path.exists(f"/proc/{pid}")] == []
    assert list(tmp_path.iterdir()) == []


def children_of(parent: int) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                stat = Path(f"/proc/{name}/stat").read_text()
            except OSError:  # it has ended meanwhile
                continue
            if int(stat.rsplit(")", 1)[1].split()[1]) == parent:
                found.append(int(name))
    return found


def test_a_reader_that_has_seen_enough(tmp_path: Path) -> None:
    """``crust config --example | head -1``: no traceback, no noise."""
    process = subprocess.Popen(
        [sys.executable, "-m", "crust", "config", "--example"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**environment(tmp_path), "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), errors) == (1, b"")


def test_the_config_variable_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("network: {name: home}\n")
    with Process(tmp_path, "config", "--json", CRUST_CONFIG="mine.yaml") as process:
        assert process.ends() == 0
        (row,) = json.loads("".join(process.rest()))
    assert (row["key"], row["value"]) == ("network.name", "home")
    with Process(tmp_path, "config", CRUST_CONFIG="nothing.yaml") as process:
        assert process.ends() == 1
        assert "nothing.yaml" in process.errors and process.errors.count("\n") == 1


def test_a_name_that_the_locale_cannot_show_is_no_error(tmp_path: Path) -> None:
    peer = crust.Identity.generate().peer_id
    environ = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    with Process(tmp_path, "contacts", "add", "jörg", str(peer)) as process:
        assert process.ends() == 0
    with Process(tmp_path, "contacts", "list", **environ) as process:
        assert process.ends() == 0
        assert process.rest() == [f"j\\xf6rg {peer}"]


@pytest.mark.parametrize("words", [("--version",), ("keygen", "--help"), ("config",)])
def test_small_commands_are_quick(tmp_path: Path, words: tuple[str, ...]) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with Process(tmp_path, *words) as process:
        assert process.ends() == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)  # what others do on this machine meanwhile does not count
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 5.0
