"""The matrix without a laboratory: its table, its verdicts, the file of its runs, and its page."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import pathlib
import sys
from typing import Any

import pytest

from crust.peers.paths import CLASSES
from tests.natlab.matrix import __main__ as command
from tests.natlab.matrix import report
from tests.natlab.matrix import run as playing
from tests.natlab.matrix.__main__ import parser, planned, progress
from tests.natlab.matrix.outcome import Outcome, Step, judge
from tests.natlab.matrix.state import Conditions, Run, State
from tests.natlab.matrix.table import LETTERS, SPECIAL, TABLE, can_link, expected, letter, pairs
from tests.natlab.routers.kinds import KINDS

HERE = Conditions()


def steps(*found: tuple[float, str]) -> tuple[Step, ...]:
    return tuple(Step(seconds, name, "utp" if name.endswith("utp") else "tcp") for seconds, name in found)


def outcome(*found: tuple[float, str], **more: Any) -> Outcome:
    """Both ends had these paths."""
    known = {"connected": 0.1, "first_message": 0.2, "carries": True, "ended": 1.0, **more}
    return Outcome(caller=steps(*found), callee=steps(*found), **known)


# --- the table --------------------------------------------------------------------------------------------------------


def test_the_table_has_every_pair_of_kinds() -> None:
    """In the order of the laboratory's kinds, each cell with a letter that is explained."""
    assert list(TABLE) == list(KINDS)
    for number, row in enumerate(TABLE.values()):
        assert len(row.split()) == len(KINDS) - number
    for one, other in pairs(list(TABLE)):
        assert letter(one, other) == letter(other, one) and letter(one, other) in LETTERS


@pytest.mark.parametrize(
    ("one", "other", "only", "name", "seconds"),
    [
        ("none", "port", "", "D", 1.0),
        ("strict", "none", "", "S", 1.0),
        ("full", "strict", "", "R", 0.6),
        ("cgnat", "port", "", "T", 1.5),
        ("rst", "port", "", "T", 2.0),
        ("rst", "rst", "", "T", 4.0),
        ("tcpblock", "rst", "", "V", 2.0),
        ("sym", "port", "", "B", 15.0),
        ("sym", "port", "tcp", "Bt", 15.0),
        ("sym", "rst", "tcp", "R", 0.6),
        ("symseq", "port", "tcp", "Pt", 4.0),
        ("symseq", "port", "utp", "P", 4.0),
        ("port", "addr", "utp", "V", 1.5),
        ("none", "none", "utp", "U", 1.0),
        ("sym", "sym", "utp", "R", 0.6),
    ],
)
def test_what_is_expected(one: str, other: str, only: str, name: str, seconds: float) -> None:
    """Of a pair, whoever calls; with one transport alone what that leaves."""
    for found in (expected(one, other, only), expected(other, one, only)):
        assert found is not None and (found.letter, found.seconds) == (name, seconds)


def test_who_reaches_no_rendezvous_is_left_out() -> None:
    """Whose only transport is blocked; with one transport, all others have something to come to."""
    assert [kind for kind in TABLE if not can_link(kind, "tcp")] == ["tcpblock"]
    assert [kind for kind in TABLE if not can_link(kind, "utp")] == ["udpblock", "strict"]
    for only in ("", "tcp", "utp"):
        for one, other in pairs(list(TABLE)):
            found = expected(one, other, only)
            assert (found is not None) is (can_link(one, only) and can_link(other, only))
            assert found is None or not only or found.path_class.rpartition("-")[2] in (only, *CLASSES)


@pytest.mark.parametrize("name", SPECIAL)
def test_pairs_of_other_sorts(name: str) -> None:
    """They have letters of their own, and with one transport alone the path by that one."""
    found = [expected(name, name, only) for only in ("", "tcp", "utp")]
    assert found[0] == found[1] == SPECIAL[name] and SPECIAL[name].letter not in LETTERS
    assert found[2] is not None and found[2].path_class == SPECIAL[name].path_class.replace("tcp", "utp")


