"""``crust node`` for real: SIGHUP, the command ``reload``, and the file watched."""

from __future__ import annotations

import os
import pathlib
import signal

import pytest

from tests.cli.processes import LOCAL, Process, no_traceback

SIGHUP = getattr(signal, "SIGHUP", None)
needs_hup = pytest.mark.skipif(SIGHUP is None, reason="this system has no SIGHUP")
QUIET = "bootstrap: {cache: {max_peers: 0}}\nnat: {port_mapping: []}\nlan: {seek: never, announce: false}\n"


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "my.yaml"
    say(path, "limits: {max_peers: 5}")
    return path


def say(path: pathlib.Path, text: str, interval: str = "null") -> None:
    path.write_text(f"{QUIET}reload_interval: {interval}\n{text}\n")


def node(home: pathlib.Path, path: pathlib.Path, *words: str, **options: object) -> Process:
    return Process(home, "node", *words, "--listen", LOCAL, "--config", str(path), **options)  # type: ignore[arg-type]


@needs_hup
def test_a_hangup_reads_the_file_again(tmp_path: pathlib.Path, path: pathlib.Path) -> None:
    """The outcome is on stderr and an event; what options have set stays; a bad file changes nothing."""
    assert SIGHUP is not None
    with node(tmp_path, path, "--json", "--network", "home") as process:
        process.told(event="started")
        say(path, "limits: {max_peers: 6}\nnetwork: {name: other}\nutp: {congestion: background}")
        process.interrupt(SIGHUP)
        told = process.told(event="config_reloaded")
        assert (told["applied"], told["needs_restart"], told["error"]) == (
            ["limits.max_peers"],
            ["utp.congestion"],
            None,
        )
        process.shows("changed: limits.max_peers; needs a restart: utp.congestion")
        say(path, "limits: {max_pers: 6}")
        process.interrupt(SIGHUP)
        told = process.told(event="config_reloaded")
        assert (told["error"], told["applied"]) == ("config_error", [])
        assert "my.yaml:5" in told["text"] and "max_peers" in told["text"]
        process.shows("crust: error: nothing of the configuration is changed")
        process.close_stdin()
        assert process.ends() == 0
        no_traceback(process)


@needs_hup
def test_a_node_for_people_shows_what_came_of_it(tmp_path: pathlib.Path, path: pathlib.Path) -> None:
    """And goes on, as often as it is told; SIGTERM ends it."""
    assert SIGHUP is not None
    with node(tmp_path, path) as process:
        process.line()
        for number in range(6, 9):
            say(path, f"limits: {{max_peers: {number}}}")
            process.interrupt(SIGHUP)
            process.shows("config reloaded applied=limits.max_peers\n" * (number - 5))
        process.interrupt(signal.SIGTERM)
        assert process.ends() == 0
        no_traceback(process)


@needs_hup
def test_a_node_without_a_file_says_so(tmp_path: pathlib.Path) -> None:
    assert SIGHUP is not None
    with Process(tmp_path, "node", "--json", "--listen", LOCAL, "--no-portmap") as process:
        process.told(event="started")
        process.interrupt(SIGHUP)
        process.shows("came from no file")
        process.close_stdin()
        assert process.ends() == 0
        no_traceback(process)


def test_a_script_has_it_read_again(tmp_path: pathlib.Path, path: pathlib.Path) -> None:
    """By the command, on any system."""
    with node(tmp_path, path, "--json") as process:
        process.told(event="started")
        reply = process.ask("reload")
        assert (reply["ok"], reply["applied"], reply["needs_restart"]) == (True, [], [])
        say(path, "limits: {max_peers: 6}")
        reply = process.ask("reload")
        assert (reply["ok"], reply["applied"], reply["needs_restart"]) == (True, ["limits.max_peers"], [])
        say(path, "limits: 6")
        reply = process.ask("reload")
        assert (reply["ok"], reply["error"]) == (False, "config_error") and "my.yaml" in reply["text"]
        process.close_stdin()
        assert process.ends() == 0


def test_the_file_is_watched(tmp_path: pathlib.Path, path: pathlib.Path) -> None:
    """Without a word."""
    say(path, "limits: {max_peers: 5}", interval="0.05")
    with node(tmp_path, path, "--json") as process:
        process.told(event="started")
        say(path.with_name("new"), "limits: {max_peers: 6}", interval="0.05")
        os.replace(path.with_name("new"), path)
        assert process.told(event="config_reloaded")["applied"] == ["limits.max_peers"]
        process.close_stdin()
        assert process.ends() == 0


@needs_hup
def test_who_loses_the_terminal_ends(tmp_path: pathlib.Path, path: pathlib.Path) -> None:
    """Its closing sends the same signal."""
    import pty

    near, far = pty.openpty()
    try:
        with node(tmp_path, path, "--json", stderr=far) as process:
            process.told(event="started")
            os.close(far)
            far = -1
            os.close(near)
            near = -1
            assert SIGHUP is not None
            process.interrupt(SIGHUP)  # the system sends it to who has that terminal as its controlling one
            assert process.ends() == 0
    finally:
        for each in (near, far):
            if each >= 0:
                os.close(each)


@needs_hup
def test_who_ignores_hangups_goes_on_to(tmp_path: pathlib.Path, path: pathlib.Path) -> None:
    """As under nohup."""
    assert SIGHUP is not None
    ignore = signal.SIG_IGN
    with node(tmp_path, path, "--json", limit=lambda: signal.signal(SIGHUP, ignore)) as process:
        process.told(event="started")
        say(path, "limits: {max_peers: 6}")
        process.interrupt(SIGHUP)
        assert process.ask("reload")["applied"] == ["limits.max_peers"]  # the signal has read nothing before
        process.close_stdin()
        assert process.ends() == 0
