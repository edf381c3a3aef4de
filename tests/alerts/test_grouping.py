"""Groups: which alerts are told together, and when."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.alerts.grouping import BY_ALL, Group, Timing, due, flushed, group_key, group_labels, joined, opened

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
TIMING = Timing()
WAIT, INTERVAL = TIMING.group_wait, TIMING.group_interval
LABELS = {"alertname": "Slow", "pool": "a", "node": ""}
spans = st.integers(-100_000, 100_000).map(lambda number: timedelta(seconds=number))


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def new(starts_at: datetime = NOW, now: datetime = NOW) -> Group:
    return opened("r", {"pool": "a"}, TIMING, starts_at, now)


def test_the_default_times_are_those_of_alertmanager() -> None:
    assert Timing(seconds(30), timedelta(minutes=5), timedelta(hours=4)) == TIMING


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        (("alertname",), {"alertname": "Slow"}),
        (("alertname", "pool"), {"alertname": "Slow", "pool": "a"}),
        (("zone", "pool"), {"pool": "a"}),
        (("node",), {}),
        ((), {}),
        ((BY_ALL,), {"alertname": "Slow", "pool": "a"}),
    ],
)
def test_labels_of_a_group(by: tuple[str, ...], expected: dict[str, str]) -> None:
    assert group_labels(LABELS, by) == expected


def test_a_key_is_one_of_route_and_labels() -> None:
    assert group_key("r", {"a": "1", "b": "2"}) == group_key("r", {"b": "2", "a": "1"})
    keys = {
        group_key(route, labels) for route in ("r", "s") for labels in ({}, {"a": "1"}, {"a": "2"}, {"a": "1", "b": ""})
    }
    assert len(keys) == 8
    assert new().key == group_key("r", {"pool": "a"})


@pytest.mark.parametrize(
    ("fires_for_s", "first_s"),
    [(0, 30), (29, 30), (30, 30), (31, 0), (3600, 0), (-10, 30)],
)
def test_the_first_flush(fires_for_s: float, first_s: float) -> None:
    group = new(NOW - seconds(fires_for_s))
    assert group.next_flush_at == NOW + seconds(first_s)
    assert not group.flushed
    assert due(group, NOW + seconds(first_s))
    assert not due(group, NOW + seconds(first_s) - seconds(0.001))


def test_more_alerts_do_not_put_the_first_flush_off() -> None:
    assert joined(new(), NOW + seconds(20), NOW + seconds(20)) == new()


def test_an_old_alert_hastens_the_first_flush_only() -> None:
    at = NOW + seconds(10)
    assert joined(new(), NOW - seconds(60), at).next_flush_at == at
    after = flushed(new(), NOW + WAIT)
    assert joined(after, NOW - seconds(60), NOW + WAIT + seconds(10)) == after
    overdue = replace(new(), next_flush_at=NOW)
    assert joined(overdue, NOW - seconds(60), at).next_flush_at == NOW


def test_flushes_are_an_interval_apart_and_late_ones_are_not_made_up_for() -> None:
    group = flushed(new(), NOW + WAIT)
    assert group.flushed
    assert group.next_flush_at == NOW + WAIT + INTERVAL
    late = NOW + timedelta(hours=3)
    assert due(group, late)
    again = flushed(group, late)
    assert again.next_flush_at == late + INTERVAL
    assert not due(again, late)


def test_a_flush_that_was_put_off_comes_earlier() -> None:
    assert flushed(new(), NOW, NOW + seconds(7)).next_flush_at == NOW + seconds(7)
    assert flushed(new(), NOW, NOW + timedelta(hours=1)).next_flush_at == NOW + INTERVAL
    assert flushed(new(), NOW, NOW - seconds(1)).next_flush_at == NOW


@given(spans, spans)
def test_no_clock_keeps_a_group_waiting_for_longer_than_its_interval(jump: timedelta, then: timedelta) -> None:
    """A leader that resumes it with any other clock flushes at once, or within the interval."""
    group = replace(new(), next_flush_at=NOW + jump)
    at = NOW + then
    assert due(group, at) or due(group, at + INTERVAL)
    assert due(group, at) is (group.next_flush_at <= at or group.next_flush_at > at + INTERVAL)


def test_times_are_checked() -> None:
    assert Timing(group_wait=timedelta(0))
    none = timedelta(0)
    for change in (
        {"group_wait": -seconds(1)},
        {"group_interval": none},
        {"repeat_interval": none},
    ):
        with pytest.raises(ValueError, match="group_wait"):
            Timing(**change)