# --- the verdict ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "found", "word", "seconds", "better"),
    [
        ("D", outcome((0.3, "direct-tcp")), "good", 0.3, False),
        ("D", outcome((0.3, "direct-utp")), "over", None, False),
        ("D", outcome((0.3, "relay"), (1.2, "direct-tcp")), "over", 1.2, False),
        ("T", outcome((0.2, "relay"), (0.6, "punched-utp"), (1.4, "punched-tcp")), "good", 1.4, False),
        ("T", outcome((0.2, "relay"), (0.6, "punched-utp")), "over", None, False),
        ("T", outcome((0.2, "direct-tcp")), "good", 0.2, True),
        ("V", outcome((0.2, "punched-tcp")), "good", 0.2, True),
        ("P", outcome((0.2, "relay"), (3.0, "predicted")), "good", 3.0, False),
        ("P", outcome((0.2, "relay"), (3.0, "predicted"), (3.5, "relay")), "over", None, False),
        ("P", outcome((0.1, "predicted"), (0.5, "relay"), (3.5, "predicted")), "good", 3.5, False),
        ("B", outcome((0.2, "relay"), (3.0, "predicted")), "good", 3.0, True),
        ("R", outcome((0.2, "relay")), "good", 0.2, False),
        ("R", outcome((0.2, "relay"), ended=21.0), "over", 0.2, False),
        ("R", outcome((0.2, "relay"), ended=None), "over", 0.2, False),
        ("R", outcome((0.2, "relay"), (0.5, "birthday"), ended=None), "good", 0.2, True),
        ("T", outcome((0.2, "punched-tcp"), carries=False), "failed", 0.2, False),
        ("T", outcome((0.2, "punched-tcp"), first_message=None), "failed", 0.2, False),
        ("T", Outcome(error="no_route"), "failed", None, False),
    ],
)
def test_a_verdict(name: str, found: Outcome, word: str, seconds: float | None, better: bool) -> None:
    """The path counts from when it was there to stay; a better one is as good, a worse one is not."""
    verdict = judge(found, LETTERS[name])
    assert (verdict.word, verdict.seconds, verdict.better) == (word, seconds, better)


def test_both_ends_must_have_the_path() -> None:
    """It is there when the second one has it; the worse one counts."""
    both = dataclasses.replace(outcome((0.2, "punched-tcp")), callee=steps((0.2, "relay"), (1.0, "punched-tcp")))
    assert judge(both, LETTERS["T"]).seconds == 1.0
    one = dataclasses.replace(both, callee=steps((0.2, "relay")))
    assert judge(one, LETTERS["T"]).word == "over" and one.final == "relay"


def test_the_transport_counts_where_there_is_only_one() -> None:
    """Bu and Bt are found by UDP and by TCP alone."""
    found = dataclasses.replace(outcome(), caller=(Step(1, "birthday", "utp"),), callee=(Step(1, "birthday", "utp"),))
    assert [judge(found, LETTERS[name]).word for name in ("B", "Bu", "Bt")] == ["good", "good", "over"]


@pytest.mark.parametrize(("seconds", "prompt"), [(0.6, True), (0.61, False), (None, False)])
def test_a_first_message_is_prompt(seconds: float | None, prompt: bool) -> None:
    """Within 0.6 s, whatever the path."""
    assert judge(outcome((0.2, "relay"), first_message=seconds), LETTERS["R"]).prompt is prompt


