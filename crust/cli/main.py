"""
The tree of arguments, and what becomes of errors.

Exit codes: 0 done, 1 could not, 2 wrong usage, 130 interrupted (Ctrl-C, or SIGTERM except for ``crust node``).
An error is one clear line on stderr; ``-v`` adds the traceback.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence

import crust

from . import book, chat, config_command, demo, keygen, node, peers, receive, send, verify
from .context import Context
from .errors import CommandError, UsageError
from .options import add_verbosity, user_directory
from .punch_test import command as punch_test
from .signals import INTERRUPTED, Terminated, raised
from .status import command as status
from .terminal import Terminal, printable

__all__ = ["DONE", "FAILED", "INTERRUPTED", "USAGE", "Terminated", "build_parser", "main", "run"]

DONE, FAILED, USAGE = 0, 1, 2

_COMMANDS = (demo, send, receive, verify, chat, node, peers, status, book, keygen, config_command, punch_test)
_ERROR_MAX = 2000  # characters of an error's line


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; each sets ``run``, a function of the arguments and a `Context`."""
    parser = argparse.ArgumentParser(
        prog="crust",
        description="Connect programs by key: find the peer, talk encrypted, in order and without loss.",
        epilog="`crust demo` shows everything on this machine within seconds. `crust COMMAND --help` says more.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"crust {crust.__version__}")
    add_verbosity(parser)
    verbosity = argparse.ArgumentParser(add_help=False)
    add_verbosity(verbosity)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for module in _COMMANDS:
        module.register(commands, verbosity)
    return parser


def main(argv: Sequence[str] | None = None, parser: argparse.ArgumentParser | None = None) -> int:
    """
    Run one command with the streams and the environment of this process.

    Args:
        argv: The arguments without the program's name; those of the process if None.
        parser: Of another program than ``crust``; sets ``run`` as those of `build_parser` do.

    Returns:
        The exit code. (Wrong usage and ``--help`` exit by `SystemExit`, as argparse does.)
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a name that the locale cannot show is no error
    parser = build_parser() if parser is None else parser
    arguments = parser.parse_args(argv)
    verbosity = -1 if getattr(arguments, "quiet", False) else getattr(arguments, "verbose", 0)
    if not hasattr(arguments, "run"):
        parser.print_help(sys.stderr)
        return USAGE
    terminal = Terminal(verbosity=verbosity)
    with _logs_shown(terminal), raised():
        return run(arguments.run, arguments, terminal, os.environ)


def run(
    command: Callable[[argparse.Namespace, Context], int],
    arguments: argparse.Namespace,
    terminal: Terminal,
    environ: Mapping[str, str],
) -> int:
    """Run a command and turn what it raises into a line on stderr and an exit code."""
    try:
        context = Context(terminal, book.Book(user_directory(environ) / "contacts"), environ)
        return command(arguments, context)
    except KeyboardInterrupt as error:
        if isinstance(error, Terminated) and getattr(arguments, "until_stopped", False):
            return DONE  # it did what it was for
        terminal.show_bar("")
        terminal.say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone, as in `crust config --example | head -1`: end without another word, and
        # leave nothing in the buffer for the interpreter to stumble over at exit.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (UsageError, crust.ContactSyntaxError) as error:
        terminal.error(describe(error))
        return USAGE
    except (CommandError, crust.CrustError, OSError) as error:
        terminal.show_bar("")
        terminal.error(describe(error))
        if terminal.verbosity >= 1:
            for line in attempts(error):
                terminal.detail(line)
            terminal.detail(traceback.format_exc().rstrip())
        return FAILED
    except Exception as error:  # a fault of crust itself: say so, and how to find out more
        terminal.show_bar("")
        terminal.error(f"internal error: {type(error).__name__}: {printable(str(error), _ERROR_MAX)}")
        if terminal.verbosity >= 1:
            terminal.detail(traceback.format_exc().rstrip())
        else:
            terminal.say("this is a fault in crust; with -v it shows a traceback for the report")
        return FAILED


def describe(error: BaseException) -> str:
    """One line that says what went wrong."""
    if isinstance(error, OSError) and not isinstance(error, crust.CrustError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return printable(f"{where}{error.strerror}", _ERROR_MAX)
    return printable(str(error), _ERROR_MAX) or type(error).__name__


def attempts(error: BaseException) -> list[str]:
    """What was tried before a connection failed, a line each."""
    if not isinstance(error, crust.ConnectError | crust.Timeout):
        return []
    return [f"  tried {printable(str(attempt), _ERROR_MAX)}" for attempt in error.attempts]


class _TerminalHandler(logging.Handler):
    """Shows log records as lines that do not run into the progress bar."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__()
        self._terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        """Show one record; a message may quote a stranger, so each of its lines is made harmless."""
        text = "\n".join(printable(line, _ERROR_MAX) for line in self.format(record).splitlines())
        if record.levelno >= logging.ERROR:
            self._terminal.error(text)
        elif record.levelno >= logging.WARNING:
            self._terminal.warn(text)
        else:
            self._terminal.detail(text)


@contextlib.contextmanager
def _logs_shown(terminal: Terminal) -> Iterator[None]:
    levels = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO}
    logger = logging.getLogger("crust")
    before = logger.level
    handler = _TerminalHandler(terminal)
    logger.setLevel(levels.get(terminal.verbosity, logging.DEBUG))
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
