"""What nodes in memory tell of the time of day is that of their clock, too."""

from __future__ import annotations

import crust.testing


def test_paths_attempts_and_the_status_are_of_one_day() -> None:
    """The virtual one: an hour on it is an hour between a path's beginning and the status."""
    with crust.testing.network() as net:
        alice, bob = net.service(), net.service()
        peer, _ = net.connect(alice, bob)
        net.settle()
        path = peer.path
        assert path is not None
        net.advance(3600.0)
        status = alice.status()
        assert 3600.0 <= status.at - path.since < 3700.0
        (attempt,) = [each for each in path.attempts if each.verdict == "connected"]
        assert path.since - 60.0 < attempt.started <= path.since
