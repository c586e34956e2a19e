"""``python -m crust`` is the command ``crust``."""

from __future__ import annotations

import sys

from crust.cli.entry import crust

if __name__ == "__main__":
    sys.exit(crust())
