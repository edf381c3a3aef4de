"""What the end of a probe's task says, and what its last runs say."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.slo.declared_checks import read_checks
from app.slo.probe_checks import MAX_WHY
from app.slo.probe_judging import verdict_of
from app.slo.probe_records import Outcome
from app.slo.probe_timing import stale_after_s
from app.slo.probe_verdict import LATE, Ended, Seen, Standing, Verdict, standing, verdict, why_late

CHECKS = read_checks([{"kind": "json", "path": "$.answer", "value": 42}])
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
RIGHT = {"answer": 42}


def judged(ended: Ended) -> Verdict:
    return verdict(CHECKS, 10.0, ended)


@pytest.mark.parametrize(
    ("ended", "outcome", "reason"),
    [
        (Ended("succeeded", RIGHT, 1.5), "passed", ""),
        (Ended("succeeded", RIGHT, 10.0), "passed", ""),
        (Ended("succeeded", RIGHT, 10.5), "failed", "timeout: the answer took 10.500 s, more than 10 s"),
        (Ended("succeeded", {"answer": 41}, 1.5), "failed", "json $.answer equals: 41 is found, not equals 42"),
        (Ended("succeeded", None, 1.5), "failed", "json $.answer equals: there is nothing at this path"),
        (Ended("failed", None, 1.5, "boom", "it broke"), "failed", "the task failed: it broke"),
        (Ended("failed", None, 1.5, "boom"), "failed", "the task failed: boom"),
        (Ended("expired"), "failed", "There was no answer in time."),
        (Ended("cancelled", None, 11, "probe_timeout"), "failed", "There was no answer in time."),
        (Ended("cancelled", None, 11, "probe_stopped"), "error", LATE["probe_stopped"]),
        (Ended("cancelled", None, 11, "probe_held"), "error", LATE["probe_held"]),
        (Ended("cancelled", None, 11, "probe_restrained"), "error", LATE["probe_restrained"]),
        (Ended("cancelled", None, 11, "probe_unfunded"), "error", LATE["probe_unfunded"]),
        (Ended("cancelled", None, 1, "cancelled", "no"), "error", "Its task was cancelled: no"),
        (Ended("cancelled"), "error", "Its task was cancelled."),
        (Ended("failed", None, 1, "budget_exhausted", "none left"), "error", "budget_exhausted: none left"),
        (Ended(None), "error", "Its task is no longer there."),
    ],
)
def test_the_end_of_a_task(ended: Ended, outcome: str, reason: str) -> None:
    found = judged(ended)
    assert (found.outcome, found.reason) == (outcome, reason)
    assert (found.latency_s is not None) == (ended.status in ("succeeded", "failed") and outcome != "error")


def test_every_check_is_told() -> None:
    found = judged(Ended("succeeded", {"answer": 41}, 11))
    assert [(item.check, item.passed) for item in found.checks] == [
        ("status", True), ("json $.answer equals", False), ("timeout", False),
    ]  # fmt: skip
    assert [item.check for item in judged(Ended("expired")).checks] == ["timeout"]


@given(st.text(max_size=2000), st.sampled_from(["failed", "cancelled"]))
def test_a_reason_is_never_long(message: str, status: str) -> None:
    assert len(judged(Ended(status, None, 1, None, message)).reason) <= MAX_WHY


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({}, ""),
        ({"checks": '[{"kind":"gone"}]'}, "Its checks are none any more: checks[0].kind: one of"),
        ({"result": "{"}, "Its answer could not be checked: JSONDecodeError."),
        (
            {"checks": '[{"kind":"json","path":"$","value":%s}]' % ("[" * 800 + "]" * 800)},
            "Its answer could not be checked: RecursionError.",
        ),
    ],
)
def test_what_cannot_be_checked_is_an_error_and_holds_up_no_other(changed: dict[str, str], reason: str) -> None:
    row = {
        "probe_id": "p", "checks": "[]", "timeout_s": 10.0, "status": "succeeded", "result": "[" * 800 + "]" * 800,
        "error_code": None, "error_message": None, "seconds": 1.0, **changed,
    }  # fmt: skip
    found = verdict_of(row)
    assert found.outcome == ("error" if reason else "passed")
    assert found.reason.startswith(reason)


@pytest.mark.parametrize(
    ("status", "parked", "stopped", "restrained", "code"),
    [
        ("queued", False, False, False, "probe_timeout"),
        ("running", False, False, False, "probe_timeout"),
        ("waiting", False, False, False, "probe_timeout"),
        ("queued", True, False, False, "probe_unfunded"),
        ("held", False, False, False, "probe_held"),
        ("held", True, False, False, "probe_held"),
        ("queued", False, True, False, "probe_stopped"),
        ("held", True, True, False, "probe_stopped"),
        ("queued", False, True, True, "probe_stopped"),
        ("queued", False, False, True, "probe_restrained"),
        ("queued", True, False, True, "probe_restrained"),
        ("held", False, False, True, "probe_held"),
        ("running", False, False, True, "probe_timeout"),
    ],
)
def test_what_keeps_a_task_beyond_its_time(
    status: str, parked: bool, stopped: bool, restrained: bool, code: str
) -> None:
    assert why_late(status, parked=parked, stopped=stopped, restrained=restrained) == code
    assert code in LATE


def runs(*outcomes: Outcome, age_s: float = 0.0) -> list[Seen]:
    return [Seen(NOW - timedelta(seconds=age_s + 60 * place), outcome, f"{outcome} {place}")
            for place, outcome in enumerate(outcomes)]  # fmt: skip


def stands(seen: Sequence[Seen], k: int = 2, n: int = 3) -> Standing:
    return standing(seen, fail_after=k, of_last=n, every_s=60, timeout_s=10, now=NOW)


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ((), Standing("undecided", "it has not run yet", stale=True)),
        (("passed",), Standing("undecided", "1 of its last 3 runs passed or failed: too few to say")),
        (("passed", "passed"), Standing("passing")),
        (("failed", "passed", "passed"), Standing("passing")),
        (("failed", "failed"), Standing("failing", "failed 0")),
        (("passed", "failed", "failed"), Standing("failing", "failed 1")),
        (("error", "failed", "failed"), Standing("failing", "failed 1")),
        (("error", "passed", "passed"), Standing("passing")),
        (("error", "error", "passed"), Standing("undecided", "error 0", broken=True)),
        (("failed", "error", "passed"), Standing("undecided", "2 of its last 3 runs passed or failed: too few to say")),
    ],
)
def test_what_the_last_runs_say(outcomes: tuple[Outcome, ...], expected: Standing) -> None:
    assert stands(runs(*outcomes)) == expected


def test_old_runs_say_nothing_about_now() -> None:
    limit = stale_after_s(60, 10)
    assert stands(runs("passed", "passed", "passed", age_s=limit)).judgement == "passing"
    for outcome in ("passed", "failed", "error"):
        found = stands(runs(outcome, outcome, outcome, age_s=limit + 1))
        assert (found.judgement, found.stale, found.broken) == ("undecided", True, False)
        assert found.why.startswith("it has not run since 2026-11-20 11:5")


@given(st.lists(st.sampled_from(["passed", "failed", "error"]), max_size=8), st.integers(1, 6), st.data())
def test_k_of_n(outcomes: list[Outcome], n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, n))
    seen = runs(*outcomes[:n])
    found = stands(seen, k, n)
    failed = sum(run.outcome == "failed" for run in seen)
    passed = sum(run.outcome == "passed" for run in seen)
    assert (found.judgement == "failing") == (failed >= k)
    # Whatever those that say nothing had come to, it would not be failing.
    assert (found.judgement == "passing") == (n - passed < k)
    if found.broken:
        assert found.judgement == "undecided"
        assert found.why == seen[0].reason
