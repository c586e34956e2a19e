"""A mesh that is hurt for two minutes loses nothing and leaves nothing; one that lies is found out (tests/soak)."""

from __future__ import annotations

import pytest

from tests.natlab import names, needs
from tests.soak.report import Outcome
from tests.soak.run import Soak, Wanted
from tests.soak.schedule import KINDS

pytestmark = [pytest.mark.usefixtures("laboratory"), pytest.mark.timeout(900)]


def soaked(wanted: Wanted) -> Outcome:
    needs.require("miniupnpd")
    return Soak(wanted, lambda text: None, 60.0, lambda: False).run()


def test_two_minutes() -> None:
    """Processes end and begin, lines and routers fail; each message arrives once and in order, or is reported."""
    found = soaked(Wanted(seed=5))
    assert found.good, found.text()
    assert found.ledger.totals.arrived > 1000 and sum(found.chaos.values()) >= 20
    assert found.growth and len(found.last) == 10 and not names.own()


def test_nodes_that_lie_are_found_out() -> None:
    """One message of a hundred is told twice: nothing else is wrong, and it is seen."""
    found = soaked(Wanted(seed=5, seconds=5.0, nodes=5, rate=200.0, without=tuple(KINDS), fault="twice"))
    assert not found.good and "arrived twice" in found.text()
    assert found.faults == []
