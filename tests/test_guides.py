"""The guides of docs/: their programs run and print what they say, and crust says what troubleshooting.md quotes."""

from __future__ import annotations

import contextlib
import errno
import inspect
import os
import pathlib
import pickle
import re
import shlex
import signal
import socket
from collections.abc import Callable, Iterator

import pytest
import yaml

import crust
import crust.testing
from crust.config.sections import field_keys
from tests.support.documents import DOCUMENTS, blocks, programs
from tests.support.nodes import config
from tests.support.programs import Program
from tests.support.source import ROOT

DOCS = ROOT / "docs"

# --- programs ---------------------------------------------------------------------------------------------------------


def dialogues(path: pathlib.Path) -> Iterator[tuple[list[str], str]]:
    """Each command of a page that has output below it: its words, and a pattern for the output."""
    for block in blocks(path, "console"):
        command, _, output = block.text.partition("\n")
        if output and not output.startswith("$ "):
            yield shlex.split(command.removeprefix("$ ")), re.escape(output.strip()).replace("…", ".*")


@pytest.mark.slow
def test_first_steps(tmp_path: pathlib.Path) -> None:
    """Saved, and run in the order of the page, its programs print what stands there."""
    path = DOCS / "first-steps.md"
    found = programs(path)
    assert list(found) == ["hello.py", "answer.py", "ask.py", "nobody.py"]
    for name, text in found.items():
        (tmp_path / name).write_text(text)
    shown = list(dialogues(path))
    assert [words[1] for words, _ in shown] == list(found)
    contact = ""
    with contextlib.ExitStack() as running:
        for words, pattern in shown:
            program = running.enter_context(Program(*(w.replace("CONTACT", contact) for w in words), cwd=tmp_path))
            if words[1] != "answer.py":
                assert re.fullmatch(pattern, program.end().strip())
                continue
            answering = program
            contact = program.wait_for(f"^{pattern}$")[0]
        (came_and_went,) = [block.text for block in blocks(path, "text")]
        for line in came_and_went.splitlines():
            answering.wait_for(re.escape(line).replace("…", ".*"))
        assert answering.stop(signal.SIGINT) == 0


@pytest.mark.slow
@pytest.mark.parametrize("patched", [(), ("-m", "gevent.monkey")], ids=["threads", "gevent"])
def test_the_daemon_ends_in_order(patched: tuple[str, ...], tmp_path: pathlib.Path) -> None:
    """
    The program of embedding.md takes SIGTERM like Ctrl-C: its peer hears goodbye at once, its exit code is 0. On gevent
    the interrupt may strike the greenlet that reads; then that link is given up, and cannot carry a goodbye.
    """
    (tmp_path / "daemon.py").write_text(programs(DOCS / "embedding.md")["daemon.py"])
    with Program("python", *patched, "daemon.py", cwd=tmp_path) as daemon:
        contact = daemon.wait_for(r"^\S+@tcp://\S+$")[0]
        with crust.Service(config()) as node, node.events(crust.LostPeer, crust.PeerSuspended) as ends:
            node.connect(contact, timeout=20)
            assert daemon.stop(signal.SIGTERM) == 0
            end = ends.get(timeout=20)
            assert end.reason == "closed" or (patched and isinstance(end, crust.PeerSuspended))


def test_the_program_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    """The example of migration.md talks to a node that answers."""
    (example,) = blocks(DOCS / "migration.md", "python")
    with crust.Service(config()) as other:
        other.on(crust.NewMessage, lambda message: message.peer.send(message.data + b" yourself"))
        exec(compile(example.text, "migration.md", "exec"), {"crust": crust, "config": config(), "other": other})
    assert capsys.readouterr().out == "b'hello yourself'\n"


def test_a_coroutine_talks() -> None:
    """The bridge of threads-or-gevent.md does what its comments say."""
    import asyncio

    (example,) = blocks(DOCS / "threads-or-gevent.md", "python")
    with crust.Service(config()) as node, crust.Service(config()) as other:
        names = {"crust": crust, "node": node}
        exec(compile(example.text, "threads-or-gevent.md", "exec"), names)
        asyncio.run(names["talk"](other.contact))  # type: ignore[operator]
        (peer,) = other.peers
        assert peer.recv(timeout=10) == b"hello from a coroutine"


