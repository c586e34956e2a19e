"""``crust config``: which configuration is in force, and an example to begin with."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

import crust

from .options import add_common, config_file, user_directory, with_options

if TYPE_CHECKING:
    from .context import Context

__all__ = ["register"]

_DEFAULT = "default"


def register(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    parser = commands.add_parser(
        "config",
        parents=[common],
        help="check and show the configuration",
        description="Check the configuration file and show what differs from the defaults. Options of the other "
        "commands count as they would there.",
        allow_abbrev=False,
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--effective",
        action="store_true",
        help="every key with its value and where it comes from; (R): a running node takes a changed value",
    )
    what.add_argument(
        "--example", action="store_true", help="a commented file with every key and its default"
    )
    parser.add_argument("--json", action="store_true", help="as a JSON array of {key, value, origin, live}")
    add_common(parser, identity="the user's, ~/.config/crust/identity")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Show one of the three."""
    terminal = context.terminal
    if arguments.example:
        terminal.out(crust.config.example().rstrip("\n"))
        return 0
    path = config_file(arguments.config, context.environ)
    origins: dict[str, str] = {}
    config = crust.Config()
    if path is None:
        terminal.say("no configuration file: everything is as built in (`crust config --example` shows it)")
    else:
        config, origins = crust.Config.load_with_origins(path)
        terminal.say(f"{path} is valid")
    config, changed = with_options(config, arguments)
    if config.identity.file is None:
        usual = user_directory(context.environ) / "identity"
        terminal.say(
            f"identity.file is null: the commands use {usual}, and `crust node --json` a fresh identity"
        )
    rows = crust.config.effective_rows(config, {**origins, **changed})
    if not arguments.effective:
        rows = [row for row in rows if row.origin != _DEFAULT]
    if arguments.json:
        terminal.out(json.dumps([row._asdict() for row in rows]))
        return 0
    width = max((len(row.key) for row in rows), default=0)
    value_width = min(max((len(row.value) for row in rows), default=0), 40)
    for row in rows:
        mark = "  (R)" if row.live else ""
        terminal.out(f"{row.key:<{width}}  {row.value:<{value_width}}  {row.origin}{mark}")
    return 0
