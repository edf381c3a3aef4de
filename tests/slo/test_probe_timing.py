"""Planned times of probes: the same from wherever one looks, spread, and never made up for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from app.slo.probe_timing import LATE_S, due, phase, planned_after, stale_after_s

names = st.text("abcdefghij0123456789-", min_size=1, max_size=20)
periods = st.integers(10, 604_800)
moments = st.integers(0, 4_000_000_000_000_000).map(
    lambda us: datetime(2000, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
)


@given(names, periods, moments)
def test_the_next_time_is_the_first_one_of_the_grid(name: str, every_s: int, after: datetime) -> None:
    found = planned_after(name, every_s, after)
    assert timedelta(0) < found - after <= timedelta(seconds=every_s)
    assert planned_after(name, every_s, found) - found == timedelta(seconds=every_s)
    assert planned_after(name, every_s, found - timedelta(microseconds=1)) == found


@given(names, periods)
def test_a_phase_is_less_than_the_period(name: str, every_s: int) -> None:
    assert timedelta(0) <= phase(name, every_s) < timedelta(seconds=every_s)


def test_many_probes_do_not_run_at_once() -> None:
    seconds = [int(phase(f"probe-{number}", 60).total_seconds()) for number in range(200)]
    assert max(seconds.count(second) for second in range(60)) <= 15
    assert len(set(seconds)) > 45


@given(names, periods, moments, st.integers(0, 50), st.floats(0, 1, exclude_max=True))
def test_of_the_times_that_have_come_the_last_is_run_unless_it_is_missed(
    name: str, every_s: int, start: datetime, missed: int, share: float
) -> None:
    next_at = planned_after(name, every_s, start)
    latest = next_at + timedelta(seconds=missed * every_s)
    now = latest + timedelta(seconds=share * every_s)
    found = due(name, every_s, next_at, now)
    assert found.next_at == planned_after(name, every_s, now) > now
    coming = found.next_at - timedelta(seconds=every_s)  # `latest`, but for what a float rounds
    expected = coming if (now - coming).total_seconds() <= LATE_S and coming >= next_at else None
    assert found.planned_at == expected
    if share * every_s < LATE_S - 1 and share < 0.999:
        assert found.planned_at == latest


def test_a_time_that_has_not_come_is_not_run() -> None:
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    next_at = planned_after("a", 60, now)
    assert due("a", 60, next_at, now).planned_at is None
    assert due("a", 60, next_at, now).next_at == next_at


def test_after_an_outage_of_an_hour_one_run_is_made_and_not_sixty() -> None:
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    next_at = planned_after("a", 60, now - timedelta(hours=1))
    found = due("a", 60, next_at, now)
    assert found.planned_at is not None
    assert now - found.planned_at < timedelta(seconds=60)
    assert found.next_at > now


def test_a_daily_run_is_not_made_hours_later() -> None:
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    next_at = planned_after("a", 86_400, now)
    assert due("a", 86_400, next_at, next_at + timedelta(seconds=LATE_S)).planned_at == next_at
    late = due("a", 86_400, next_at, next_at + timedelta(hours=3))
    assert (late.planned_at, late.next_at) == (None, next_at + timedelta(days=1))


def test_a_run_is_stale_after_two_more_were_missed() -> None:
    assert stale_after_s(60, 20) == 2 * 60 + 20 + LATE_S
