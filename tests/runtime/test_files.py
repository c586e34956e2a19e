"""Files are whole or not there, are never overwritten, and no name does harm."""

from __future__ import annotations

import errno
import functools
import os
import pathlib
import threading
import unicodedata
from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crust import limits
from crust.runtime import files
from crust.runtime.files import publish_new, safe_name, write_atomic

# --- atomic writes ----------------------------------------------------------------------------------------------------


def mode(path: pathlib.Path) -> int:
    return path.stat().st_mode & 0o777


def test_write_atomic_makes_and_replaces(tmp_path: pathlib.Path) -> None:
    """The content is there, and nothing else."""
    path = tmp_path / "state.json"
    write_atomic(path, b"one")
    write_atomic(str(path), b"two" * 100_000)
    assert path.read_bytes() == b"two" * 100_000
    assert os.listdir(tmp_path) == ["state.json"]


def test_private_files_are_private_from_the_first_moment(tmp_path: pathlib.Path) -> None:
    """0600 whatever the umask and the old file were; others as the umask says."""
    path = tmp_path / "secret"
    path.touch(0o644)
    before = os.umask(0o022)
    try:
        write_atomic(path, b"x", private=True)
        assert mode(path) == 0o600
        write_atomic(path, b"x")
        assert mode(path) == 0o644
    finally:
        os.umask(before)


