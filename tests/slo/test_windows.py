"""Windows of objectives: calendar ones by the wall clock, rolling ones by the bucket."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.slo.objective import DAY_S, WindowSpec
from app.slo.windows import EPOCH, Span, bucket_of, buckets_in, last, span_of, whole_buckets

ZONES = sorted(name for name in available_timezones() if name != "localtime")
TICK = timedelta.resolution
ODD = [
    ("Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=UTC)),
    ("America/Sao_Paulo", datetime(2018, 11, 4, 3, tzinfo=UTC)),
    ("America/St_Johns", datetime(2010, 11, 7, 2, 31, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 3, 29, 1, tzinfo=UTC)),
]
instants = st.integers(0, 4_102_444_800 * 10**6).map(lambda us: EPOCH + timedelta(microseconds=us))
places = st.one_of(
    st.tuples(st.sampled_from(ZONES), instants),
    st.tuples(st.sampled_from(ODD), st.timedeltas(timedelta(days=-8), timedelta(days=8))).map(
        lambda drawn: (drawn[0][0], drawn[0][1] + drawn[1])
    ),
)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@given(kind=st.sampled_from(["month", "week"]), place=places)
def test_calendar_windows_cover_time_without_gap_or_overlap(kind: str, place: tuple[str, datetime]) -> None:
    zone, at = place
    spec = WindowSpec(kind, None, zone)  # type: ignore[arg-type]
    found = span_of(spec, at)
    assert found.start <= at < found.end
    assert span_of(spec, found.start) == found == span_of(spec, found.end - TICK)
    assert span_of(spec, found.end).start == found.end
    shortest, longest = {"month": (26, 32), "week": (5, 8)}[kind]
    assert timedelta(days=shortest) < found.end - found.start <= timedelta(days=longest)


@given(place=places)
def test_a_week_holds_one_iso_week_of_the_wall_clock(place: tuple[str, datetime]) -> None:
    zone, at = place
    found = span_of(WindowSpec("week", None, zone), at)
    # Noon of each day: no clock has ever been changed by so much.
    noons = [found.start + timedelta(hours=12 + 24 * day) for day in range((found.end - found.start).days)]
    assert len({noon.astimezone(ZoneInfo(zone)).isocalendar()[:2] for noon in noons}) == 1


@pytest.mark.parametrize(
    ("kind", "zone", "at", "start", "end"),
    [
        ("month", "UTC", "2026-02-28T23:59:59", "2026-02-01T00:00", "2026-03-01T00:00"),
        ("month", "Europe/Berlin", "2026-03-15T00:00", "2026-02-28T23:00", "2026-03-31T22:00"),
        ("month", "America/New_York", "2026-11-15T00:00", "2026-11-01T04:00", "2026-12-01T05:00"),
        ("week", "UTC", "2026-11-29T23:59:59", "2026-11-23T00:00", "2026-11-30T00:00"),
        ("week", "UTC", "2026-11-30T00:00", "2026-11-30T00:00", "2026-12-07T00:00"),
        # 167 hours with the change to summer time, 169 with the one back.
        ("week", "Europe/Berlin", "2026-03-25T12:00", "2026-03-22T23:00", "2026-03-29T22:00"),
        ("week", "Europe/Berlin", "2026-10-25T12:00", "2026-10-18T22:00", "2026-10-25T23:00"),
        # The year ends in the middle of a week.
        ("week", "UTC", "2027-01-01T00:00", "2026-12-28T00:00", "2027-01-04T00:00"),
        # A week without its Friday.
        ("week", "Pacific/Apia", "2011-12-31T00:00", "2011-12-26T10:00", "2012-01-01T10:00"),
    ],
)
def test_calendar_windows(kind: str, zone: str, at: str, start: str, end: str) -> None:
    assert span_of(WindowSpec(kind, None, zone), utc(at)) == Span(utc(start), utc(end))  # type: ignore[arg-type]


def test_a_rolling_window_ends_now_whatever_clocks_do() -> None:
    now = datetime(2026, 3, 29, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    found = span_of(WindowSpec("rolling", DAY_S), now)
    assert found == Span(utc("2026-03-28T10:00"), utc("2026-03-29T10:00"))
    assert found.seconds == DAY_S


def test_what_is_not_a_window_is_refused() -> None:
    with pytest.raises(ValueError, match="no windows"):
        span_of(WindowSpec("year", None), utc("2026-01-01"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no time zone"):
        span_of(WindowSpec("week", None, "Mars/Olympus"), utc("2026-01-01"))


@given(place=places, share=st.fractions(0, 1, max_denominator=1000))
def test_what_is_over_and_what_is_left_is_all_of_it(place: tuple[str, datetime], share: Fraction) -> None:
    found = span_of(WindowSpec("month", None, place[0]), place[1])
    now = found.start + timedelta(seconds=int(share * found.seconds))
    assert found.elapsed(now) * found.seconds + found.left_s(now) == found.seconds
    assert (found.elapsed(found.start), found.elapsed(found.end)) == (0, 1)
    assert (found.elapsed(found.start - TICK), found.elapsed(found.end + TICK)) == (0, 1)
    assert found.left_s(found.end + TICK) == 0


@given(cuts=st.lists(instants, min_size=2, max_size=6), width_s=st.sampled_from([1, 60, 300]))
def test_spans_that_follow_each_other_share_no_bucket_and_leave_none_out(cuts: list[datetime], width_s: int) -> None:
    cuts = sorted(EPOCH + (cut - EPOCH) % timedelta(hours=3) for cut in cuts)
    whole = list(buckets_in(Span(cuts[0], cuts[-1]), width_s))
    parts = [bucket for start, end in pairwise(cuts) for bucket in buckets_in(Span(start, end), width_s)]
    assert parts == whole == sorted(set(whole))
    assert all(bucket_of(bucket, width_s) == bucket and cuts[0] <= bucket < cuts[-1] for bucket in whole)


@given(now=instants, minutes=st.integers(1, 4320))
def test_a_rolling_window_always_has_as_many_buckets(now: datetime, minutes: int) -> None:
    found = whole_buckets(last(minutes * 60, now))
    assert (found.end - found.start) == timedelta(minutes=minutes)
    assert found.end >= now > found.end - timedelta(minutes=1)
