"""
Exceptions that strike from outside, at every place in turn where CPython lets a signal handler run.

CPython looks for signals at the beginning of a function, after a call, and when a loop goes round; nowhere else. A
tracer that is told of each bytecode raises at the n-th such place inside crust, for n = 1, 2, 3…, until the code ends
before it is struck.

On the way back from a Python function it does not look, from 3.11 on; what 3.10 does there nobody can guard against.

One kind of place is left to true signals: after the last call of a ``with`` or ``try`` block. The interpreter is still
inside the block there, the tracer is outside.
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
_LOOKS = ("CALL", "JUMP_BACKWARD", "JUMP_ABSOLUTE")  # the beginnings of names of such bytecodes
_BEGINNING, _NOWHERE = -1, -2  # instead of the place of the last bytecode


class Struck(BaseException):
    """What strikes: neither crust nor a sloppy test can mistake it for an error of its own."""


def _block(code: types.CodeType, offset: int) -> object:
    """The innermost block around a bytecode."""
    parse = getattr(dis, "_parse_exception_table", None)
    if parse is None:  # Python 3.10 leaves blocks by bytecodes of their own
        return None
    return next(((e.start, e.end) for e in parse(code) if e.start <= offset < e.end), None)


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
            frame.f_trace = self  # 3.13 wants it first
            frame.f_trace_lines = False
            frame.f_trace_opcodes = True
            return self
        if event == "return" and frame.f_back is not None:
            self._last[frame.f_back] = _NOWHERE
        if event == "opcode":
            # This is told before the bytecode runs: it is the one before it that may have looked for signals.
            last = self._last.get(frame, _BEGINNING)
            self._last[frame] = frame.f_lasti
            if last != _BEGINNING and not self._looks(frame.f_code, last, frame.f_lasti):
                return self
            self.left -= 1
            if self.left == 0:
                self.where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                raise Struck(self.where)
        return self

    @staticmethod
    def _looks(code: types.CodeType, last: int, following: int) -> bool:
        if last == _NOWHERE:
            return False
        name = dis.opname[code.co_code[last]]
        if not name.startswith(_LOOKS) or name.startswith("CALL_INTRINSIC"):
            return False
        return _block(code, last) == _block(code, following)


def _ask_for_bytecodes(frame: types.FrameType, event: str, _: Any) -> None:
    """From 3.12 on a tracer hears of bytecodes only if an earlier one, be it this one, has asked for them."""
    frame.f_trace_opcodes = True


def strike(number: int, action: Callable[[], object]) -> str | None:
    """
    Run ``action()`` on this thread and interrupt it at its ``number``-th place, counted from 1.

    Returns:
        Where it was struck; None if it ended before that.
    """
    striker = _Striker(number)
    before = sys.gettrace()
    sys._getframe().f_trace_opcodes = True  # 3.12 tells of bytecodes only if somebody wants it before tracing begins
    sys.settrace(_ask_for_bytecodes)
    (lambda: None)()
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
