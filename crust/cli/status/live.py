"""The same place on a screen, again and again; where there is no screen, one text after the other."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from types import TracebackType

from ..terminal import Terminal

__all__ = ["Live"]

_ENTER = "\x1b[?1049h\x1b[?25l"  # a screen of its own, without a cursor
_LEAVE = "\x1b[?25h\x1b[?1049l"
_HOME, _END_OF_LINE, _REST = "\x1b[H", "\x1b[K", "\x1b[J"


class Live:
    """
    A context manager. On leaving, the screen is as it was before, with the last picture below.

    Args:
        terminal: Whose stdout is drawn on.
        environ: Where ``TERM`` is looked up.
    """

    def __init__(self, terminal: Terminal, environ: Mapping[str, str]) -> None:
        self._terminal = terminal
        self.moves = terminal.stdout.isatty() and environ.get("TERM") != "dumb"
        """Pictures replace each other; else they follow each other."""
        self._last: Sequence[str] = ()
        self._shown = 0

    def __enter__(self) -> Live:
        if self.moves:
            self._write(_ENTER)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self.moves and not isinstance(error, OSError):  # else there is nobody to show it to
            self._write(_LEAVE + "".join(f"{line}\n" for line in self._last))

    def show(self, lines: Sequence[str]) -> None:
        """The next picture."""
        if not self.moves:
            for line in ("", *lines) if self._shown else lines:
                self._terminal.out(line)
        else:
            height = shutil.get_terminal_size((80, 24)).lines
            fitting = list(lines)
            if len(fitting) > height - 1:
                hidden = len(fitting) - (height - 2)
                fitting = [*fitting[: height - 2], f"… {hidden} more lines: the window is too low for them"]
            self._write(_HOME + "".join(f"{line}{_END_OF_LINE}\r\n" for line in fitting) + _REST)
        self._last = lines
        self._shown += 1

    def _write(self, text: str) -> None:
        self._terminal.stdout.write(text)
        self._terminal.stdout.flush()
