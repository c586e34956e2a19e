"""What is in conf/ beside the configuration: units for systemd and container files, checked by their tools."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import crust
from crust.cli.main import build_parser
from crust.cli.options import with_options
from tests.support.source import ROOT

UNITS = [ROOT / "conf" / name for name in ("crust.service", "crust-rendezvous.service")]
CONTAINERS = [ROOT / "conf" / name for name in ("Containerfile", "rendezvous.Containerfile")]
PROGRAM = "/usr/local/bin/crust"


def tool(name: str) -> str:
    """Where a checker is. One that is missing skips the test loudly; in CI it fails it."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if found is None:
        assert not os.environ.get("CRUST_REQUIRE_LAB"), f"there is no {name} here: see .ci/tools"
        pytest.skip(f"there is no {name} here")
    return found


def check(*command: str) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}"
    return done.stdout


@pytest.fixture(params=UNITS, ids=lambda path: path.name)
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A unit with a program that is there: it is installed nowhere."""
    text = request.param.read_text()
    path = tmp_path / request.param.name
    assert text.count(PROGRAM) == 1
    path.write_text(text.replace(PROGRAM, "/bin/true"))
    return str(path)


def test_systemd_takes_the_unit(unit: str) -> None:
    """Without an error and without a warning."""
    assert check(tool("systemd-analyze"), "verify", "--man=no", unit) == ""


def test_the_unit_is_hardened(unit: str) -> None:
    """systemd's own measure, from 0 (nothing is exposed) to 10: at most 2."""
    check(tool("systemd-analyze"), "security", "--offline=yes", "--threshold=20", unit)


def test_the_unit_can_be_reloaded(unit: str) -> None:
    """By the signal that ``crust node`` reads its configuration again on."""
    assert "ExecReload=/bin/kill -HUP $MAINPID\n" in Path(unit).read_text()


def command_of(unit: Path) -> argparse.Namespace:
    """What the unit starts."""
    (line,) = re.findall(r"^ExecStart=(.*)$", unit.read_text(), re.MULTILINE)
    program, *words = shlex.split(line)
    assert program == PROGRAM
    return build_parser().parse_args(words)


def command_in(container: Path) -> argparse.Namespace:
    """What the container starts."""
    instructions = dict(re.findall(r"^(ENTRYPOINT|CMD) (.*)$", container.read_text(), re.MULTILINE))
    program, *words = json.loads(instructions["ENTRYPOINT"]) + json.loads(instructions["CMD"])
    assert program == "crust"
    return build_parser().parse_args(words)


def test_the_node_for_all_programs_has_a_control_socket() -> None:
    """In the unit and in the container."""
    assert command_of(UNITS[0]).control == "${RUNTIME_DIRECTORY}/control"
    assert command_in(CONTAINERS[0]).control == "/data/control"


@pytest.mark.parametrize(
    ("command", "identity"),
    [(command_of(UNITS[1]), "${STATE_DIRECTORY}/identity"), (command_in(CONTAINERS[1]), "/data/identity")],
    ids=["unit", "container"],
)
def test_the_rendezvous_introduces_and_carries(command: argparse.Namespace, identity: str) -> None:
    """On port 443 by TCP and UDP, for strangers, under a key that is kept."""
    assert (command.serve_relay, command.allow_bootstrap, command.identity) == (True, True, identity)
    config, _ = with_options(crust.Config(), command)
    endpoints = [crust.Endpoint.parse(text) for text in config.listen.addresses]
    assert {(each.transport, each.port) for each in endpoints} == {("tcp", 443), ("utp", 443)}
    assert config.relay.serve and config.bootstrap.accept


def test_the_rendezvous_may_use_its_port() -> None:
    """And has no other right."""
    found = dict(re.findall(r"^(\w*Capabilit\w+)=(.*)$", UNITS[1].read_text(), re.MULTILINE))
    assert found == dict.fromkeys(["CapabilityBoundingSet", "AmbientCapabilities"], "CAP_NET_BIND_SERVICE")


@pytest.mark.parametrize("container", CONTAINERS, ids=lambda path: path.name)
def test_hadolint_takes_the_container_file(container: Path) -> None:
    check(tool("hadolint"), "--failure-threshold", "style", str(container))


@pytest.mark.packaging
@pytest.mark.parametrize("container", CONTAINERS, ids=lambda path: path.name)
def test_what_the_container_copies_can_be_installed(container: Path, tmp_path: Path) -> None:
    """The files that the first stage copies are enough for its ``pip install .``."""
    for names in re.findall(r"^COPY ([^-].*)$", container.read_text(), re.MULTILINE):
        *sources, target = names.split()
        for source in sources:
            path = ROOT / source
            if path.is_dir():
                shutil.copytree(path, tmp_path / target)
            else:
                shutil.copy(path, tmp_path / target)
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", tmp_path / "out", "."],
        cwd=tmp_path,
        check=True,
        timeout=300,
    )
    assert (tmp_path / "out" / "crust" / "config" / "crust.yaml").exists()
