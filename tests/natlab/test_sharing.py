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
TURNS = 3  # at most: what is measured while others have the processor says little


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
    found = 0.0
    for _ in range(TURNS):
        found = Flow(here, there, "fair", seconds=4.0, skip=3.0).rate()
        assert found < rate
        if found > FILLED * rate:
            return
    raise AssertionError(f"{found} of {rate} bit/s")


def test_beside_tcp(lab: Lab) -> None:
    """``fair`` takes its share, ``background`` what is left; and nothing of the link is wasted."""
    for turn in range(TURNS):
        both = _beside_tcp(lab, turn)
        totals = {congestion: utp + tcp for congestion, (utp, tcp) in both.items()}
        assert max(totals.values()) < RATE, both
        if min(totals.values()) > FILLED * RATE:
            break
    else:
        raise AssertionError(f"some of the link is wasted: {both}")
    shares = {congestion: utp / totals[congestion] for congestion, (utp, _) in both.items()}
    assert 0.3 <= shares["fair"] <= 0.7
    assert shares["background"] <= 0.15


def _beside_tcp(lab: Lab, turn: int) -> dict[str, tuple[float, float]]:
    """How fast each kind of µTP is, and TCP beside it: each pair on a link of its own."""
    flows: dict[Host, list[Flow]] = {}
    kinds = ("fair", "background")
    for congestion in kinds:
        here = lab.host(f"{congestion}_{turn}", delay=DELAY, rate=RATE, queue=QUEUE)
        there = lab.host(f"{congestion}_to_{turn}")
        flows[here] = [Flow(here, there, each, seconds=10.0, skip=8.0) for each in (congestion, "cubic")]
    # Whoever is first gets most of it for half a minute, also with TCP alone. Losses take everything from everybody.
    for here in flows:
        up = here.link.up
        wait_until(lambda up=up: up.counts().queue_full, 20.0, "a full queue")
        up.set(loss=0.1)
    for here in flows:
        up = here.link.up
        wait_until(lambda up=up: up.counts().lost >= 40, 20.0, "the losses")
        up.set(loss=0.0)
    return {each: (utp.rate(), tcp.rate()) for each, (utp, tcp) in zip(kinds, flows.values(), strict=True)}


def test_in_the_background_others_hardly_wait(lab: Lab) -> None:
    """Alone it fills the link, but not its queue: what another program sends is late by 80 ms at the most."""
    here, there = lab.pair(delay=DELAY, rate=RATE, queue=QUEUE)
    for _ in range(TURNS):
        flow = Flow(here, there, "background", seconds=5.0, skip=3.0)
        echo = there.serve("echo", address=there.ipv4)
        trips = here.probe("ping", address=there.ipv4, port=echo.port, count=80, interval=0.02)["trips"]
        late = statistics.median(trip - 2 * DELAY for trip in trips if trip is not None)
        rate = flow.rate()
        if FILLED * RATE < rate < RATE and 0.005 < late <= 0.08:
            return
    raise AssertionError(f"{rate} of {RATE} bit/s, {late} s late")
