"""``punch-test report`` names every kind of site, on a good network and on a poor one."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.natlab import needs
from tests.natlab.routers.kinds import KINDS
from tests.natlab.surveys import Sites, faults

pytestmark = pytest.mark.usefixtures("laboratory")

NETWORKS = {"good": {}, "poor": {"delay": 0.1, "loss": 0.05}}


@pytest.fixture(scope="module", params=list(NETWORKS))
def reports(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Of all kinds."""
    needs.require("turnserver")
    home: pathlib.Path = tmp_path_factory.mktemp("home")
    with Sites(home, **NETWORKS[request.param]) as sites:
        yield sites.reports()


@pytest.mark.parametrize("kind", KINDS)
def test_a_report_says_what_is(reports: dict[str, Any], kind: str) -> None:
    """Mapping, filtering and ports of UDP and TCP, what becomes of strangers, and what it is called; within 5 s."""
    assert faults(kind, reports[kind]) == []


def test_on_greenlets(tmp_path: pathlib.Path) -> None:
    """The same is found after monkey patching."""
    needs.require("turnserver")
    chosen = {kind: KINDS[kind] for kind in ("addr", "symseq")}
    with Sites(tmp_path, chosen) as sites:
        for kind in chosen:
            assert faults(kind, sites.report(kind, greenlets=True)) == []
