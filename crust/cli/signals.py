"""
What ends a program from outside: Ctrl-C (SIGINT) and SIGTERM.

Three stretches of a program's life differ. While it is imported nothing has been begun: it ends at once, without a word
(`end_at_once`). While a command runs, the signal is an exception (`raised`), so that everything is cleaned up. And some
things are not to be interrupted half way: what comes meanwhile is raised after them (`held`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

__all__ = ["INTERRUPTED", "Terminated", "code_of", "end_at_once", "held", "raised"]

INTERRUPTED = 130

_HELD = tuple(signal.Signals[each] for each in ("SIGINT", "SIGTERM", "SIGALRM") if each in signal.Signals.__members__)

_UNTIL_STOPPED = ("node",)  # commands that run until SIGTERM comes: they have done their work then


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived: like Ctrl-C, but a command that runs until stopped has then done its work."""


def code_of(number: int, words: Sequence[str]) -> int:
    """The exit code of a program that such a signal has ended, with these arguments."""
    command = next((word for word in words if not word.startswith("-")), "")
    return 0 if number == signal.SIGTERM and command in _UNTIL_STOPPED else INTERRUPTED


def end_at_once() -> None:
    """From now on a signal ends the process: nothing waits to be written, or to be cleaned up."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # so does a shell for what it has in the background
            signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    # Not an exception: most of this time is spent in imports, which may drop it, and the signal with it.
    os._exit(code_of(number, sys.argv[1:]))


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """While this lasts SIGTERM raises `Terminated`, and Ctrl-C KeyboardInterrupt if `end_at_once` has been called."""
    before: dict[int, Any] = {}
    if _is_ours():
        before[signal.SIGTERM] = signal.signal(signal.SIGTERM, _on_sigterm)
        if signal.getsignal(signal.SIGINT) is _end:
            before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        _restore(before)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """
    A signal that comes while this lasts is heard at its end; a second one at once.

    It is for what imports modules, since an exception in the midst of that may be dropped, and for what would have to
    be taken back by who does not know of it yet. It must not last long.
    """
    before: dict[int, Any] = {}
    come: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        come.append(number)
        _restore(before)

    if _is_ours():
        for number in _HELD:
            if callable(signal.getsignal(number)):
                before[number] = signal.getsignal(number)
        for each in before:
            signal.signal(each, note)
    try:
        yield
    finally:
        if not come:
            _restore(before)
        for each in come[:1]:
            before[each](each, None)


def _is_ours() -> bool:
    """Only the main thread handles signals; on any other one, whoever embeds us does."""
    return threading.current_thread() is threading.main_thread()


def _restore(before: dict[int, Any]) -> None:
    for number, handler in before.items():
        signal.signal(number, handler)


def _on_sigterm(number: int, frame: FrameType | None) -> None:
    raise Terminated
