"""A node whose clock is a day off says so, once, and goes on."""

from __future__ import annotations

import pytest

import crust.testing
from crust import Config, limits
from crust.discovery.gossip.record import make_record
from tests.discovery.gossip.mesh import key_pair
from tests.support.waiting import wait_until

PLAIN = Config().replace(**{"lan.seek": "never", "bootstrap.cache.max_peers": 0})
DAY = 86_400.0


@pytest.mark.parametrize(("off", "word"), [(DAY, "24 hours too late"), (-DAY, "24 hours too early")])
def test_a_clock_that_is_a_day_off(off: float, word: str, caplog: pytest.LogCaptureFixture) -> None:
    """Its three peers, whose clocks are right, hear nothing of the kind."""
    with crust.testing.network() as net:
        nodes = [net.service(PLAIN, address=f"45.0.0.{number + 1}") for number in range(4)]
        wrong = nodes[0]
        node = wrong._node
        assert node is not None
        wall = node.wall
        node.wall = lambda: wall() + off
        for other in nodes[1:]:
            net.connect(wrong, other)
        net.advance(30.0)
        wait_until(lambda: "clock of this machine" in caplog.text, what="a warning")
        net.advance(600.0)
        assert caplog.text.count("clock of this machine") == 1 and word in caplog.text
        told = wrong.status().as_dict()["sections"]["gossip"]["clock_off_seconds"]
        assert abs(told - off) < 7200
        others = [each.status().as_dict()["sections"]["gossip"]["clock_off_seconds"] for each in nodes[1:]]
        assert others == [None] * 3
        assert len(wrong.peers) == 3


def test_liars_and_others_that_take_turns_fill_no_log(caplog: pytest.LogCaptureFixture) -> None:
    """Each record that holds ends the doubt, and three liars begin it anew: one warning an hour is enough."""
    with crust.testing.network() as net:
        service = net.service(PLAIN, address="45.0.0.1")
        assert service._node is not None and service._finding is not None
        node, gossiping = service._node, service._finding.gossiping

        def read(number: int, off: float) -> None:
            spots = [crust.Endpoint("tcp", "45.0.0.9", 1000)]
            record = make_record(key_pair(number), node.handshake.network_id, wall=node.wall() - off, endpoints=spots)
            assert record is not None
            gossiping._read(record.data)

        for hours in (1, 2):
            for _ in range(5):
                for number in (1, 2, 3):
                    read(number, DAY)
                read(4, 0.0)
            net.settle()  # the log is written by another thread
            assert caplog.text.count("clock of this machine") == hours
            net.advance(limits.GOSSIP_DOUBT_PERIOD)
