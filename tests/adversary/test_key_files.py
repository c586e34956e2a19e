"""
Promise: a node runs under the key that its owner alone has, or not at all.

Another user of the machine, or an accident, has put something else where the key should be. ``crust node`` says in one
line what is wrong with which file, ends with an error, has changed nothing, and shows nothing of what it has read. The
same rules by the library, and races of those that make a key at once: tests/runtime/test_identity_file.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from crust import Identity, IdentityError
from crust.runtime.identity_file import load_network_secrets
from tests.cli.processes import environment

PATIENCE = 60.0


def key(path: Path) -> bytes:
    """A good file."""
    Identity.generate().save(path)
    return path.read_bytes()


def write(path: Path, data: bytes, mode: int = 0o600) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    path.chmod(mode)


def mixed(path: Path) -> None:
    """The seed of one identity and the id of another."""
    one, other = key(path), key(path.with_name("other"))
    lines = [line for line in one.splitlines() if line.startswith(b"seed")]
    write(path, b"\n".join(lines + [line for line in other.splitlines() if line.startswith(b"id")]))


def sparse(path: Path) -> None:
    """Ten gigabytes, of which none are on the disk."""
    write(path, key(path))
    os.truncate(path, 10 * 2**30)


def linked(path: Path) -> None:
    """To a file that others can read."""
    target = path.with_name("target")
    write(target, key(path), 0o644)
    path.unlink()
    path.symlink_to(target)


def looped(path: Path) -> None:
    path.symlink_to(path)


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "readable by the group": (lambda path: write(path, key(path), 0o640), "chmod 600"),
    "writable by all": (lambda path: write(path, key(path), 0o602), "chmod 600"),
    "a link to one that is": (linked, "chmod 600"),
    "a link to itself": (looped, "cannot be opened"),
    "a link to nothing": (lambda path: path.symlink_to(path.with_name("nothing")), "there is none"),
    "a folder": (lambda path: path.mkdir(), "not a file"),
    "a pipe": (lambda path: os.mkfifo(path, 0o600), "not a file"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "not a file"),
    "empty": (lambda path: write(path, b""), "missing"),
    "cut short": (lambda path: write(path, key(path)[:30]), "seed"),
    "huge": (sparse, "something else"),
    "binary": (lambda path: write(path, os.urandom(500) + b"\xff"), "not text"),
    "a seed of another id": (mixed, "id"),
    "twice a seed": (lambda path: write(path, key(path) + key(path.with_name("other"))), "seed"),
    "with a NUL": (lambda path: write(path, key(path) + b"\0"), "identity"),
    "a network's secret": (lambda path: write(path, b"a" * 52 + b"\n"), "nothing else"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_files_that_are_no_keys(tmp_path: Path, name: str) -> None:
    """An error that names the file and the cause, whether a key is to be read or made."""
    make, words = HOSTILE[name]
    path = tmp_path / "identity"
    make(path)
    before = {each.name for each in tmp_path.iterdir()}
    content = path.read_bytes()[:100] if path.is_file() and not path.stat().st_size > 2**20 else b""
    for use in (Identity.load, Identity.load_or_create):
        with pytest.raises(IdentityError) as caught:
            use(path)
        text = str(caught.value)
        assert str(path) in text and words in text
        assert not any(line.split()[-1] in text for line in content.decode("latin-1").splitlines() if len(line) > 50)
    assert {each.name for each in tmp_path.iterdir()} == before
    with pytest.raises(IdentityError):
        load_network_secrets(path) if name != "a network's secret" else Identity.load(path)


def test_the_command(tmp_path: Path) -> None:
    """One line on stderr, nothing on stdout, and an end at once: it does not wait for who writes into a pipe."""
    path = tmp_path / "identity"
    os.mkfifo(path, 0o600)
    words = [sys.executable, "-m", "crust", "node", "--listen", "tcp://127.0.0.1:0", "--identity", str(path)]
    found = subprocess.run(words, env=environment(tmp_path), capture_output=True, text=True, timeout=PATIENCE)
    assert found.returncode != 0 and found.stdout == ""
    assert "not a file" in found.stderr and len(found.stderr.splitlines()) == 1
