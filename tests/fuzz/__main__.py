"""
The long run of the targets, each under a coverage-guided fuzzer in a process of its own::

    python -m tests.fuzz --seconds 600 --jobs 4 [TARGET …]   what `make fuzz` does
    python -m tests.fuzz --list                              the targets, and what each of them promises
    python -m tests.fuzz --replay TARGET FILE …              feed files, as they are or in hexadecimal (.hex)

Inputs that reach something new are kept in ``build/fuzz/TARGET/corpus`` for the next run, what breaks a promise in
``build/fuzz/TARGET``. The exit code is 1 if something did, and 2 if there is no fuzzer.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import pathlib
import re
import subprocess
import sys
import time

from . import registry

BUILD = pathlib.Path("build", "fuzz")
MEMORY = 2048  # MiB that a process may use before that counts as a finding
HANG = 25  # seconds that one input may take before that does
GRACE = 120  # seconds beyond the time asked for, after which a process itself hangs

_STATUS = re.compile(rb"^#(\d+)\s+\w+\s+cov: (\d+) ft: (\d+) corp: (\d+)/", re.MULTILINE)
_EXECUTIONS = re.compile(rb"stat::number_of_executed_units:\s*(\d+)")


@dataclasses.dataclass
class Run:
    """One target's process."""

    name: str
    process: subprocess.Popen[bytes]
    began: float

    @property
    def said(self) -> pathlib.Path:
        return BUILD / self.name / "output.txt"

    def outcome(self) -> tuple[str, list[pathlib.Path]]:
        """A line for people, and what breaks the target's promise."""
        said = self.said.read_bytes()
        status = _STATUS.findall(said)
        executions = _EXECUTIONS.findall(said)
        count = int(executions[-1]) if executions else int(status[-1][0]) if status else 0
        edges, corpus = (int(status[-1][1]), int(status[-1][3])) if status else (0, 0)
        found = [
            path
            for path in sorted((BUILD / self.name).iterdir())
            if path.name.startswith(("crash-", "timeout-", "oom-", "leak-")) and path.stat().st_mtime >= self.began - 1
        ]
        code = self.process.returncode
        verdict = f"{len(found)} found" if found else "nothing found" if code == 0 else f"ended with code {code}"
        return f"{self.name:<22}{count:>12,}{edges:>8,}{corpus:>8,}   {verdict}", found


def _begin(name: str, seconds: int) -> Run:
    target = registry.load(name)
    folder = BUILD / name
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={target.size_max}",
        f"-rss_limit_mb={MEMORY}",
        f"-timeout={HANG}",
        f"-artifact_prefix={folder}/",
        "-print_final_stats=1",
    ]
    if target.tokens:
        words = "".join(f'"{"".join(f"{chr(92)}x{byte:02x}" for byte in token)}"\n' for token in target.tokens)
        (folder / "tokens.dict").write_text(words, encoding="ascii")
        options.append(f"-dict={folder / 'tokens.dict'}")
    command = [sys.executable, "-m", "tests.fuzz.under_atheris", name, *options, str(corpus)]
    began = time.time()
    with open(folder / "output.txt", "wb") as output:
        return Run(name, subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT), began)


def fuzz(names: list[str], seconds: int, jobs: int) -> int:
    """Run them all, ``jobs`` at a time."""
    if importlib.util.find_spec("atheris") is None:
        print(
            "crust: there is no atheris here, the fuzzer that guides by coverage. pip install -e '.[fuzz]' brings it\n"
            "(for CPython on Linux and x86-64 alone). Else pytest tests/fuzz feeds each target its seeds, and some\n"
            "hundred mutations of them.",
            file=sys.stderr,
        )
        return 2
    print(f"{'target':<22}{'executions':>12}{'edges':>8}{'corpus':>8}", flush=True)
    waiting, running = list(names), list[Run]()
    broken = 0
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(_begin(waiting.pop(0), seconds))
            time.sleep(0.2)
            for run in running[:]:
                if run.process.poll() is None:
                    if time.time() - run.began > seconds + GRACE:
                        run.process.kill()
                    continue
                running.remove(run)
                line, found = run.outcome()
                print(line, flush=True)
                broken += bool(found or run.process.returncode)
                if run.process.returncode and not found:
                    print(f"    see {run.said}", flush=True)
                for path in found:
                    print(f"    replay: {sys.executable} -m tests.fuzz --replay {run.name} {path}", flush=True)
    finally:
        for run in running:
            run.process.kill()
            run.process.wait()
    return 1 if broken else 0


def replay(name: str, files: list[str]) -> int:
    """Feed what stands in the files; what breaks the target's promise is raised."""
    target = registry.load(name)
    for each in files:
        path = pathlib.Path(each)
        data = bytes.fromhex(path.read_text(encoding="ascii")) if path.suffix == ".hex" else path.read_bytes()
        print(f"{name} {path}: {len(data)} bytes", flush=True)
        target.run(data)
    print("what the target promises held")
    return 0


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Coverage-guided fuzzing of crust.")
    parser.add_argument("names", nargs="*", metavar="TARGET", help="default: all; with --replay one, and files")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (60)")
    parser.add_argument("--jobs", type=int, default=1, help="targets at a time (1)")
    parser.add_argument("--list", action="store_true", help="the targets and what they promise")
    parser.add_argument("--replay", action="store_true", help="feed files to one target")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names[:1] if options.replay else options.names) - set(registry.names()))
    if unknown:
        parser.error(f"no such target: {', '.join(unknown)}; see --list")
    if options.list:
        for name in options.names or registry.names():
            print(f"{name}\n    " + registry.promise(name).replace("\n", "\n    ").rstrip() + "\n")
        return 0
    if options.replay:
        if len(options.names) < 2:
            parser.error("--replay takes a target and files")
        return replay(options.names[0], options.names[1:])
    return fuzz(options.names or registry.names(), options.seconds, options.jobs)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
