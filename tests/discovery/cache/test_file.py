"""The file of nodes reached before: whole or not there, shared, and never trusted."""

from __future__ import annotations

import errno
import json
import os
import pathlib
import random
import stat
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crust import Contact, Endpoint, limits
from crust.discovery.cache.core import Cache, Entry
from crust.discovery.cache.file import CacheFile
from crust.discovery.cache.form import build_cache, parse_cache_untrusted
from crust.runtime.locks import try_lock
from crust.wire.labelled import UnusableFile
from tests.discovery.cache.test_core import NOON, contact, made, peer

NETWORK = bytes(range(32))
ENTRY = Entry(contact(1), NOON - 5, 1, "10.0.0.0/8")


class Files:
    """A file, what is said of it, and the pauses that it made."""

    def __init__(self, path: pathlib.Path, network: bytes = NETWORK) -> None:
        self.said: list[str] = []
        self.pauses: list[float] = []
        self.file = CacheFile(path, network, self.said.append, self.pauses.append)

    def write(self, *entries: Entry) -> None:
        self.file.update(lambda _: list(entries), NOON)


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "state" / "crust" / "net.json"


def test_what_is_written_is_read(path: pathlib.Path) -> None:
    """In its order, for the owner alone, as JSON that people can read; folders are made."""
    files = Files(path)
    assert files.file.read(NOON) is None
    others = [Entry(contact(number), NOON - number) for number in range(2, 5)]
    files.write(ENTRY, *others)
    assert files.file.read(NOON) == [ENTRY, *others]
    told = json.loads(path.read_text())
    assert (told["version"], told["network"]) == (1, NETWORK.hex())
    assert told["nodes"][0]["contact"] == str(ENTRY.contact)
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert files.said == []


BROKEN = {
    "empty": b"",
    "cut": build_cache([ENTRY], NETWORK, NOON)[:-20],
    "garbage": bytes(range(256)) * 20,
    "deep": b"[" * 100_000,
    "another program's": b'{"peers": []}',
    "no object": b"[1, 2]",
    "of another version": build_cache([ENTRY], NETWORK, NOON).replace(b'"version": 1', b'"version": 2'),
    "of another network": build_cache([ENTRY], bytes(32), NOON),
    "without a list": build_cache([], NETWORK, NOON).replace(b'"nodes": []', b'"nodes": {}'),
    "huge": b" " * (limits.CACHE_FILE_MAX + 1),
    "no number": build_cache([ENTRY], NETWORK, NOON).replace(b'"failures": 1', b'"failures": NaN'),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_file_that_is_something_else_is_put_aside(path: pathlib.Path, kind: str) -> None:
    """With a sentence that says what it is and where it is now; a new one is begun."""
    path.parent.mkdir(parents=True)
    path.write_bytes(BROKEN[kind])
    files = Files(path)
    assert files.file.read(NOON) is None
    assert len(files.said) == 1 and str(path) in files.said[0] and "net.json.bad" in files.said[0]
    assert path.with_name("net.json.bad").read_bytes() == BROKEN[kind]
    files.write(ENTRY)
    assert files.file.read(NOON) == [ENTRY]


def test_a_foreign_file_is_called_so(path: pathlib.Path) -> None:
    """Not damaged, but another network's."""
    Files(path, bytes(32)).write(ENTRY)
    files = Files(path)
    files.write(ENTRY)
    assert "belongs to another network" in files.said[0]


@pytest.mark.skipif(sys.platform == "win32", reason="no FIFOs")
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_left_alone(path: pathlib.Path, make: Any) -> None:
    """Nothing waits for a FIFO to be written, and no folder is put aside."""
    path.parent.mkdir(parents=True)
    make(path)
    with pytest.raises(OSError):
        Files(path).write(ENTRY)
    assert path.exists() and not path.with_name("net.json.bad").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"contact": "nonsense"},
        {"contact": 7},
        {"contact": str(peer(1))},
        {"contact": f"{peer(1)}@tcp://224.0.0.1:5000"},
        {"contact": f"{peer(1)}@tcp://0.0.0.0:5000,tcp://255.255.255.255:5000"},
        {"contact": f"{peer(1)}@tcp://[2002:102:304::1]:5000"},
        {"contact": f"{peer(1)}@tcp://example.org:5000"},
        {"seen": "yesterday"},
        {"seen": True},
        {"seen": -1},
        {"seen": 10**400},
        {"seen": None},
        {"failures": 3},
        {"failures": -1},
        {"failures": 1.5},
        {"around": 5},
        {"around": "x" * 100},
    ],
)
def test_an_entry_that_is_none_is_left_out(change: dict[str, Any]) -> None:
    """The others count; how many there were is known."""
    told = json.loads(build_cache([ENTRY, Entry(contact(2), NOON)], NETWORK, NOON))
    told["nodes"][0].update(change)
    entries, others = parse_cache_untrusted(json.dumps(told).encode(), NETWORK, NOON)
    assert [each.peer_id for each in entries] == [peer(2)] and others == 1


