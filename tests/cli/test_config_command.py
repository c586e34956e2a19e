"""``crust config``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import crust
from tests.cli.fakes import printed, run_command, shown


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text("# mine\nnetwork: {name: home}\nsession:\n  connect_timeout: 7\n")
    return path


def test_the_example_is_the_default_configuration(tmp_path: Path) -> None:
    code, terminal = run_command(tmp_path, "config", "--example")
    example = tmp_path / "example.yaml"
    example.write_text(printed(terminal))
    assert code == 0
    assert crust.Config.load(example) == crust.Config()
    assert "connect_timeout" in printed(terminal)


def test_every_value_has_an_origin(tmp_path: Path, path: Path) -> None:
    words = (
        "--effective",
        "--json",
        "--config",
        str(path),
        "--network",
        "office",
        "--listen",
        "tcp://127.0.0.1:0",
    )
    code, terminal = run_command(tmp_path, "config", *words)
    rows = {row["key"]: (row["value"], row["origin"]) for row in json.loads(printed(terminal))}
    assert code == 0
    assert rows["network.name"] == ("office", "--network")
    assert rows["listen.addresses"] == ('["tcp://127.0.0.1:0"]', "--listen")
    assert rows["session.connect_timeout"][0] == "7.0"
    assert rows["session.connect_timeout"][1].endswith("c.yaml:4")
    assert rows["session.heartbeat_interval"] == ("20.0", "default")


def test_what_a_running_node_takes_is_marked(tmp_path: Path) -> None:
    """In the table, as JSON, and in the example."""
    _, terminal = run_command(tmp_path, "config", "--effective", "--json")
    live = {row["key"] for row in json.loads(printed(terminal)) if row["live"]}
    assert live == crust.config.sections.live_keys(crust.Config)
    _, terminal = run_command(tmp_path, "config", "--effective")
    marked = {line.split()[0] for line in printed(terminal).splitlines() if line.endswith("  (R)")}
    assert marked == live
    _, terminal = run_command(tmp_path, "config", "--example")
    assert printed(terminal).count("(R)") == len(live) + 1  # and what it means


def test_without_a_wish_it_shows_what_differs(tmp_path: Path, path: Path) -> None:
    code, terminal = run_command(tmp_path, "config", "--config", str(path))
    assert code == 0
    assert "is valid" in shown(terminal)
    keys = [line.split()[0] for line in printed(terminal).splitlines()]
    assert keys == ["network.name", "session.connect_timeout"]


def test_no_file_is_no_error(tmp_path: Path) -> None:
    code, terminal = run_command(tmp_path, "config")
    assert (code, printed(terminal)) == (0, "")
    assert "no configuration file" in shown(terminal)


def test_the_identity_that_commands_use_is_named(tmp_path: Path) -> None:
    _, terminal = run_command(tmp_path, "config", "--effective")
    assert str(tmp_path / "crust" / "identity") in shown(terminal)


def test_a_mistake_is_one_line_with_place_and_advice(tmp_path: Path, path: Path) -> None:
    path.write_text("session:\n  conect_timeout: 7\n")
    code, terminal = run_command(tmp_path, "config", "--config", str(path))
    assert (code, shown(terminal).count("\n")) == (1, 1)
    assert "c.yaml:2" in shown(terminal) and "connect_timeout" in shown(terminal)


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    code, terminal = run_command(tmp_path, "config", "--config", str(tmp_path / "nothing.yaml"))
    assert (code, shown(terminal).count("\n")) == (1, 1)
