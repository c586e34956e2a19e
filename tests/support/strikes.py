"""
Exceptions that strike from outside, at every place in turn where CPython lets a signal handler run.

CPython looks for signals at the beginning of a function, after a call, and when a loop goes round; nowhere else. A
tracer that is told of each bytecode raises at the n-th such place inside crust, for n = 1, 2, 3…, until the code ends
before it is struck; or, with :class:`Places`, at each when it is come to for the first time, and the second, and the
third: a loop that goes round hundreds of times tells nothing new.

On the way back from a Python function it does not look, from 3.11 on; what 3.10 does there nobody can guard against.

One kind of place is left to true signals: after the last call of a ``with`` or ``try`` block. The interpreter is still
inside the block there, the tracer is outside.
"""

from __future__ import annotations

import collections
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
    """Raises at the first place, a bytecode of some code, that is ``wanted``."""

    def __init__(self, wanted: Callable[[types.CodeType, int], bool]) -> None:
        self._wanted = wanted
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
            if not self.where and self._wanted(frame.f_code, frame.f_lasti):
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
    left = number

    def wanted(code: types.CodeType, offset: int) -> bool:
        nonlocal left
        left -= 1
        return left == 0

    return _run(_Striker(wanted), action)


class Places:
    """
    Those of an action that is run again and again, and struck once a run.

    Args:
        times: At each of them, at most.
    """

    def __init__(self, times: int = 3) -> None:
        self._times = times
        self._struck: collections.Counter[tuple[int, int]] = collections.Counter()

    def strike(self, action: Callable[[], object]) -> str | None:
        """Run ``action()`` like :func:`strike`, and interrupt it where it has not been done; None: nowhere is left."""
        come_to: collections.Counter[tuple[int, int]] = collections.Counter()

        def wanted(code: types.CodeType, offset: int) -> bool:
            place = (id(code), offset)  # of a module that stays
            come_to[place] += 1
            if not self._struck[place] < come_to[place] <= self._times:
                return False
            self._struck[place] += 1
            return True

        return _run(_Striker(wanted), action)


def _run(striker: _Striker, action: Callable[[], object]) -> str | None:
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
