"""Where a task goes after an attempt, and when it may run again."""

from __future__ import annotations

import json
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dispatch.decide import (
    LEAST_REFUSAL_S,
    MAX_REFUSAL_S,
    UNREACHABLE_CAP_S,
    Tried,
    backoff_s,
    cooling_s,
    returned,
    settle,
)
from app.dispatch.executors.base import Ending, Failed, Refused, Succeeded
from app.registry.records import RetryPolicy
from app.tasks.queue import UsageRow

USAGE = (UsageRow("m", 1, 2),)
PLAIN = RetryPolicy(initial_s=1.0, max_s=60.0, factor=2.0, jitter=0.0)
BUSY_S = 1.0


def tried(attempt: int = 1, most: int = 3) -> Tried:
    return Tried(UUID(int=1), 7, attempt, most)


@pytest.mark.parametrize(
    ("ending", "attempt", "status", "event", "counted", "delay_s"),
    [
        (Succeeded("1", 1, USAGE), 1, "succeeded", "task.succeeded", True, None),
        (Failed("x", "m", retry=True), 1, "queued", "task.retrying", True, 1.0),
        (Failed("x", "m", retry=True), 2, "queued", "task.retrying", True, 2.0),
        (Failed("x", "m", retry=True), 3, "failed", "task.failed", True, None),
        (Failed("x", "m", retry=True), 9, "failed", "task.failed", True, None),
        (Failed("x", "m", retry=False), 1, "failed", "task.failed", True, None),
        (Refused("full"), 3, "queued", "task.returned", False, 0.0),
        (Refused("full", 4.0), 1, "queued", "task.returned", False, 0.0),
        (Refused("gone", unreachable=True), 3, "queued", "task.returned", False, 0.0),
    ],
)
def test_table(
    ending: Ending, attempt: int, status: str, event: str, counted: bool, delay_s: float | None
) -> None:  # fmt: skip
    settled = settle(tried(attempt), ending, PLAIN, 0.5)
    assert (settled.id, settled.fence) == (UUID(int=1), 7)
    assert (settled.status, settled.event_type, settled.counted) == (status, event, counted)
    assert settled.delay_s == delay_s
    json.loads(settled.event_data)


def test_what_was_used_is_paid_however_it_ended() -> None:
    for ending in (Succeeded("1", 1, USAGE), Failed("x", "m", True, USAGE), Failed("x", "m", False, USAGE)):
        assert settle(tried(), ending, PLAIN, 0.5).usage == USAGE


def test_a_failure_names_its_code_in_the_row_and_the_event() -> None:
    for most in (1, 3):
        settled = settle(tried(1, most), Failed("boom", "it broke", retry=True), PLAIN, 0.5)
        assert (settled.error_code, settled.error_message) == ("boom", "it broke")
        data = json.loads(settled.event_data)
        assert (data["attempt"], data["code"], data["message"]) == (1, "boom", "it broke")


def test_a_return_may_ask_for_the_same_agent() -> None:
    settled = returned(tried(), "returned", "shutdown", "bye", rejoin=True)
    assert (settled.status, settled.rejoin, settled.counted, settled.delay_s) == ("queued", True, False, 0.0)


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (50, 60), (10**9, 60)])
def test_backoff_doubles_to_its_cap(attempt: int, seconds: float) -> None:
    assert backoff_s(PLAIN, attempt, 0.3) == seconds


policies = st.builds(
    RetryPolicy,
    initial_s=st.floats(0, 3600),
    max_s=st.floats(0, 86_400),
    factor=st.floats(1, 10),
    jitter=st.floats(0, 1),
)
points = st.floats(0, 1, exclude_max=True)


@given(policies, st.integers(1, 2**31), points)
def test_backoff_stays_within_its_cap_and_jitter(policy: RetryPolicy, attempt: int, point: float) -> None:
    seconds = backoff_s(policy, attempt, point)
    assert 0.0 <= seconds <= policy.max_s * (1 + policy.jitter) + 1e-6
    middle = backoff_s(policy, attempt, 0.5)
    assert abs(seconds - middle) <= middle * policy.jitter + 1e-6


@given(policies, st.integers(1, 200))
def test_backoff_never_shrinks_with_the_attempts(policy: RetryPolicy, attempt: int) -> None:
    assert backoff_s(policy, attempt, 0.5) <= backoff_s(policy, attempt + 1, 0.5) + 1e-9


endings = (
    st.builds(Succeeded, st.just("1"), st.just(1))
    | st.builds(Failed, st.text(max_size=5), st.text(max_size=5), st.booleans())
    | st.builds(Refused, st.text(max_size=5), st.none() | st.floats(0, 1e6))
)


@given(endings, policies, points, st.integers(1, 50), st.integers(1, 50))
def test_every_ending_settles_and_failures_end(
    ending: Ending, policy: RetryPolicy, point: float, attempt: int, most: int
) -> None:
    settled = settle(tried(attempt, most), ending, policy, point)
    assert settled.status in ("succeeded", "failed", "queued")
    assert (settled.status == "queued") == (settled.delay_s is not None)
    if isinstance(ending, Failed):
        assert (settled.status == "failed") == (not ending.retry or attempt >= most)
    if isinstance(ending, Refused):
        assert not settled.counted and settled.delay_s == 0.0


@pytest.mark.parametrize(
    ("refusal", "failures", "seconds"),
    [
        (Refused("full"), 0, BUSY_S),
        (Refused("full", 4.0), 0, 4.0),
        (Refused("full", 0.0), 0, LEAST_REFUSAL_S),
        (Refused("full", 9999.0), 0, MAX_REFUSAL_S),
        (Refused("away", unreachable=True), 1, 1.0),
        (Refused("away", unreachable=True), 3, 4.0),
        (Refused("away", unreachable=True), 10**6, UNREACHABLE_CAP_S),
    ],
)
def test_an_agent_that_refuses_gets_a_pause(refusal: Refused, failures: int, seconds: float) -> None:
    assert cooling_s(refusal, failures, BUSY_S, 0.5) == seconds
    assert cooling_s(refusal, failures, BUSY_S, 0.0) <= cooling_s(refusal, failures, BUSY_S, 0.999)
