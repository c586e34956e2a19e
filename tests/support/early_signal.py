"""
Imported by a program before all else (``imports`` of `tests.cli.processes.Process`): a signal strikes at one moment.

``STRIKE_AT`` is the moment, as an audit event of Python: ``import`` with a module's name, or the name of another one;
``STRIKE`` is the number of the signal.
"""

from __future__ import annotations

import os
import sys
from typing import Any

_AT, _NUMBER = os.environ["STRIKE_AT"], int(os.environ["STRIKE"])
_struck: list[str] = []


def _look(event: str, arguments: tuple[Any, ...]) -> None:
    moment = f"import {arguments[0]}" if event == "import" else event
    if moment == _AT and not _struck:
        _struck.append(moment)
        os.kill(os.getpid(), _NUMBER)


sys.addaudithook(_look)
