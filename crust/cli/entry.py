"""Where the programs begin: ``crust`` and ``punch-test``. What takes time to import comes after this file."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

from .signals import Terminated, code_of, end_at_once

__all__ = ["crust", "punch_test"]


def crust() -> int:
    """``crust``, or ``python -m crust``; the exit code."""

    def run() -> int:
        from .main import main

        return main()

    return _program(run)


def punch_test() -> int:
    """``punch-test``; the exit code."""

    def run() -> int:
        from .punch_test.program import main

        return main()

    return _program(run)


def _program(run: Callable[[], int]) -> int:
    end_at_once()
    try:
        return run()
    except KeyboardInterrupt as error:  # beside a command, or while the first one was being dealt with
        return code_of(signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT, sys.argv[1:])
