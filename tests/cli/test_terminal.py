"""What is shown, where, and that strangers' text is harmless."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crust.cli.terminal import human_duration, human_size, parse_size, printable
from tests.cli.fakes import make_terminal, printed, shown


@given(st.text())
def test_printable_text_has_no_control_characters(text: str) -> None:
    """Nothing that moves a cursor, hides or reverses text is left, and it stays one line."""
    shown_text = printable(text)
    assert not any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} for c in shown_text)


@given(st.text(alphabet=st.characters(whitelist_categories=("L", "N", "P", "S")), max_size=100))
def test_printable_leaves_ordinary_text_alone(text: str) -> None:
    assert printable(text) == text


def test_printable_shows_what_was_there() -> None:
    assert printable("a\x1b[31m\u202ejpg.exe") == "a\\x1b[31m\\u202ejpg.exe"
    assert printable("x" * 10, limit=4) == "xxx…"


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (12_345, "12.3 kB"),
        (999_600, "1.00 MB"),
        (5e15, "5000 TB"),
    ],
)
def test_sizes_have_three_digits(size: float, text: str) -> None:
    assert human_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.26, "0.3 s"), (42, "42 s"), (59.6, "1:00 min"), (185, "3:05 min"), (7620, "2:07 h")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("1500", 1500), ("64k", 64_000), ("10MB", 10_000_000), ("1.5 GiB", 3 << 29), ("2Ti", 2 << 40)],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "-1", "ten", "1x", "1ib", "1e3", "1 000", "nan"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


def test_data_goes_to_stdout_and_words_to_stderr() -> None:
    terminal = make_terminal()
    terminal.out("data")
    terminal.say("words")
    assert (printed(terminal), shown(terminal)) == ("data\n", "words\n")


def test_quiet_shows_only_errors_and_data() -> None:
    terminal = make_terminal(verbosity=-1)
    terminal.out("data")
    terminal.say("words")
    terminal.warn("warning")
    terminal.detail("detail")
    terminal.error("trouble")
    assert (printed(terminal), shown(terminal)) == ("data\n", "crust: error: trouble\n")


@pytest.mark.parametrize(
    ("tty", "environ", "coloured"),
    [(True, {}, True), (False, {}, False), (True, {"NO_COLOR": "1"}, False), (True, {"TERM": "dumb"}, False)],
)
def test_colours_are_for_terminals_that_want_them(tty: bool, environ: dict[str, str], coloured: bool) -> None:
    terminal = make_terminal(tty=tty, environ=environ)
    terminal.error("trouble")
    assert ("\x1b[31m" in shown(terminal)) == coloured


@pytest.mark.parametrize(
    ("answer", "taken"), [("y\n", True), ("YES\n", True), ("n\n", False), ("\n", False), ("", False)]
)
def test_only_yes_is_a_yes(answer: str, taken: bool) -> None:
    terminal = make_terminal(tty=True, answers=answer)
    assert terminal.ask("Take it?") is taken
    assert "Take it? [y/N] " in shown(terminal)


def test_a_bar_shows_share_bytes_speed_and_time() -> None:
    now = [0.0]
    terminal = make_terminal(tty=True, environ={"NO_COLOR": "1"}, clock=lambda: now[0])
    bar = terminal.progress("photo.jpg", 20_000_000)
    now[0] = 2.0
    bar.update(5_000_000)
    line = bar.line(width=100)
    assert line.startswith("photo.jpg [=====")
    assert " 25%  5.00 MB of 20.0 MB  2.50 MB/s  6.0 s" in line
    assert len(line) < 100
    assert "photo.jpg [==" in shown(terminal)


@given(
    st.text(min_size=1, max_size=60),
    st.integers(0, 10**12),
    st.integers(20, 200),
    st.floats(0, 1),
    st.floats(0.1, 9),
)
def test_a_bar_fits_the_terminal(label: str, total: int, width: int, share: float, later: float) -> None:
    now = [0.0]
    bar = make_terminal(clock=lambda: now[0]).progress(label, total)
    now[0] = later
    bar.update(int(total * share))
    line = bar.line(width)
    assert sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line) < width


def test_a_bar_is_drawn_at_most_ten_times_a_second() -> None:
    now = [0.0]
    terminal = make_terminal(tty=True, clock=lambda: now[0])
    bar = terminal.progress("x", 1000)
    for step in range(1000):
        now[0] = step / 1000
        bar.update(step)
    assert shown(terminal).count("\r\x1b[K") <= 10


def test_lines_do_not_run_into_the_bar() -> None:
    """A line erases the bar, and the bar is drawn again below it."""
    now = [0.0]
    terminal = make_terminal(tty=True, environ={"NO_COLOR": "1"}, clock=lambda: now[0])
    bar = terminal.progress("x", 10)
    now[0] = 1.0
    bar.update(5)
    before = len(shown(terminal))
    terminal.say("hello")
    assert shown(terminal)[before:].startswith("\r\x1b[Khello\nx ")
    bar.close()
    assert shown(terminal).endswith("\r\x1b[K")


def test_there_is_no_bar_without_a_terminal() -> None:
    now = [0.0]
    terminal = make_terminal(clock=lambda: now[0])
    bar = terminal.progress("x", 10)
    now[0] = 5.0
    bar.update(5)
    bar.note("link lost")
    bar.close()
    assert shown(terminal) == ""


def test_a_note_takes_the_place_of_the_speed() -> None:
    terminal = make_terminal(tty=True)
    bar = terminal.progress("x", 10)
    bar.note("link lost, reconnecting")
    assert "link lost, reconnecting" in shown(terminal)
