"""The example of a method in a package of its own: as a module of its source, and installed."""

from __future__ import annotations

import contextlib
import importlib.util
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from types import ModuleType

from crust import traversal
from tests.support.source import ROOT

SOURCE = ROOT / "docs" / "examples" / "crust-knock"


@contextlib.contextmanager
def imported() -> Iterator[ModuleType]:
    """The module from its source; what it registered is taken away at the end."""
    spec = importlib.util.spec_from_file_location("crust_knock", SOURCE / "crust_knock.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        yield module
    finally:
        traversal.unregister(module.NAME)


def install(target: pathlib.Path) -> None:
    """Have pip install it there, without an index."""
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(SOURCE, pathlib.Path(folder, "source"))  # it is built in its own folder
        words = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-index", "--no-build-isolation"]
        command = [sys.executable, "-m", "pip", "install", *words, "--target", str(target), str(copy)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"it cannot be installed; is there setuptools?\n{done.stdout}{done.stderr}"
