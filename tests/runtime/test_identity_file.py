"""Identity files: private, whole, never overwritten, one running node each."""

from __future__ import annotations

import os
import pathlib
import stat
import subprocess
import sys
import threading

import pytest

from crust.crypto.identity import generate_network_secret_text
from crust.exceptions import IdentityError, IdentityInUse
from crust.runtime import identity_file
from crust.runtime.identity_file import Identity, IdentityLock, load_network_secrets, save_private_text

Path = pathlib.Path

HOLD = """
import sys
from crust.runtime.identity_file import IdentityLock
lock = IdentityLock(sys.argv[1]).acquire()
print("held", flush=True)
sys.stdin.read()
"""


def holder(path: Path) -> subprocess.Popen[str]:
    """A process that holds the lock of ``path`` until its stdin ends."""
    root = str(pathlib.Path(identity_file.__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([root, os.getcwd()])},
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def finish(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate(timeout=20)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_an_identity_is_made_once_and_then_loaded(tmp_path: Path) -> None:
    """Directory 0700, file 0600, the same id again, and nothing else left behind."""
    path = tmp_path / "deep" / "own" / "identity"
    old = os.umask(0)
    try:
        made = Identity.load_or_create(path)
    finally:
        os.umask(old)
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)
    assert os.listdir(path.parent) == ["identity"]
    assert made.path == str(path)
    for again in (Identity.load(path), Identity.load_or_create(str(path))):
        assert type(again) is Identity and again.peer_id == made.peer_id and again.path == str(path)
    assert Identity.generate().path is None


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """With how to make one."""
    with pytest.raises(IdentityError, match="none.*crust keygen"):
        Identity.load(tmp_path / "identity")


def test_saving_never_overwrites(tmp_path: Path) -> None:
    """The file that is there stays."""
    path = tmp_path / "identity"
    first = Identity.generate().save(path)
    with pytest.raises(FileExistsError, match="never overwritten"):
        Identity.generate().save(path)
    assert Identity.load(path).peer_id == first.peer_id
    assert os.listdir(tmp_path) == ["identity"]


def test_all_who_race_get_the_same_identity(tmp_path: Path) -> None:
    """The losers read the winner's file."""
    path = tmp_path / "identity"
    barrier = threading.Barrier(8)
    ids: list[object] = []

    def race() -> None:
        barrier.wait(20)
        ids.append(Identity.load_or_create(path).peer_id)

    threads = [threading.Thread(target=race, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(ids) == 8 and len(set(ids)) == 1
    assert os.listdir(tmp_path) == ["identity"]


def test_the_loser_of_a_race_reads_the_winners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file appears between looking and linking."""
    path = tmp_path / "identity"
    winner = Identity.generate().save(path)
    monkeypatch.setattr(identity_file.os.path, "lexists", lambda name: False)
    assert Identity.load_or_create(path).peer_id == winner.peer_id
    assert os.listdir(tmp_path) == ["identity"]


def test_a_crash_while_writing_leaves_no_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full: IdentityError that names the cause, and no file under any name."""

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(identity_file.os, "fsync", full)
    with pytest.raises(IdentityError, match="No space left on device"):
        Identity.load_or_create(tmp_path / "identity")
    assert os.listdir(tmp_path) == []


def test_without_hard_links_it_still_works_and_never_overwrites(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAT and some network shares."""

    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(identity_file.os, "link", refuse)
    path = tmp_path / "identity"
    made = Identity.load_or_create(path)
    assert mode(path) == 0o600 and os.listdir(tmp_path) == ["identity"]
    with pytest.raises(FileExistsError):
        Identity.generate().save(path)
    assert Identity.load(path).peer_id == made.peer_id


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o610, 0o602])
def test_a_file_that_others_can_get_at_is_refused(tmp_path: Path, bits: int) -> None:
    """With the command that repairs it."""
    path = tmp_path / "my identity"
    Identity.generate().save(path)
    path.chmod(bits)
    with pytest.raises(IdentityError, match=f"chmod 600 '{path}'"):
        Identity.load(path)
    with pytest.raises(IdentityError, match="chmod 600"):
        Identity.load_or_create(path)


def test_a_file_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever owns it could read it."""
    path = tmp_path / "identity"
    Identity.generate().save(path)
    us = os.geteuid()
    monkeypatch.setattr(identity_file.os, "geteuid", lambda: us + 1)
    with pytest.raises(IdentityError, match=f"belongs to user {us}.*chown {us + 1}"):
        Identity.load(path)


def test_read_only_for_the_owner_is_fine_and_links_are_followed(tmp_path: Path) -> None:
    """As secret managers mount them."""
    path, link = tmp_path / "identity", tmp_path / "link"
    made = Identity.generate().save(path)
    path.chmod(0o400)
    link.symlink_to(path)
    assert Identity.load(link).peer_id == made.peer_id


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "missing"),
        (b"\xff\xfe\x00", "not text"),
        (b"hello\n", "nothing else"),
        (b"#" * 9000, "something else"),
    ],
)
def test_a_damaged_file_is_told_by_name_and_left_alone(
    tmp_path: Path, content: bytes, complaint: str
) -> None:
    """A damaged identity is not replaced: that would be another node."""
    path = tmp_path / "identity"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(IdentityError, match=complaint) as caught:
        Identity.load_or_create(path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == content


def test_what_is_no_file_is_told_and_waited_for_by_nobody(tmp_path: Path) -> None:
    """A directory, a fifo without a writer, a link to nothing, a directory that cannot be made."""
    with pytest.raises(IdentityError, match="not a file"):
        Identity.load(tmp_path)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    with pytest.raises(IdentityError, match="not a file"):
        Identity.load(fifo)
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "nowhere")
    with pytest.raises(IdentityError, match="there is none"):
        Identity.load_or_create(dangling)
    (tmp_path / "plain").write_text("")
    with pytest.raises(IdentityError):
        Identity.load_or_create(tmp_path / "plain" / "identity")


# --- network secrets --------------------------------------------------------------------------------------------------


def test_network_secrets_are_private_files_too(tmp_path: Path) -> None:
    """Read newest first; the same rules as for identities."""
    path = tmp_path / "secret"
    with pytest.raises(IdentityError, match="crust keygen --network"):
        load_network_secrets(path)
    save_private_text(path, generate_network_secret_text(lambda size: b"n" * size))
    assert mode(path) == 0o600
    assert load_network_secrets(path) == (b"n" * 32,)
    path.write_text(generate_network_secret_text(lambda size: b"m" * size) + path.read_text())
    assert load_network_secrets(path) == (b"m" * 32, b"n" * 32)
    path.chmod(0o644)
    with pytest.raises(IdentityError, match="chmod 600"):
        load_network_secrets(path)
    path.chmod(0o600)
    path.write_text("nonsense")
    with pytest.raises(IdentityError, match=f"network secret file {path}"):
        load_network_secrets(path)


# --- the lock ---------------------------------------------------------------------------------------------------------


def test_a_second_process_is_told_the_first_ones_id(tmp_path: Path) -> None:
    """Two nodes with one identity would break each other's sessions; a killed one leaves no obstacle."""
    path = tmp_path / "identity"
    Identity.generate().save(path)
    process = holder(path)
    try:
        with pytest.raises(IdentityInUse, match=f"in use by process {process.pid};"):
            IdentityLock(path).acquire()
    finally:
        finish(process)
    with IdentityLock(path) as lock:
        assert lock.held
        assert (tmp_path / "identity.lock").read_text() == f"{os.getpid()}\n"
    assert not lock.held


def test_two_nodes_of_one_process_exclude_each_other(tmp_path: Path) -> None:
    """Also by way of another name; released, the lock is free."""
    path, link = tmp_path / "identity", tmp_path / "link"
    Identity.generate().save(path)
    link.symlink_to(path)
    first, second = IdentityLock(path), IdentityLock(link)
    assert first.acquire() is first.acquire() is first
    with pytest.raises(IdentityInUse, match="another node of this process"):
        second.acquire()
    first.release()
    first.release()
    with second:
        with pytest.raises(IdentityInUse):
            first.acquire()
    assert not first.held


def test_nothing_leaks_from_a_failed_lock(tmp_path: Path) -> None:
    """The descriptor is closed when the lock is taken by another."""
    path = tmp_path / "identity"
    Identity.generate().save(path)
    with IdentityLock(path):
        before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
        for _ in range(5):
            with pytest.raises(IdentityInUse):
                IdentityLock(path).acquire()
        after = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    assert before == after


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_does_not_release_the_parents_lock(tmp_path: Path) -> None:
    """The child closes its descriptor only."""
    path = tmp_path / "identity"
    Identity.generate().save(path)
    with IdentityLock(path) as lock:
        child = os.fork()
        if child == 0:
            try:
                lock.release()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        with pytest.raises(IdentityInUse):
            IdentityLock(path).acquire()


def test_on_a_read_only_mount_the_identity_itself_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing can be written there, so the other process stays nameless."""
    path = tmp_path / "identity"
    Identity.generate().save(path)
    real = os.open

    def read_only(name: str, flags: int, *rest: int) -> int:
        if flags & os.O_CREAT:
            raise OSError(30, "Read-only file system", name)
        return real(name, flags, *rest)

    content = path.read_bytes()
    monkeypatch.setattr(identity_file.os, "open", read_only)
    with IdentityLock(path):
        with pytest.raises(IdentityInUse, match="another process"):
            IdentityLock(path).acquire()
    with IdentityLock(path):
        assert path.read_bytes() == content


def test_a_damaged_lock_file_does_not_matter(tmp_path: Path) -> None:
    """What counts is the lock, not what is in the file."""
    path = tmp_path / "identity"
    Identity.generate().save(path)
    lock_file = tmp_path / "identity.lock"
    lock_file.write_bytes(b"\xff" * 100)
    with IdentityLock(path):
        lock_file.write_bytes(b"nonsense")
        with pytest.raises(IdentityInUse, match="in use by another process;"):
            IdentityLock(path).acquire()


def test_a_lock_needs_its_directory(tmp_path: Path) -> None:
    """The error names the file."""
    with pytest.raises(IdentityError, match="cannot be opened: No such file"):
        IdentityLock(tmp_path / "missing" / "identity").acquire()
