"""Time intervals by the clocks of a place, and how they are written."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.alerts.intervals import parse_interval
from app.alerts.mute_times import BadInterval, MuteTimes, TimeInterval

BERLIN = "Europe/Berlin"
FIRST, LAST = datetime(2020, 1, 1), datetime(2030, 12, 31)  # noqa: DTZ001 - Hypothesis adds the zone
moments = st.datetimes(FIRST, LAST, timezones=st.just(UTC))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def hours(begin: str, end: str, **more: Any) -> dict[str, Any]:
    return {"times": [{"start_time": begin, "end_time": end}], **more}


@pytest.mark.parametrize(
    ("written", "moment", "within"),
    [
        ({}, "2026-11-20T12:00Z", True),
        (hours("09:00", "17:00"), "2026-11-20T09:00Z", True),
        (hours("09:00", "17:00"), "2026-11-20T16:59:59.9Z", True),
        (hours("09:00", "17:00"), "2026-11-20T17:00Z", False),
        (hours("22:00", "24:00"), "2026-11-20T23:59:59Z", True),
        (hours("22:00", "24:00"), "2026-11-21T00:00Z", False),
        (hours("09:00", "17:00", location=BERLIN), "2026-11-20T08:00Z", True),
        (hours("09:00", "17:00", location=BERLIN), "2026-07-20T08:00Z", True),
        (hours("09:00", "17:00", location=BERLIN), "2026-07-20T07:30Z", True),
        (hours("09:00", "17:00", location=BERLIN), "2026-11-20T07:30Z", False),
        # Clocks jump from 02:00 to 03:00: an hour that nobody sees.
        (hours("02:00", "03:00", location=BERLIN), "2026-03-29T00:59Z", False),
        (hours("02:00", "03:00", location=BERLIN), "2026-03-29T01:00Z", False),
        (hours("03:00", "04:00", location=BERLIN), "2026-03-29T01:00Z", True),
        # And they show 02:00 to 03:00 twice.
        (hours("02:00", "03:00", location=BERLIN), "2026-10-25T00:30Z", True),
        (hours("02:00", "03:00", location=BERLIN), "2026-10-25T01:30Z", True),
        (hours("02:00", "03:00", location=BERLIN), "2026-10-25T02:00Z", False),
        ({"weekdays": ["saturday", "sunday"]}, "2026-11-22T12:00Z", True),
        ({"weekdays": ["monday:friday"]}, "2026-11-22T12:00Z", False),
        ({"weekdays": ["monday:friday"]}, "2026-11-20T12:00Z", True),
        ({"weekdays": ["saturday"], "location": "Pacific/Auckland"}, "2026-11-20T12:00Z", True),
        ({"days_of_month": ["1:5"]}, "2026-11-05T12:00Z", True),
        ({"days_of_month": ["1:5"]}, "2026-11-06T12:00Z", False),
        ({"days_of_month": ["-1"]}, "2026-11-30T12:00Z", True),
        ({"days_of_month": ["-1"]}, "2028-02-29T12:00Z", True),
        ({"days_of_month": ["-1"]}, "2027-02-28T12:00Z", True),
        ({"days_of_month": ["-1"]}, "2028-02-28T12:00Z", False),
        # A month in which clocks jump has all of its days.
        ({"days_of_month": ["-1"], "location": BERLIN}, "2026-03-31T12:00Z", True),
        ({"days_of_month": ["-1"], "location": BERLIN}, "2026-03-30T12:00Z", False),
        ({"days_of_month": ["-3:-1"]}, "2026-11-28T00:00Z", True),
        ({"days_of_month": ["-3:-1"]}, "2026-11-27T23:59Z", False),
        ({"days_of_month": ["10:-1"]}, "2026-11-30T12:00Z", True),
        ({"days_of_month": ["31"]}, "2026-11-30T12:00Z", False),
        ({"days_of_month": ["29:31"]}, "2027-02-28T12:00Z", False),
        ({"days_of_month": ["-31:-25"]}, "2026-11-05T12:00Z", True),
        ({"months": ["november"]}, "2026-11-05T12:00Z", True),
        ({"months": ["1:3", "december"]}, "2026-12-05T12:00Z", True),
        ({"months": ["1:3", "december"]}, "2026-11-05T12:00Z", False),
        ({"years": ["2025:2026"]}, "2026-11-05T12:00Z", True),
        ({"years": ["2027"]}, "2026-12-31T23:59Z", False),
        ({"years": ["2027"], "location": "Asia/Tokyo"}, "2026-12-31T23:59Z", True),
        ({"weekdays": ["friday"], "months": ["december"]}, "2026-11-20T12:00Z", False),
    ],
)
def test_a_moment_and_an_interval(written: Mapping[str, Any], moment: str, within: bool) -> None:
    assert parse_interval(written).contains(at(moment)) is within


@pytest.mark.parametrize(
    "written",
    [
        hours("17:00", "09:00"),
        hours("09:00", "09:00"),
        hours("9:00", "10:00"),
        hours("09:00", "24:01"),
        hours("25:00", "26:00"),
        {"times": [{"start_time": "09:00"}]},
        {"times": ["09:00"]},
        {"times": "09:00"},
        {"times": [{"start_time": 900, "end_time": 1000}]},
        {"weekdays": ["friday:monday"]},
        {"weekdays": ["fri"]},
        {"weekdays": ["monday:tuesday:friday"]},
        {"days_of_month": ["0"]},
        {"days_of_month": ["32"]},
        {"days_of_month": ["-32"]},
        {"days_of_month": ["-3:5"]},
        {"days_of_month": ["5:3"]},
        {"days_of_month": ["25:-10"]},
        {"days_of_month": ["-1:-3"]},
        {"months": ["13"]},
        {"months": ["march:january"]},
        {"years": ["2027:2026"]},
        {"years": ["99999"]},
        {"location": "Europe/Nowhere"},
        {"location": "../../etc/passwd"},
        {"location": 1},
        {"weekday": ["monday"]},
        {"months": ["1"] * 101},
    ],
)
def test_what_is_refused(written: Mapping[str, Any]) -> None:
    with pytest.raises(BadInterval):
        parse_interval(written)


def test_muted_within_and_outside() -> None:
    night, office = parse_interval(hours("20:00", "24:00")), parse_interval(hours("08:00", "18:00"))
    weekend = parse_interval({"weekdays": ["saturday"]})
    muted = MuteTimes(mute={"night": (night,), "weekend": (weekend,)})
    assert muted.muted_by(at("2026-11-20T12:00Z")) is None
    assert muted.muted_by(at("2026-11-20T21:00Z")) == "night"
    assert muted.muted_by(at("2026-11-21T12:00Z")) == "weekend"
    active = MuteTimes(active={"office": (office, weekend)}, mute={"weekend": (weekend,)})
    assert active.muted_by(at("2026-11-20T12:00Z")) is None
    assert active.muted_by(at("2026-11-20T19:00Z")) == "outside of office"
    assert active.muted_by(at("2026-11-21T19:00Z")) == "weekend"
    assert MuteTimes().muted_by(at("2026-11-21T19:00Z")) is None


@given(moments, st.sampled_from([BERLIN, "America/St_Johns", "Australia/Lord_Howe", "UTC"]))
def test_intervals_that_part_a_day_part_it(moment: datetime, zone: str) -> None:
    parts = [TimeInterval(times=((begin, begin + 90),), zone=zone) for begin in range(0, 1_440, 90)]
    assert sum(part.contains(moment) for part in parts) == 1


@given(moments, st.integers(1, 28), st.sampled_from([BERLIN, "Asia/Kolkata"]))
def test_days_from_the_end_are_days(moment: datetime, back: int, zone: str) -> None:
    clock = moment.astimezone(ZoneInfo(zone))
    ahead = (clock.date() + timedelta(days=back)).day
    assert TimeInterval(days_of_month=((-back, -back),), zone=zone).contains(moment) is (ahead == 1)
