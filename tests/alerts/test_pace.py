"""One message an interval: never quicker, and nobody is kept away for good."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from app.alerts.notifiers import pace
from app.alerts.notifiers.pace import LOOK_AHEAD, Pace

NOW = 1000.0
SECOND = timedelta(seconds=1)
STEPS = st.lists(st.integers(0, 24).map(lambda eighths: eighths / 8), max_size=60)


@given(steps=STEPS)
def test_two_messages_are_never_closer_than_the_interval(steps: list[float]) -> None:
    channel, now, sent = Pace(SECOND), NOW, list[float]()
    for step in steps:
        now += step
        wait = channel.take("c", now)
        if wait is None:
            sent.append(now)
        else:
            assert timedelta(0) < wait <= max(LOOK_AHEAD, SECOND)
            assert now + wait.total_seconds() >= sent[-1] + 1
    assert all(later - earlier >= 1 for earlier, later in pairwise(sent))


@given(waiting=st.integers(1, 40))
def test_those_who_come_back_when_told_are_all_served_without_a_gap(waiting: int) -> None:
    channel = Pace(SECOND)
    assert channel.take("c", NOW) is None
    told = [channel.take("c", NOW) for _ in range(waiting)]
    assert told == [SECOND * number for number in range(1, waiting + 1)]
    assert [channel.take("c", NOW + wait.total_seconds()) for wait in told if wait is not None] == [None] * waiting


@given(pause_s=st.integers(1, 4000), after_s=st.integers(0, 5000))
def test_nothing_goes_before_a_pause_is_over(pause_s: int, after_s: int) -> None:
    for interval in (SECOND, timedelta(0)):
        channel = Pace(interval)
        channel.pause("c", timedelta(seconds=pause_s), NOW)
        channel.pause("c", timedelta(0), NOW)  # a shorter one changes nothing
        found = channel.take("c", NOW + after_s)
        assert (found is None) == (after_s >= pause_s)
        assert found is None or found >= timedelta(seconds=pause_s - after_s)


def test_channels_that_are_free_are_forgotten() -> None:
    channel = Pace(SECOND)
    for number in range(pace.MAX_KEYS * 2 + 1):
        channel.take(str(number), NOW + number // 100)
    assert len(channel._channels) <= pace.MAX_KEYS + 1
