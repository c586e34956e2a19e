"""Metadata is in pyproject.toml. Here is only what it cannot say: conf/crust.yaml travels inside the package."""

from __future__ import annotations

import pathlib
import shutil

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = pathlib.Path(__file__).parent
EXAMPLE = ROOT / "conf" / "crust.yaml"


class BuildWithExample(build_py):
    """Copy the commented example configuration to ``crust/config/crust.yaml`` of what is built."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            shutil.copyfile(EXAMPLE, self._target())

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        outputs: list[str] = super().get_outputs(include_bytecode)
        return outputs if self.editable_mode else [*outputs, str(self._target())]

    def _target(self) -> pathlib.Path:
        return pathlib.Path(self.build_lib) / "crust" / "config" / "crust.yaml"


setup(cmdclass={"build_py": BuildWithExample})