def test_write_atomic_replaces_a_link_and_leaves_its_target(tmp_path: pathlib.Path) -> None:
    """Somebody else's link cannot redirect what we write."""
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    write_atomic(link, b"new")
    assert target.read_bytes() == b"old" and not link.is_symlink() and link.read_bytes() == b"new"


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_failed_write_changes_nothing(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A full disk leaves the old content and no temporary file."""
    path = tmp_path / "state"
    path.write_bytes(b"old")

    def fail(*args: object, **named: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(files.os, step, fail)
        with pytest.raises(OSError, match="No space left"):
            write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["state"]


def test_short_writes_are_continued(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system may take less than it is given."""
    write = os.write
    with monkeypatch.context() as patched:
        patched.setattr(files.os, "write", lambda descriptor, data: write(descriptor, data[:3]))
        write_atomic(tmp_path / "x", b"0123456789")
    assert (tmp_path / "x").read_bytes() == b"0123456789"


def test_content_is_synced_before_it_gets_its_name(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power cut could leave an empty file under the name; then the folder is synced."""
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(files.os, "fsync", lambda descriptor: (steps.append("sync"), fsync(descriptor)))
    monkeypatch.setattr(files.os, "replace", lambda old, new: (steps.append("name"), replace(old, new)))
    write_atomic(tmp_path / "x", b"x")
    assert steps == ["sync", "name", "sync"]


# --- publishing -------------------------------------------------------------------------------------------------------


def temporary(folder: pathlib.Path, content: bytes) -> pathlib.Path:
    path = folder / ".part"
    path.write_bytes(content)
    return path


def test_publishing_never_overwrites(tmp_path: pathlib.Path) -> None:
    """A taken name gets a number, before the extension."""
    paths = [publish_new(temporary(tmp_path, b"%d" % n), tmp_path, "photo.jpg") for n in range(3)]
    assert [path.name for path in paths] == ["photo.jpg", "photo (1).jpg", "photo (2).jpg"]
    assert [path.read_bytes() for path in paths] == [b"0", b"1", b"2"]
    assert sorted(os.listdir(tmp_path)) == sorted(path.name for path in paths)


@pytest.mark.parametrize(
    ("name", "second"),
    [
        ("README", "README (1)"),
        ("a.tar.gz", "a (1).tar.gz"),
        ("a.b.c", "a.b (1).c"),
        ("Dr. Who and the long sentence", "Dr. Who and the long sentence (1)"),
    ],
)
def test_where_the_number_goes(tmp_path: pathlib.Path, name: str, second: str) -> None:
    """An extension stays an extension."""
    publish_new(temporary(tmp_path, b""), tmp_path, name)
    assert publish_new(temporary(tmp_path, b""), tmp_path, name).name == second


@pytest.mark.parametrize("name", ["ä" * 127, "ä" * 125 + ".txt", "x" * 251 + ".txt"])
def test_a_numbered_long_name_is_still_short_enough(tmp_path: pathlib.Path, name: str) -> None:
    """The stem gives way, by whole characters."""
    publish_new(temporary(tmp_path, b""), tmp_path, name)
    second = publish_new(temporary(tmp_path, b""), tmp_path, name).name
    assert len(second.encode()) <= limits.FILE_NAME_MAX
    assert " (1)" in second and second.endswith(name[-4:] if "." in name else "(1)")


def test_taken_by_a_folder_or_a_dangling_link(tmp_path: pathlib.Path) -> None:
    """Whatever has the name keeps it."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").symlink_to(tmp_path / "nowhere")
    assert publish_new(temporary(tmp_path, b""), tmp_path, "a").name == "a (1)"
    assert publish_new(temporary(tmp_path, b""), tmp_path, "b").name == "b (1)"
    assert not (tmp_path / "nowhere").exists()


def test_publishers_race(tmp_path: pathlib.Path) -> None:
    """Many at once under one name: every one gets a name of its own."""
    results: list[bytes] = []

    def publish(number: int) -> None:
        source = tmp_path / f".part{number}"
        source.write_bytes(b"%d" % number)
        results.append(publish_new(source, tmp_path, "x.txt").read_bytes())

    threads = [threading.Thread(target=publish, args=(number,), daemon=True) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(results) == [b"%d" % number for number in range(8)]
    assert len(os.listdir(tmp_path)) == 8


@pytest.fixture
def no_hard_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system such as FAT."""

    def fail(*args: object, **named: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(files.os, "link", fail)


@pytest.mark.parametrize("there", [range(1, 2001), [*range(1, 60), 70, 100, 10_000]], ids=["all", "with gaps"])
def test_thousands_of_one_name_cost_little(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, there: Iterable[int]
) -> None:
    """Whoever sends so many has not each of them tried for every next one."""
    tried: list[object] = []
    link, look = os.link, os.path.lexists
    monkeypatch.setattr(files.os, "link", lambda *args, **named: (tried.append(args), link(*args, **named))[1])
    monkeypatch.setattr(files.os.path, "lexists", lambda path: (tried.append(path), look(path))[1])
    names = ["x.txt", *(f"x ({number}).txt" for number in there)]
    for name in names:
        (tmp_path / name).touch()
    published = [publish_new(temporary(tmp_path, b"new"), tmp_path, "x.txt") for _ in range(10)]
    assert len(set(published)) == 10 and not {path.name for path in published} & set(names)
    assert all(path.read_bytes() == b"new" for path in published)
    assert len(tried) < 10 * 60


def test_nobody_uses_up_a_name(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one peer has had all the small numbers, others' files of that name still get one."""
    monkeypatch.setattr(files, "_NUMBERS_MAX", 20)
    taken = ["x.txt", *(f"x ({number}).txt" for number in range(1, 21))]
    for name in taken:
        (tmp_path / name).touch()
    published = [publish_new(temporary(tmp_path, b"new"), tmp_path, "x.txt") for _ in range(10)]
    assert len(set(published)) == 10 and not {path.name for path in published} & set(taken)
    assert all(path.read_bytes() == b"new" for path in published)


@pytest.mark.usefixtures("no_hard_links")
def test_publishing_without_hard_links(tmp_path: pathlib.Path) -> None:
    """It never overwrites there either."""
    test_publishing_never_overwrites(tmp_path)
    test_taken_by_a_folder_or_a_dangling_link(tmp_path)


@pytest.mark.usefixtures("no_hard_links")
def test_a_failure_without_hard_links_leaves_no_empty_file(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The place that was taken is given back."""

    def fail(old: object, new: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    source = temporary(tmp_path, b"x")
    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(OSError, match="Input/output"):
        publish_new(source, tmp_path, "x")
    assert os.listdir(tmp_path) == [".part"]


def test_publishing_fails_clearly(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No source, no folder, no number left: an error, and the temporary is still there."""
    with pytest.raises(FileNotFoundError):
        publish_new(tmp_path / "nothing", tmp_path, "x")
    source = temporary(tmp_path, b"x")
    with pytest.raises(FileNotFoundError):
        publish_new(source, tmp_path / "nowhere", "x")
    monkeypatch.setattr(files, "_NUMBERS_MAX", 1)
    monkeypatch.setattr(files, "_NUMBERS_BEYOND", 1)
    for name in ("x", "x (1)"):
        (tmp_path / name).touch()
    with pytest.raises(FileExistsError, match="too many files of this name exist"):
        publish_new(source, tmp_path, "x")
    assert source.read_bytes() == b"x"


@pytest.mark.skipif(os.name == "nt", reason="folders are not synced there")
@pytest.mark.parametrize("step", ["open", "fsync"])
def test_what_cannot_be_published_has_no_name(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """No descriptor is left to sync the folder, or the disk is broken: it failed, so it is sent again."""
    source = temporary(tmp_path, b"x")
    with monkeypatch.context() as patched:
        patched.setattr(files.os, step, functools.partial(_fail, OSError(errno.EIO, "it failed")))
        with pytest.raises(OSError, match="it failed"):
            publish_new(source, tmp_path, "x")
    assert "x" not in os.listdir(tmp_path)


def test_a_folder_that_may_not_be_listed(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A drop box takes files all the same; it cannot be synced."""
    source = temporary(tmp_path, b"x")
    with monkeypatch.context() as patched:
        patched.setattr(files.os, "open", functools.partial(_fail, PermissionError(errno.EACCES, "not to you")))
        assert publish_new(source, tmp_path, "x") == tmp_path / "x"
    assert os.listdir(tmp_path) == ["x"]


def test_a_temporary_that_somebody_removes(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it has its name, who cleans up does no harm."""
    source, link = temporary(tmp_path, b"x"), os.link

    def cleaned(old: pathlib.Path, new: pathlib.Path, **named: bool) -> None:
        link(old, new, **named)
        old.unlink()

    monkeypatch.setattr(files.os, "link", cleaned)
    assert publish_new(source, tmp_path, "x").read_bytes() == b"x"


def _fail(error: OSError, *args: object, **named: object) -> None:
    raise error


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hostile", "name"),
    [
        ("report.pdf", "report.pdf"),
        ("Fünf Äpfel (1).tar.gz", "Fünf Äpfel (1).tar.gz"),
        ("../../etc/passwd", "passwd"),
        ("/etc/passwd", "passwd"),
        ("C:\\Windows\\system.ini", "system.ini"),
        ("..", "file"),
        (".", "file"),
        ("", "file"),
        ("///", "file"),
        ("a/..", "a"),
        ("a/", "a"),
        ("a\0b", "ab"),
        ("a\nb\r\tc\x1b[31m", "abc[31m"),
        (".bashrc", "bashrc"),
        ("-rf", "rf"),
        ("~root", "root"),
        ("- .x", "x"),
        ("photo\u202egpj.exe", "photogpj.exe"),
        ("a\u200bb\ufeff\u2066c", "abc"),
        ("a\ud800b", "ab"),
        ("a\u2028b", "ab"),
        ("a\u00a0b\u3000c", "a b c"),
        ("e\u0301", "é"),
        ("x. . ", "x"),
        ('<>:"|?*.txt', "_______.txt"),
        ("file.txt:stream", "file.txt_stream"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("com1.tar.gz", "_com1.tar.gz"),
        ("COM¹", "_COM¹"),
        ("aux .c", "_aux .c"),
        ("Console", "Console"),
        ("com10", "com10"),
        ("con\u200b", "_con"),
        ("x" * 300, "x" * 255),
        ("x" * 300 + ".txt", "x" * 251 + ".txt"),
        ("x" * 300 + ".tar.gz", "x" * 248 + ".tar.gz"),
        ("x." + "y" * 300, "x." + "y" * 253),
        ("ä" * 200 + ".txt", "ä" * 125 + ".txt"),
        ("con" + " " * 300 + ".txt", "_con .txt"),
        ("holiday.jpg" + " " * 100 + ".exe", "holiday.jpg .exe"),
    ],
)
def test_safe_names(hostile: str, name: str) -> None:
    """What becomes of which name."""
    assert safe_name(hostile) == name


PARTS = ["..", ".", "/", "\\", "-", "~", " ", "con", "NUL", "lpt1", ".txt", "\u202e", "\0", "e\u0301", ":", "\u3000"]


@given(st.text() | st.lists(st.sampled_from(PARTS) | st.text(max_size=2)).map("".join), st.integers(32, 255))
@example("con." + "x" * 251, 255)
@example("a" * 30 + " .txt", 32)
def test_no_name_does_harm(hostile: str, limit: int) -> None:
    """In any folder, shell or terminal; and a safe name is left alone."""
    name = safe_name(hostile, limit)
    assert name and name not in (".", "..")
    assert len(name.encode()) <= limit
    assert not set(name) & set('/\\\0<>:"|?*')
    assert not any(unicodedata.category(c)[0] == "C" or unicodedata.category(c) in ("Zl", "Zp") for c in name)
    assert name[0] not in ".-~ " and name[-1] not in ". "
    stem = name.split(".")[0].rstrip().upper()
    assert stem not in {"CON", "PRN", "AUX", "NUL", "COM1", "LPT9", "CONIN$", "CONOUT$"}
    assert safe_name(name, limit) == name
    assert unicodedata.normalize("NFC", name) == name


@given(st.text(max_size=300))
def test_safe_names_can_be_made(tmp_path_factory: pytest.TempPathFactory, hostile: str) -> None:
    """The file system takes them, and the file lies where it should."""
    folder = tmp_path_factory.mktemp("names")
    (folder / safe_name(hostile)).touch()
    assert len(os.listdir(folder)) == 1


def test_a_limit_too_small_is_a_mistake() -> None:
    """There must be room for an extension."""
    with pytest.raises(ValueError, match="at least 32"):
        safe_name("x", 31)
