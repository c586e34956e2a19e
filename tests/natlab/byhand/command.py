"""``tools/natlab``: a laboratory that stays up, to try programs in by hand."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile

from tests.natlab import names, needs
from tests.natlab.byhand import owner
from tests.natlab.byhand.words import SERVER, Word, help_text
from tests.natlab.lab import remove_orphans
from tests.support.source import ROOT
from tests.support.waiting import eventually

PATIENCE = 60.0  # seconds until all is taken down
EXAMPLE = """
  sudo tools/natlab up isp:carrier home:cgnat,behind=isp office:sym,delay=40,loss=1 srv
  sudo tools/natlab exec home -- punch-test report --stun 20.0.3.1:3478
  sudo tools/natlab exec home_router            # a shell there
  sudo tools/natlab do home renumber
  sudo tools/natlab do home delay=200,loss=5
  sudo tools/natlab down
"""


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0, 1 if it could not be done, or that of the command that was run."""
    parser = argparse.ArgumentParser(
        prog="natlab",
        description=f"{__doc__}\n{EXAMPLE}\n{help_text()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="do", required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="make it; it stays until `down`")
    up.add_argument("words", nargs="+", metavar="NAME[:KIND][,OPTION[=VALUE]]…", help=f"without a kind: {SERVER}")
    run = commands.add_parser("exec", help="run a command on one of its machines, or a shell")
    run.add_argument("machine")
    run.add_argument("command", nargs=argparse.REMAINDER, help="after --")
    happen = commands.add_parser("do", help="let something happen to a site, as a cut, or set its line anew")
    happen.add_argument("site")
    happen.add_argument("what", metavar="EVENT|OPTION=VALUE[,…]")
    commands.add_parser("list", help="its machines and their addresses")
    commands.add_parser("down", help="take it down, and what killed ones have left behind")
    options = parser.parse_args(arguments)
    if reason := needs.missing():
        return _failed(f"{reason}; {needs.ADVICE}")
    if options.do == "up":
        return _up(options.words)
    if options.do == "exec":
        return _exec(options.machine, options.command)
    if options.do == "do":
        return _happen(options.site, options.what)
    return _down() if options.do == "down" else _list()


def _up(texts: list[str]) -> int:
    if owner.running():
        return _failed("there is one already: `natlab list` shows it, `natlab down` takes it down")
    try:
        words = [Word.parse(text) for text in texts]
    except ValueError as error:
        return _failed(str(error))
    programs = {SERVER: "turnserver", "upnp": "miniupnpd"}
    wanted = {word.kind for word in words} | {option for word in words for option in word.options}
    for what, program in programs.items():
        if what in wanted and (reason := needs.absent(program)):
            return _failed(f"{reason}; {needs.ADVICE}")
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as log, os.fdopen(reading, "rb") as ready:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.natlab.byhand.owner", str(writing), *texts],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=[writing],
            start_new_session=True,
        )
        os.close(writing)
        try:
            if ready.read():
                process.returncode = 0  # it stays: nobody waits for it
                return _list()
        except KeyboardInterrupt:
            process.terminate()
            raise
        finally:
            if process.returncode is None:
                process.wait()
        log.seek(0)
        return _failed(log.read().decode(errors="replace").rstrip().rpartition("\n")[2])


def _exec(name: str, command: list[str]) -> int:
    state = owner.running()
    if state is None:
        return _failed("there is none: `natlab up` makes it")
    if not (machine := state.machine(name)):
        return _failed(f"there is no machine {name}, but {', '.join(each.name for each in state.machines)}")
    words = command[1:] if command[:1] == ["--"] else command
    words = words or [os.environ.get("SHELL", "/bin/sh")]
    sys.stdout.flush()
    os.execvp("ip", ["ip", "netns", "exec", machine.namespace, *words])


def _happen(site: str, what: str) -> int:
    state = owner.running()
    if state is None:
        return _failed("there is none: `natlab up` makes it")
    reason = owner.tell(state, site, what)
    return _failed(reason) if reason else 0


def _list() -> int:
    state = owner.running()
    if state is None:
        return _failed("there is none: `natlab up` makes it")
    width = max(len(each.name) for each in state.machines)
    for each in state.machines:
        sys.stdout.write(f"{each.name:<{width}}  {', '.join(each.addresses)}\n{'':<{width}}  {each.says}\n")
    return 0


def _down() -> int:
    state = owner.running()
    if state is not None:
        os.kill(state.owner, signal.SIGTERM)
        if not eventually(lambda: not names.alive(state.owner), PATIENCE):
            return _failed(f"process {state.owner} has not ended within {PATIENCE:g} s")
    remove_orphans()
    return 0


def _failed(reason: str) -> int:
    sys.stderr.write(f"natlab: {reason}\n")
    return 1
