"""The end of a test: shown, written, and the exit code."""

from __future__ import annotations

import argparse
import shutil

from ...context import Context
from ...terminal import printable
from ..file import save
from .document import SCHEMA, as_document
from .meeting import Meeting
from .page import as_page
from .text import as_text
from .verdict import outcome_of

__all__ = ["FAILED", "FINE", "SCHEMA", "finish", "is_fine"]

FINE, FAILED = 0, 1


def is_fine(meeting: Meeting) -> bool:
    """A direct connection, punched or not, and the test was carried out."""
    return outcome_of(meeting) in ("direct", "punched") and not meeting.error


def finish(meeting: Meeting, arguments: argparse.Namespace, context: Context) -> int:
    """Tell what came of a test in the forms that were asked for; the exit code."""
    terminal = context.terminal
    if arguments.json:
        terminal.out(as_document(meeting, fine=is_fine(meeting)))
    else:
        painted = terminal.colours and terminal.stdout.isatty()
        width = shutil.get_terminal_size((80, 24)).columns
        for line in as_text(meeting, width=width, paint=terminal.paint if painted else lambda text, *styles: text):
            terminal.out(line)
    if arguments.html is not None:
        save(arguments.html, as_page(meeting))
        terminal.say(f"the same as a page: {printable(str(arguments.html))}")
    return FINE if is_fine(meeting) else FAILED
