"""The status socket and the page for Prometheus of a real node."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

import crust
from crust.runtime import local_socket
from crust.service.status import outlets as module
from tests.support.nodes import Nodes, config
from tests.support.source import ROOT
from tests.support.waiting import wait_until


@pytest.fixture
def folder() -> Iterator[Path]:
    """Paths of Unix sockets must be short."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made) / "run"


def ask(path: str | Path, *lines: bytes) -> list[dict[str, Any]]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10.0)
        sock.connect(os.fspath(path))
        sock.sendall(b"".join(line + b"\n" for line in lines))
        sock.shutdown(socket.SHUT_WR)
        with sock.makefile("rb") as file:
            return [json.loads(line) for line in file]


def get(address: str | None, path: str = "/metrics") -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10.0) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


# --- the socket -------------------------------------------------------------------------------------------------------


def test_the_socket_tells_its_user_alone(nodes: Nodes, folder: Path) -> None:
    """Mode 0600 in a folder of mode 0700, named after the node, and gone with it."""
    node = nodes.start(config(status__socket=str(folder / "{peer}.sock")))
    path = Path(node.status().socket or "")
    assert path == folder / f"{node.id.short}.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(folder.stat().st_mode) == 0o700
    first, reply, refused = ask(path, b'{"id": 1, "cmd": "status"}', b'{"id": 2, "cmd": "stop"}')
    assert first == {"event": "started", "peer": str(node.id)}
    assert reply["ok"] and reply["status"]["id"] == str(node.id)
    assert refused["error"] == "unsupported"
    node.close()
    assert not path.exists()


