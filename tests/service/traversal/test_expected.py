"""Whoever looks for a path with us is expected for a while, where it is seen and near there."""

from __future__ import annotations

from crust import limits
from crust.addresses import address_key
from crust.service.traversal.expected import Expected


def test_for_a_while() -> None:
    """From the latest attempt on."""
    expected = Expected()
    expected.expect(["192.0.2.7", "fe80::1%eth0"], 10.0)
    for host in ("192.0.2.7", "192.0.2.43", "fe80::2"):
        assert expected.expects(address_key(host), 10.0 + limits.SEARCHED_SECONDS - 1.0)
        assert not expected.expects(address_key(host), 10.0 + limits.SEARCHED_SECONDS)
    for host in ("192.0.3.7", "198.51.100.7", "2001:db8::1", "fe80:0:0:1::1"):
        assert not expected.expects(address_key(host), 10.0)
    expected.expect(["192.0.2.8"], 50.0)
    assert expected.expects(address_key("192.0.2.7"), 50.0 + limits.SEARCHED_SECONDS - 1.0)


def test_so_many_at_most() -> None:
    """The one that began longest ago is forgotten."""
    expected = Expected()
    for number in range(limits.ALLOWANCES_MAX + 1):
        expected.expect([f"10.{number >> 8}.{number & 255}.1"], 0.0)
    assert not expected.expects(address_key("10.0.0.1"), 1.0) and expected.expects(address_key("10.0.1.1"), 1.0)
    expected.expect(["10.0.1.1"], 1.0)  # the latest now
    expected.expect(["192.0.2.1"], 1.0)
    assert expected.expects(address_key("10.0.1.1"), 2.0) and not expected.expects(address_key("10.0.2.1"), 2.0)


def test_a_forked_child_waits_for_no_lock() -> None:
    """Whatever was held at the time."""
    expected = Expected()
    with expected._lock:
        expected.abandon()
        assert not expected.expects(address_key("192.0.2.7"), 10.0)
