"""
What a command shows and asks.

Data goes to stdout, everything meant for people to stderr: ``crust recv >list.txt`` leaves the questions and the
progress bar on the screen. Whatever comes from another peer passes through `printable` first: a file name or a
chat line must not be able to move the cursor, change colours or type into the terminal.
"""

from __future__ import annotations

import collections
import os
import re
import shutil
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Mapping
from typing import TextIO

__all__ = ["Progress", "Terminal", "human_duration", "human_size", "parse_size", "printable"]

_REDRAW_INTERVAL = 0.1  # seconds between two drawings of a progress bar
_RATE_WINDOW = 3.0  # seconds of the past that the shown speed is an average of
_STYLES = {"red": "31", "green": "32", "yellow": "33", "cyan": "36", "bold": "1", "dim": "2"}
_CLEAR_LINE = "\r\x1b[K"
_UNITS = ("B", "kB", "MB", "GB", "TB")
_FACTORS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # controls, bidi overrides, surrogates, line separators


def printable(text: str, limit: int = 500) -> str:
    """
    A stranger's text made harmless for a terminal: one line, without control characters.

    Args:
        text: Any text; what cannot be shown is written as ``\\x1b`` or ``\\u202e``.
        limit: Characters kept; longer text ends in an ellipsis.
    """
    shown = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(_escaped(c) if unicodedata.category(c) in _HIDDEN else c for c in shown)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _columns(text: str) -> int:
    """How many columns a text takes; Chinese characters and their like take two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _cut_to(text: str, columns: int) -> str:
    if _columns(text) <= columns:
        return text
    while _columns(text) > columns - 1:
        text = text[:-1]
    return text + "…"


def human_size(size: float) -> str:
    """Bytes in decimal units with three digits: ``999 B``, ``1.50 kB``, ``12.3 MB``."""
    unit = 0
    while size >= 999.5 and unit < len(_UNITS) - 1:
        size /= 1000
        unit += 1
    if unit == 0:
        return f"{size:.0f} B"
    digits = 2 if size < 9.995 else 1 if size < 99.95 else 0
    return f"{size:.{digits}f} {_UNITS[unit]}"


def human_duration(seconds: float) -> str:
    """Seconds as ``0.3 s``, ``42 s``, ``3:05 min`` or ``2:07 h``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    return f"{minutes // 60}:{minutes % 60:02d} h"