@pytest.mark.parametrize("good", [True, False])
def test_what_was_said_in_a_bad_run(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, good: bool) -> None:
    """A laboratory that fails is a failed run with its reason; of good runs nothing is kept."""

    def played(run: Run, said: io.StringIO) -> Outcome:
        said.write("what the nodes said\n")
        if good:
            return GOOD
        raise AssertionError("no\n  laboratory")

    monkeypatch.setattr(playing, "_played", played)
    found = playing.play(RUN, tmp_path / "logs")
    logs = [each.read_text() for each in tmp_path.glob("logs/port-port-1.log")]
    if good:
        assert found == GOOD and logs == []
    else:
        assert found.error == "AssertionError: no laboratory" and judge(found, LETTERS["T"]).word == "failed"
        assert logs == [f"{json.dumps(found.as_json())}\nwhat the nodes said\n"]


# --- the file ---------------------------------------------------------------------------------------------------------

GOOD = outcome((0.2, "relay"), (1.4, "punched-tcp"))
RUN = Run("port", "port", 1)


def test_a_file_gives_back_what_was_added(tmp_path: pathlib.Path) -> None:
    """All of it; and what is missing is what was not."""
    path = tmp_path / "new" / "runs.jsonl"
    other = Run("port", "sym", 2, Conditions(delay=0.1, only="tcp"))
    for run, each in ((RUN, GOOD), (other, Outcome(error="none"))):
        State(path).add(run, each)
    found = State(path)
    assert found.outcomes == {RUN: GOOD, other: Outcome(error="none")}
    again = [RUN, dataclasses.replace(RUN, number=2), dataclasses.replace(RUN, conditions=Conditions(loss=0.1))]
    assert found.missing(again) == again[1:]


@pytest.mark.parametrize("length", [10, 40, -1])
def test_a_killed_writer_loses_its_own_run_only(tmp_path: pathlib.Path, length: int) -> None:
    """Half a line is no run; the next line stands by itself."""
    path = tmp_path / "runs.jsonl"
    State(path).add(RUN, GOOD)
    line = path.read_bytes()
    path.write_bytes(line + line.rstrip()[:length])
    state = State(path)
    assert state.outcomes == {RUN: GOOD}
    second = dataclasses.replace(RUN, number=2)
    state.add(second, GOOD)
    third = dataclasses.replace(RUN, number=3)
    state.add(third, GOOD)
    assert list(State(path).outcomes) == [RUN, second, third]


@pytest.mark.parametrize("line", ["hello", "{}", json.dumps({"one": 1, "other": 2, "number": 3})])
def test_another_file_is_refused(tmp_path: pathlib.Path, line: str) -> None:
    """With the number of the line; nothing is written to it."""
    path = tmp_path / "runs.jsonl"
    path.write_text(f"\n{line}\n")
    with pytest.raises(ValueError, match="line 2"):
        State(path)


def test_without_a_file_it_remembers() -> None:
    """As long as it lives."""
    state = State()
    state.add(RUN, GOOD)
    assert state.missing([RUN]) == []


# --- the page ---------------------------------------------------------------------------------------------------------


def many(one: str, other: str, *found: Outcome, **conditions: Any) -> dict[Run, Outcome]:
    return {Run(one, other, number, Conditions(**conditions)): each for number, each in enumerate(found, 1)}


@pytest.mark.parametrize(("part", "value"), [(0.95, 19), (0.5, 10), (1.0, 20), (0.01, 1)])
def test_a_percentile(part: float, value: int) -> None:
    """The least value that so many do not exceed."""
    assert report.percentile(range(20, 0, -1), part) == value
    assert report.percentile([7], part) == 7
    assert report.percentile([], part) is None


def test_twenty_runs_may_have_three_outside() -> None:
    """Four are too many; of three runs none may be."""
    late = outcome((0.2, "relay"), (1.6, "punched-tcp"))
    for good, over, outside in ((17, 3, False), (16, 4, True), (2, 1, True), (3, 0, False)):
        (cell,) = report.cells(many("port", "port", *[GOOD] * good, *[late] * over), HERE).values()
        assert (cell.good, cell.outside) == (good, outside)
        assert cell.path == "punched-tcp" and cell.seconds == (1.6 if over > 1 or over and good < 19 else 1.4)


