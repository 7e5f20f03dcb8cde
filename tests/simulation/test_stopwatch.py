"""Seconds by phase, on a clock that the test sets."""

import pytest

from simulation import stopwatch as module
from simulation.stopwatch import Stopwatch, timed


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_inner_phases_are_taken_from_the_outer_one(clock):
    watch = Stopwatch()
    with watch.phase("outer"):
        clock.now += 1
        with watch.phase("inner"):
            clock.now += 10
            with watch.phase("innermost"):
                clock.now += 100
        clock.now += 2
        with watch.phase("inner"):
            clock.now += 20
    assert watch.seconds == {"innermost": 100, "inner": 30, "outer": 3}
    assert sum(watch.seconds.values()) == clock.now


def test_a_phase_within_itself_counts_once(clock):
    watch = Stopwatch()
    with watch.phase("same"):
        clock.now += 1
        with watch.phase("same"):
            clock.now += 1
    assert watch.seconds == {"same": 2}


def test_seconds_measured_elsewhere_leave_the_open_phase(clock):
    watch = Stopwatch()
    with watch.phase("outer"), watch.phase("clearing"):
        clock.now += 5
        watch.credit("solver", 3)
    assert watch.seconds == {"solver": 3, "clearing": 2, "outer": 0}
    watch.credit("start_up", 7)
    assert watch.seconds["start_up"] == 7


def test_a_failing_block_is_counted_too(clock):
    watch = Stopwatch()

    def fail() -> None:
        clock.now += 4
        raise KeyError

    with pytest.raises(KeyError), watch.phase("outer"), watch.phase("inner"):
        fail()
    with watch.phase("outer"):
        clock.now += 1
    assert watch.seconds == {"inner": 4, "outer": 1}


def test_methods_are_timed(clock):
    class Worker:
        def __init__(self) -> None:
            self.stopwatch = Stopwatch()

        @timed("work")
        def work(self, hours: float, *, extra: float = 0.0) -> float:
            """Work."""
            clock.now += hours + extra
            return 2 * hours

    worker = Worker()
    assert worker.work(3, extra=0.5) == 6
    assert worker.stopwatch.seconds == {"work": 3.5}
    assert Worker.work.__doc__ == "Work."
