"""The search for the path's MTU, by hand."""

from __future__ import annotations

import pytest

from crust import limits
from crust.transports.utp.mtu import PathMtu


def search(path: int, ceiling: int = 1472) -> tuple[PathMtu, list[int]]:
    """Probe until it settles, on a path that takes ``path`` bytes; the sizes tried."""
    mtu = PathMtu(ceiling)
    tried: list[int] = []
    for _ in range(100):
        size = mtu.probe_size(0.0)
        if not size:
            break
        tried.append(size)
        mtu.probe_sent(size)
        assert mtu.probe_size(0.0) == 0  # one at a time
        if size <= path:
            mtu.probe_acked(size, 0.0)
        else:
            mtu.probe_lost(size, 0.0)
    return mtu, tried


@pytest.mark.parametrize("path", [1200, 1252, 1300, 1372, 1400, 1440, 1460, 1472])
@pytest.mark.parametrize("ceiling", [1472, 8972, 65507])
def test_it_finds_what_the_path_takes(path: int, ceiling: int) -> None:
    """Within a few bytes, never above, and with few losses."""
    mtu, tried = search(path, ceiling)
    assert path - limits.UTP_MTU_STEP <= mtu.size <= path
    assert len([size for size in tried if size > path]) <= 2 * limits.UTP_MTU_PROBES * 7


def test_the_ceiling_is_tried_first() -> None:
    """Most paths take what the interface does: one probe, and the search is over."""
    for ceiling in (1472, 8972, 65507):
        mtu, tried = search(ceiling, ceiling)
        assert (mtu.size, tried) == (ceiling, [ceiling])
        assert not mtu.probe_size(1e9)


def test_one_lost_probe_says_nothing() -> None:
    """The size is tried again; the second loss counts."""
    mtu = PathMtu(1472)
    mtu.probe_sent(1472)
    mtu.probe_lost(1472, 0.0)
    assert mtu.probe_size(0.0) == 1472
    mtu.probe_sent(1472)
    mtu.probe_acked(1472, 0.0)
    assert mtu.size == 1472


def test_after_a_while_a_larger_size_is_tried_again() -> None:
    """The path may have become better."""
    mtu, _ = search(1300)
    assert not mtu.probe_size(limits.UTP_MTU_RAISE_INTERVAL - 1)
    assert mtu.probe_size(limits.UTP_MTU_RAISE_INTERVAL + 1) == 1472


@pytest.mark.parametrize(("ceiling", "padding"), [(1201, 2), (1202, 2), (1472, 272), (8972, 7772)])
def test_a_probe_is_padded(ceiling: int, padding: int) -> None:
    """A full packet as they are, and the rest padding; without a full packet to send there is none."""
    size, payload = PathMtu(ceiling).probe(1180, 0.0)
    assert (size, size - payload - limits.UTP_HEADER_SIZE) == (ceiling, padding)
    assert PathMtu(ceiling).probe(payload - 1, 0.0) == (0, 0)


def test_a_probe_of_loopbacks_size_is_data() -> None:
    """As much as may be sent, if that is worth a try."""
    mtu = PathMtu(65507)
    assert mtu.probe(100_000, 0.0) == (65507, 65487)
    assert mtu.probe(20_000, 0.0) == (20_020, 20_000)
    assert mtu.probe(1480, 0.0) == (1500, 1480)
    assert mtu.probe(1479, 0.0) == (0, 0)
    mtu.probe_sent(65507)
    assert mtu.probe(100_000, 0.0) == (0, 0)


def test_a_black_hole_leads_back_to_the_base() -> None:
    """Timeouts in a row of large packets; small ones, or progress in between, do not count."""
    mtu, _ = search(1472)
    mtu.timed_out(1472, 1.0)
    mtu.progress()
    mtu.timed_out(1472, 2.0)
    assert mtu.size == 1472
    mtu.timed_out(1200, 3.0)
    assert mtu.size == 1472
    mtu.timed_out(1472, 4.0)
    assert mtu.size == limits.UTP_MTU_BASE
    assert limits.UTP_MTU_BASE < mtu.probe_size(4.0) < 1472


def test_what_the_kernel_refuses_is_too_large_at_once() -> None:
    """EMSGSIZE, or ICMP: no loss is needed. Below the base nobody is believed."""
    mtu, _ = search(1472)
    mtu.too_large(1401, 0.0)
    assert mtu.size == limits.UTP_MTU_BASE
    for _ in range(20):
        size = mtu.probe_size(0.0)
        assert size < 1401
        if not size:
            break
        mtu.probe_sent(size)
        mtu.probe_acked(size, 0.0)
    assert mtu.size > 1400 - 2 * limits.UTP_MTU_STEP
    mtu.too_large(100, 0.0)
    assert mtu.size > limits.UTP_MTU_BASE


def test_an_answer_to_an_old_probe_changes_nothing() -> None:
    """Only the one under way counts."""
    mtu = PathMtu(1472)
    mtu.probe_acked(1472, 0.0)
    mtu.probe_lost(1400, 0.0)
    assert mtu.size == limits.UTP_MTU_BASE and mtu.probe_size(0.0) == 1472


def test_an_interface_below_the_base_sets_the_size() -> None:
    """Nothing is probed there."""
    mtu = PathMtu(600)
    assert mtu.size == 600 and not mtu.probe_size(0.0)
