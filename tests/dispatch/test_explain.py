"""Each rule of an explanation, by table; and what every explanation keeps."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dispatch.explain import explain
from app.dispatch.explain_facts import (
    AHEAD_CAP,
    AgentFacts,
    ApprovalFacts,
    BudgetFacts,
    Facts,
    KeyFacts,
    StopFacts,
    TaskFacts,
    WaitFacts,
)
from app.limits.restraints import Hold, Restraint, hold_of
from app.tasks.models import TASK_STATUSES

NOW = datetime(2026, 11, 20, 20, 25, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
NEVER = datetime(9999, 12, 31, tzinfo=UTC)
ONE, TWO, AGENT = UUID(int=1), UUID(int=2), UUID(int=9)


def task(status: str = "queued", **fields: Any) -> TaskFacts:
    values: dict[str, Any] = {
        "id": ONE, "tenant": "acme", "status": status, "pool": "p", "type": "work", "priority": 0, "attempt": 0,
        "max_attempts": 3, "fence": 0, "tag": 1, "agent_id": None, "pinned_agent_id": None, "concurrency_key": None,
        "parent_id": None, "run_at": None, "wake_at": None, "start_deadline_at": None, "queued_at": NOW,
        "attempt_started_at": None, "finished_at": None, "error_code": None, "error_message": None,
    }  # fmt: skip
    return TaskFacts(**{**values, **fields})


def agent(status: str = "idle", slots: int = 1, running: int = 0, **fields: Any) -> AgentFacts:
    return AgentFacts(fields.pop("id", AGENT), status, slots, running, **fields)


def asked(**fields: Any) -> ApprovalFacts:
    values: dict[str, Any] = {
        "action": "run_shell", "scope": "approvals:decide", "groups": (), "quorum": 1, "votes": 0, "expires_at": LATER,
    }  # fmt: skip
    return ApprovalFacts(TWO, **{**values, **fields})


def held_back(**fields: Any) -> Hold | None:
    values: dict[str, Any] = {
        "id": TWO, "kind": "emergency", "pool": "p", "min_priority": None, "max_running": None, "max_share": None,
        "require_approval": False, "reason": "it burns", "source": "alert", "created_by": "alert:r", "started_at": NOW,
        "expires_at": LATER,
    }  # fmt: skip
    return hold_of([Restraint(**{**values, **fields})], "p")


STOP = StopFacts(TWO, "tenant acme", "It deletes the wrong files.", "key1", NOW)
MONEY = BudgetFacts("daily", "tenant acme", "usd", "10", "9.5", "0.25", "0.5", "exhausted", LATER)
FULL = agent("busy", 1, 1)


@pytest.mark.parametrize(
    ("facts", "codes", "words"),
    [
        (Facts(NOW, task(), agents=[agent()]), [], "Nothing keeps it from starting"),
        (Facts(NOW, task()), ["no_agent"], "No agent is registered in 'p'"),
        (Facts(NOW, task(), agents=[FULL]), ["agents_full"], "The only agent of 'p' is full."),
        (Facts(NOW, task(), agents=[FULL], ahead=2), ["agents_full", "behind_others"], "only agent of 'p' is full"),
        (Facts(NOW, task(), agents=[agent()], ahead=1), ["behind_others"], "1 task is before it"),
        (Facts(NOW, task(), agents=[agent()], ahead=AHEAD_CAP + 1), ["behind_others"], "1000+ tasks are before"),
        (Facts(NOW, task(), agents=[agent("failed"), agent("failed")]), ["agents_failed"], "2 agents of 'p'"),
        (Facts(NOW, task(), agents=[agent("draining"), agent("failed")]), ["agents_draining"], "1 draining, 1 failed"),
        (Facts(NOW, task(), agents=[agent("starting")]), ["agents_starting"], "is starting"),
        (Facts(NOW, task(), agents=[agent("maintenance")]), ["agents_maintenance"], "is in maintenance"),
        (Facts(NOW, task(), agents=[agent(stopped=True)]), ["agents_stopped"], "is stopped"),
        (Facts(NOW, task(), agents=[agent(ejected_until=LATER), agent("failed")]), ["agents_ejected"], "1 ejected"),
        (Facts(NOW, task(), agents=[agent(ejected_until=NOW)]), [], "Nothing keeps it"),
        (Facts(NOW, task(), agents=[agent(paused=True)]), ["agents_paused"], "after it refused a call"),
        (Facts(NOW, task(pinned_agent_id=AGENT)), ["pinned_agent_gone"], "it is gone; cancel it"),
        (Facts(NOW, task(pinned_agent_id=AGENT), agents=[FULL]), ["pinned_agent_busy"], "that one is full"),
        (
            Facts(NOW, task(pinned_agent_id=AGENT), agents=[agent("failed")]),
            ["pinned_agent_unavailable"],
            "that one is failed",
        ),
        (Facts(NOW, task(pinned_agent_id=AGENT), agents=[agent(), agent("failed", id=TWO)]), [], "Nothing keeps"),
        (
            Facts(NOW, task(), agents=[agent()], stops=[STOP]),
            ["stopped"],
            "Stopped by key1 since 2026-11-20T20:25:00Z (tenant acme): It deletes the wrong files.",
        ),
        (Facts(NOW, task(), stops=[STOP, STOP]), ["stopped", "no_agent"], "(1 more stops stand)"),
        (
            Facts(NOW, task(priority=-1), agents=[agent()], hold=held_back(min_priority=0)),
            ["emergency_mode"],
            "starts nothing below priority 0, and this has -1, until 2026-11-20T20:30:00Z at the latest "
            "(pool 'p', by alert:r): it burns",
        ),
        (Facts(NOW, task(), agents=[agent()], hold=held_back(min_priority=0)), [], "Nothing keeps it"),
        (
            Facts(NOW, task(), agents=[agent(slots=4, running=2)], hold=held_back(max_share=0.5)),
            ["emergency_cap"],
            "2 run, and emergency mode lets 2 run at once",
        ),
        (Facts(NOW, task(), agents=[agent(slots=4, running=1)], hold=held_back(max_share=0.5)), [], "Nothing keeps"),
        (
            Facts(NOW, task(), agents=[FULL], hold=held_back(max_running=0, kind="pause")),
            ["pool_paused", "agents_full"],
            "Nothing starts until",
        ),
        (
            Facts(NOW, task("held"), approvals=[asked()], hold=held_back(max_running=0)),
            ["held_for_approval"],
            "It starts",
        ),
        (Facts(NOW, task("running", agent_id=AGENT, attempt=1), stops=[STOP]), [], "Agent 00000000"),
        (
            Facts(NOW, task(run_at=LATER, wake_at=LATER)),
            ["run_at"],
            "asked to start no earlier than 2026-11-20T20:30:00Z",
        ),
        (
            Facts(NOW, task(wake_at=LATER, fence=1, attempt=1)),
            ["retry_backoff"],
            "tried again at 2026-11-20T20:30:00Z; 1 of 3 tries are used",
        ),
        (Facts(NOW, task(wake_at=LATER, fence=1, run_at=NOW)), ["retry_backoff"], "tried again"),
        (
            Facts(NOW, task(wake_at=LATER, parked_by=TWO), budget=MONEY),
            ["budget_exhausted"],
            "'daily' (tenant acme) has no room: 9.5 of 10 usd are spent, 0.25 reserved, and the task is expected to "
            "take 0.5 usd. It waits until 2026-11-20T20:30:00Z, or until it is raised.",
        ),
        (
            Facts(NOW, task(wake_at=LATER, parked_by=TWO), budget=replace(MONEY, reason="throttled")),
            ["budget_throttled"],
            "one after the other",
        ),
        (Facts(NOW, task(wake_at=LATER, parked_by=TWO)), [], "about to be claimed"),
        (Facts(NOW, task(wake_at=NOW)), [], "about to be claimed"),
        (
            Facts(NOW, task(wake_at=NEVER, concurrency_key="k"), key=KeyFacts(2, "pool", (TWO,), 2)),
            ["concurrency_key"],
            "2 tasks with the key 'k' may run or run now; the limit of the pool is 2.",
        ),
        (
            Facts(NOW, task(wake_at=NEVER, concurrency_key="k"), key=KeyFacts(2, "pool", (TWO,), 1)),
            ["concurrency_key"],
            "about to be admitted under the key 'k'",
        ),
        (
            Facts(NOW, task("held"), approvals=[asked()]),
            ["held_for_approval"],
            "It starts when 'run_shell' is approved by callers with approvals:decide (until 2026-11-20T20:30:00Z).",
        ),
        (
            Facts(NOW, task("held"), approvals=[asked(groups=("ops", "sec"), quorum=2, votes=1, expires_at=None)]),
            ["held_for_approval"],
            "in ops or sec, 1 of 2 have (it never expires)",
        ),
        (Facts(NOW, task("held")), ["held"], "being released"),
        (
            Facts(NOW, task("waiting"), wait=WaitFacts("approval", "s", NOW), approvals=[asked()]),
            ["waiting_approval"],
            "Step 's' goes on when 'run_shell' is approved",
        ),
        (Facts(NOW, task("waiting"), wait=WaitFacts("approval", "s", NOW)), ["waiting_approval"], "was decided"),
        (
            Facts(NOW, task("waiting"), wait=WaitFacts("call", "s", NOW), children={ONE: "succeeded", TWO: "running"}),
            ["waiting_call"],
            "Step 's' waits for 1 sub-task (1 running, 1 succeeded).",
        ),
        (
            Facts(NOW, task("waiting"), wait=WaitFacts("call", "s", NOW), children={ONE: "failed"}),
            ["waiting_call"],
            "All sub-tasks of step 's' have ended (1 failed)",
        ),
        (
            Facts(NOW, task("waiting"), wait=WaitFacts("event", "s", NOW, LATER, "paid", '{"order": 7}')),
            ["waiting_event"],
            "waits for 'paid' with {\"order\": 7}, until 2026-11-20T20:30:00Z",
        ),
        (
            Facts(NOW, task("waiting"), wait=WaitFacts("event", "s", NOW, None, "paid")),
            ["waiting_event"],
            "waits for 'paid', for ever",
        ),
        (
            Facts(NOW, task("waiting"), wait=WaitFacts("timer", "s", NOW, LATER)),
            ["waiting_timer"],
            "sleeps until 2026-11-20T20:30:00Z",
        ),
        (Facts(NOW, task("succeeded", finished_at=NOW)), [], "The task succeeded at 2026-11-20T20:25:00Z"),
        (
            Facts(NOW, task("failed", finished_at=NOW, error_code="boom", error_message="it broke")),
            [],
            "The task failed at 2026-11-20T20:25:00Z: boom – it broke",
        ),
    ],
)
def test_each_rule(facts: Facts, codes: list[str], words: str) -> None:
    found = explain(facts)
    assert [blocker.code for blocker in found.blockers] == codes
    assert words in " ".join([found.summary, *(blocker.message for blocker in found.blockers)])


def test_what_a_blocker_is_about_is_named() -> None:
    facts = Facts(NOW, task("waiting"), wait=WaitFacts("call", "s", NOW), children={ONE: "failed", TWO: "queued"})
    assert explain(facts).blockers[0].ids == (str(TWO),)
    stopped = explain(Facts(NOW, task(), agents=[agent()], stops=[STOP])).blockers[0]
    assert (stopped.ids, stopped.by) == ((str(TWO),), "key1")
    assert explain(Facts(NOW, task("held"), approvals=[asked()])).blockers[0].until == LATER
    agents = explain(Facts(NOW, task(), agents=[agent(stopped=True)], agent_stops=[STOP])).blockers[0]
    assert (agents.code, agents.ids, agents.by) == ("agents_stopped", (str(TWO),), "key1")
    assert explain(Facts(NOW, task(), agents=[agent("failed")], agent_stops=[STOP])).blockers[0].ids == ()
    assert explain(Facts(NOW, task(), agents=[agent(ejected_until=LATER)])).blockers[0].until == LATER


@pytest.mark.parametrize(
    ("facts", "seconds", "basis"),
    [
        (
            Facts(NOW, task(), agents=[FULL], ahead=38, done=124),
            39 * 300 / 124,
            "38 tasks ahead; this pool finished 124 attempts in the last 5 minutes.",
        ),
        (Facts(NOW, task(), agents=[FULL], ahead=1, done=1, done_s=3.0), 6.0, "1 task ahead; this pool finished 1 "),
        (
            Facts(NOW, task(), agents=[FULL], ahead=0),
            None,
            "0 tasks ahead; no estimate: this pool finished nothing in the last 5 minutes.",
        ),
        (Facts(NOW, task(), agents=[FULL], ahead=AHEAD_CAP + 1, done=300), 1001.0, "1000+ tasks ahead"),
        (Facts(NOW, task(), agents=[agent()], ahead=0, done=9), 0.0, "A slot is free"),
        (Facts(NOW, task(), agents=[agent("failed")], done=9), None, "agents_failed"),
        (Facts(NOW, task(), agents=[agent()], stops=[STOP], done=9), None, "stopped"),
    ],
)
def test_estimates_say_what_they_rest_on(facts: Facts, seconds: float | None, basis: str) -> None:
    estimate = explain(facts).estimate
    assert estimate is not None
    assert estimate.starts_in_s == (None if seconds is None else pytest.approx(seconds, abs=1e-3))
    assert basis in estimate.basis


def test_a_position_is_of_those_in_the_queue_only() -> None:
    queued = explain(Facts(NOW, task(), ahead=7))
    assert (queued.ahead, queued.ahead_more) == (7, False)
    many = explain(Facts(NOW, task(), ahead=AHEAD_CAP + 1))
    assert (many.ahead, many.ahead_more) == (AHEAD_CAP, True)
    for fields in ({"wake_at": LATER}, {"wake_at": NEVER, "concurrency_key": "k"}):
        resting = explain(Facts(NOW, task(**fields), ahead=7))
        assert (resting.ahead, resting.estimate) == (None, None)


agents = st.lists(
    st.builds(
        AgentFacts,
        st.uuids(),
        st.sampled_from(["starting", "idle", "busy", "failed", "maintenance", "draining"]),
        st.integers(1, 3),
        st.integers(0, 4),
        st.booleans(),
        st.sampled_from([None, NOW, LATER]),
        st.booleans(),
    ),
    max_size=4,
)


@given(
    st.sampled_from(TASK_STATUSES), agents, st.integers(0, 2000), st.sampled_from([None, NOW, LATER, NEVER]),
    st.booleans(), st.sampled_from([None, AGENT]), st.integers(0, 100),
)  # fmt: skip
def test_every_explanation_is_whole(
    status: str, found: list[AgentFacts], ahead: int, wake_at: datetime | None, stop: bool, pinned: UUID | None,
    done: int,
) -> None:  # fmt: skip
    facts = Facts(
        NOW, task(status, wake_at=wake_at, pinned_agent_id=pinned), agents=found, ahead=ahead, done=done,
        stops=[STOP] if stop else [],
    )  # fmt: skip
    explanation = explain(facts)
    assert explanation.summary
    codes = [blocker.code for blocker in explanation.blockers]
    assert len(codes) == len(set(codes))
    assert all(blocker.message for blocker in explanation.blockers)
    if status in ("running", "succeeded", "failed", "cancelled", "expired"):
        assert codes == []
    free = any(item.state(NOW) == "free" for item in found)
    if status == "queued" and wake_at is None and pinned is None and not free:
        assert any(code.startswith("agents_") or code == "no_agent" for code in codes)
    assert explain(replace(facts, events=())).blockers == explanation.blockers
