"""Token buckets: what they hold, how they fill, whom they forget."""

from __future__ import annotations

from crust.runtime.rates import Bucket, Rates


def test_a_bucket_holds_one_second() -> None:
    """Unless it is given a size; never less than one token."""
    bucket = Bucket(4.0)
    assert bucket.tokens(0.0) == 4.0
    bucket.take()
    assert bucket.tokens(0.125) == 3.5
    assert bucket.tokens(9.0) == 4.0
    assert bucket.tokens(8.0) == 4.0  # a clock that is late gives nothing and takes nothing
    assert Bucket(0.1).tokens(0.0) == 1.0
    assert Bucket(0.1, 3.0).tokens(0.0) == 3.0


def test_each_key_and_all_together() -> None:
    """A key's refusal costs the others nothing."""
    rates = Rates(1.0, 100.0, each_size=2.0, all_size=3.0)
    assert [rates.permit("a", 1.0) for _ in range(4)] == [True, True, False, False]
    assert [rates.permit("b", 1.0) for _ in range(3)] == [True, False, False]
    assert rates.permit("b", 1.1)


def test_keys_are_forgotten() -> None:
    """The one quiet for longest first."""
    rates = Rates(0.001, 1000.0, keys=2)
    assert rates.permit("a", 1.0)
    assert rates.permit("b", 1.0)
    assert not rates.permit("a", 1.0)
    assert rates.permit("c", 1.0)
    assert not rates.permit("a", 1.0)
    assert rates.permit("b", 1.0)


def test_a_rate_can_change() -> None:
    """What is there stays, up to what the new rate lets one save; more comes back at the new rate."""
    bucket = Bucket(10)
    assert bucket.tokens(0.0) == 10
    bucket.change_rate(4)
    assert bucket.tokens(0.0) == 4
    for _ in range(4):
        bucket.take()
    assert bucket.tokens(0.5) == 2
    bucket.change_rate(100)
    assert bucket.tokens(1.0) == 52


def test_what_was_taken_for_nothing_is_given_back() -> None:
    """To the key and to all; never more than there can be, and nothing to who is not known."""
    rates = Rates(0.001, 0.001, each_size=2.0, all_size=3.0)
    assert [rates.permit("a", 1.0) for _ in range(3)] == [True, True, False]
    rates.give_back("a")
    rates.give_back("b")
    assert [rates.permit("a", 1.0) for _ in range(2)] == [True, False]
    assert [rates.permit("b", 1.0) for _ in range(2)] == [True, False]
    for _ in range(9):
        rates.give_back("a")
    assert [rates.permit("a", 1.0) for _ in range(3)] == [True, True, False]


def test_keys_at_one_place_share_a_part() -> None:
    """Keys cost nothing: all of them there get no more than that, or than one key; others still get theirs."""
    for part, most in ((0.25, 2), (0.0, 1), (1.0, 8)):
        rates = Rates(0.001, 0.001, each_size=1.0, all_size=8.0, names=("its own", "of all"), part=part)
        told = [rates.refusal(key, 1.0, b"here") for key in range(9)]
        assert told == [""] * most + ["of all" if part == 1.0 else "limits.peers_per_address"] * (9 - most)
        assert rates.refusal(0, 1.0, b"here") == "its own"
        assert rates.refusal(9, 1.0, b"there") == ("of all" if part == 1.0 else "")


def test_some_of_a_keys_own_is_left_for_what_matters_more() -> None:
    rates = Rates(1.0, 100.0, each_size=4)
    assert [rates.refusal("a", 10.0, spare=2.0) for _ in range(3)] == ["", "", "each"]
    assert [rates.refusal("a", 10.0) for _ in range(3)] == ["", "", "each"]
    assert rates.refusal("a", 12.0, spare=2.0) == "each", "what comes back is for that first"
