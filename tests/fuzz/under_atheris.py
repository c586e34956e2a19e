"""
One target under atheris, in a process of its own: ``python -m tests.fuzz.under_atheris NAME [options of libFuzzer]``.

`python -m tests.fuzz` starts these; only what is imported here after ``instrument_imports`` is seen by the fuzzer.
"""

from __future__ import annotations

import sys

import atheris


def main() -> None:
    name = sys.argv.pop(1)
    with atheris.instrument_imports(include=["crust"]):
        from tests.fuzz import registry

        target = registry.load(name)
        for seed in target.seeds:  # what is imported in the middle of things is imported by now
            target.run(seed)
    atheris.Setup(sys.argv, target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
