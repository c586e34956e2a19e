"""
Promise: the name of a received file cannot lead out of the folder that was chosen, nor overwrite anything there.

A peer that was let in sends files under every name that has ever done harm somewhere. Whatever it says, one file more
lies in the folder, with the right content, under a name that is fit for shells, terminals and Windows; nothing around
the folder has changed, and nothing in it that was there before. All names, by property: tests/runtime/test_files.py;
what else a hostile sender may do: tests/peers/test_download.py, tests/peers/test_files.py.
"""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import crust
from tests.support.nodes import Nodes

HOSTILE = [
    # ways out of the folder
    *("../escaped", "../../escaped", "a/../../escaped", "/etc/passwd", "//host/share", "..\\..\\escaped"),
    *("C:\\Windows\\win.ini", "C:escaped", "\\\\?\\C:\\escaped", "file:///etc/passwd", "..", ".", "...", "/", "\\"),
    *("..\u2215etc", "\uff0e\uff0e\uff0fescaped", "%2e%2e%2fescaped", "..%c0%afescaped", "." * 300 + "/x"),
    # what shells, terminals and people take for something else
    *(".ssh", ".bashrc", "-rf", "--help", "~", "~root", "$HOME", "`id`", "$(id)", "; rm -rf .", "| sh"),
    *("a\nb", "a\rb", "a\0b", "\0", "\x1b[2J\x1b]0;owned\x07", "\x7f", "\x85", "a" + " " * 300 + ".exe"),
    *("\u202egpj.exe", "a\u2066b", "\ufeffa", "a\u200b", "\u2028", "\ud7ff", "\ue000", "\U0010ffff"),
    # what some systems reserve, cut, or take for the same
    *("CON", "nul.txt", "COM1", "LPT9.log", "aux .c", "PRN.", "con\u200b", "file.txt:stream", "file::$DATA"),
    *("a.", "a ", "x" * 1024, "é" * 512, "\u0301" * 500, "e\u0301", "é", "\u212b", "A\u030a"),
    # what is there
    *("victim", "VICTIM", "folder", "link", "dangling", "victim/inner", "link/inner", "folder/inner"),
]


def state(folder: Path) -> dict[str, bytes | str]:
    """All that is in a folder: names, contents, and where links lead."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[str(path)] = os.readlink(path)
        elif path.is_file():
            found[str(path)] = path.read_bytes()
    return found


def test_hostile_names(nodes: Nodes, tmp_path: Path) -> None:
    """One file more for each, where it should be, and not a byte elsewhere."""
    inbox = tmp_path / "a" / "b" / "inbox"
    (inbox / "folder").mkdir(parents=True)
    (inbox / "victim").write_bytes(b"mine")
    (tmp_path / "a" / "outside").write_bytes(b"mine, too")
    (inbox / "link").symlink_to(tmp_path / "a")
    (inbox / "dangling").symlink_to(tmp_path / "a" / "made")
    source = tmp_path / "source"
    source.write_bytes(b"")
    pair = nodes.pair()
    pair.near.accept_files(inbox)
    before = state(tmp_path)
    for number, name in enumerate(HOSTILE):
        names = set(os.listdir(inbox))
        source.write_bytes(b"content %d" % number)
        pair.to_near.send_file(source, name=name, timeout=20)
        (found,) = set(os.listdir(inbox)) - names
        assert (inbox / found).read_bytes() == b"content %d" % number and not (inbox / found).is_symlink()
        check_harmless(found)
        (inbox / found).unlink()
    source.write_bytes(b"")
    assert state(tmp_path) == before
    assert pair.near_heard.of(crust.PeerMisbehaved, crust.LostPeer) == []


def check_harmless(name: str) -> None:
    assert 0 < len(name.encode()) <= 255 and name.isprintable()
    assert not set(name) & set('/\\<>:"|?*') and name[0] not in ".-~ " and name[-1] not in ". "
    assert name.split(".")[0].rstrip().upper() not in {"CON", "PRN", "AUX", "NUL", "COM1", "LPT9"}
    assert unicodedata.normalize("NFC", name) == name
