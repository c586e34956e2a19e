"""The heap of timers against a list that is sorted each time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crust.runtime.timers import Bell, Timer, TimerHeap


def fire(heap: TimerHeap, now: float) -> None:
    while (callback := heap.pop_due(now)) is not None:
        callback(now)


def test_timers_fire_in_order_and_once() -> None:
    """Earliest first; those of one moment in the order of adding."""
    fired: list[str] = []
    heap = TimerHeap()
    for when, name in [(2.0, "c"), (1.0, "a"), (1.0, "b"), (3.0, "d")]:
        heap.add(Timer(when, lambda now, name=name: fired.append(name)))
    assert heap.next_due() == 1.0
    fire(heap, 0.999)
    assert fired == []
    fire(heap, 2.0)
    assert fired == ["a", "b", "c"]
    assert heap.next_due() == 3.0
    fire(heap, 9.0)
    fire(heap, 9.0)
    assert fired == ["a", "b", "c", "d"]
    assert heap.next_due() is None


def test_a_callback_may_cancel_a_timer_due_at_the_same_moment() -> None:
    """Due is not yet fired."""
    fired: list[str] = []
    heap = TimerHeap()
    second = Timer(1.0, lambda now: fired.append("second"))
    heap.add(Timer(1.0, lambda now: second.cancel()))
    heap.add(second)
    fire(heap, 1.0)
    assert fired == [] and not second.active


def test_cancelled_timers_do_not_pile_up() -> None:
    """Ten thousand handshakes that ended well leave a small heap."""
    heap = TimerHeap()
    for number in range(10_000):
        timer = Timer(1000.0 + number, lambda now: None)
        heap.add(timer)
        timer.cancel()
    assert len(heap) <= 256
    assert heap.next_due() is None


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.integers(0, 50)),
            st.tuples(st.just("cancel"), st.integers(0, 400)),
            st.tuples(st.just("advance"), st.integers(0, 20)),
        ),
        max_size=400,
    )
)
def test_it_behaves_like_a_sorted_list(steps: list[tuple[str, int]]) -> None:
    """Any mix of adding, cancelling and time passing."""
    heap = TimerHeap()
    model: list[tuple[float, int]] = []
    timers: list[Timer] = []
    fired: list[int] = []
    now = 0.0
    for verb, value in steps:
        if verb == "add":
            number = len(timers)
            timer = Timer(now + value, lambda now, number=number: fired.append(number))
            timers.append(timer)
            model.append((timer.when, number))
            heap.add(timer)
        elif verb == "cancel" and timers:
            number = value % len(timers)
            timers[number].cancel()
            model = [entry for entry in model if entry[1] != number]
        elif verb == "advance":
            now += value
            fired.clear()
            fire(heap, now)
            assert fired == [number for when, number in sorted(model) if when <= now]
            model = [entry for entry in model if entry[0] > now]
        assert heap.next_due() == (min(model)[0] if model else None)


def test_a_bell_rings_until_it_is_silenced() -> None:
    """Timers that are still to come do nothing, and keep nothing alive."""
    rung: list[float] = []
    bell = Bell(rung.append)
    heap = TimerHeap()
    for when in (1.0, 2.0):
        heap.add(Timer(when, bell))
    fire(heap, 1.0)
    bell.silence()
    fire(heap, 2.0)
    bell(3.0)
    assert rung == [1.0]
