"""Silences: their states, whom they mute, and which are refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.alerts.matching import BadMatcher, parse_matchers
from app.alerts.silences import BadSilence, Silence, check_silence, expire, silenced_by

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DB = {"alertname": "Slow", "job": "db"}
seconds = st.integers(-100, 100).map(lambda number: timedelta(seconds=number))


def silence(begin_s: float = -60, end_s: float = 60, text: str = 'job="db"', number: int = 1) -> Silence:
    begin, end = NOW + timedelta(seconds=begin_s), NOW + timedelta(seconds=end_s)
    return Silence(UUID(int=number), parse_matchers(text), begin, end, "ann", "maintenance")


@pytest.mark.parametrize(
    ("begin_s", "end_s", "state"),
    [
        (-60, 60, "active"),
        (0, 60, "active"),
        (1, 60, "pending"),
        (-60, 0, "expired"),
        (-60, -1, "expired"),
        (0, 0, "expired"),
    ],
)
def test_states(begin_s: float, end_s: float, state: str) -> None:
    found = silence(begin_s, end_s)
    assert found.state(NOW) == state
    assert found.mutes(DB, NOW) is (state == "active")


def test_only_what_meets_all_matchers_is_muted() -> None:
    both = silence(text='job="db", zone=~"z."')
    assert both.mutes(DB | {"zone": "z1"}, NOW)
    assert not both.mutes(DB, NOW)
    assert not both.mutes({"zone": "z1"}, NOW)


def test_of_several_the_one_that_ends_last_is_named() -> None:
    short, long, other = silence(number=1), silence(end_s=90, number=2), silence(end_s=999, text="job=web", number=3)
    later = silence(begin_s=1, end_s=999, number=4)
    assert silenced_by([short, long, other, later], DB, NOW) == long
    assert silenced_by([other, later], DB, NOW) is None
    assert silenced_by([], DB, NOW) is None


@pytest.mark.parametrize("text", ["", 'job=""', 'job=~".*"', 'job!="web"', 'job=~".*", zone!~"z1"'])
def test_one_that_would_mute_everything_is_refused(text: str) -> None:
    with pytest.raises(BadMatcher):
        check_silence(silence(text=text))


def test_times_are_checked() -> None:
    assert check_silence(silence()) == silence()
    for end_s in (-60, -61):
        with pytest.raises(BadSilence):
            check_silence(silence(-60, end_s))


@given(seconds, seconds, seconds)
def test_one_that_is_ended_mutes_nobody_from_then_on(begin: timedelta, length: timedelta, after: timedelta) -> None:
    made = replace(silence(), starts_at=NOW + begin, ends_at=NOW + begin + abs(length))
    over = expire(made, NOW)
    assert over.state(NOW) == "expired"
    assert not over.mutes(DB, NOW + abs(after))
    assert over.ends_at <= made.ends_at or made.state(NOW) == "pending"
    if made.state(NOW) == "expired":
        assert over == made
    if made.state(NOW) == "active":
        assert over.starts_at == made.starts_at
        assert over.ends_at == NOW
    assert expire(over, NOW) == over
