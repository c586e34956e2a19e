"""``punch-test`` as a command: from a checkout, by ``python -m crust``, against a node of crust, interrupted."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import crust
from crust.cli.punch_test.program import main
from tests.cli.processes import environment
from tests.support.source import ROOT

TOOL = [sys.executable, str(ROOT / "tools" / "punch-test")]
WAIT = 60.0


def run(home: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=home, env=environment(home), capture_output=True, text=True, timeout=WAIT, check=False
    )


def test_help_lists_what_works(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    text = capsys.readouterr().out
    assert caught.value.code == 0
    assert "usage: punch-test" in text
    assert [action for action in ("report", "listen", "connect") if f"\n    {action}" not in text] == []


def test_without_an_action_it_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2 and "ACTION" in capsys.readouterr().err


def test_the_tool_and_the_command_are_the_same(tmp_path: Path) -> None:
    """Both run anywhere, without a home of their own; stdout has one object and nothing else."""
    words = ["report", "--offline", "--json"]
    for command in ([*TOOL, *words], [sys.executable, "-m", "crust", "punch-test", *words]):
        done = run(tmp_path, *command)
        found = json.loads(done.stdout)
        assert (done.returncode, found["survey"]["contacted"], found["survey"]["gateway"]) == (1, [], None)
        assert "Traceback" not in done.stderr


def test_the_tool_takes_the_environment_of_the_checkout(tmp_path: Path) -> None:
    """Where the system's Python runs it, which lacks what crust needs."""
    base: str = sys._base_executable  # type: ignore[attr-defined]
    tool, python = tmp_path / "tools" / "punch-test", tmp_path / ".venv" / "bin" / "python"
    for path in (tool, python):
        path.parent.mkdir(parents=True)
    shutil.copy(TOOL[1], tool)
    python.write_text('#!/bin/sh\necho "in place: $@"\n')
    python.chmod(0o755)
    done = run(tmp_path, base, str(tool), "report", "--offline")
    assert done.stdout == f"in place: {tool} report --offline\n", done.stderr


def test_a_node_of_crust_is_server_enough(tmp_path: Path) -> None:
    """Two nodes on this machine answer STUN, by UDP and by TCP: nothing translates between it and itself."""
    config = crust.Config.from_dict(
        {"listen": {"addresses": ["tcp://127.0.0.1:0", "utp://127.0.0.1:0"]}, "nat": {"serve_stun": True}}
    )
    with crust.Service(config) as node:
        ports = {endpoint.transport: endpoint.port for endpoint in node.addresses}
        servers = [word for port in dict.fromkeys(ports.values()) for word in ("--stun", f"127.0.0.1:{port}")]
        done = run(tmp_path, *TOOL, "report", *servers, "-4", "--no-router", "--json", "--timeout", "3")
    found = {finding["protocol"]: finding for finding in json.loads(done.stdout)["survey"]["protocols"]}
    for protocol in ("udp", "tcp"):
        assert (found[protocol]["reachable"], found[protocol]["translated"]) == (True, False), done.stdout


@pytest.mark.slow
def test_ctrl_c_ends_it_at_once(tmp_path: Path) -> None:
    """In the middle of waiting for the next look."""
    command = [*TOOL, "report", "--offline", "--watch", "60"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        for line in process.stdout:
            if "Network report" in line:
                break
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT) == 130
        assert "interrupted" in process.stderr.read()