def parse_size(text: str) -> int:
    """
    Bytes from ``1500``, ``64k``, ``10MB`` (powers of 1000) or ``10MiB`` (powers of 1024), in any case.

    Raises:
        ValueError: It is not a size; the text says what is.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", text.strip().lower())
    if match is None or (match[3] and not match[2]):
        raise ValueError(
            f"{text!r} is not a size: write bytes, or a number with k, M, G, T or Ki, Mi, Gi, Ti"
        )
    return int(float(match[1]) * (1024 if match[3] else 1000) ** _FACTORS[match[2]])


class Terminal:
    """
    The streams of one run of a command. Thread-safe: callbacks of the node write to it while the command waits.

    Args:
        stdout, stderr, stdin: The streams; `sys`'s own if None.
        environ: Where ``NO_COLOR`` and ``TERM`` are looked up; `os.environ` if None.
        verbosity: -1 errors only, 0 the usual, 1 also what the library logs, 2 its details too.
        clock: Seconds, for the speed that a progress bar shows; `time.monotonic` if None.
    """

    def __init__(
        self,
        *,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
        stdin: TextIO | None = None,
        environ: Mapping[str, str] | None = None,
        verbosity: int = 0,
        clock: Callable[[], float] | None = None,
    ) -> None:
        # pythonw and closed descriptors leave None in sys: writing to nowhere is what was asked for then.
        self.stdout = stdout or sys.stdout or open(os.devnull, "w")
        self.stderr = stderr or sys.stderr or open(os.devnull, "w")
        self.stdin = stdin or sys.stdin or open(os.devnull)
        environ = os.environ if environ is None else environ
        self.verbosity = verbosity
        self.clock = clock or time.monotonic
        smart = self.stderr.isatty() and environ.get("TERM") != "dumb"
        self.colours = smart and not environ.get("NO_COLOR")
        self.bars = smart and verbosity >= 0
        self._lock = threading.RLock()  # guards the streams and _bar, so that lines never mix
        self._bar = ""

    @property
    def can_ask(self) -> bool:
        """Is a person there to answer questions?"""
        return self.stdin.isatty() and self.stderr.isatty()

    def paint(self, text: str, *styles: str) -> str:
        """The text in colours, if the terminal has them and the user wants them."""
        if not self.colours or not styles:
            return text
        return f"\x1b[{';'.join(_STYLES[style] for style in styles)}m{text}\x1b[0m"

    def out(self, data: str) -> None:
        """One line of data on stdout, at once: the reader may be a pipe that waits for it."""
        with self._lock:
            self._erase_bar()
            self.stdout.write(data + "\n")
            self.stdout.flush()
            self._draw_bar()

    def say(self, text: str) -> None:
        """One line for people; nothing with ``-q``."""
        if self.verbosity >= 0:
            self._line(text)

    def detail(self, text: str) -> None:
        """One line for people who asked for more with ``-v``."""
        if self.verbosity >= 1:
            self._line(self.paint(text, "dim"))

    def warn(self, text: str) -> None:
        """Something the user should know; nothing with ``-q``."""
        if self.verbosity >= 0:
            self._line(self.paint("warning: ", "yellow") + text)

    def error(self, text: str) -> None:
        """Why the command could not do it."""
        self._line(self.paint("crust: error: ", "red") + text)

    def ask(self, question: str) -> bool:
        """A yes or no from the person at the terminal; no answer is a no."""
        with self._lock:
            self._erase_bar()
            self.stderr.write(f"{question} [y/N] ")
            self.stderr.flush()
        answer = self.stdin.readline()  # not under the lock: others may have something to say meanwhile
        return answer.strip().lower() in {"y", "yes"}

    def progress(self, label: str, total: int) -> Progress:
        """A bar for ``total`` bytes; it shows itself only on a terminal."""
        return Progress(self, label, total)

    def _line(self, text: str) -> None:
        with self._lock:
            self._erase_bar()
            self.stderr.write(text + "\n")
            self.stderr.flush()
            self._draw_bar()

    def show_bar(self, line: str) -> None:
        """Put one line, or nothing, at the foot of the screen in place of the one before. Used by `Progress`."""
        with self._lock:
            self._erase_bar()
            self._bar = line
            self._draw_bar()

    def _erase_bar(self) -> None:
        if self._bar:
            self.stderr.write(_CLEAR_LINE)

    def _draw_bar(self) -> None:
        if self._bar:
            self.stderr.write(self._bar)
        self.stderr.flush()


class Progress:
    """How far a transfer has come: a bar, the bytes, the speed and the time left. Thread-safe."""

    def __init__(self, terminal: Terminal, label: str, total: int) -> None:
        self._terminal = terminal
        self._label = label
        self._total = total
        self._lock = threading.Lock()  # guards all below
        self._samples = collections.deque([(terminal.clock(), 0)])
        self._drawn = self._samples[0][0]
        self._note = ""
        self._done = 0

    def update(self, done: int, total: int | None = None) -> None:
        """So many bytes are done; draws at most ten times a second."""
        with self._lock:
            now = self._terminal.clock()
            self._done = done
            self._total = self._total if total is None else total
            self._samples.append((now, done))
            while now - self._samples[0][0] > _RATE_WINDOW and len(self._samples) > 2:
                self._samples.popleft()
            if not self._terminal.bars or now - self._drawn < _REDRAW_INTERVAL:
                return
            self._drawn = now
            line = self.line()
        self._terminal.show_bar(line)

    def note(self, text: str) -> None:
        """A remark in place of the speed, such as a lost link; empty to take it away."""
        with self._lock:
            self._note = text
            line = self.line()
        if self._terminal.bars:
            self._terminal.show_bar(line)

    def close(self) -> None:
        """Take the bar off the screen."""
        if self._terminal.bars:
            self._terminal.show_bar("")

    def line(self, width: int | None = None) -> str:
        """The bar as text that fits into ``width`` columns (those of the terminal if None)."""
        if width is None:
            width = shutil.get_terminal_size().columns
        share = self._done / self._total if self._total else 1.0
        tail = f" {share:4.0%}  {human_size(self._done)} of {human_size(self._total)}"
        tail += f"  {self._note or self._speed()}"
        room = width - len(tail) - 2
        label = _cut_to(self._label, max(room - 12, 12))
        slots = min(room - _columns(label) - 3, 40)
        if slots < 5:
            return _cut_to(label + tail, width - 1)
        filled = int(slots * share)
        return f"{label} [{'=' * filled}{' ' * (slots - filled)}]{tail}"

    def _speed(self) -> str:
        (first, before), (last, after) = self._samples[0], self._samples[-1]
        if last <= first or after <= before:
            return ""
        rate = (after - before) / (last - first)
        left = (self._total - self._done) / rate
        return f"{human_size(rate)}/s  {human_duration(left)}"
