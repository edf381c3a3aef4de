"""One message an interval: never quicker, and nobody is kept away for good."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from app.alerts.notifiers import pace
from app.alerts.notifiers.pace import LOOK_AHEAD, Pace

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
STEPS = st.lists(st.integers(0, 3000).map(lambda millis: timedelta(milliseconds=millis)), max_size=60)


@given(steps=STEPS)
def test_two_messages_are_never_closer_than_the_interval(steps: list[timedelta]) -> None:
    channel, now, sent = Pace(SECOND), NOW, list[datetime]()
    for step in steps:
        now += step
        until = channel.take("c", now)
        if until is None:
            sent.append(now)
        else:
            assert now < until <= now + max(LOOK_AHEAD, SECOND)
            assert until >= sent[-1] + SECOND
    assert all(later - earlier >= SECOND for earlier, later in pairwise(sent))


@given(waiting=st.integers(1, 40))
def test_those_who_come_back_when_told_are_all_served_without_a_gap(waiting: int) -> None:
    channel = Pace(SECOND)
    assert channel.take("c", NOW) is None
    told = [channel.take("c", NOW) for _ in range(waiting)]
    assert told == [NOW + SECOND * number for number in range(1, waiting + 1)]
    assert [channel.take("c", until) for until in told if until is not None] == [None] * waiting


@given(pause_s=st.integers(1, 4000), after_s=st.integers(0, 5000))
def test_nothing_goes_before_a_pause_is_over(pause_s: int, after_s: int) -> None:
    for interval in (SECOND, timedelta(0)):
        channel, until = Pace(interval), NOW + timedelta(seconds=pause_s)
        channel.pause("c", until, NOW)
        channel.pause("c", NOW, NOW)  # a shorter one changes nothing
        found = channel.take("c", NOW + timedelta(seconds=after_s))
        assert (found is None) == (after_s >= pause_s)
        assert found is None or found >= until


def test_channels_that_are_free_are_forgotten() -> None:
    channel = Pace(SECOND)
    for number in range(pace.MAX_KEYS * 2 + 1):
        channel.take(str(number), NOW + SECOND * (number // 100))
    assert len(channel._channels) <= pace.MAX_KEYS + 1
