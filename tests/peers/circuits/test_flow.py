"""Credit: what a sender may send, a receiver grant, and an introducer has to hold, whatever the two do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crust.limits import CIRCUIT_CREDIT
from crust.peers.circuits.flow import Flow, FlowError


def test_what_may_be_sent_at_once() -> None:
    """All of the first credit, and not a byte more."""
    flow = Flow()
    assert flow.room == CIRCUIT_CREDIT
    flow.take(CIRCUIT_CREDIT)
    assert flow.room == 0
    with pytest.raises(FlowError, match="1 bytes more"):
        flow.take(1)


def test_credit_is_for_what_has_been_received() -> None:
    """A receiver that grants more would have it wait in between."""
    flow = Flow()
    flow.take(1000)
    with pytest.raises(FlowError):
        flow.grant(1)
    flow.passed(1000)
    flow.grant(1000)
    assert flow.room == CIRCUIT_CREDIT
    with pytest.raises(FlowError):
        flow.grant(1)


STEPS = st.lists(
    st.tuples(st.sampled_from(["take", "passed", "grant"]), st.integers(0, 2 * CIRCUIT_CREDIT)), max_size=60
)


@given(STEPS)
def test_what_waits_is_bounded(steps: list[tuple[str, int]]) -> None:
    """However greedy both ends are: never more than the credit waits, and a refusal changes nothing."""
    flow = Flow()
    for action, size in steps:
        before = (flow.room, flow.waiting)
        if action == "passed":
            flow.passed(min(size, flow.waiting))
        else:
            try:
                getattr(flow, action)(size)
            except FlowError:
                assert (flow.room, flow.waiting) == before
        assert 0 <= flow.waiting <= CIRCUIT_CREDIT
        assert 0 <= flow.room <= CIRCUIT_CREDIT


@given(st.lists(st.integers(1, CIRCUIT_CREDIT), max_size=40))
def test_an_honest_receiver_is_never_refused(sizes: list[int]) -> None:
    """It grants what it has taken, late or at once, and the sender gets all through."""
    flow = Flow()
    due = 0
    for size in sizes:
        if size > flow.room:
            flow.grant(due)
            due = 0
        flow.take(size)
        flow.passed(size)
        due += size
    flow.grant(due)
    assert flow.room == CIRCUIT_CREDIT
