"""Bans that outlive the node: the file, its text, and what becomes of it when something is wrong."""

from __future__ import annotations

import errno
import ipaddress
import json
import logging
import os
import pathlib
import stat
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import crust
import crust.testing
from crust import BansNotKept, Identity, Service, limits
from crust.peers.access import Access, Target, target_of
from crust.runtime.locks import try_lock
from crust.service.bans.form import KeptBan, build_bans, parse_bans_untrusted
from crust.service.bans.kept import Kept
from crust.wire.labelled import UnusableFile
from tests.support.bitten import Bitten
from tests.support.nodes import Nodes, config

NOON = 1_800_000_000.0
PEER, OTHER = (Identity.generate().peer_id for _ in range(2))
NETWORK = target_of("192.0.2.0/24")


def nothing() -> None:
    """Memory has nothing to lift."""


class Disk:
    """A file, a clock that the test sets, and what was taken over."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.wall = NOON
        self.pauses: list[float] = []

    def open(self) -> tuple[Kept, dict[Target, float | None]]:
        adopted: dict[Target, float | None] = {}

        def adopt(found: Mapping[Target, float | None]) -> None:
            adopted.clear()
            adopted.update(found)

        return Kept(self.path, lambda: self.wall, self.pauses.append, adopt), adopted


@pytest.fixture
def disk(tmp_path: pathlib.Path) -> Disk:
    return Disk(tmp_path / "state" / "bans.json")


def test_what_is_kept_is_there_again(disk: Disk) -> None:
    """Peers, addresses, networks, for good or for what is left of their time; only the owner may read it."""
    kept, _ = disk.open()
    kept.keep([PEER, NETWORK], None)
    kept.keep([target_of("2001:db8::1")], 100.0)
    disk.wall += 40
    again, adopted = disk.open()
    again.load()
    assert adopted == {PEER: None, NETWORK: None, target_of("2001:db8::1"): 60.0}
    if sys.platform != "win32":
        assert stat.S_IMODE(os.stat(disk.path).st_mode) == 0o600
    again.drop([PEER, OTHER], nothing)
    disk.wall += 61
    last, adopted = disk.open()
    last.load()
    assert adopted == {NETWORK: None}


def test_a_clock_that_goes_back_makes_no_ban_longer(disk: Disk) -> None:
    """Nor does a file from the future: what was for a minute is a minute at most."""
    kept, _ = disk.open()
    kept.keep([PEER], 60.0)
    disk.wall -= 1_000_000
    again, adopted = disk.open()
    again.load()
    assert adopted == {PEER: 60.0}


def test_they_are_counted_until_they_are_over(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what could not be written, and what another program has added."""
    kept, _ = disk.open()
    assert kept.count() == 0
    kept.keep([PEER], None)
    kept.keep([NETWORK], 10.0)
    disk.open()[0].keep([OTHER], 20.0)
    assert kept.count() == 2
    kept.load()
    assert kept.count() == 3
    disk.wall += 10
    assert kept.count() == 2
    with monkeypatch.context() as patch:
        patch.setattr(limits, "BANS_KEPT_MAX", 0)
        with pytest.raises(BansNotKept):
            kept.drop([PEER], nothing)
        assert kept.count() == 1
        with pytest.raises(BansNotKept):
            kept.keep([PEER], 10.0)
        assert kept.count() == 2
    disk.wall += 10
    assert kept.count() == 0


def test_the_longer_ban_stays(disk: Disk) -> None:
    """As in memory."""
    kept, _ = disk.open()
    kept.keep([PEER], None)
    kept.keep([PEER], 5.0)
    kept.keep([OTHER], 50.0)
    kept.keep([OTHER], 5.0)
    again, adopted = disk.open()
    again.load()
    assert adopted == {PEER: None, OTHER: 50.0}


def test_two_programs_share_a_file(disk: Disk) -> None:
    """Neither loses what the other wrote, and whoever writes takes the other's over; what one lifts is out."""
    one, of_one = disk.open()
    two, of_two = disk.open()
    one.keep([PEER], None)
    two.keep([NETWORK], None)
    assert of_two == {PEER: None, NETWORK: None} and of_one == {PEER: None}
    one.keep([OTHER], None)
    assert of_one == {PEER: None, NETWORK: None, OTHER: None}
    two.drop([PEER], nothing)
    three, of_three = disk.open()
    three.load()
    assert of_three == {NETWORK: None, OTHER: None}


