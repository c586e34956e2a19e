"""Recipes for web frameworks and their servers: Flask, Django with its autoreloader, gunicorn in all its ways."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

import crust
from tests.support.nodes import config
from tests.support.programs import EXAMPLES, Answers, Program, get, get_together
from tests.support.waiting import wait_until


def test_flask(answers: Answers) -> None:
    """Requests on several threads share one node; each gets its own answer."""
    with Program("flask", "--app", "flask_app", "run", "--port", "0", CRUST_PEER=answers.contact) as server:
        address = server.wait_for(r"Running on (http://\S+)")[1] + "/ask/"
        answers.together = 5
        found = get_together(address + "together", 5)
        assert {each["answer"] for each in found} == {"TOGETHER"}
        assert get(address + "hello") == {"answer": "HELLO", "node": found[0]["node"], "pid": server.pid}
        assert server.stop(signal.SIGINT) in (0, 1, -signal.SIGINT)
    assert len(answers.sessions) == 1


@pytest.mark.slow
def test_django_with_its_autoreloader(answers: Answers, tmp_path: Path) -> None:
    """The node is in the process that serves, not in the one that watches; a reload brings it up again, as the same."""
    shutil.copytree(EXAMPLES / "django_site", tmp_path / "site")
    shutil.copy(EXAMPLES / "asker.py", tmp_path / "site")
    command = ("python", "manage.py", "runserver", "--skip-checks", "127.0.0.1:0")
    with Program(*command, cwd=tmp_path / "site", CRUST_PEER=answers.contact) as server:
        found = []
        for number in range(2):
            address = server.wait_for(r"Starting (?:WSGI )?development server at (http://\S+:\d+/)")[1]
            found.append(get(f"{address}ask/hello"))
            if number == 0:
                reload(server, tmp_path / "site" / "peers" / "views.py")
        assert [each["answer"] for each in found] == ["HELLO", "HELLO"]
        assert found[0]["node"] == found[1]["node"]
        assert len({server.pid, found[0]["pid"], found[1]["pid"]}) == 3
        assert sockets_of(server.pid) == 0 and sockets_of(found[1]["pid"]) > 0
        server.stop(signal.SIGINT)


def reload(server: Program, path: Path) -> None:
    """
    Change a file until the reloader sees it: it looks once a second for what is newer than at its last look, so that a
    change before its first look would go unseen.
    """

    def reloads() -> bool:
        path.touch()
        return "reloading" in "".join(server.output)

    wait_until(reloads, what="a reload")


def sockets_of(pid: int) -> int:
    """How many sockets a process has open."""
    folder = Path(f"/proc/{pid}/fd")
    return sum(os.readlink(folder / name).startswith("socket:") for name in os.listdir(folder))


def test_a_management_command_starts_no_node(answers: Answers, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / "django_site", tmp_path / "site")
    shutil.copy(EXAMPLES / "asker.py", tmp_path / "site")
    with Program("python", "manage.py", "check", cwd=tmp_path / "site", CRUST_PEER=answers.contact) as command:
        assert "no issues" in command.end()
    assert answers.sessions == [] and not (tmp_path / "site" / "site.identity").exists()


@pytest.mark.slow
def test_django_from_nothing(answers: Answers, tmp_path: Path) -> None:
    """The steps of recipes.md, in what ``startproject`` makes, lead to an answer."""
    with Program("python", "-m", "django", "startproject", "mysite", cwd=tmp_path) as made:
        made.end()
    site = tmp_path / "mysite"
    shutil.copy(EXAMPLES / "asker.py", site)
    shutil.copytree(EXAMPLES / "django_site" / "peers", site / "peers")
    settings, urls = site / "mysite" / "settings.py", site / "mysite" / "urls.py"
    text = "import os\n" + settings.read_text()
    text = text.replace("INSTALLED_APPS = [", 'INSTALLED_APPS = ["peers.apps.PeersConfig",')
    ours = (EXAMPLES / "django_site" / "settings.py").read_text()
    settings.write_text(text + ours[ours.index("CRUST_PEER") :])
    text = "from peers.views import ask\n" + urls.read_text()
    urls.write_text(text.replace("urlpatterns = [", 'urlpatterns = [path("ask/<str:text>", ask),'))
    command = ("python", "manage.py", "runserver", "127.0.0.1:0")
    with Program(*command, cwd=site, CRUST_PEER=answers.contact) as server:
        address = server.wait_for(r"Starting (?:WSGI )?development server at (http://\S+:\d+/)")[1]
        assert get(f"{address}ask/hello")["answer"] == "HELLO"
        server.stop(signal.SIGINT)


def test_django_tests_its_view(tmp_path: Path) -> None:
    """The site's own tests pass, without a contact and without a socket."""
    shutil.copytree(EXAMPLES / "django_site", tmp_path / "site")
    shutil.copy(EXAMPLES / "asker.py", tmp_path / "site")
    with Program("python", "manage.py", "test", cwd=tmp_path / "site") as tests:
        assert "Ran 2 tests" in tests.end()


