"""``crust.limits``: every number has a name of its own."""

from __future__ import annotations

import collections
import importlib
import pkgutil

from crust import limits


def test_no_name_stands_in_two_files() -> None:
    """They are all read as ``limits.NAME``: the one would be the other's."""
    files = collections.defaultdict(list)
    for each in pkgutil.iter_modules(limits.__path__):
        for name in vars(importlib.import_module(f"{limits.__name__}.{each.name}")):
            if name.isupper():
                files[name].append(each.name)
    assert len(files) > 400
    assert {name: where for name, where in files.items() if len(where) > 1} == {}
