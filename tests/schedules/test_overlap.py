"""What becomes of ticks while a task of the schedule is open."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.schedules.overlap import Plan, plan

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(*minutes: int) -> list[datetime]:
    return [START + timedelta(minutes=minute) for minute in minutes]


def shown(found: Plan) -> dict[int, str]:
    return {int((item.tick_at - START).total_seconds() // 60): item.verdict for item in found.ticks}


@pytest.mark.parametrize(
    ("policy", "due", "past", "waiting", "is_open", "expected", "cancels"),
    [
        ("allow", (3, 4), (1,), (0,), True, {0: "submitted", 1: "submitted", 3: "submitted", 4: "submitted"}, False),
        ("skip", (3, 4), (), (), False, {3: "submitted", 4: "skipped"}, False),
        ("skip", (3, 4), (), (), True, {3: "skipped", 4: "skipped"}, False),
        ("skip", (), (1, 2), (), False, {1: "submitted", 2: "waiting"}, False),
        ("skip", (3,), (2,), (1,), False, {3: "submitted", 2: "waiting"}, False),
        ("skip", (), (), (1, 2), False, {1: "submitted"}, False),
        ("queue", (3, 4), (), (), False, {3: "submitted", 4: "waiting"}, False),
        ("queue", (3,), (), (1, 2), False, {1: "submitted", 3: "waiting"}, False),
        ("queue", (3,), (1,), (), True, {1: "waiting", 3: "waiting"}, False),
        ("queue", (3, 4, 5, 6), (), (), True, {3: "waiting", 4: "waiting", 5: "skipped", 6: "skipped"}, False),
        ("queue", (), (), (1,), True, {}, False),
        ("cancel_previous", (3, 4), (), (), True, {3: "skipped", 4: "submitted"}, True),
        ("cancel_previous", (3,), (), (), False, {3: "submitted"}, False),
        ("cancel_previous", (3,), (1, 2), (0,), True, {1: "waiting", 2: "waiting", 3: "submitted"}, True),
        ("cancel_previous", (), (1, 2), (), False, {1: "submitted", 2: "waiting"}, False),
        ("cancel_previous", (), (), (1,), True, {}, False),
    ],
)
def test_plans(
    policy: str, due: tuple[int, ...], past: tuple[int, ...], waiting: tuple[int, ...], is_open: bool,
    expected: dict[int, str], cancels: bool,
) -> None:  # fmt: skip
    found = plan(policy, at(*due), past=at(*past), waiting=at(*waiting), is_open=is_open, max_waiting=2)
    assert (shown(found), found.cancel) == (expected, cancels)


@given(
    policy=st.sampled_from(["skip", "queue", "cancel_previous"]), due=st.integers(0, 5), past=st.integers(0, 5),
    waiting=st.integers(0, 5), is_open=st.booleans(),
)  # fmt: skip
def test_no_two_are_open_and_every_new_tick_gets_its_verdict(
    policy: str, due: int, past: int, waiting: int, is_open: bool
) -> None:
    ticks = at(*range(due + past + waiting))
    line, backfill, now = ticks[:waiting], ticks[waiting : waiting + past], ticks[waiting + past :]
    found = plan(policy, now, past=backfill, waiting=line, is_open=is_open, max_waiting=3)
    submitted = [item for item in found.ticks if item.verdict == "submitted"]
    assert len(submitted) + (is_open and not found.cancel) <= 1
    named = [item.tick_at for item in found.ticks]
    assert len(named) == len(set(named))
    assert {*now, *backfill} <= set(named)
    assert all(item.verdict != "skipped" for item in found.ticks if item.tick_at in backfill)
    if ticks and not is_open:
        assert submitted