def test_django_is_called(tmp_path: Path) -> None:
    """The management command answers who calls, and says goodbye at SIGTERM."""
    shutil.copytree(EXAMPLES / "django_site", tmp_path / "site")
    shutil.copy(EXAMPLES / "asker.py", tmp_path / "site")
    command = ("python", "manage.py", "listen")
    with Program(*command, cwd=tmp_path / "site", CRUST_LISTEN="tcp://127.0.0.1:0") as listening:
        contact = listening.wait_for(r"^\S+@tcp://\S+$")[0]
        with crust.Service(config()) as node, node.events(crust.LostPeer) as lost:
            peer = node.connect(contact, timeout=20)
            peer.send(b"hello")
            assert peer.recv(timeout=20) == b"HELLO"
            assert listening.stop(signal.SIGTERM) == 0
            assert lost.get(timeout=20).reason == "closed"


@pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["", "preload"])
@pytest.mark.parametrize("conf", ["gunicorn_conf.py", "gunicorn_gevent_conf.py"], ids=["sync", "gevent"])
@pytest.mark.slow
def test_gunicorn(answers: Answers, conf: str, preload: tuple[str, ...]) -> None:
    """Each worker has a node of its own, the master none; at the end each says goodbye to its peers."""
    command = ("gunicorn", "--no-control-socket", "-c", conf, *preload, "--bind", "127.0.0.1:0", "wsgi_app:app")
    with Program(*command, CRUST_PEER=answers.contact) as server:
        address = server.wait_for(r"Listening at: (http://\S+)")[1]
        answers.together = 2  # a sync worker has one request at a time: the second one goes to the other worker
        found = get_together(f"{address}/ask/together", 2)
        assert {each["answer"] for each in found} == {"TOGETHER"}
        nodes = {each["pid"]: each["node"] for each in found}
        if conf == "gunicorn_conf.py":
            assert len(nodes) == 2
        assert server.pid not in nodes and len(set(nodes.values())) == len(nodes)
        server.stop()
    wait_until(lambda: answers.ended == len(nodes) == len(answers.sessions), what="goodbye of each node that called")


@pytest.mark.slow
def test_many_workers_share_one_node(answers: Answers, tmp_path: Path) -> None:
    """Two workers with threads, one identity: each request gets its own answer; after a restart of the node too."""
    path = tmp_path / "control"
    node = ("python", "-m", "crust", "node", "--control", str(path), "--identity", str(tmp_path / "web.identity"))
    options = ("--no-control-socket", "-w", "2", "--threads", "4", "--bind", "127.0.0.1:0")
    command = ("gunicorn", *options, "shared_app:app")
    environment = {"CRUST_PEER": answers.contact, "CRUST_CONTROL": str(path), "HOME": str(tmp_path)}
    with Program(*node, **environment) as first:
        first.wait_for("@tcp://")
        with Program(*command, **environment) as server:
            address = server.wait_for(r"Listening at: (http://\S+)")[1]
            answers.together = 4
            found = get_together(f"{address}/ask/together", 4)
            assert {each["answer"] for each in found} == {"TOGETHER"}
            assert len({each["node"] for each in found}) == 1 == len(answers.sessions)
            assert first.stop() == 0
            with Program(*node, **environment) as second:
                second.wait_for("@tcp://")
                again = get(f"{address}/ask/hello")
                assert (again["answer"], again["node"]) == ("HELLO", found[0]["node"])
                server.stop()
                assert second.stop() == 0
