"""What is built and installed: a wheel from a source archive, in a new environment, from wheels alone."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence

import pytest

from tests.support.source import ROOT

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(600)]

PROGRAM = """
import crust

contact: crust.Contact = crust.Contact.parse(str(crust.Identity.generate().peer_id))
node = crust.Service(crust.Config(), contacts=[contact])
reveal_type(node.peers)
node.connect(7)
"""


def run(command: Sequence[str | os.PathLike[str]], cwd: pathlib.Path, check: bool = True) -> str:
    """The command's output, both streams; its failure shows all of it. No compiler is to be found."""
    environment = {**os.environ, "CC": "/bin/false", "CXX": "/bin/false", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0 or not check, f"{command} failed:\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> tuple[pathlib.Path, pathlib.Path]:
    """The source archive, and the wheel built from it alone."""
    directory = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "build", "--outdir", directory, ROOT], cwd=directory)
    (source,) = directory.glob("*.tar.gz")
    (wheel,) = directory.glob("*.whl")
    return source, wheel


@pytest.fixture(scope="module")
def installed(archives: tuple[pathlib.Path, pathlib.Path], tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The bin directory of a new environment with crust in it."""
    directory = tmp_path_factory.mktemp("installed")
    run([sys.executable, "-m", "venv", directory / "venv"], cwd=directory)
    binaries = directory / "venv" / "bin"
    run([binaries / "pip", "install", "--quiet", "--only-binary", ":all:", archives[1]], cwd=directory)
    return binaries


def test_the_wheel_has_the_package_and_nothing_else(archives: tuple[pathlib.Path, pathlib.Path]) -> None:
    """Pure Python for any platform, typed, with the example configuration and both licences; no tests."""
    wheel = archives[1]
    assert wheel.name.endswith("-py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"crust"}
    wanted = {str(path.relative_to(ROOT)) for path in (ROOT / "crust").rglob("*.py")}
    wanted |= {"crust/py.typed", "crust/config/crust.yaml", "crust/config/stun-servers.yaml"}
    assert {name for name in names if ".dist-info/" not in name} == wanted
    assert sum("LICENSE-" in name for name in names) == 2
    for name in ("crust.yaml", "stun-servers.yaml"):
        assert zipfile.ZipFile(wheel).read(f"crust/config/{name}") == (ROOT / "conf" / name).read_bytes()


def test_the_source_archive_is_complete(archives: tuple[pathlib.Path, pathlib.Path]) -> None:
    """It has what is needed to develop crust: tests, documents, configuration, make and CI."""
    with tarfile.open(archives[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"Makefile", "setup.py", "LICENSE-MIT", "CHANGELOG.md"}
    for folder in (".ci", "conf", "docs", "examples", "tests", "tools"):
        files = {path for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix != ".pyc"}
        assert files, folder
        wanted |= {str(path.relative_to(ROOT)) for path in files}
    assert wanted - names == set()


def test_the_installed_commands_work_away_from_the_source(installed: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """``crust`` and ``python -m crust`` run, and the example configuration they print can be used."""
    assert run([installed / "crust", "--version"], cwd=tmp_path) == run(
        [installed / "python", "-m", "crust", "--version"], cwd=tmp_path
    )
    example = run([installed / "crust", "config", "--example"], cwd=tmp_path)
    assert example == (ROOT / "conf" / "crust.yaml").read_text()
    (tmp_path / "crust.yaml").write_text(example)
    for command in ([installed / "punch-test"], [installed / "crust", "punch-test"]):
        report = json.loads(run([*command, "report", "--offline", "--json", "-q"], cwd=tmp_path, check=False))
        assert (report["schema"], report["survey"]["contacted"]) == (1, [])
    assert "stun.nextcloud.com" in run(
        [installed / "python", "-c", "import crust; print(crust.config.public_servers())"], cwd=tmp_path
    )
    effective = run([installed / "crust", "config", "--effective", "--config", "crust.yaml"], cwd=tmp_path)
    assert "session.connect_timeout" in effective


def test_two_installed_nodes_talk(installed: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """The first example of the README, outside the repository."""
    text = (ROOT / "README.md").read_text()
    (tmp_path / "example.py").write_text(text.split("```python\n")[1].split("```")[0])
    assert run([installed / "python", "example.py"], cwd=tmp_path) == "b'hello, alice'\n"


def test_a_program_that_uses_crust_is_type_checked(installed: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """mypy sees the types of the installed package: what is wrong in the program, and nothing else."""
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", installed / "python", "program.py"]
    problems = [line for line in run(command, cwd=tmp_path, check=False).splitlines() if ": error:" in line]
    assert len(problems) == 1 and '"connect" of "Service" has incompatible type "int"' in problems[0]


def test_a_package_can_add_a_method(installed: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """The example of one is built and installed beside crust, registers its method, and is typed."""
    source = shutil.copytree(ROOT / "docs" / "examples" / "crust-knock", tmp_path / "source")
    run([installed / "pip", "install", "--quiet", "--no-deps", source], cwd=tmp_path)
    program = "import crust_knock; from crust import traversal; print(*(each.name for each in traversal.methods()))"
    assert "knock" in run([installed / "python", "-c", program], cwd=tmp_path).split()
    run([installed / "pip", "check"], cwd=tmp_path)
    command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", installed / "python"]
    run([*command, source / "crust_knock.py"], cwd=tmp_path)
