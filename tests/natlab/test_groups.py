"""A group stays full while its peers are killed; ``python -m tests.natlab.groups`` does so for two minutes."""

from __future__ import annotations

from tests.natlab.groups import HOSTS, LIMIT, held
from tests.natlab.lab import Lab


def test_a_group_of_eight(lab: Lab) -> None:
    """One of it is killed every two seconds: it is back to eight in time, spread over all networks, and no larger."""
    outcome = held(lab, lab.folder, nodes=25, want=8, kills=3)
    assert outcome.filled <= LIMIT
    assert outcome.in_time, outcome.times
    assert (outcome.peers, outcome.most) == (8, 8)
    assert outcome.networks == HOSTS
