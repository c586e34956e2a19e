"""Where programs of one user keep what they want to find again, and could do without."""

from __future__ import annotations

import os
import pathlib
import sys
from collections.abc import Mapping

__all__ = ["state_folder"]


def state_folder(environ: Mapping[str, str]) -> pathlib.Path:
    """``$XDG_STATE_HOME/crust``, else below ``~/.local/state``; on Windows below ``%LOCALAPPDATA%``."""
    base = environ.get("XDG_STATE_HOME", "")
    if sys.platform == "win32" and not base:
        base = environ.get("LOCALAPPDATA", "")
    if not os.path.isabs(base):
        base = os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".local", "state")
    return pathlib.Path(base) / "crust"
