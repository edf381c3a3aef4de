"""When schedules tick: daylight saving, misfires, and the same ticks from wherever one looks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.schedules.ticks import (
    BadCron,
    BadTimezone,
    CronNeverFires,
    MisfirePolicy,
    Timing,
    check,
    due,
    next_after,
    ticks_after,
    ticks_within,
)  # fmt: skip

ANCHOR = datetime(2026, 1, 1, tzinfo=UTC)
BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"


def cron(text: str, zone: str = "UTC") -> Timing:
    return Timing(ANCHOR, cron=text, timezone=zone)


def every(seconds: float, anchor: datetime = ANCHOR) -> Timing:
    return Timing(anchor, interval_s=seconds)


def local(timing: Timing, start: str, count: int) -> list[str]:
    """The next ticks after a local time, as local times with their offset."""
    zone = ZoneInfo(timing.timezone)
    moment = datetime.fromisoformat(start).replace(tzinfo=zone).astimezone(UTC)
    return [f"{tick.astimezone(zone):%m-%d %H:%M%z}" for tick in islice(ticks_after(timing, moment), count)]


def test_a_fixed_time_in_the_gap_comes_at_its_end_and_once() -> None:
    nightly = cron("30 2 * * *", BERLIN)
    assert local(nightly, "2026-03-28T12:00", 3) == ["03-29 03:00+0200", "03-30 02:30+0200", "03-31 02:30+0200"]
    assert local(cron("15,45 2 * * *", BERLIN), "2026-03-28T12:00", 2) == ["03-29 03:00+0200", "03-30 02:15+0200"]
    assert local(cron("0 2,3 * * *", NEW_YORK), "2026-03-08T00:00", 2) == ["03-08 03:00-0400", "03-09 02:00-0400"]


def test_a_fixed_time_in_the_fold_comes_the_first_time_only() -> None:
    assert local(cron("30 2 * * *", BERLIN), "2026-10-24T12:00", 2) == ["10-25 02:30+0200", "10-26 02:30+0100"]
    nightly = cron("30 1 * * *", NEW_YORK)
    assert local(nightly, "2026-10-31T12:00", 2) == ["11-01 01:30-0400", "11-02 01:30-0500"]
    in_second_hour = datetime(2026, 11, 1, 6, 10, tzinfo=UTC)  # 01:10, for the second time
    assert next_after(nightly, in_second_hour) == datetime(2026, 11, 2, 6, 30, tzinfo=UTC)


def test_a_running_time_follows_the_clock_on_the_wall_of_the_world() -> None:
    half_hours = cron("*/30 * * * *", BERLIN)
    assert local(half_hours, "2026-03-29T01:00", 3) == ["03-29 01:30+0100", "03-29 03:00+0200", "03-29 03:30+0200"]
    assert local(half_hours, "2026-10-25T01:45", 5) == [
        "10-25 02:00+0200", "10-25 02:30+0200", "10-25 02:00+0100", "10-25 02:30+0100", "10-25 03:00+0100",
    ]  # fmt: skip


def test_an_interval_counts_from_its_anchor_exactly() -> None:
    thirds = every(0.1)
    assert list(islice(ticks_after(thirds, ANCHOR), 3))[-1] == ANCHOR + timedelta(milliseconds=300)
    late = ANCHOR + timedelta(days=10_000)
    assert next_after(thirds, late) == late + timedelta(milliseconds=100)
    assert next_after(every(60), ANCHOR - timedelta(days=1)) == ANCHOR, "the anchor is the first tick"
    assert next_after(every(60), ANCHOR) == ANCHOR + timedelta(minutes=1)
    assert next_after(every(3e9), datetime(9980, 1, 1, tzinfo=UTC)) is None


def test_once() -> None:
    once = Timing(ANCHOR, at=ANCHOR)
    assert next_after(once, ANCHOR - timedelta(seconds=1)) == ANCHOR
    assert next_after(once, ANCHOR) is None


@pytest.mark.parametrize(
    "text", ["0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "0 0 */20 2 MON#5", "0 12 31 11 */2", "0 0 30 FEB *"]
)
def test_a_cron_that_never_fires(text: str) -> None:
    with pytest.raises(CronNeverFires):
        check(cron(text, BERLIN))


@pytest.mark.parametrize(
    "text",
    [
        "", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "@daily",
        "*/0 * * * *", "5-1 * * * *", "a * * * *", "* * * * 5L/2", "* * * * MON#6", "* * L-2 * *", ", * * * *",
        "9" * 100 + " * * * *", "*\x00 * * * *", "² * * * *", "0 0 99 2 *",
    ],
)  # fmt: skip
def test_a_bad_cron(text: str) -> None:
    with pytest.raises(BadCron):
        check(cron(text))


@pytest.mark.parametrize(
    "text", ["0 0 29 2 *", "0 0 L * *", "0 9 * * MON-FRI", "0 0 * 2 MON#5", "0 0 LW * *", "0 0 31 2 MON"]
)
def test_a_good_cron(text: str) -> None:
    check(cron(text, NEW_YORK))


@given(text=st.text(alphabet="0123456789*/,-L#WMONFEBa ", max_size=30))
def test_whatever_is_written_is_good_or_bad(text: str) -> None:
    try:
        check(cron(text))
    except (BadCron, CronNeverFires):
        return
    assert next_after(cron(text), ANCHOR) is not None


@pytest.mark.parametrize(
    "name", ["", "Mars/Olympus", "../etc/passwd", "/etc/localtime", "Europe", "localtime", "UTC\x00", "x" * 500]
)
def test_a_bad_timezone(name: str) -> None:
    with pytest.raises(BadTimezone):
        check(cron("* * * * *", name))


CRONS = st.sampled_from(
    ["* * * * *", "*/7 * * * *", "30 2 * * *", "15,45 1-3 * * *", "0 */3 * * *", "0 2,3 * * SUN", "59 23 L * *"]
)
ZONES = st.sampled_from(["UTC", BERLIN, NEW_YORK, "Australia/Lord_Howe"])
NEAR_CHANGES = st.builds(
    lambda day, seconds: datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(seconds=seconds),
    st.sampled_from(["2026-03-08", "2026-03-29", "2026-04-05", "2026-10-04", "2026-10-25", "2026-11-01", "2026-07-01"]),
    st.integers(-90_000, 90_000),
)


@given(text=CRONS, zone=ZONES, start=NEAR_CHANGES)
def test_ticks_strictly_increase_and_never_come_twice(text: str, zone: str, start: datetime) -> None:
    found = list(islice(ticks_after(cron(text, zone), start), 100))
    assert all(earlier < later for earlier, later in pairwise([start, *found]))


@given(text=CRONS, zone=ZONES, start=NEAR_CHANGES, later=st.integers(0, 200_000))
def test_the_same_ticks_follow_from_wherever_one_looks(text: str, zone: str, start: datetime, later: int) -> None:
    timing, moment = cron(text, zone), start + timedelta(seconds=later)
    ahead = next(tick for tick in ticks_after(timing, start) if tick > moment)
    assert next_after(timing, moment) == ahead


@given(text=CRONS, zone=ZONES, start=NEAR_CHANGES)
def test_one_after_the_other_is_all_of_them(text: str, zone: str, start: datetime) -> None:
    timing, moment, found = cron(text, zone), start, []
    for _ in range(20):
        following = next_after(timing, moment)
        assert following is not None
        moment = following
        found.append(moment)
    assert found == list(islice(ticks_after(timing, start), 20))


TIMINGS = st.one_of(
    st.builds(cron, CRONS, ZONES), st.builds(every, st.sampled_from([1.0, 7.5, 60.0, 86_400.0])),
    st.builds(lambda seconds: Timing(ANCHOR, at=ANCHOR + timedelta(seconds=seconds)), st.integers(0, 5000)),
)  # fmt: skip
KINDS = st.sampled_from(["skip", "run_once", "run_all"])


@given(
    timing=TIMINGS, kind=KINDS, start=NEAR_CHANGES, away_s=st.integers(0, 20_000), grace_s=st.integers(0, 3000),
    most=st.integers(1, 20), limit=st.integers(1, 50),
)  # fmt: skip
def test_what_is_made_of_missed_ticks(
    timing: Timing, kind: str, start: datetime, away_s: int, grace_s: int, most: int, limit: int
) -> None:
    next_at = next_after(timing, start)
    if next_at is None:
        return
    now = next_at + timedelta(seconds=away_s)
    everything = ticks_within(timing, start, now, 100_000)
    cutoff = now - timedelta(seconds=grace_s)
    missed = [tick for tick in everything if tick < cutoff]
    kept = {"skip": 0, "run_once": 1, "run_all": most}[kind]
    expected = (missed[-kept:] if kept else []) + [tick for tick in everything if tick >= cutoff]
    made: list[datetime] = []
    more, rounds = True, 0
    at: datetime | None = next_at
    policy = MisfirePolicy(kind, grace_s, most)
    while more and at is not None:
        found = due(timing, at, now, policy, limit)
        assert len(found.ticks) <= limit
        made += found.ticks
        assert (found.missed_from is not None) == (rounds == 0 and len(expected) < len(everything))
        at, more, rounds = found.next_at, found.more, rounds + 1
    assert made == expected
    assert at == next_after(timing, now)


def test_years_of_missed_seconds_are_passed_over_quickly() -> None:
    now = ANCHOR + timedelta(days=3650)
    found = due(every(1), ANCHOR, now, MisfirePolicy("run_all", 60, 10), 100)
    assert len(found.ticks) == 71
    assert found.missed_from == ANCHOR
    found = due(cron("* * * * *", BERLIN), ANCHOR, now, MisfirePolicy("run_all", 0, 1000), 2000)
    assert len(found.ticks) == 1001
    found = due(cron("0 0 29 2 *"), ANCHOR, now, MisfirePolicy("run_once", 0, 1), 100)
    assert [tick.year for tick in found.ticks] == [2032]