def test_another_user_is_turned_away(nodes: Nodes, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file's mode is not heeded, the system still says who asks."""
    node = nodes.start(config(status__socket=str(folder / "s")))
    monkeypatch.setattr(module, "owner_of", lambda sock: os.geteuid() + 1)
    try:
        assert ask(folder / "s", b'{"cmd": "status"}') == []
    except (ConnectionResetError, BrokenPipeError):
        pass  # it is cut off while it asks
    monkeypatch.setattr(module, "owner_of", local_socket.owner_of)
    assert ask(folder / "s", b'{"cmd": "status"}')[1]["ok"]
    assert node.status().stats.crashes == 0


def test_a_socket_that_cannot_be_had_is_an_error(nodes: Nodes, folder: Path) -> None:
    """In use, another kind of file, no folder, too long: by name; nothing else stays open."""
    nodes.start(config(status__socket=str(folder / "taken")))
    (folder / "file").write_text("precious")
    (folder / "no").write_text("a file in place of a folder")
    for path, words in (
        ("taken", f"in use by process {os.getpid()}"),
        ("file", "not a socket"),
        ("no/s", "status.socket: .*no"),
        ("x" * 120, "too long"),
    ):
        with pytest.raises(crust.ListenError, match=words):
            nodes.start(config(status__socket=str(folder / path)))
    assert (folder / "file").read_text() == "precious"


def test_what_a_dead_node_left_is_replaced(nodes: Nodes, folder: Path) -> None:
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(os.fspath(folder / "s"))
    nodes.start(config(status__socket=str(folder / "s")))
    assert ask(folder / "s", b'{"cmd": "status"}')[1]["ok"]


def test_a_fault_in_a_part_costs_one_answer(nodes: Nodes, folder: Path) -> None:
    """It is reported as every fault is, and the next one who asks is told."""
    node = nodes.start(config(status__socket=str(folder / "s")))
    nodes.release(node)
    assert node._node is not None
    faults = [ValueError("a fault")]

    def look() -> dict[str, object]:
        if faults:
            raise faults.pop()
        return {"holes": 3}

    node._node.sections.add("cheese", look)
    assert len(ask(folder / "s", b'{"cmd": "status"}')) == 1
    reply = ask(folder / "s", b'{"cmd": "status"}')[1]
    assert reply["status"]["sections"]["cheese"] == {"holes": 3} and reply["status"]["stats"]["crashes"] == 1
    assert node.close()


# --- the page ---------------------------------------------------------------------------------------------------------


def test_prometheus_gets_the_figures(nodes: Nodes) -> None:
    """By HTTP/1.1, as its own client reads them; other paths and methods are refused."""
    node = nodes.start(config(status__metrics="127.0.0.1:0"))
    address = node.status().metrics
    code, text = get(address)
    found = {sample.name: sample for each in text_string_to_metric_families(text) for sample in each.samples}
    assert code == 200 and found["crust_info"].labels["peer"] == str(node.id)
    assert found["crust_listeners"].value == 1
    assert get(address, "/")[0] == 404


def test_asking_often_costs_one_page(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within half a second all get the same."""
    made: list[int] = []
    monkeypatch.setattr(module, "as_text", lambda status: f"crust_pages {made.append(1) or len(made)}\n")
    node = nodes.start(config(status__metrics="127.0.0.1:0"))
    assert node._node is not None
    now = node._node.clock.now()
    monkeypatch.setattr(node._node.clock, "now", lambda: now)
    address = node.status().metrics
    assert {get(address) for _ in range(20)} == {(200, "crust_pages 1\n")}
    monkeypatch.undo()
    wait_until(lambda: get(address)[1].startswith("# HELP"), what="another page")


def test_an_address_that_cannot_be_had_is_an_error(nodes: Nodes) -> None:
    address = nodes.start(config(status__metrics="127.0.0.1:0")).status().metrics
    with pytest.raises(crust.ListenError, match=f"status.metrics: {address}: .*another node"):
        nodes.start(config(status__metrics=address))
    with pytest.raises(crust.ListenError, match="status.metrics: 192.0.2.1:9475"):
        nodes.start(config(status__metrics="192.0.2.1:9475"))


@pytest.mark.parametrize("address", ["localhost:1", "127.0.0.1", "127.0.0.1:99999", "224.0.0.1:9", ":9475", 9475])
def test_an_address_that_makes_no_sense_is_told(address: object) -> None:
    with pytest.raises(crust.ConfigError, match="status.metrics: expected an address and a port such as"):
        config(status__metrics=address)


def test_hostile_clients_do_not_keep_prometheus_out(nodes: Nodes, folder: Path) -> None:
    """As many as there is room for, that send half a request, or read nothing: the figures still come."""
    node = nodes.start(config(status__metrics="127.0.0.1:0", status__socket=str(folder / "s")))
    address = node.status().metrics or ""
    host, _, port = address.rpartition(":")
    idle = [socket.create_connection((host, int(port)), timeout=10.0) for _ in range(2 * crust.limits.STATUS_CLIENTS)]
    try:
        for sock in idle:
            sock.sendall(b"GET /metrics HTTP/1.1\r\nX-Slow: ")
        assert get(address)[0] == 200
        assert ask(folder / "s", b'{"cmd": "status"}')[1]["ok"]
    finally:
        for sock in idle:
            sock.close()


def test_both_end_with_the_node(nodes: Nodes, folder: Path) -> None:
    """Whoever is asking: no thread, no descriptor, no path is left, and the close does not wait."""
    node = nodes.start(config(status__metrics="127.0.0.1:0", status__socket=str(folder / "s")))
    host, _, port = (node.status().metrics or "").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10.0) as waiting:
        with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10.0) as later:
            assert later.status == 200  # by then the one before it has been accepted
        assert node.close()
        assert waiting.recv(1) == b""
    assert list(folder.iterdir()) == []


def test_nobody_stops_a_node_by_the_lock_of_its_folder(
    nodes: Nodes, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may read a folder can lock it: neither a start nor a close waits for them for long."""
    import fcntl

    monkeypatch.setattr(local_socket, "_TRIES", 3)
    node = nodes.start(config(status__socket=str(folder / "s")))
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        with pytest.raises(crust.ListenError, match="holds the lock"):
            nodes.start(config(status__socket=str(folder / "other")))
        assert node.close()
    finally:
        os.close(descriptor)
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_takes_nothing_along(folder: Path) -> None:
    """The socket answers for the parent while the child lives, and the child's end does not remove it."""
    program = f"""
import os, socket, crust
config = crust.Config().replace(**{{"listen.addresses": ["tcp://127.0.0.1:0"], "status.socket": {str(folder / "s")!r},
    "status.metrics": "127.0.0.1:0", "bootstrap.cache.max_peers": 0}})
with crust.Service(config) as node:
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.write(ready[1], b"x")
        os.read(done[0], 1)
        node.close()
        os._exit(0)
    os.read(ready[0], 1)
    for _ in range(2):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(10)
            sock.connect(node.status().socket)
            sock.sendall(b'{{"cmd": "status"}}\\n')
            sock.shutdown(socket.SHUT_WR)
            print(len(sock.makefile().readlines()))
        if _ == 0:
            os.write(done[1], b"x")
            os.waitpid(child, 0)
print(os.path.exists(config.status.socket))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout.split(), done.stderr) == (["2", "2", "False"], "")