def test_what_was_seen_in_the_future_was_seen_now() -> None:
    """A clock has gone back: such an entry is not the first for ever."""
    entries, _ = parse_cache_untrusted(build_cache([Entry(contact(1), NOON + 9)], NETWORK, NOON), NETWORK, NOON)
    assert entries[0].seen == NOON


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_no_bytes_do_harm(data: bytes) -> None:
    """Whatever stands there is refused by name, alone or within a file."""
    with pytest.raises(UnusableFile):
        parse_cache_untrusted(data, NETWORK, NOON)


KEYS = st.sampled_from(["contact", "seen", "failures", "around"])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner),
    max_leaves=9,
)


@given(ANYTHING)
def test_no_entry_does_harm(node: Any) -> None:
    """Whatever a list of nodes has in it."""
    told = {"format": "crust bootstrap cache", "version": 1, "network": NETWORK.hex(), "nodes": [node, node]}
    try:
        entries, others = parse_cache_untrusted(json.dumps(told).encode(), NETWORK, NOON)
    except UnusableFile as error:
        assert "no number" in str(error)
    else:
        assert (entries, others) == ([], 2)


@given(st.lists(st.tuples(st.integers(0, 999), st.floats(0, NOON), st.integers(0, 2)), unique_by=lambda each: each[0]))
def test_what_is_built_is_parsed(nodes: list[tuple[int, float, int]]) -> None:
    """All of it, to the last digit."""
    entries = [Entry(contact(256 + number), seen, failures) for number, seen, failures in nodes]
    assert parse_cache_untrusted(build_cache(entries, NETWORK, NOON), NETWORK, NOON) == (entries, 0)


# --- shared -----------------------------------------------------------------------------------------------------------


def test_whoever_writes_waits_for_the_lock(path: pathlib.Path) -> None:
    """And gives up in the end, with nothing changed."""
    files = Files(path)
    files.write(ENTRY)
    lock = os.open(path.with_name("net.json.lock"), os.O_RDWR)
    try:
        assert try_lock(lock)
        with pytest.raises(TimeoutError, match="another program"):
            files.write()
    finally:
        os.close(lock)
    assert len(files.pauses) == limits.FILE_LOCK_TRIES
    assert files.file.read(NOON) == [ENTRY]
    files.write()
    assert files.file.read(NOON) == []


def save(files: Files, cache: Cache) -> None:
    def change(theirs: list[Entry] | None) -> tuple[Entry, ...]:
        if theirs is None:
            cache.begin()
        cache.merge(theirs or [], NOON)
        return cache.entries()

    files.file.update(change, NOON)
    cache.saved()


def test_many_that_share_a_file_lose_nothing(path: pathlib.Path) -> None:
    """In any order, each with its own copy; those that one has found dead are gone for all."""
    chance = random.Random(1)
    caches = [made() for _ in range(4)]
    files = [Files(path) for _ in caches]
    for number in range(100):
        caches[number % 4].met(contact(number), NOON - 100 + number)
        which = chance.randrange(4)
        save(files[which], caches[which])
    for number in range(40):
        caches[0].remove(peer(number))
        save(files[0], caches[0])
    for which in (1, 2, 3, 0, 1, 2, 3):
        save(files[which], caches[which])
    entries = Files(path).file.read(NOON)
    assert entries is not None
    assert {each.peer_id for each in entries} >= {peer(number) for number in range(40, 100)}
    assert all(cache.entries() == caches[0].entries() for cache in caches)


def test_a_disk_that_refuses_changes_nothing(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Full or read-only: an error, the old file whole, and no half of a new one."""
    files = Files(path)
    files.write(ENTRY)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(OSError):
        patch.setattr(os, "write", full)
        files.write()
    assert files.file.read(NOON) == [ENTRY]
    assert {each.name for each in path.parent.iterdir()} == {"net.json", "net.json.lock"}


def test_a_file_system_without_locks(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is written all the same."""

    def none(_: int) -> bool:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr("crust.runtime.shared_file.try_lock", none)
    files = Files(path)
    files.write(ENTRY)
    assert files.file.read(NOON) == [ENTRY]


def test_a_contact_keeps_the_places_that_can_be(path: pathlib.Path) -> None:
    """What nobody can have is left out of an entry, the rest stays."""
    mixed = Contact(peer(1), (Endpoint("tcp", "240.0.0.1", 1), Endpoint("utp", "1.2.3.4", 2)))
    Files(path).write(Entry(mixed, NOON))
    assert Files(path).file.read(NOON) == [Entry(Contact(peer(1), mixed.endpoints[1:]), NOON)]


def test_what_another_program_has_mended_is_not_put_aside(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two programs find the same broken file: the second one takes what the first one has written by then."""
    files, other = Files(path), Files(path)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"broken")
    seen, bytes_of = [], CacheFile._bytes

    def read_slowly(file: CacheFile) -> bytes:
        data = bytes_of(file)
        if file is files.file and not seen:
            seen.append(data)
            other.write(ENTRY)
        return data

    monkeypatch.setattr(CacheFile, "_bytes", read_slowly)
    assert files.file.read(NOON) == [ENTRY]
    assert seen == [b"broken"] and files.said == []
    assert path.with_name(f"{path.name}.bad").read_bytes() == b"broken"
