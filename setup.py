"""Metadata is in pyproject.toml. Here is only what it cannot say: files of conf/ that travel inside the package."""

from __future__ import annotations

import pathlib
import shutil

from setuptools import setup
from setuptools.command.build_py import build_py

CONF = pathlib.Path(__file__).parent / "conf"
TRAVELLERS = ("crust.yaml", "stun-servers.yaml")


class BuildWithConf(build_py):
    """Copy the example configuration and the list of public servers to ``crust/config/`` of what is built."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for name in TRAVELLERS:
                shutil.copyfile(CONF / name, self._target(name))

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        outputs: list[str] = super().get_outputs(include_bytecode)
        return outputs if self.editable_mode else [*outputs, *(str(self._target(name)) for name in TRAVELLERS)]

    def _target(self, name: str) -> pathlib.Path:
        return pathlib.Path(self.build_lib) / "crust" / "config" / name


setup(cmdclass={"build_py": BuildWithConf})
