"""A mesh that is hurt for some seconds loses nothing and leaves nothing; one that lies is found out (tests/soak)."""

from __future__ import annotations

import pytest

from tests.natlab import names, needs
from tests.soak.report import Outcome
from tests.soak.run import Soak, Wanted
from tests.soak.schedule import KINDS

pytestmark = [pytest.mark.usefixtures("laboratory"), pytest.mark.timeout(300)]


def soaked(wanted: Wanted) -> Outcome:
    needs.require("miniupnpd")
    return Soak(wanted, lambda text: None, 60.0, lambda: False).run()


def test_a_short_soak() -> None:
    """Processes end and begin, lines and routers fail; each message arrives once and in order, or is reported."""
    without = tuple(kind for kind, what in KINDS.items() if what.lasts[1] > 10.0)
    found = soaked(Wanted(seed=5, seconds=10.0, nodes=6, rate=60.0, interval=0.7, without=without))
    assert found.good, found.text()
    assert found.ledger.totals.arrived > 100 and sum(found.chaos.values()) >= 3
    assert len(found.last) == 6 and not names.own()


def test_nodes_that_lie_are_found_out() -> None:
    """One message of a hundred is told twice: nothing else is wrong, and it is seen."""
    found = soaked(Wanted(seed=5, seconds=5.0, nodes=5, rate=200.0, without=tuple(KINDS), fault="twice"))
    assert not found.good and "arrived twice" in found.text()
    assert found.faults == []
