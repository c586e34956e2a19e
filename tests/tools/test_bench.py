"""``tools/bench``: every test runs, its figures are right, and nothing is left behind however it ends."""

from __future__ import annotations

import fnmatch
import json
import math
import os
import pathlib
import signal
import subprocess
import sys
from typing import Any

import pytest

from tests.support.source import ROOT
from tests.support.waiting import eventually
from tools.benchmarks import machine
from tools.benchmarks.contract import END, pack_count, percentile, stream_through, unpack_count
from tools.benchmarks.markdown import report
from tools.benchmarks.peers import CONTESTANTS, Contestant
from tools.benchmarks.results import Book, Case, Metric, Reference, Target
from tools.benchmarks.stage import Settings
from tools.benchmarks.trials import TRIALS

BENCH = [sys.executable, str(ROOT / "tools" / "bench")]
FIELDS = {
    "test", "case", "peer", "metric", "unit", "median", "min", "max", "rounds", "reference", "ratio", "target", "met",
    "note",
}  # fmt: skip


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*BENCH, *arguments], cwd="/", capture_output=True, text=True, timeout=100, check=False)


def figures(*arguments: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What a run is about, and its lines."""
    done = bench("--quick", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    first, *lines = map(json.loads, done.stdout.splitlines())
    return first["about"], lines


# --- whole runs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("test", "peers"),
    [
        ("bulk", "crust-threads-pull,crust-gevent-callback,tcp"),
        ("utp", "crust-threads-callback,crust-utp-callback"),
        ("flood", "crust-utp-gevent"),
        ("rate", "crust-threads-callback,crust-gevent-pull,tcp"),
        ("signed", "crust-threads-pull,nacl"),
        ("setup", "crust-threads-callback,ssl"),
        ("conns", "crust-threads-callback,crust-gevent-callback,crust-utp-callback,tcp*"),
        ("circuits", "crust-relay-callback,crust-moved-gevent"),
        ("import", "crust"),
        ("siege", "crust-utp-callback"),
        ("crowd", "crust-crowd-threads,crust-crowd-gevent,crust-crowd-silent-gevent"),
    ],
)
def test_every_test_gives_its_figures(test: str, peers: str) -> None:
    """A quick run has a line for every figure of every peer that takes part, with a number that can be."""
    about, lines = figures("--only", test, "--peers", peers)
    skipped = {row["peer"] for row in about["skipped"]}
    expected = {
        (json.dumps(case.where), peer)
        for case in TRIALS[test].cases(Settings(quick=True, sizes=(65_536,)))
        for peer in case.contestants
        if peer not in skipped and any(fnmatch.fnmatch(peer, pattern) for pattern in peers.split(","))
    }
    assert {(json.dumps(line["case"]), line["peer"]) for line in lines} == expected
    for line in lines:
        assert set(line) == FIELDS
        assert line["test"] == test
        assert line["min"] <= line["median"] <= line["max"] and math.isfinite(line["median"])
        may_be_0 = {"side effects", "idle", "after 64 KiB each way", "connections broken"}
        may_be_0 |= {"sessions lost or suspected", "threads and descriptors left", "sessions broken", "memory"}
        assert line["metric"] in may_be_0 or line["median"] > 0


@pytest.mark.slow
def test_every_peer_takes_part_or_is_named() -> None:
    """In ``rtt`` every peer has figures or stands among those left out, with the reason."""
    about, lines = figures("--only", "rtt")
    assert all(row["why"].endswith("not installed") for row in about["skipped"])
    (case,) = TRIALS["rtt"].cases(Settings(quick=True))
    left_out = {row["peer"] for row in about["skipped"]}
    assert {line["peer"] for line in lines} == set(case.contestants) - left_out
    assert {"crust-threads-callback", "crust-threads-pull", "tcp"}.isdisjoint(left_out)


def test_the_tables_come_last() -> None:
    """Without ``--json`` the JSON lines are followed by tables with ratios, targets and whether they are met."""
    done = bench("--quick", "--only", "rtt", "--peers", "crust-threads-pull,zmq-curve,tcp")
    assert done.returncode == 0, done.stderr
    json_lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert [json.loads(line) for line in json_lines] and done.stdout.startswith("\n".join(json_lines))
    assert "## Targets" in done.stdout and "| met |" in done.stdout
    assert "| crust, threads, pull |" in done.stdout and "≤ 1.6 × pyzmq CURVE" in done.stdout


def test_wrong_options_are_explained() -> None:
    """A test or peer that does not exist, or a size that cannot be, is refused with what there is."""
    unknown = bench("--only", "speed")
    assert unknown.returncode == 2 and "no test is called 'speed'; there are: bulk, utp" in unknown.stderr
    assert bench("--peers", "nobody").returncode == 2
    assert bench("--size", "1").returncode == 2
    assert bench("--rounds", "0").returncode == 2


# --- how a run ends ---------------------------------------------------------------------------------------------------


def children_of(parent: int) -> list[int]:
    """The sides of measurements that a run with that process id has started and that still run."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:  # no process, or one that has just ended
            continue
        if b"benchmarks.child" in words and json.loads(words[-2])["parent"] == parent:
            found.append(int(entry.name))
    return found


def begin(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*BENCH, *arguments], cwd="/", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


@pytest.mark.skipif(not os.path.exists("/proc/self/cmdline"), reason="looks for processes in /proc")
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda each: each.name)
def test_no_process_is_left_behind(ending: signal.Signals) -> None:
    """Interrupted, ended or killed in the middle of a measurement, a run takes all its processes with it."""
    run = begin("--only", "rtt", "--peers", "tcp", "--seconds", "60")
    try:
        assert eventually(lambda: len(children_of(run.pid)) == 2, 20.0)
        if ending is signal.SIGINT:
            os.killpg(run.pid, ending)  # as a terminal does: everybody in the foreground gets it
        else:
            run.send_signal(ending)
        output, errors = run.communicate(timeout=20)
        assert run.returncode == (-signal.SIGKILL if ending is signal.SIGKILL else 130)
        assert ending is signal.SIGKILL or "interrupted" in errors
        assert "Traceback" not in errors
        assert json.loads(output.splitlines()[0])["about"]
        assert eventually(lambda: children_of(run.pid) == [], 10.0)
    finally:
        run.kill()
        run.communicate()


