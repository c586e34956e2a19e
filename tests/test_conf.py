"""What is in conf/ beside the configuration: the unit for systemd and the container file, checked by their tools."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from crust.cli.main import build_parser
from tests.support.source import ROOT

UNIT = ROOT / "conf" / "crust.service"
CONTAINER = ROOT / "conf" / "Containerfile"
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


@pytest.fixture
def unit(tmp_path: Path) -> str:
    """The unit with a program that is there: it is installed nowhere."""
    path = tmp_path / "crust.service"
    assert UNIT.read_text().count(PROGRAM) == 1
    path.write_text(UNIT.read_text().replace(PROGRAM, "/bin/true"))
    return str(path)


def test_systemd_takes_the_unit(unit: str) -> None:
    """Without an error and without a warning."""
    assert check(tool("systemd-analyze"), "verify", "--man=no", unit) == ""


def test_the_unit_is_hardened(unit: str) -> None:
    """systemd's own measure, from 0 (nothing is exposed) to 10: at most 2."""
    check(tool("systemd-analyze"), "security", "--offline=yes", "--threshold=20", unit)


def test_the_unit_starts_a_command_that_exists() -> None:
    (line,) = re.findall(r"^ExecStart=(.*)$", UNIT.read_text(), re.MULTILINE)
    program, *words = shlex.split(line)
    assert program == PROGRAM
    assert build_parser().parse_args(words).control == "${RUNTIME_DIRECTORY}/control"


def test_hadolint_takes_the_container_file() -> None:
    check(tool("hadolint"), "--failure-threshold", "style", str(CONTAINER))


def test_the_container_starts_a_command_that_exists() -> None:
    instructions = dict(re.findall(r"^(ENTRYPOINT|CMD) (.*)$", CONTAINER.read_text(), re.MULTILINE))
    program, *words = json.loads(instructions["ENTRYPOINT"]) + json.loads(instructions["CMD"])
    assert program == "crust"
    assert build_parser().parse_args(words).control == "/data/control"


@pytest.mark.packaging
def test_what_the_container_copies_can_be_installed(tmp_path: Path) -> None:
    """The files that the first stage copies are enough for its ``pip install .``."""
    for names in re.findall(r"^COPY ([^-].*)$", CONTAINER.read_text(), re.MULTILINE):
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
