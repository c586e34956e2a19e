"""
Exceptions that strike from outside, at every place in turn where CPython lets a signal handler run.

CPython looks for signals at the beginning of a function, after a call, and when a loop goes round; nowhere else. A
tracer that is told of each bytecode raises at the n-th such place inside crust, for n = 1, 2, 3…, until the code ends
before it is struck. Signals themselves are in ``test_interrupts_by_signal.py``.
"""

from __future__ import annotations

import dis
import sys
import types
from collections.abc import Callable
from typing import Any

from crust.exceptions import CrustError
from tests.support.source import ROOT

_CRUST = str(ROOT / "crust")
_LOOKS = ("CALL", "RESUME", "JUMP_BACKWARD", "JUMP_ABSOLUTE")  # the beginnings of names of such bytecodes


class Struck(BaseException):
    """What strikes: neither crust nor a sloppy test can mistake it for an error of its own."""


class _Striker:
    """Raises at one place. ``left`` counts down to it."""

    def __init__(self, number: int) -> None:
        self.left = number
        self.where = ""
        self._last: dict[types.FrameType, int] = {}

    def __call__(self, frame: types.FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(_CRUST):
            return None
        if event == "call":
            frame.f_trace_lines = False
            frame.f_trace_opcodes = True
            return self
        if event == "opcode":
            # This is told before the bytecode runs: it is the one before it that may have looked for signals.
            last = self._last.get(frame)
            self._last[frame] = frame.f_lasti
            if last is not None and dis.opname[frame.f_code.co_code[last]].startswith(_LOOKS):
                self.left -= 1
                if self.left == 0:
                    self.where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                    raise Struck(self.where)
        return self


def strike(number: int, action: Callable[[], object]) -> str | None:
    """
    Run ``action()`` on this thread and interrupt it at its ``number``-th place, counted from 1.

    Returns:
        Where it was struck; None if it ended before that.
    """
    striker = _Striker(number)
    before = sys.gettrace()
    sys.settrace(striker)
    try:
        action()
    except Struck:
        return striker.where
    except CrustError:
        if striker.where:  # raised by what cleaned up after the strike: it must not hide it
            raise AssertionError(f"the interrupt at {striker.where} came out as another error") from None
        raise
    finally:
        sys.settrace(before)
    if striker.where:
        raise AssertionError(f"the interrupt at {striker.where} was swallowed")
    return None
