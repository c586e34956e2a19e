"""The list of open ports on disk: whole or not there, taken over from the dead only, and from nobody twice."""

from __future__ import annotations

import errno
import os
import pathlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crust.nat.mapping import journal
from crust.nat.mapping.journal import Entry, Journal, state_folder
from crust.nat.mapping.mapper import Leftover
from crust.nat.mapping.ways import Ask, Wanted
from crust.runtime import locks

ENTRY = Entry(
    Leftover("192.168.1.1", "192.168.1.10", "pcp", Ask(Wanted("tcp", 4711), 5000, 3600, bytes(12))), 2000.0
)


def die(dead: Journal) -> None:
    """As when the process is gone: the lock is free, the files stay."""
    assert dead._lock is not None
    os.close(dead._lock)
    dead._lock = None


def test_a_list_outlives_its_node(tmp_path: pathlib.Path) -> None:
    """What was saved is taken over once, by whoever comes first; not before its node is gone."""
    dead = Journal(tmp_path)
    dead.save([ENTRY])
    first = Journal(tmp_path)
    assert first.take_over(1000.0) == []
    die(dead)
    assert first.take_over(1000.0) == [ENTRY]
    second = Journal(tmp_path)
    assert second.take_over(1000.0) == []
    first.close()
    second.close()
    assert list(tmp_path.iterdir()) == []


def test_what_has_run_out_is_forgotten(tmp_path: pathlib.Path) -> None:
    dead = Journal(tmp_path)
    dead.save([ENTRY])
    die(dead)
    after = Journal(tmp_path)
    assert after.take_over(2000.1) == []
    after.close()
    assert list(tmp_path.iterdir()) == []


def test_a_list_that_is_not_empty_stays_after_close(tmp_path: pathlib.Path) -> None:
    """The router did not answer at the end: the next node tries."""
    one = Journal(tmp_path)
    one.save([ENTRY])
    one.close()
    after = Journal(tmp_path)
    assert after.take_over(0.0) == [ENTRY]
    after.close()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("lifetime", "1e999"),
        ("lifetime", "9" * 400),
        ("lifetime", "-1"),
        ("lifetime", "86401"),
        ("external", "0"),
        ("external", "1e999"),
        ("until", "9" * 400),
        ("nonce", "7"),
    ],
)
def test_numbers_that_are_none(tmp_path: pathlib.Path, key: str, value: str) -> None:
    """A damaged list is no list; it is removed, and the others are read."""
    for name in ("0" * 16, "1" * 16):
        dead = Journal(tmp_path)
        dead.save([ENTRY])
        text = re.sub(rf'"{key}": [^,\n]+', f'"{key}": {value}', dead._path.read_text()) if name[0] == "0" else ""
        (tmp_path / f"{name}.json").write_text(text or dead._path.read_text())
        (tmp_path / f"{name}.lock").touch()
        dead.save([])
        dead.close()
    after = Journal(tmp_path)
    assert after.take_over(1000.0) == [ENTRY]
    after.close()
    assert list(tmp_path.iterdir()) == []


def test_a_list_that_cannot_be_removed(tmp_path: pathlib.Path) -> None:
    """A folder in its place: the other lists are read all the same."""
    (tmp_path / "0000000000000000.json").mkdir()
    (tmp_path / "0000000000000000.lock").touch()
    dead = Journal(tmp_path)
    dead.save([ENTRY])
    die(dead)
    after = Journal(tmp_path)
    assert after.take_over(1000.0) == [ENTRY]
    after.close()


def test_a_new_file_that_is_taken_for_a_dead_ones(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody starts at the same moment, and is quicker with the lock: then another file."""
    really, others = journal.try_lock, [True, False]

    def taken(descriptor: int) -> bool:
        if not others:
            return really(descriptor)
        for each in tmp_path.glob("*.lock"):
            each.unlink()
        return really(descriptor) and others.pop()

    monkeypatch.setattr(journal, "try_lock", taken)
    one = Journal(tmp_path)
    assert others == [] and one._lock_path.exists() and not try_lock_again(one)
    one.close()


def try_lock_again(one: Journal) -> bool:
    """Whether somebody else could have its lock."""
    descriptor = os.open(one._lock_path, os.O_RDWR)
    try:
        return locks.try_lock(descriptor)
    finally:
        os.close(descriptor)


def test_a_file_system_without_locks(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No list, and neither a file nor a descriptor is left of the attempt."""
    opened: list[int] = []

    def refused(descriptor: int) -> bool:
        opened.append(descriptor)
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(journal, "try_lock", refused)
    with pytest.raises(OSError, match="no locks"):
        Journal(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(opened[0])


@given(data=st.one_of(st.binary(max_size=200), st.text(max_size=100).map(str.encode)))
def test_any_file_is_borne(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Damaged, or written by somebody else."""
    folder = tmp_path_factory.mktemp("state")
    (folder / "0123456789abcdef.json").write_bytes(data)
    (folder / "0123456789abcdef.lock").touch()
    after = Journal(folder)
    assert after.take_over(0.0) == []
    after.close()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"port": 0},
        {"port": 70000},
        {"port": "1"},
        {"by": "telnet"},
        {"protocol": "sctp"},
        {"nonce": "00"},
        {"nonce": "x"},
        {"until": None},
        {"external": -1},
    ],
)
def test_values_that_cannot_be(tmp_path: pathlib.Path, change: dict[str, object]) -> None:
    """A list is taken as a whole or not at all."""
    import json

    fields = {**journal._as_json(ENTRY), **change}
    (tmp_path / "0123456789abcdef.json").write_text(json.dumps({"version": 1, "mappings": [fields]}))
    (tmp_path / "0123456789abcdef.lock").touch()
    after = Journal(tmp_path)
    assert after.take_over(0.0) == []
    after.close()


def test_links_are_not_followed(tmp_path: pathlib.Path) -> None:
    """A lock that is a link to somebody else's file is left alone."""
    other = tmp_path / "other"
    other.write_text("mine")
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / "0123456789abcdef.lock").symlink_to(other)
    after = Journal(folder)
    assert after.take_over(0.0) == []
    after.close()
    assert other.read_text() == "mine"


def test_where_it_is() -> None:
    assert state_folder({"XDG_STATE_HOME": "/s", "HOME": "/h"}) == pathlib.Path("/s/crust/port-mappings")
    assert state_folder({"XDG_STATE_HOME": "s", "HOME": "/h"}) == pathlib.Path(
        "/h/.local/state/crust/port-mappings"
    )
