"""Every target with its seeds, with what was found, and with a few hundred mutations: the short run of `make fuzz`."""

from __future__ import annotations

import pytest

from tests.fuzz import registry
from tests.fuzz.mutator import mutations


@pytest.mark.parametrize("name", registry.names())
def test_what_a_target_promises_holds(name: str) -> None:
    """For its seeds, and for what is made of them; the same inputs in every run."""
    target = registry.load(name)
    assert target.seeds, "a target without seeds does not get far"
    for data in target.seeds:
        target.run(data)
    for data in mutations(name, target.seeds, target.tokens, target.rounds, target.size_max):
        try:
            target.run(data)
        except BaseException as error:
            error.args = (*error.args, f"fed to {name}: {data.hex()}")
            raise


@pytest.mark.parametrize("name", registry.names())
def test_a_target_says_what_it_promises(name: str) -> None:
    """What is fed in a line, and then what must hold."""
    first, _, rest = registry.promise(name).partition("\n")
    assert first.endswith((".", ":")) and len(first) <= 120
    assert rest.strip()


def test_a_target_that_refuses_some_begins_from_others() -> None:
    """Else nothing of what it promises about those would ever be looked at."""
    telling = [target for target in map(registry.load, registry.names()) if target.accepts is not None]
    taken = {target.name: sum(map(target.accepts, target.seeds)) for target in telling if target.accepts}
    assert telling and [name for name, count in taken.items() if not count] == []


def test_what_was_found_belongs_to_a_target() -> None:
    """A target that gets another name takes its findings along."""
    folders = {each.name for each in registry.FOUND.iterdir()} if registry.FOUND.is_dir() else set()
    assert folders <= set(registry.names())
