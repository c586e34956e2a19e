"""When a file says something else: what is seen counts when it is seen twice, and once only."""

from __future__ import annotations

import os
import pathlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crust import ConfigError
from crust.config.source import digest_of
from crust.service.reloading.watch import Verdict, Watch, look_at, mark_of, read_regular

NOTHING, AGAIN, ACT = Verdict.NOTHING, Verdict.LOOK_AGAIN, Verdict.ACT
MARK, OTHER = (1, 2, 3, 4), (1, 2, 3, 5)


def test_what_is_seen_twice_counts_once() -> None:
    watch = Watch("a")
    assert [watch.judge(MARK, token) for token in "abbbbaa"] == [NOTHING, AGAIN, ACT, NOTHING, NOTHING, AGAIN, ACT]


def test_what_is_seen_once_never_counts() -> None:
    """A file that is being written shows something else at each look, and in the end what it was."""
    watch = Watch("a")
    assert [watch.judge(MARK, token) for token in "bcdeba"] == [AGAIN] * 5 + [NOTHING]
    assert watch.judge(MARK, "b") is AGAIN


def test_what_somebody_has_asked_for_is_not_news() -> None:
    """It was read and its outcome told already; what was seen once before is forgotten."""
    watch = Watch("a")
    assert watch.judge(MARK, "b") is AGAIN
    watch.count("b")
    assert watch.judge(MARK, "b") is NOTHING
    assert watch.judge(MARK, "a") is AGAIN


def test_reading_is_saved_when_nothing_can_have_changed() -> None:
    """Not before a look after the last change has found the same under one mark: the clock of a system has ticks."""
    watch = Watch("a")
    assert not watch.is_unchanged(MARK)
    watch.judge(MARK, "a")
    assert not watch.is_unchanged(MARK)
    watch.judge(MARK, "a")
    assert watch.is_unchanged(MARK) and not watch.is_unchanged(OTHER) and not watch.is_unchanged(None)
    assert watch.judge(OTHER, "b") is AGAIN
    assert not watch.is_unchanged(OTHER)
    assert watch.judge(OTHER, "b") is ACT
    assert not watch.is_unchanged(OTHER)
    assert watch.judge(OTHER, "b") is NOTHING
    assert watch.is_unchanged(OTHER) and not watch.is_unchanged(MARK)


def test_what_cannot_be_read_is_looked_at_every_time() -> None:
    watch = Watch("a")
    assert [watch.judge(None, "gone") for _ in range(3)] == [AGAIN, ACT, NOTHING]
    assert not watch.is_unchanged(None)
    assert [watch.judge(MARK, "a") for _ in range(3)] == [AGAIN, ACT, NOTHING]


@given(st.lists(st.sampled_from("abc"), max_size=30))
def test_whatever_is_seen_the_last_word_counts(tokens: list[str]) -> None:
    """It acts on nothing that was not seen twice in a row, never twice on the same, and always on what stays."""
    watch, counted, before = Watch("a"), "a", ""
    for token in tokens:
        if watch.judge(MARK, token) is ACT:
            assert token == before != counted
            counted = token
        before = token
    last = tokens[-1] if tokens else "a"
    verdicts = [watch.judge(MARK, last) for _ in range(2)]
    assert (ACT in verdicts) == (last != counted)
    assert watch.judge(MARK, last) is NOTHING


def test_a_mark_is_another_when_the_file_is(tmp_path: pathlib.Path) -> None:
    """Replaced by another of the same size and time; nothing there; a link that leads elsewhere."""
    path, other = tmp_path / "a", tmp_path / "b"
    for each in (path, other):
        each.write_text("same")
        os.utime(each, ns=(1, 1))
    mark = mark_of(str(path))
    assert mark is not None and mark != mark_of(str(other))
    os.replace(other, path)
    assert mark_of(str(path)) != mark
    link = tmp_path / "link"
    link.symlink_to(path)
    assert mark_of(str(link)) == mark_of(str(path))
    path.unlink()
    assert mark_of(str(link)) is mark_of(str(path)) is mark_of("\0") is None


def test_a_look_says_what_is_there_or_why_not(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "crust.yaml"
    assert "No such file" in str(look_at(str(path)).problem)
    path.write_bytes(b"version: 1\n")
    sight = look_at(str(path))
    assert (sight.content, sight.problem, sight.token) == (b"version: 1\n", None, digest_of(b"version: 1\n"))
    path.write_bytes(b" \n")
    assert "is empty" in str(look_at(str(path)).problem)
    assert "directory" in str(look_at(str(tmp_path)).problem) or "plain file" in str(look_at(str(tmp_path)).problem)
    assert look_at("\0").problem is not None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no such files")
def test_nobody_is_waited_for(tmp_path: pathlib.Path) -> None:
    """A pipe by name would hold up whoever opens it."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(ConfigError, match="plain file"):
        read_regular(str(path))


def test_no_content_is_taken_for_another() -> None:
    """The token depends on every byte."""
    source = random.Random(7)
    contents = {source.randbytes(source.randrange(100)) for _ in range(1000)}
    assert len({digest_of(content) for content in contents}) == len(contents)


@pytest.mark.skipif(os.name == "nt", reason="this system has no devices in folders")
def test_a_file_that_is_replaced_while_it_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is opened counts, not what was there before: a pipe would be waited for, and a device never ends."""
    regular = os.stat(__file__)
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", lambda path: regular)
        with pytest.raises(ConfigError, match="no plain file"):
            read_regular("/dev/zero")
