"""From counts to demand."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.scaling.decision import History
from app.scaling.demand import RATIO, Counts, Ended, Measured, Service, bin_of, ended_of
from app.scaling.state import State, Usage


def test_arrivals_are_what_ended_and_what_grew() -> None:
    measured = Measured().after(0.0, Counts(queued=2, running=1), Ended())
    assert measured.arrivals_per_s() == 0.0, "nothing came between passes that were not made"
    measured = measured.after(5.0, Counts(queued=5, running=3), ended_of([2.0, 2.0]))
    assert measured.came_lately() == 2 + 2 + 3
    measured = measured.after(10.0, Counts(queued=5, running=3), ended_of([2.0] * 7))
    assert measured.arrivals_per_s() == measured.usual_per_s() == pytest.approx(7 / 5)


def test_what_was_cancelled_in_the_queue_is_not_asked_for() -> None:
    measured = Measured().after(0.0, Counts(queued=50), Ended()).after(5.0, Counts(), Ended())
    assert measured.arrivals_per_s() == 0.0


def test_few_arrivals_are_counted_over_a_longer_time() -> None:
    measured = Measured().after(0.0, Counts(), Ended())
    for second in range(10, 301, 10):
        came = 1 if second % 100 == 0 else 0
        measured = measured.after(float(second), Counts(), ended_of([1.0] * came))
    assert measured.arrivals_per_s() == pytest.approx(3 / 300)
    for second in range(310, 371, 10):
        measured = measured.after(float(second), Counts(), ended_of([1.0] * 10))
    assert measured.arrivals_per_s() == pytest.approx(1.0), "many are counted over the newest minute"


def test_a_clock_that_steps_back_measures_nothing() -> None:
    measured = Measured().after(100.0, Counts(), Ended()).after(40.0, Counts(queued=9), ended_of([1.0]))
    assert (measured.at, measured.samples) == (40.0, ())
    assert measured.service.mean_s == 1.0


@given(st.lists(st.floats(0.01, 10_000), min_size=2, max_size=50))
def test_the_service_time_is_that_of_the_attempts(times: list[float]) -> None:
    service = Service().after(ended_of(times), 0.0)
    mean = statistics.fmean(times)
    assert service.mean_s == pytest.approx(mean)
    assert service.cv == pytest.approx(statistics.pstdev(times) / mean, abs=1e-3)
    p90 = service.quantile_s(0.9)
    exact = sorted(times)[math.ceil(0.9 * len(times)) - 1]
    assert p90 is not None and exact < p90 * (1 + 1e-6) and p90 <= exact * RATIO * (1 + 1e-6)


def test_newer_times_count_more_and_rest_forgets_nothing() -> None:
    service = Service().after(ended_of([10.0] * 100), 0.0)
    assert service.after(Ended(), 1e6) == service
    newer = service.after(ended_of([100.0] * 100), 3600.0)
    assert newer.mean_s == pytest.approx(100, rel=0.05)


def test_one_attempt_after_long_silence_does_not_stand_alone() -> None:
    service = Service().after(ended_of([10.0] * 100), 0.0).after(ended_of([100.0]), 1e9)
    assert service.mean_s == pytest.approx(55)


@given(st.floats(0.001, 1e6))
def test_a_bin_holds_its_time(seconds: float) -> None:
    assert RATIO ** bin_of(seconds) <= seconds * (1 + 1e-6) < RATIO ** (bin_of(seconds) + 1) * (1 + 2e-6)


def test_a_state_is_read_back_as_it_was_written() -> None:
    measured = Measured().after(1.0, Counts(3, 1.5, 1, 2), ended_of([1.0, 7.0]))
    measured = measured.after(6.0, Counts(4, 2.5, 0, 2), ended_of([3.0]))
    state = State(measured, History(((1.0, 3), (6.0, 4)), 6.0), Usage(5.0, 100.0, 2.0), 4, "queue_wait")
    assert State.from_json(state.to_json()) == state


@pytest.mark.parametrize("damaged", [None, {}, {"at": 1}, {"service": None}, {"samples": "x", "service": {"bins": []}}])
def test_a_damaged_state_is_as_none(damaged: dict[str, object] | None) -> None:
    assert State.from_json(damaged) == State()