@pytest.mark.skipif(not os.path.exists("/proc/self/environ"), reason="looks at processes in /proc")
def test_what_a_node_remembers_is_gone_with_it(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """The nodes of a benchmark are no more: the next ones, and the user's own, would go on dialling them."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    run = begin("--only", "rtt", "--peers", "tcp", "--seconds", "60")

    def folders() -> set[str]:
        """Of the two sides, when both have begun."""
        variables = [pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") for pid in children_of(run.pid)]
        mark = b"XDG_STATE_HOME="
        return {each.removeprefix(mark).decode() for of_one in variables for each in of_one if each.startswith(mark)}

    try:
        assert eventually(lambda: len(folders() - {str(tmp_path)}) == 2, 20.0)
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=20)
        assert list(tmp_path.iterdir()) == []
    finally:
        run.kill()
        run.communicate()


# --- the arithmetic ---------------------------------------------------------------------------------------------------

SPEED = Metric("speed", "MB/s")
DELAY = Metric("delay", "µs", higher_is_better=False)


def case_of(metric: Metric, limit: float, relative: bool = True) -> Case:
    return Case(
        test="bulk",
        title="made up",
        where={"size": 1},
        metrics=(metric,),
        contestants=("crust-threads-pull", "ssl"),
        reference=(lambda name: Reference("ssl", "ssl", "made up")) if relative else (lambda name: None),
        target=lambda name, metric: Target(limit, relative) if name != "ssl" else None,
    )


def book_of(case: Case, ours: list[float], theirs: list[float]) -> Book:
    book = Book()
    for number, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        book.enter(case, "crust-threads-pull", number, {case.metrics[0].name: mine})
        book.enter(case, "ssl", number, {case.metrics[0].name: other})
    return book


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    """Not the ratio of the medians: what disturbs one round disturbs both of its figures."""
    case = case_of(SPEED, 2.0)
    result = book_of(case, [10.0, 200.0, 30.0], [5.0, 50.0, 30.0]).results(case)[0]
    assert (result.median, result.ratio, result.met) == (30.0, 2.0, True)
    assert result.as_json()["rounds"] == [10.0, 200.0, 30.0]


@pytest.mark.parametrize(
    ("metric", "limit", "relative", "met"),
    [
        (SPEED, 2.0, True, True),
        (SPEED, 2.1, True, False),
        (DELAY, 2.0, True, True),
        (DELAY, 1.9, True, False),
        (DELAY, 10.0, False, True),
        (DELAY, 9.0, False, False),
    ],
)
def test_a_target_is_met_or_not(metric: Metric, limit: float, relative: bool, met: bool) -> None:
    """At least, or at most; of the ratio, or of the figure itself."""
    case = case_of(metric, limit, relative)
    assert book_of(case, [10.0], [5.0]).results(case)[0].met is met


def test_a_failure_is_told_and_not_counted() -> None:
    """A peer whose measurement failed has a row that says so, no figure, and no target met."""
    case = case_of(SPEED, 1.0)
    book = Book()
    book.fail(case, "crust-threads-pull", "no answer")
    book.enter(case, "ssl", 0, {"speed": 5.0})
    failed, good = book.results(case)
    assert (failed.median, failed.ratio, failed.met, failed.note) == (None, None, None, "failed: no answer")
    assert (good.median, book.failures) == (5.0, 1)
    about = {**machine.about(), "rounds": 1, "seconds": 1.0, "skipped": [{"label": "x", "why": "y"}]}
    text = report(about, [case], book)
    assert "| failed |" in text and "failed: no answer" in text and "Left out: x: y." in text


def test_what_crust_promises_is_what_is_judged() -> None:
    """Each figure that crust has promised is a target of a full run, with its number."""
    found = set()
    for trial in TRIALS.values():
        for case in trial.cases(Settings()):
            for name in case.contestants:
                for metric in case.metrics:
                    target = case.target(name, metric.name)
                    if target is not None and not metric.aside:
                        found.add((trial.name, name, metric.name, target.limit))
    threads = ("crust-threads-callback", "crust-threads-pull")
    assert found == {
        *{("bulk", name, "speed", 1.0) for name in threads},
        *{("rate", "crust-threads-callback", "rate", limit) for limit in (1.0, 0.7, 0.4)},
        *{("signed", f"crust-{way}", "rate", 0.7) for way in ("threads-callback", "threads-pull")},
        *{("signed", f"crust-gevent-{way}", "rate", 0.7) for way in ("callback", "pull")},
        ("rtt", "crust-threads-pull", "p50", 1.6),
        ("rtt", "crust-threads-callback", "p50", 1.75),
        *{("setup", name, "rate", 1.0) for name in threads},
        *{("conns", "crust-threads-callback", metric, 40.0) for metric in ("idle", "after 64 KiB each way")},
        *{("utp", f"crust-utp-{way}", "speed", 0.5) for way in ("callback", "pull", "gevent", "ethernet")},
        ("utp", "crust-utp-plain", "speed", 0.15),
        *{("utp", f"crust-utp-{way}", "p50", 1.5) for way in ("callback", "pull", "gevent")},
        *{("conns", f"crust-utp-{way}", "idle", 32.0) for way in ("callback", "gevent")},
        *{("flood", f"crust-utp-{way}", "stray datagrams", 50_000.0) for way in ("callback", "gevent")},
        *{("flood", f"crust-utp-{way}", "worst stall", 50.0) for way in ("callback", "gevent")},
        *{("flood", f"crust-utp-{way}", "connections broken", 0.0) for way in ("callback", "gevent")},
        *{("conns", "crust-gevent-callback", metric, 32.0) for metric in ("idle", "after 64 KiB each way")},
        *{("circuits", f"crust-{name}-callback", "idle", 40.0) for name in ("threads", "relay", "moved", "punched")},
        *{("circuits", f"crust-{name}-gevent", "idle", 32.0) for name in ("relay", "moved", "punched")},
        ("circuits", "crust-gevent-callback", "idle", 32.0),
        ("import", "crust", "time", 120.0),
        ("import", "crust", "side effects", 0.0),
        *{("bans", f"crust-{mode}-callback", "until all are told", 1.0) for mode in ("threads", "gevent")},
        *{("crowd", f"crust-crowd-{mode}", "p99 of a message", 50.0) for mode in ("threads", "gevent")},
        *{("crowd", f"crust-crowd-{mode}", "time to close", 5.0) for mode in ("threads", "gevent")},
        *{("crowd", f"crust-crowd-{mode}", "sessions lost or suspected", 0.0) for mode in ("threads", "gevent")},
        *{("crowd", f"crust-crowd-{mode}", "threads and descriptors left", 0.0) for mode in ("threads", "gevent")},
        ("crowd", "crust-crowd-threads", "idle", 40.0),
        ("crowd", "crust-crowd-gevent", "idle", 32.0),
        *{
            ("siege", f"crust-{way}", metric, limit)
            for way in ("threads-callback", "gevent-callback", "utp-callback", "utp-gevent")
            for metric, limit in (
                *(("kept", 0.7), ("memory", 64.0), ("told after", 1.0)),
                *(("as before after", 12.0), ("sessions broken", 0.0)),
            )
        },
        *{
            ("hostile", f"crust-{mode}-callback", metric, limit)
            for mode in ("threads", "gevent")
            for metric, limit in (("its cost", 0.25), ("rate kept", 0.7), ("connections broken", 0.0))
        },
    }


def test_a_lost_message_fails_the_run() -> None:
    """A stream compares what was sent with what all receivers counted."""
    counted = 0

    def send(data: bytes) -> None:
        nonlocal counted
        counted += data != END

    outcome = stream_through([send, send], lambda: counted, 100, 0.01)
    assert outcome["messages"] == counted > 0
    with pytest.raises(RuntimeError, match="were sent"):
        stream_through([send], lambda: counted - 1, 100, 0.01)


def test_percentiles_and_counts() -> None:
    """The p-th percentile has that share below it; a count survives the wire."""
    assert [percentile([1.0, 2.0, 3.0, 4.0], share) for share in (0.0, 0.5, 0.99)] == [1.0, 3.0, 4.0]
    assert unpack_count(pack_count(123_456_789_012)) == 123_456_789_012


def test_what_is_absent_is_named() -> None:
    """A peer whose modules cannot be imported says which; the others are there."""
    assert Contestant("x", "x", "x", needs=("no_such_module", "json")).absent() == "no_such_module is not installed"
    assert CONTESTANTS["tcp"].absent() == ""


def test_the_processors_are_divided() -> None:
    """``one`` is one processor for both sides, ``split`` has none in common, ``free`` pins nothing."""
    allowed = os.sched_getaffinity(0)
    one, split, free = map(machine.placement_cpus, ("one", "split", "free"))
    assert one[0] == one[1] and len(one[0]) == 1 and set(one[0]) <= allowed
    assert split[0] and split[1] and set(split[0]) | set(split[1]) <= allowed
    assert len(allowed) < 2 or set(split[0]).isdisjoint(split[1])
    assert free == ([], [])