def test_whoever_writes_waits_for_the_lock(disk: Disk) -> None:
    """And gives up in the end; it is written with the next change."""
    one, _ = disk.open()
    one.keep([PEER], None)
    lock = os.open(disk.path.with_name("bans.json.lock"), os.O_RDWR)
    try:
        assert try_lock(lock)
        with pytest.raises(BansNotKept, match="another program holds its lock"):
            one.keep([OTHER], None)
    finally:
        os.close(lock)
    assert len(disk.pauses) == limits.FILE_LOCK_TRIES
    one.keep([NETWORK], None)
    again, adopted = disk.open()
    again.load()
    assert adopted == {PEER: None, OTHER: None, NETWORK: None}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_refuses_loses_nothing(disk: Disk, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Full or read-only: an error that names the file, the old file whole, and the change made up for later."""
    kept, _ = disk.open()
    kept.keep([PEER], None)
    before = disk.path.read_bytes()

    def refuse(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", refuse)
        with pytest.raises(BansNotKept, match=rf"bans\.json was not written: {os.strerror(code)}"):
            kept.keep([OTHER], None)
        lifted: list[int] = []
        with pytest.raises(BansNotKept):
            kept.drop([PEER], lambda: lifted.append(1))
        assert lifted == [1]
    assert disk.path.read_bytes() == before
    assert {each.name for each in disk.path.parent.iterdir()} == {"bans.json", "bans.json.lock"}
    assert kept.holds(OTHER) and not kept.holds(PEER)
    kept.keep([NETWORK], None)
    again, adopted = disk.open()
    again.load()
    assert adopted == {OTHER: None, NETWORK: None}


def test_a_file_has_its_bound(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """More are not written; those that are over make room."""
    monkeypatch.setattr(limits, "BANS_KEPT_MAX", 2)
    kept, _ = disk.open()
    kept.bites = bitten = Bitten()
    kept.keep([PEER], None)
    kept.keep([OTHER], 10.0)
    with pytest.raises(BansNotKept, match="would have 3 bans; 2 are the most"):
        kept.keep([NETWORK], None)
    assert bitten["BANS_KEPT_MAX"] == 1
    disk.wall += 11
    kept.keep([NETWORK], None)
    again, adopted = disk.open()
    again.load()
    assert adopted == {PEER: None, NETWORK: None}


def test_whoever_is_there_twice_is_banned_for_the_longer_time() -> None:
    """In a file that somebody has written by hand; in whichever order."""
    long, short = ({"who": str(PEER), "until": NOON + n, "seconds": 500.0} for n in (100.0, 10.0))
    for rows in ([long, short], [short, long]):
        content = json.dumps({"format": "crust bans", "version": 1, "bans": rows}).encode()
        assert parse_bans_untrusted(content) == {PEER: KeptBan(NOON + 100.0, 500.0)}


def test_a_shorter_ban_of_another_program_shortens_none(disk: Disk) -> None:
    """Who makes it has not read of the longer one."""
    (one, _), (other, adopted) = disk.open(), disk.open()
    one.keep([PEER], 100.0)
    other.keep([PEER], 10.0)
    assert adopted == {PEER: 100.0}


def test_what_another_program_lifts_stays_lifted(disk: Disk) -> None:
    """Whoever made that ban writes it once, and not again with the next."""
    (one, adopted), (other, _) = disk.open(), disk.open()
    one.keep([PEER], None)
    other.load()
    other.drop([PEER], nothing)
    one.keep([OTHER], None)
    assert adopted == {OTHER: None}


def test_what_the_file_has_no_more_can_be_lifted(disk: Disk) -> None:
    """Another program, or somebody, has taken it out."""
    kept, adopted = disk.open()
    kept.keep([PEER, OTHER], None)
    disk.path.unlink()
    kept.drop([PEER], nothing)
    assert not kept.holds(PEER) and not kept.holds(OTHER)
    disk.open()[0].load()
    assert parse_bans_untrusted(disk.path.read_bytes()) == {}


def test_what_could_not_be_written_holds(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after the file has been read again; the longest of it is written when that can be."""
    kept, adopted = disk.open()
    kept.keep([OTHER], None)
    with monkeypatch.context() as broken:
        broken.setattr(kept._file, "write", lambda data: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
        for seconds in (100.0, 10.0):
            with pytest.raises(BansNotKept, match="No space left"):
                kept.keep([PEER], seconds)
    kept.load()
    assert adopted == {OTHER: None, PEER: 100.0} and kept.holds(PEER)
    kept.keep([NETWORK], None)
    disk.open()[0].load()
    assert parse_bans_untrusted(disk.path.read_bytes())[PEER] == KeptBan(NOON + 100.0, 100.0)


def test_a_file_that_has_none_of_them_is_not_touched(disk: Disk) -> None:
    """Nor made; what is in memory is lifted nevertheless."""
    kept, _ = disk.open()
    lifted: list[int] = []
    kept.drop([PEER], lambda: lifted.append(1))
    assert lifted == [1] and not disk.path.parent.exists()


# --- what is no ban file ----------------------------------------------------------------------------------------------

GOOD = build_bans({PEER: KeptBan(None, None), NETWORK: KeptBan(NOON, 5.0)}, NOON)


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    told = json.loads(GOOD)
    change(told)
    return json.dumps(told).encode()


BAD: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "no JSON"),
    "half": (GOOD[: len(GOOD) // 2], "no JSON"),
    "another file": (b'{"format": "crust bootstrap cache", "version": 1, "bans": []}', "the format 'crust bans'"),
    "a list": (b"[]", "no file of the format 'crust bans'"),
    "the future": (changed(lambda told: told.update(version=2)), "of version '2'"),
    "no bans": (changed(lambda told: told.pop("bans")), "no list of bans"),
    "nobody": (changed(lambda told: told["bans"][0].update(who="nobody")), "its ban 1 names nobody"),
    "a number": (changed(lambda told: told["bans"][1].update(who=7)), "its ban 2 names nobody"),
    "no end": (changed(lambda told: told["bans"][1].update(until="soon")), "its ban 2 has no proper end"),
    "a boolean": (changed(lambda told: told["bans"][1].update(until=True)), "its ban 2 has no proper end"),
    "before all time": (changed(lambda told: told["bans"][1].update(until=-1.0)), "its ban 2 has no proper end"),
    "the past": (changed(lambda told: told.update(version=0)), "of version '0'"),
    "no version": (changed(lambda told: told.pop("version")), "of version 'None'"),
    "a long version": (changed(lambda told: told.update(version="v" * 1000)), "of version 'v{20}',"),
    "half an end": (changed(lambda told: told["bans"][1].pop("seconds")), "its ban 2 has no proper end"),
    "deep": (b"[" * 100_000, "no JSON"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_ban_file_is_left_alone(disk: Disk, kind: str) -> None:
    """It is named with the reason, never overwritten and never moved; what is banned meanwhile is not lost."""
    content, reason = BAD[kind]
    disk.path.parent.mkdir()
    disk.path.write_bytes(content)
    kept, adopted = disk.open()
    with pytest.raises(BansNotKept, match=reason):
        kept.load()
    with pytest.raises(BansNotKept, match=reason):
        kept.keep([OTHER], None)
    assert disk.path.read_bytes() == content and adopted == {}
    disk.path.unlink()
    kept.keep([NETWORK], None)
    assert adopted == {OTHER: None, NETWORK: None}


def test_a_file_that_may_not_be_read_is_named(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what the system says."""
    kept, adopted = disk.open()
    monkeypatch.setattr(kept._file, "read", lambda: (_ for _ in ()).throw(OSError(errno.EACCES, "Permission denied")))
    with pytest.raises(BansNotKept, match=r"bans\.json cannot be used: Permission denied"):
        kept.load()
    assert adopted == {}


def test_what_is_too_much_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither too many bans nor too many bytes."""
    with monkeypatch.context() as patch:
        patch.setattr(limits, "BANS_KEPT_MAX", 1)
        with pytest.raises(UnusableFile, match="has 2 bans; 1 are the most"):
            parse_bans_untrusted(GOOD)
    monkeypatch.setattr(limits, "BAN_FILE_MAX", len(GOOD))
    assert len(parse_bans_untrusted(GOOD)) == 2
    monkeypatch.setattr(limits, "BAN_FILE_MAX", len(GOOD) - 1)
    with pytest.raises(UnusableFile, match="is longer than"):
        parse_bans_untrusted(GOOD)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_do_harm(data: bytes) -> None:
    """Whatever stands there is refused by name."""
    with pytest.raises(UnusableFile):
        parse_bans_untrusted(data)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.sampled_from([str(PEER), "192.0.2.0/24"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["who", "until", "seconds"]), inner),
    max_leaves=9,
)


@given(ANYTHING)
def test_no_entry_does_harm(row: Any) -> None:
    """It is a ban with a proper end, or the file is refused."""
    told = {"format": "crust bans", "version": 1, "bans": [row]}
    try:
        found = parse_bans_untrusted(json.dumps(told).encode())
    except UnusableFile:
        return
    assert all(ban.remaining(NOON) is None or 0 <= (ban.remaining(NOON) or 0) < 1e12 for ban in found.values())


@given(
    st.dictionaries(
        st.ip_addresses().map(target_of),
        st.just(KeptBan(None, None)) | st.builds(KeptBan, st.floats(0, 1e11), st.floats(0, 1e11)),
    )
)
def test_what_is_built_is_parsed(bans: dict[Target, KeptBan]) -> None:
    """All of it."""
    assert parse_bans_untrusted(build_bans(bans, NOON)) == bans


ANY_NUMBER = st.none() | st.floats() | st.integers()


@given(
    st.dictionaries(
        st.ip_addresses().map(target_of),
        st.builds(KeptBan, ANY_NUMBER, ANY_NUMBER) | st.builds(KeptBan.lasting, st.floats(), st.floats()),
        max_size=3,
    ),
    st.floats(-1e12, 1e12),
)
def test_nothing_is_built_that_is_not_parsed(bans: dict[Target, KeptBan], wall: float) -> None:
    """Whatever end is asked for and whatever clock there is: all are in the file, and the next start can read it."""
    assert parse_bans_untrusted(build_bans(bans, wall)).keys() == bans.keys()


@pytest.mark.parametrize("seconds", [float("inf"), 1e12, 1e300, sys.float_info.max])
def test_a_ban_longer_than_any_clock_is_for_good(disk: Disk, seconds: float) -> None:
    """Whatever number the application found for that; the file stays one."""
    kept, _ = disk.open()
    kept.keep([PEER], seconds)
    kept.keep([OTHER], 9e11)
    kept.keep([NETWORK], 50.0)
    again, adopted = disk.open()
    again.load()
    assert adopted == {PEER: None, OTHER: 9e11, NETWORK: 50.0}


# --- with nodes -------------------------------------------------------------------------------------------------------


def denied(near: Service, far: Service) -> bool:
    with pytest.raises(crust.Denied) as caught:
        near.connect(far.contact)
    return caught.value.reason == "banned"


def test_a_ban_outlives_the_node_only_if_asked(nodes: Nodes, tmp_path: pathlib.Path) -> None:
    """What is not kept is written nowhere; what is lifted is out of the file."""
    path = tmp_path / "bans"
    keeping = config(access__ban__file=str(path))
    first, near, other = nodes.start(keeping), nodes.start(), nodes.start()
    first.ban(other.id)
    assert list(tmp_path.iterdir()) == []
    assert first.ban(near.id, keep=True) == 1
    assert [(ban.who, ban.kept) for ban in first.bans if ban.kept] == [(near.id, True)]
    first.close()
    second = nodes.start(keeping)
    assert denied(near, second)
    assert other.connect(second.contact).id == second.id
    assert second.unban(near.id) == 1
    assert near.connect(second.contact).id == second.id
    second.close()
    third = nodes.start(keeping)
    assert near.connect(third.contact).id == third.id


def test_a_look_at_the_status_lists_no_bans(
    nodes: Nodes, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be many, and it is looked at often; the figures are those of the list."""
    node = nodes.start(config(access__ban__file=str(tmp_path / "bans")))
    node.ban(PEER, "192.0.2.0/24", keep=True)
    node.ban(OTHER, lambda peer: False)

    def refuse(*_: object) -> None:
        raise AssertionError("the list is made for a look at the status")

    with monkeypatch.context() as patch:
        patch.setattr(Access, "banned", refuse)
        shown = node.status().sections["bans"]
    assert {name: shown[name] for name in ("peers", "networks", "predicates", "kept")} == {
        "peers": 2,
        "networks": 1,
        "predicates": 1,
        "kept": 2,
    }
    assert (len(node.bans), sum(ban.kept for ban in node.bans)) == (4, 2)


def test_what_cannot_be_kept_is_said_before_anything_is_done(nodes: Nodes, tmp_path: pathlib.Path) -> None:
    """No file in the configuration; a function."""
    plain, keeping = nodes.start(), nodes.start(config(access__ban__file=str(tmp_path / "bans")))
    with pytest.raises(crust.LocalProtocolError, match=r"access\.ban\.file"):
        plain.ban(PEER, keep=True)
    with pytest.raises(TypeError, match="function cannot be kept"):
        keeping.ban(PEER, lambda peer: True, keep=True)
    assert plain.bans == keeping.bans == ()


def test_a_node_starts_with_a_file_that_is_none(
    nodes: Nodes, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says so; a ban that cannot be written holds all the same."""
    path = tmp_path / "bans"
    path.write_text("precious")
    with caplog.at_level(logging.ERROR):
        far = nodes.start(config(access__ban__file=str(path)))
    assert any("is no JSON" in record.getMessage() for record in caplog.records)
    pair = nodes.start()
    pair.connect(far.contact)
    with pytest.raises(BansNotKept, match="holds in this run"):
        far.ban(pair.id, keep=True)
    assert nodes.heard(pair).wait(crust.LostPeer).reason == "banned"
    assert denied(pair, far) and path.read_text() == "precious"


def test_what_is_lifted_is_not_brought_back_by_what_is_kept_meanwhile(
    nodes: Nodes, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread that keeps a ban takes over what the file has: not in the middle of lifting."""
    node = nodes.start(config(access__ban__file=str(tmp_path / "bans")))
    node.ban(PEER, keep=True)
    access, others = node._running().access, list[threading.Thread]()
    unban = access.unban

    def unban_and_let_others(*who: Any, now: float) -> int:
        count = unban(*who, now=now)
        others.append(threading.Thread(target=node.ban, args=(OTHER,), kwargs={"keep": True}, daemon=True))
        others[0].start()
        others[0].join(0.3)  # it cannot end, unless nothing keeps it from writing
        return count

    with monkeypatch.context() as patch:
        patch.setattr(Access, "unban", lambda _, *who, now: unban_and_let_others(*who, now=now))
        assert node.unban(PEER) == 1
    others[0].join(10)
    assert [ban.who for ban in node.bans] == [OTHER]


def test_many_bans_cost_as_much_as_they_are(
    nodes: Nodes, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the start, when they are read again and when one is added: none is compared with all others."""
    path, many = tmp_path / "bans", 1500
    networks = [target_of(f"10.{number // 256}.{number % 256}.0/24") for number in range(many)]
    path.write_bytes(build_bans(dict.fromkeys(networks, KeptBan(None, None)), NOON))
    built: list[int] = []
    make: Callable[..., None] = ipaddress.IPv4Network.__init__

    def counted(self: ipaddress.IPv4Network, *args: object, **options: object) -> None:
        built.append(1)
        make(self, *args, **options)

    monkeypatch.setattr(ipaddress.IPv4Network, "__init__", counted)
    node = nodes.start(config(access__ban__file=str(path)))
    node.reload(node.config)
    node.ban("192.0.2.0/24", keep=True)
    assert len(built) < 10 * many
    assert len(node.bans) == many + 1


def test_a_reload_takes_the_bans_of_others_over(nodes: Nodes, tmp_path: pathlib.Path) -> None:
    """And ends what it must."""
    keeping = config(access__ban__file=str(tmp_path / "bans"))
    one, two, near = nodes.start(keeping), nodes.start(keeping), nodes.start()
    near.connect(two.contact)
    one.ban(near.id, keep=True)
    assert two.is_connected(near.id)
    two.reload(two.config)
    assert nodes.heard(near).wait(crust.LostPeer).reason == "banned"
