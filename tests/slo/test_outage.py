"""A total outage on a virtual clock: when each rule begins to fire and when it stops, second by second."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.slo.budget import Counts
from app.slo.burn_alerts import DAY_S, HOUR_S, MINUTE_S, PlannedRule, judge, standard
from app.slo.windows import BUCKET_S, EPOCH, buckets_in, last, whole_buckets

MONTH_S = 30 * DAY_S
TARGET = Decimal("0.999")
QUICK, SLOW, QUICK_TICKET, SLOW_TICKET = standard(TARGET, MONTH_S)


@dataclass(frozen=True)
class Traffic:
    """Events at even distances, the first at 0; those in [down, up) are bad. Times are seconds."""

    every_s: Fraction
    down: int
    up: int

    def between(self, start: Fraction, end: Fraction) -> Counts:
        """Counts of [start, end)."""
        bad = self._number(max(start, Fraction(self.down)), min(end, Fraction(self.up)))
        return Counts(good=self._number(max(start, Fraction(0)), end) - bad, bad=bad)

    def _number(self, start: Fraction, end: Fraction) -> int:
        return max(0, -(-end // self.every_s) + (-start // self.every_s)) if end > start else 0


type Reader = Callable[[int, int], Counts]
"""(now, seconds): what the window of so many seconds before now counts."""


def exact(traffic: Traffic) -> Reader:
    return lambda now, seconds: traffic.between(Fraction(now - seconds), Fraction(now))


def by_minute(traffic: Traffic) -> Reader:
    """As the service has it: buckets, of which the newest is not over."""

    def read(now: int, seconds: int) -> Counts:
        found = whole_buckets(last(seconds, EPOCH + timedelta(seconds=now)))
        return traffic.between(Fraction(second(found.start)), Fraction(min(second(found.end), now)))

    return read


def second(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(seconds=1)


def firing(rule: PlannedRule, read: Reader, ticks: Iterator[int] | range) -> list[int]:
    """The ticks at which the rule burns."""
    return [
        now for now in ticks if judge(rule, read(now, rule.long_s), read(now, rule.short_s), TARGET).state == "burning"
    ]


DOWN = 10 * DAY_S
"""Weeks and days of traffic before, so that every window is full."""


def test_traffic_is_counted_as_a_list_of_events_would_be() -> None:
    traffic = Traffic(Fraction(7, 3), 20, 41)
    events = [number * Fraction(7, 3) for number in range(100)]
    for start in range(0, 60, 5):
        for end in range(start, 70, 7):
            inside = [event for event in events if start <= event < end]
            bad = sum(20 <= event < 41 for event in inside)
            assert traffic.between(Fraction(start), Fraction(end)) == Counts(len(inside) - bad, bad)


@pytest.mark.parametrize(
    ("rule", "after_s", "within_s"),
    # factor x 0.1 % x long window; then the short window lets go of it.
    [(QUICK, "51.84", 300), (SLOW, "129.6", 1_800), (QUICK_TICKET, "259.2", 7_200), (SLOW_TICKET, "259.2", 21_600)],
)
def test_a_total_outage_fires_when_the_share_is_spent_and_stops_with_the_short_window(
    rule: PlannedRule, after_s: str, within_s: int
) -> None:
    up = DOWN + 2 * HOUR_S
    traffic = Traffic(Fraction(1, 10), DOWN, up)
    began = firing(rule, exact(traffic), range(DOWN - 60, DOWN + 400))
    expected = Fraction(after_s)
    assert rule.outage_s(TARGET) == expected
    assert expected < began[0] - DOWN <= expected + 1
    assert began == list(range(began[0], DOWN + 400))
    ended = firing(rule, exact(traffic), range(up, up + within_s + 60))
    assert 0 < len(ended) < within_s
    assert ended == list(range(up, up + len(ended)))
    # The short window burns until all but factor x 0.1 % of it is good again.
    assert within_s - len(ended) == pytest.approx(float(rule.factor * Fraction("0.001") * within_s), abs=2)


def test_the_quick_page_comes_after_0_9_minutes_of_a_total_outage_and_ends_within_5() -> None:
    """On ticks of a minute and of a second, over counts by the minute."""
    up = DOWN + 600
    traffic = Traffic(Fraction(1), DOWN, up)
    for tick_s in (1, MINUTE_S):
        found = firing(QUICK, by_minute(traffic), range(DOWN - HOUR_S, up + HOUR_S, tick_s))
        first, stop = found[0] - DOWN, found[-1] + tick_s - up
        # 14.4 x 0.1 % x 60 min = 0.864 min
        assert abs(first / 60 - 0.9) <= max(tick_s, 6) / 60
        assert first >= 51.84
        assert stop <= 300
        assert found == list(range(found[0], found[-1] + 1, tick_s))


def test_an_outage_shorter_than_the_share_takes_pages_nobody() -> None:
    traffic = Traffic(Fraction(1, 10), DOWN, DOWN + 51)
    assert firing(QUICK, exact(traffic), range(DOWN - 60, DOWN + HOUR_S)) == []
    assert firing(QUICK, exact(Traffic(Fraction(1, 10), DOWN, DOWN + 53)), range(DOWN - 60, DOWN + HOUR_S)) != []


def test_the_long_window_alone_would_page_for_an_hour_and_the_short_one_alone_at_once() -> None:
    up = DOWN + 120
    read = exact(Traffic(Fraction(1, 10), DOWN, up))
    silent = up + 300
    assert judge(QUICK, read(silent, HOUR_S), read(silent, HOUR_S), TARGET).state == "burning"
    assert judge(QUICK, read(silent, HOUR_S), read(silent, 300), TARGET).state == "quiet"
    early = DOWN + 10
    assert judge(QUICK, read(early, 300), read(early, 300), TARGET).state == "burning"
    assert judge(QUICK, read(early, HOUR_S), read(early, 300), TARGET).state == "quiet"


def test_when_nothing_runs_any_more_the_page_says_no_data_and_not_quiet() -> None:
    read = exact(Traffic(Fraction(1), DOWN, DOWN + 600))
    found = judge(QUICK, read(DOWN + 600, HOUR_S), Counts(), TARGET)
    assert found.state == "no_data"


@settings(max_examples=25)
@given(
    gap_s=st.fractions(Fraction(1, 50), 3, max_denominator=50),
    lasted_s=st.integers(1, 900),
    offset_s=st.integers(0, 59),
)
def test_counts_by_the_minute_fire_within_a_minute_of_exact_ones(gap_s: Fraction, lasted_s: int, offset_s: int) -> None:
    down = DOWN + offset_s
    traffic = Traffic(gap_s, down, down + lasted_s)
    ticks = range(down - 60, down + lasted_s + 400)
    fine, coarse = (firing(QUICK, read, ticks) for read in (exact(traffic), by_minute(traffic)))
    # The oldest minute is in the window only if it began there: what was good leaves it early, by a minute at most.
    if fine:
        assert coarse
        assert 0 <= fine[0] - coarse[0] <= 2 + gap_s
        assert abs(fine[-1] - coarse[-1]) <= MINUTE_S


@given(at=st.integers(0, 10**6), events=st.lists(st.integers(0, 5_000), max_size=60).map(sorted))
def test_windows_of_buckets_hold_what_windows_of_events_do(at: int, events: list[int]) -> None:
    """Against a list of moments: whole buckets give the events of the minutes that began in the window."""
    now = EPOCH + timedelta(seconds=6_000 + at % 60)
    buckets = list(buckets_in(last(HOUR_S, now)))
    kept = sum(
        bisect_left(events, second(bucket) + BUCKET_S) - bisect_left(events, second(bucket)) for bucket in buckets
    )
    begin = -(-(second(now) - HOUR_S) // 60) * 60
    assert kept == sum(begin <= event for event in events)
