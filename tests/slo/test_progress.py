"""Which minutes are counted next: none is left out, none is counted that need not be."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.slo import progress
from app.slo.burn_alerts import DAY_S, HOUR_S, standard
from app.slo.objective import WindowSpec
from app.slo.windows import Span, bucket_of
from tests.slo.ended_tasks import NOON
from tests.slo.objectives import objective

MINUTE = timedelta(minutes=1)
MOMENTS = st.integers(0, 40 * DAY_S * 10).map(lambda tenths: NOON + timedelta(milliseconds=100 * tenths))
CHUNKS = st.integers(1, 1440).map(lambda minutes: minutes * 60)


@given(until=MOMENTS, later_s=st.integers(0, 3 * DAY_S), chunk_s=CHUNKS)
def test_ahead_covers_every_minute_up_to_now_once(until: datetime, later_s: int, chunk_s: int) -> None:
    now = until + timedelta(seconds=later_s)
    spans = progress.ahead(until, now, chunk_s)
    assert spans[0].start == bucket_of(until - timedelta(seconds=progress.LATE_S))
    assert spans[-1].start <= now < spans[-1].end
    assert all(one.end == two.start for one, two in itertools.pairwise(spans))
    assert all(bucket_of(span.start) == span.start and 0 < span.seconds <= chunk_s for span in spans)


@given(begun=MOMENTS.map(bucket_of), further=st.integers(0, 5 * 1440), chunk_s=CHUNKS)
def test_behind_reaches_the_oldest_minute_and_ends(begun: datetime, further: int, chunk_s: int) -> None:
    oldest, at, passes = begun - further * MINUTE, begun, 0
    while (span := progress.behind(at, oldest, chunk_s)) is not None:
        assert span.end == at
        assert oldest <= span.start < at
        at, passes = span.start, passes + 1
    assert (at, passes) == (oldest, -(-further * 60 // chunk_s))


@given(minutes=st.lists(st.integers(0, 5000), unique=True).map(sorted), gap_s=st.sampled_from([60, 600, 3600]))
def test_stretches_hold_every_minute_and_no_long_gap(minutes: list[int], gap_s: int) -> None:
    asked = [NOON + number * MINUTE for number in minutes]
    spans = progress.stretches(asked, gap_s)
    assert all(sum(span.start <= minute < span.end for span in spans) == 1 for minute in asked)
    assert all(span.start in asked and span.end - MINUTE in asked and span.seconds <= HOUR_S for span in spans)
    assert all(one.end <= two.start for one, two in itertools.pairwise(spans))


@pytest.mark.parametrize(
    ("chunk_s", "took_s", "after"),
    [
        (3600, 0.5, 3600),
        (3600, 0.1, 7200),
        (3600, 1.5, 1800),
        (3600, 30.0, 1800),
        (60, 30.0, 60),
        (90, 0.5, 60),
        (DAY_S, 0.01, DAY_S),
    ],
)
def test_chunks_follow_the_time_that_one_took(chunk_s: int, took_s: float, after: int) -> None:
    assert progress.chunk_after(chunk_s, took_s) == after


@pytest.mark.parametrize(
    ("window", "target", "needed"),
    [
        (WindowSpec("rolling", 30 * DAY_S), "0.999", NOON - timedelta(days=30)),
        (WindowSpec("rolling", 6 * HOUR_S), "0.999", NOON - timedelta(hours=6)),
        (WindowSpec("month", None), "0.999", NOON.replace(day=1, hour=0)),
        (WindowSpec("week", None), "0.999", NOON - timedelta(days=4, hours=12)),
    ],
)
def test_what_is_needed_is_the_window_and_every_rule(window: WindowSpec, target: str, needed: datetime) -> None:
    asked = objective(target=target, window=window)
    rules = standard(asked.target, window.period_s)
    found = progress.needed_from(asked, rules, NOON)
    assert found == needed
    assert found <= NOON - timedelta(seconds=max(rule.long_s for rule in rules))
    assert progress.dropped_before(asked, rules, NOON) <= found - timedelta(days=1)


def test_a_week_that_has_just_begun_needs_what_its_rules_look_at() -> None:
    monday = NOON.replace(day=16, hour=0, minute=5)
    asked = objective(window=WindowSpec("week", None))
    assert progress.needed_from(asked, standard(asked.target, 7 * DAY_S), monday) == monday - timedelta(days=3)


def test_a_new_objective_begins_an_hour_back() -> None:
    first = progress.first_minute(NOON + timedelta(seconds=59))
    assert first == NOON - timedelta(hours=1)
    spans = progress.ahead(first + timedelta(seconds=progress.LATE_S), NOON, 3600)
    assert spans == [Span(first, NOON), Span(NOON, NOON + MINUTE)]
