"""Windows of budgets: every instant has exactly one, whatever the clocks do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.costs.windows import TOTAL, Window, window, zone_of

ZONES = sorted(name for name in available_timezones() if name != "localtime")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
# Around changes that are odd: half an hour, a skipped midnight, a skipped date, one minute past midnight.
ODD = [
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC)),
    ("America/Sao_Paulo", datetime(2018, 11, 4, 3, tzinfo=UTC)),
    ("Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=UTC)),
    ("America/St_Johns", datetime(2010, 11, 7, 2, 31, tzinfo=UTC)),
    ("Asia/Kathmandu", datetime(1985, 12, 31, 18, 30, tzinfo=UTC)),
    ("Africa/Monrovia", datetime(1972, 1, 7, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 25, 1, tzinfo=UTC)),
]
kinds = st.sampled_from(["hour", "day", "month"])
instants = st.integers(0, 4_102_444_800 * 10**6).map(lambda us: EPOCH + timedelta(microseconds=us))
anywhere = st.tuples(st.sampled_from(ZONES), instants)
around_odd = st.tuples(st.sampled_from(ODD), st.timedeltas(-2 * DAY, 2 * DAY)).map(
    lambda drawn: (drawn[0][0], drawn[0][1] + drawn[1])
)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@given(kind=kinds, place=st.one_of(anywhere, around_odd))
def test_windows_cover_time_without_gap_or_overlap(kind: str, place: tuple[str, datetime]) -> None:
    zone, at = place
    found = window(kind, zone, None, at)
    assert found.start is not None and found.end is not None
    assert found.start <= at < found.end
    assert window(kind, zone, None, found.start) == found
    assert window(kind, zone, None, found.end - timedelta.resolution) == found
    assert window(kind, zone, None, found.end).start == found.end
    assert window(kind, zone, None, found.start - timedelta.resolution).end == found.start
    longest = {"hour": HOUR, "day": 2 * DAY, "month": 32 * DAY}[kind]
    shortest = {"hour": timedelta(0), "day": 12 * HOUR, "month": 26 * DAY}[kind]
    assert shortest < found.end - found.start <= longest


@pytest.mark.parametrize(
    ("kind", "zone", "at", "start", "end"),
    [
        ("hour", "UTC", "2026-01-01T10:59:59", "2026-01-01T10:00", "2026-01-01T11:00"),
        ("hour", "Asia/Kathmandu", "2026-01-01T10:20", "2026-01-01T10:15", "2026-01-01T11:15"),
        # 02:00 to 03:00 comes twice: two windows.
        ("hour", "Europe/Berlin", "2026-10-25T00:30", "2026-10-25T00:00", "2026-10-25T01:00"),
        ("hour", "Europe/Berlin", "2026-10-25T01:30", "2026-10-25T01:00", "2026-10-25T02:00"),
        # Half an hour is repeated.
        ("hour", "Australia/Lord_Howe", "2026-04-04T14:30", "2026-04-04T14:00", "2026-04-04T15:00"),
        ("hour", "Australia/Lord_Howe", "2026-04-04T15:10", "2026-04-04T15:00", "2026-04-04T15:30"),
        ("day", "Europe/Berlin", "2026-03-29T12:00", "2026-03-28T23:00", "2026-03-29T22:00"),
        ("day", "Europe/Berlin", "2026-10-25T12:00", "2026-10-24T22:00", "2026-10-25T23:00"),
        ("day", "America/Sao_Paulo", "2018-11-04T03:00", "2018-11-04T03:00", "2018-11-05T02:00"),
        ("day", "America/Sao_Paulo", "2018-11-04T02:59", "2018-11-03T03:00", "2018-11-04T03:00"),
        # The 30th never was.
        ("day", "Pacific/Apia", "2011-12-30T09:59", "2011-12-29T10:00", "2011-12-30T10:00"),
        ("day", "Pacific/Apia", "2011-12-30T10:00", "2011-12-30T10:00", "2011-12-31T10:00"),
        # At one minute past midnight the clock went back into the day before.
        ("day", "America/St_Johns", "2010-11-07T02:31", "2010-11-07T02:30", "2010-11-08T03:30"),
        ("month", "Europe/Berlin", "2026-03-31T22:00", "2026-03-31T22:00", "2026-04-30T22:00"),
        ("month", "UTC", "2026-12-31T23:59", "2026-12-01T00:00", "2027-01-01T00:00"),
    ],
)
def test_calendar_windows(kind: str, zone: str, at: str, start: str, end: str) -> None:
    assert window(kind, zone, None, utc(at)) == Window(utc(start), utc(end))


def test_rolling_and_total_windows_have_no_ends() -> None:
    now = utc("2026-01-01T00:00")
    assert window("rolling", "UTC", 3600.0, now) == Window(None, None, 60.0)
    assert window("total", "UTC", None, now) == TOTAL


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "Europe", "../UTC", "/etc/passwd", "localtime", "Europe/ Berlin"])
def test_what_is_not_a_zone_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        zone_of(name)


@pytest.mark.parametrize("kind", ["week", "", "rolling"])
def test_what_is_not_a_window_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="window"):
        window(kind, "UTC", None, utc("2026-01-01T00:00"))
