"""The list of open ports on disk: whole or not there, taken over from the dead only, and from nobody twice."""

from __future__ import annotations

import os
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crust.nat.mapping import journal
from crust.nat.mapping.journal import Entry, Journal, state_folder
from crust.nat.mapping.mapper import Leftover
from crust.nat.mapping.ways import Ask, Wanted

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