# --- configuration, commands ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_configuration_shown_is_valid(path: pathlib.Path) -> None:
    """What stands in a page as YAML is a configuration that crust takes."""
    for block in blocks(path, "yaml"):
        crust.Config.from_dict(yaml.safe_load(block.text))


# Commands of others, shown as they are.
OTHERS = {"cd", "cp", "curl", "django-admin", "echo", "journalctl", "kill", "mkdir", "nc", "sha256sum", "ss", "sudo"}
OTHERS |= {"tcpdump", "turnutils_stunclient", "xxd"}
SHOWN = {".", "crust", "git", "make", "pip", "punch-test", "python", "python3", ".venv/bin/python", *OTHERS}


def test_no_command_is_mistyped() -> None:
    """A command in a page is one of a few; those of crust and make are looked at in test_docs.py."""
    commands = {
        next(word for word in shlex.split(line[2:]) if not re.match("[A-Z_]+=", word))
        for path in DOCUMENTS
        for block in blocks(path, "console")
        for line in block.text.splitlines()
        if line.startswith("$ ")
    }
    assert commands - SHOWN == set()


# --- migration.md, compatibility.md ---------------------------------------------------------------------------------


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table under a heading, without its head."""
    section = (DOCS / page).read_text().split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = re.findall(r"^\| (.*) \|$", section, re.MULTILINE)
    return [line.split(" | ") for line in lines[1:]]


def test_the_methods_to_migrate_to_exist() -> None:
    """What migration.md names on our side are members of a node or of a peer, with those arguments."""
    named = [text for row in rows("migration.md", "Methods") for text in re.findall("`(.*?)`", row[1])]
    assert len(named) > 15
    for text in named:
        if text.startswith(("crust.Service", "config.", "with")) or text == "network.role":
            continue
        name, _, arguments = text.partition("(")
        owner = crust.Peer if name.startswith("peer.") else crust.Service
        member = getattr(owner, name.removeprefix("peer."))
        for argument in re.findall(r"(\w+)=", arguments):
            assert argument in inspect.signature(member).parameters, text


def test_the_events_to_migrate_to_exist() -> None:
    """The same for events, each with exactly its fields."""
    for row in rows("migration.md", "Events"):
        for name, fields in re.findall(r"`([A-Z]\w+)\(([^)]*)\)`", row[1]):
            event = getattr(crust, name)
            assert list(inspect.signature(event).parameters) == fields.split(", "), name


def test_the_keys_to_migrate_to_exist() -> None:
    """The same for keys of the configuration."""
    keys = dict(field_keys(crust.Config))
    named = [text for row in rows("migration.md", "Configuration") for text in re.findall("`(.*?)`", row[1])]
    assert len(named) >= 9 and [text for text in named if text not in keys] == []


def test_what_can_be_pickled() -> None:
    """compatibility.md says what can go to another process, and what cannot."""
    with crust.Service(config()) as node, crust.Service(config()) as other:
        peer = node.connect(other.contact)
        info = node.prepare_connection_info()
        for value in (node.id, node.addresses[0], node.contact, info, config()):
            assert pickle.loads(pickle.dumps(value)) == value
        error = pickle.loads(pickle.dumps(crust.PeerLost("over", "gone")))
        assert (str(error), error.reason) == ("over", "gone")
        for value in (node, peer, crust.SendReady(peer)):
            with pytest.raises(TypeError, match="cannot be pickled"):
                pickle.dumps(value)


# --- troubleshooting.md -----------------------------------------------------------------------------------------------

Scenario = Callable[[crust.Service, pathlib.Path], object]


def scenario_refused(node: crust.Service, _: pathlib.Path) -> object:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, not listening: nobody else gets the port
        return node.connect(f"{nobody()}@tcp://127.0.0.1:{closed.getsockname()[1]}")


def scenario_silent_server(node: crust.Service, _: pathlib.Path) -> object:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        contact = f"{nobody()}@tcp://127.0.0.1:{silent.getsockname()[1]}"
        with crust.Service(config(session__handshake_timeout=0.2)) as hasty:
            return hasty.connect(contact)


def scenario_impatient(node: crust.Service, _: pathlib.Path) -> object:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        return node.connect(f"{nobody()}@tcp://127.0.0.1:{silent.getsockname()[1]}", timeout=0.1)


def scenario_no_answer(node: crust.Service, _: pathlib.Path) -> object:
    with crust.testing.network() as net:
        one, other = net.service(), net.service()
        net.partition(one, other)
        return one.connect(other.contact)


def scenario_unknown_name(node: crust.Service, _: pathlib.Path) -> object:
    with crust.testing.network() as net:
        return net.service().connect(f"{nobody()}@tcp://node.example:5483")


def scenario_port_taken(node: crust.Service, _: pathlib.Path) -> object:
    return crust.Service(config(listen__addresses=[str(node.addresses[0])])).start()


def scenario_not_ours(node: crust.Service, _: pathlib.Path) -> object:
    return crust.Service(config(listen__addresses=["tcp://192.0.2.9:0"])).start()


def scenario_identity_in_use(node: crust.Service, folder: pathlib.Path) -> object:
    twice = config(identity__file=str(folder / "shared.identity"))
    with crust.Service(twice):
        return crust.Service(twice).start()


def calls(**changes: object) -> Scenario:
    """Somebody calls a node that has this configuration."""

    def call(node: crust.Service, _: pathlib.Path) -> object:
        with crust.Service(config(**changes)) as other:
            return node.connect(other.contact)

    return call


def scenario_busy(node: crust.Service, _: pathlib.Path) -> object:
    with crust.Service(config(limits__max_peers=1)) as other, crust.Service(config()) as first:
        first.connect(other.contact)
        return node.connect(other.contact)


def scenario_bootstrap(node: crust.Service, _: pathlib.Path) -> object:
    with crust.Service(config()) as other:
        return node.bootstrap(contacts=[other.contact])


def scenario_banned(node: crust.Service, _: pathlib.Path) -> object:
    with crust.Service(config()) as other:
        other.ban(node.id)
        return node.connect(other.contact)


def nobody() -> crust.PeerId:
    return crust.Identity.generate().peer_id


SCENARIOS: dict[str, Scenario] = {
    "an address alone": lambda node, _: node.connect("tcp://127.0.0.1:5483"),
    "a part of a contact": lambda node, _: node.connect(str(node.id)[:50]),
    "a mistyped contact": lambda node, _: node.connect("a" * 56),
    "a key alone": lambda node, _: node.connect(nobody()),
    "itself": lambda node, _: node.connect(node.contact),
    "nothing listens": scenario_refused,
    "a server that is no node": scenario_silent_server,
    "a short timeout": scenario_impatient,
    "no answer": scenario_no_answer,
    "a wrong name": scenario_unknown_name,
    "the wrong key": lambda node, _: node.connect(f"{nobody()}@{other_address(node)}"),
    "another network": calls(network__name="another"),
    "not on the list": calls(access__allow_peers=[]),
    "a banned address": calls(access__ban={"networks": ["127.0.0.0/8"]}),
    "a banned key": scenario_banned,
    "busy": scenario_busy,
    "bootstrap": scenario_bootstrap,
    "a port that is taken": scenario_port_taken,
    "an address that is not ours": scenario_not_ours,
    "an identity in use": scenario_identity_in_use,
}


def other_address(node: crust.Service) -> crust.Endpoint:
    """Where a node listens; another key is called there."""
    return node.addresses[0]


def words_of_the_system() -> list[str]:
    """What no test can have at will; crust hands the system's words on."""
    return [
        f"unreachable: {os.strerror(errno.EHOSTUNREACH)}",
        f"unreachable: {os.strerror(errno.ENETUNREACH)}",
        os.strerror(errno.ECONNRESET),
    ]


def test_crust_says_what_troubleshooting_quotes(tmp_path: pathlib.Path) -> None:
    """Each text of the table is in an error that its cause provokes, and each cause is in the table."""
    section = (DOCS / "troubleshooting.md").read_text().split("## What does the error say?\n")[1].split("\n## ")[0]
    first = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    quoted = {text for cell in first for text in re.findall("`(.*?)`", cell)}
    said = {}
    with crust.Service(config()) as node:
        for name, scenario in SCENARIOS.items():
            with pytest.raises(crust.CrustError) as error:
                scenario(node, tmp_path)
            said[name] = str(error.value)
    texts = [*said.values(), *words_of_the_system()]
    in_tests_of_their_own = {"gevent"}  # tests/runtime/test_threads.py
    assert {quote for quote in quoted if not any(quote in text for text in texts)} == in_tests_of_their_own
    assert {name: text for name, text in said.items() if not any(quote in text for quote in quoted)} == {}
