"""The recipe for Celery's prefork pool."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.programs import Answers, Program
from tests.support.waiting import wait_until

ASK = """
import json, sys
from celery_tasks import ask
pending = [ask.apply_async(args=[text], soft_time_limit=limit) for text, limit in json.loads(sys.argv[1])]
print(json.dumps([result.get(timeout=30, interval=0.02) for result in pending]))
"""


@pytest.mark.slow
def test_celery_prefork(answers: Answers, tmp_path: Path) -> None:
    """A node in each child of the pool. A task out of time leaves its node sound: the next one is answered there."""
    environment = {"CRUST_PEER": answers.contact, "CELERY_FOLDER": str(tmp_path)}
    for name in ("queue", "control", "results"):
        (tmp_path / name).mkdir()

    def ask(*tasks: tuple[str, float | None]) -> list[dict[str, Any]]:
        with Program("python", "-W", "ignore", "-c", ASK, json.dumps(tasks), **environment) as client:
            found: list[dict[str, Any]] = json.loads(client.end(60.0).splitlines()[-1])
        return found

    options = ("--pool", "prefork", "--concurrency", "2", "--loglevel", "INFO", "--without-gossip", "--without-mingle")
    with Program("celery", "-A", "celery_tasks", "worker", *options, **environment) as worker:
        worker.wait_for(" ready")
        answers.together = 2
        found = ask(("together", None), ("together", None), ("silence", 1), ("silence", 1))
        assert [each.get("answer") or each["error"] for each in found] == ["TOGETHER"] * 2 + ["too late"] * 2
        nodes = {each["pid"]: each["node"] for each in found}
        assert len(nodes) == len(set(nodes.values())) == 2 and worker.pid not in nodes
        for each in ask(("hello", None), ("hello", None)):
            assert each["answer"] == "HELLO" and nodes[each["pid"]] == each["node"]
        worker.stop(timeout=20.0)
    assert len(answers.sessions) == 2
    wait_until(lambda: answers.ended == 2, what="goodbye of both nodes")