def test_runs_are_pooled_by_letter() -> None:
    """One bad cell may hide among others of its letter; the letter may not be below 95 %."""
    late = outcome((0.2, "relay"), (1.6, "punched-tcp"))
    runs = {**many("port", "addr", *[GOOD] * 17, *[late] * 3), **many("port", "port", *[GOOD] * 20)}
    (share,) = report.shares(report.cells(runs, HERE).values())
    assert (share.letter, share.runs, share.good, share.enough) == ("T", 40, 37, False)
    assert report.faults(report.cells(runs, HERE)) == ["T: 37 of 40 runs within the budget, not 95%"]
    runs |= many("addr", "addr", *[GOOD] * 20)
    assert report.faults(report.cells(runs, HERE)) == []


@pytest.mark.parametrize("first", [0.7, None])
def test_a_late_first_message_is_a_fault(first: float | None) -> None:
    """However good the path."""
    runs = many("port", "port", *[dataclasses.replace(GOOD, first_message=first)] * 3)
    assert any("first message" in each for each in report.faults(report.cells(runs, HERE)))


def test_no_runs_are_a_fault() -> None:
    """Nothing was shown."""
    assert report.faults({}) == ["there are no runs"]


def test_the_page() -> None:
    """It has the cells, the shares, what is outside, the first message, what was better, and who met how."""
    late = outcome((0.2, "relay"), (1.6, "punched-tcp"), settled=False)
    lucky = outcome((0.3, "birthday"))
    direct = outcome((0.15, "direct-tcp"))
    runs = {
        **many("port", "port", GOOD, GOOD, GOOD),
        **many("port", "rst", late, late, outcome((0.2, "relay"), (2.6, "punched-tcp"))),
        **many("rst", "port", direct, direct, direct),
        **many("sym", "sym", lucky),
        **many("port", "port", GOOD, only="tcp"),
        **many("port", "port", outcome((0.2, "relay"), (0.5, "punched-utp")), only="utp"),
        **many("port", "rst", GOOD, only="tcp"),
        **many("port", "rst", outcome((0.2, "relay")), only="utp"),
    }
    runs |= many("lan", "lan", direct)
    page = report.markdown(runs, HERE)
    assert "| lan | direct-tcp 0.15 |" in page and "| L | 1 | 1 (100.0%) |" in page
    assert "| caller | port | sym | rst |" in page
    assert "| port | punched-tcp 1.40 |  | **punched-tcp 2.60 (2/3)** |" in page
    assert "| T | 9 | 8 (88.9%) |" in page
    assert "outside: port calls rst." in page
    assert "First message: 0.20 s for 95 % of all runs, 0.20 s in the slowest cell." in page
    assert "not idle before the call: 2 of 11." in page
    assert "Better than expected: rst calls port (direct-tcp), sym calls sym (birthday)." in page
    assert page.endswith("Of 5 pairs 1 meet by TCP alone, 0 by UDP alone, 1 by either, 3 by a relay.\n")
    assert "alone" not in report.markdown(many("port", "port", GOOD), HERE)


def test_each_transport_alone_has_a_table_and_is_judged() -> None:
    """In front of the one for both, whose last line is the last of all."""
    punched = outcome((0.2, "relay"), (0.5, "punched-utp"))
    good = {
        **many("port", "port", GOOD),
        **many("port", "port", GOOD, only="tcp"),
        **many("port", "port", punched, only="utp"),
    }
    page, wrong = command.result(good, HERE)
    assert wrong == []
    rows = [line for line in page.splitlines() if line.startswith("| port |")]
    assert rows == ["| port | punched-tcp 1.40 |", "| port | punched-utp 0.50 |", "| port | punched-tcp 1.40 |"]
    assert page.count("tcp only") == page.count("utp only") == 1 and page.count(" meet by TCP alone") == 1
    assert page.endswith("Of 1 pairs 0 meet by TCP alone, 0 by UDP alone, 1 by either, 0 by a relay.\n")
    _, wrong = command.result({**good, **many("port", "port", outcome((0.2, "relay")), only="utp")}, HERE)
    assert wrong and all(each.startswith("utp alone: ") for each in wrong)


