"""Floors of the calendar: when they stand, in their own time zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given
from hypothesis import strategies as st

from app.scaling.floors import floor
from app.scaling.policy import Floor

HOUR = 3600.0
OFFICE = Floor("0 8 * * 1-5", 10 * HOUR, 6, "Europe/Berlin")


def at(text: str) -> float:
    """UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-01-05 06:59:59.9", 0),  # Monday, 7:59:59.9 in Berlin
        ("2026-01-05 07:00:00", 6),
        ("2026-01-05 16:59:59.9", 6),
        ("2026-01-05 17:00:00", 0),
        ("2026-01-04 12:00:00", 0),  # Sunday
        ("2026-07-06 05:59:59", 0),  # an hour earlier in UTC in summer
        ("2026-07-06 06:00:00", 6),
        ("2026-07-06 16:00:00", 0),
    ],
)
def test_office_hours(moment: str, expected: int) -> None:
    assert floor([OFFICE], at(moment)) == expected


@pytest.mark.parametrize(
    ("cron", "moment", "stands"),
    [
        # In Berlin the clock jumps from 2:00 to 3:00 on 29 March 2026 (1:00 UTC): 2:30 begins at 3:00.
        ("30 2 * * *", "2026-03-29 00:59:59", False),
        ("30 2 * * *", "2026-03-29 01:00:00", True),
        ("30 2 * * *", "2026-03-29 01:29:59", True),
        ("30 2 * * *", "2026-03-29 01:30:00", False),
        # On 25 October it goes from 3:00 back to 2:00 (1:00 UTC): of two times 2:30 the first counts (0:30 UTC).
        ("30 2 * * *", "2026-10-25 00:30:00", True),
        ("30 2 * * *", "2026-10-25 00:59:59", True),
        ("30 2 * * *", "2026-10-25 01:15:00", False),
        ("30 2 * * *", "2026-10-25 01:30:00", False),
        # With a star the second 2:30 counts as well.
        ("30 * * * *", "2026-10-25 01:30:00", True),
    ],
)
def test_half_an_hour_from_half_past_two_when_clocks_change(cron: str, moment: str, stands: bool) -> None:
    assert floor([Floor(cron, HOUR / 2, 3, "Europe/Berlin")], at(moment)) == (3 if stands else 0)


def test_a_floor_of_the_first_half_past_two_stands_on_through_the_second_hour() -> None:
    night = [Floor("30 2 * * *", 2 * HOUR, 3, "Europe/Berlin")]
    assert [floor(night, at(f"2026-10-25 {time}")) for time in ("00:29", "01:10", "02:29", "02:30")] == [0, 3, 3, 0]


def test_the_highest_of_those_that_stand_counts() -> None:
    schedule = [OFFICE, Floor("30 9 * * 1", HOUR, 20, "Europe/Berlin"), Floor("0 0 1 1 *", HOUR, 99)]
    assert floor(schedule, at("2026-01-05 09:00")) == 20
    assert floor(schedule, at("2026-01-05 10:00")) == 6


def test_none_is_none() -> None:
    assert floor([], at("2026-01-05 09:00")) == 0


def test_a_rare_one_stands_for_its_week() -> None:
    leap = [Floor("0 0 29 2 *", 7 * 24 * HOUR, 4)]
    assert floor(leap, at("2028-03-06 23:59")) == 4
    assert floor(leap, at("2028-03-07 00:00")) == 0
    assert floor(leap, at("2026-03-02 00:00")) == 0


@given(
    st.sampled_from(["*/7 * * * *", "0 */5 * * *", "15,45 2-4 * * 0,6", "30 2 * * *", "0 0 1 * *", "59 23 31 12 *"]),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
    st.floats(60.0, 604_800.0),
    st.floats(at("2025-01-01"), at("2027-01-01")),
)
def test_it_stands_where_some_tick_is_recent_enough(cron: str, zone: str, duration_s: float, moment: float) -> None:
    now = datetime.fromtimestamp(moment, UTC)
    since = now - timedelta(seconds=duration_s)
    begin = (since - timedelta(days=3)).astimezone(ZoneInfo(zone))
    stands = False
    for tick in CronSim(cron, begin):  # each one from well before, one by one
        if tick.astimezone(UTC) > now:
            break
        stands = stands or tick.astimezone(UTC) > since
    assert floor([Floor(cron, duration_s, 2, zone)], now.timestamp()) == (2 if stands else 0)
