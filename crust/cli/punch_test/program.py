"""``punch-test`` as a command of its own; the same as ``crust punch-test``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import crust

from .. import main as commands
from ..options import add_verbosity
from .command import DESCRIPTION, add_actions

__all__ = ["build_parser", "main"]


def build_parser() -> argparse.ArgumentParser:
    """The parser of ``punch-test``."""
    parser = argparse.ArgumentParser(prog="punch-test", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"crust {crust.__version__}")
    add_verbosity(parser)
    common = argparse.ArgumentParser(add_help=False)
    add_verbosity(common)
    add_actions(parser, common)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """As `crust.cli.main.main`."""
    return commands.main(argv, build_parser())
