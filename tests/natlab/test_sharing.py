"""µTP and the kernel's TCP through one bottleneck, and µTP alone: who gets how much of it, and who waits for it."""

from __future__ import annotations

import statistics

import pytest

from tests.natlab.hosts import Host, Probe
from tests.natlab.lab import Lab
from tests.support.waiting import wait_until

DELAY = 0.02  # one way
RATE = 20e6
QUEUE = 500_000  # bytes: 200 ms
FILLED = 0.85


class Flow:
    """
    One flow, as fast as it goes.

    Args:
        congestion: ``fair`` or ``background``: µTP; else TCP, with that congestion control of the kernel.
        seconds: How long it is measured,
        skip: and how long before that.
    """

    def __init__(self, here: Host, there: Host, congestion: str, seconds: float, skip: float) -> None:
        prefix = "utp_" if congestion in ("fair", "background") else ""
        self._sink: Probe = there.serve(f"{prefix}sink", address=there.ipv4, seconds=seconds, skip=skip)
        here.launch(
            f"{prefix}pour",
            address=there.ipv4,
            port=self._sink.port,
            seconds=skip + seconds + 1.0,
            congestion=congestion,
        )

    def rate(self) -> float:
        """Bits a second."""
        rate: float = 8 * self._sink.result()["rate"]
        return rate


@pytest.mark.parametrize("rate", [20e6, 50e6])
def test_alone_it_fills_a_link(lab: Lab, rate: float) -> None:
    """At 40 ms, with the queue of most links; headers are part of the rate, and not of what is measured."""
    here, there = lab.pair(delay=DELAY, rate=rate)
    assert FILLED * rate < Flow(here, there, "fair", seconds=4.0, skip=3.0).rate() < rate


def test_beside_tcp(lab: Lab) -> None:
    """``fair`` takes its share, ``background`` what is left; and nothing of the link is wasted."""
    shares = {}
    flows = {}
    for congestion in ("fair", "background"):
        here = lab.host(f"{congestion}_from", delay=DELAY, rate=RATE, queue=QUEUE)
        there = lab.host(f"{congestion}_to")
        flows[here] = [Flow(here, there, each, seconds=14.0, skip=8.0) for each in (congestion, "cubic")]
    # Whoever is first gets most of it for half a minute, also with TCP alone. Losses take everything from everybody.
    for here in flows:
        up = here.link.up
        wait_until(lambda up=up: up.counts().queue_full, 20.0, "a full queue")
        up.set(loss=0.1)
    for here in flows:
        up = here.link.up
        wait_until(lambda up=up: up.counts().lost >= 40, 20.0, "the losses")
        up.set(loss=0.0)
    for here, both in flows.items():
        utp, tcp = (each.rate() for each in both)
        assert FILLED * RATE < utp + tcp < RATE, (here.name, utp, tcp)
        shares[here.name] = utp / (utp + tcp)
    assert 0.3 <= shares["fair_from"] <= 0.7
    assert shares["background_from"] <= 0.15


def test_in_the_background_others_hardly_wait(lab: Lab) -> None:
    """Alone it fills the link, but not its queue: what another program sends is late by 80 ms at the most."""
    here, there = lab.pair(delay=DELAY, rate=RATE, queue=QUEUE)
    flow = Flow(here, there, "background", seconds=8.0, skip=3.0)
    echo = there.serve("echo", address=there.ipv4)
    trips = here.probe("ping", address=there.ipv4, port=echo.port, count=80, interval=0.02)["trips"]
    assert FILLED * RATE < flow.rate() < RATE
    late = statistics.median(trip - 2 * DELAY for trip in trips if trip is not None)
    assert 0.005 < late <= 0.08
