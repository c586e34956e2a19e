"""``python -m crust`` is the command ``crust``."""

from __future__ import annotations

import sys

from crust.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