# --- the command ------------------------------------------------------------------------------------------------------


def test_what_is_planned() -> None:
    """Every ordered pair, the first run of each before the second of any; with --split three times."""
    conditions, runs = planned(parser().parse_args(["--runs", "2", "--kinds", "port,tcpblock", "--split"]))
    assert conditions == HERE and len(runs) == 2 * (4 + 1 + 4)
    assert [run.number for run in runs] == [1] * 9 + [2] * 9
    assert {run.conditions.only for run in runs if "tcpblock" in (run.one, run.other)} == {"", "utp"}
    words = ["--cells", "sym:port", "--delay", "50", "--loss", "5", "--skew", "400", "--foreign", "5", "--only", "utp"]
    conditions, runs = planned(parser().parse_args(words))
    assert conditions == Conditions(0.05, 0.05, 0.4, "utp", 5.0)
    assert runs == [Run("sym", "port", number, conditions) for number in (1, 2, 3)]
    runs = planned(parser().parse_args(["--runs", "1", "--kinds", "none", "--special"]))[1]
    assert [(run.one, run.other) for run in runs] == [("none", "none"), *((each, each) for each in SPECIAL)]
    assert planned(parser().parse_args(["--runs", "1", "--cells", "lan:lan"]))[1] == [Run("lan", "lan", 1, HERE)]


WRONG = [["--kinds", "port,home"], ["--cells", "port"], ["--cells", "lan:port"], ["--only", "tcp", "--split"]]


@pytest.mark.parametrize("words", WRONG)
def test_what_cannot_be_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """As wrong usage."""
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(words)
    assert ended.value.code == 2 and capsys.readouterr().err


@pytest.mark.parametrize(("found", "code"), [(GOOD, 0), (outcome((0.2, "relay")), 1)])
def test_the_command(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    found: Outcome,
    code: int,
) -> None:
    """It shows the table, writes it, and keeps what was done, which is not done again; the code says if it is good."""
    done: list[Run] = []

    class Crew(contextlib.nullcontext[None]):
        def __init__(self, runs: list[Run], jobs: int, logs: pathlib.Path | None) -> None:
            done.extend(runs)
            self._runs = runs

        def __enter__(self) -> Crew:  # type: ignore[override]
            return self

        def results(self) -> list[tuple[Run, Outcome]]:
            return [(run, found) for run in self._runs]

    state, page = tmp_path / "runs.jsonl", tmp_path / "page.md"
    words = ["--runs", "2", "--cells", "port:port", "--state", str(state), "--markdown", str(page)]
    monkeypatch.setattr(command, "Crew", Crew)
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)
    monkeypatch.setattr(command.needs, "missing", lambda: "")
    monkeypatch.setattr(sys, "argv", ["matrix", *words])
    for lines in (2, 0):
        assert command.main() == code
        said = capsys.readouterr()
        shown = "**relay (0/2)**" if code else "punched-tcp 1.40"
        assert said.out.startswith(page.read_text()) and f"| port | {shown} |" in said.out
        assert len(said.err.splitlines()) == lines
    assert done == list(State(state).outcomes) == [Run("port", "port", 1), Run("port", "port", 2)]


def test_progress_names_the_run_and_what_became_of_it() -> None:
    """On a line."""
    line = progress(3, 9, RUN, GOOD)
    assert line == "3/9 port:port #1 T good first 0.20 relay 0.20 > punched-tcp 1.40 ended 1.00"
    assert progress(1, 1, RUN, Outcome(settled=False, error="no_route")).endswith("first - not idle before no_route")
