"""What becomes of approvals that nobody decides."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson
import pytest

from app.approvals.loop import COUNT_INTERVAL_S, ExpiryLoop
from app.approvals.policy import Policy
from app.approvals.refusals import ApprovalDecided
from app.approvals.service import Approvals
from app.approvals.telemetry import PENDING
from app.auth.service import Forbidden
from app.core.db import Database
from tests.approvals.rows import ANN, RowHooks, all_of, ask, events, move_expiry, row, task_status
from tests.core.database import HandClock


@pytest.fixture
def hooks() -> RowHooks:
    return RowHooks()


@pytest.fixture
def approvals(db: Database, hooks: RowHooks) -> Approvals:
    return Approvals(db, hooks)


async def overdue(db: Database, policy: Policy, **fields: Any) -> tuple[UUID, UUID]:
    """(approval, task) of one whose time is over."""
    opened = await ask(db, policy, **fields)
    await move_expiry(db, opened.id)
    return opened.id, (await row(db, opened.id))["task_id"]


@pytest.mark.parametrize(("on_expiry", "status"), [("expire", "expired"), ("reject", "rejected")])
async def test_the_agent_can_tell_expired_from_rejected(
    db: Database, approvals: Approvals, on_expiry: Any, status: str
) -> None:
    approval_id, task_id = await overdue(db, Policy(60.0, on_expiry=on_expiry))
    assert await approvals.expire_due(10) == 1
    found = await row(db, approval_id)
    assert (found["status"], found["decided_by"], found["decided_from"]) == (status, "policy", None)
    assert await task_status(db, task_id) == "queued"
    async with db.hot() as connection:
        result = orjson.loads(await connection.fetchval("SELECT result FROM task_steps WHERE task_id = $1", task_id))
    assert (result["status"], result["decided_by"]) == (status, "policy")
    assert [event for event, _ in await events(db, task_id)] == ["approval.decided"]
    assert await approvals.expire_due(10) == 0


async def test_what_is_not_due_never_expires_or_is_decided_stays(db: Database, approvals: Approvals) -> None:
    later, never, decided = await ask(db, Policy(60.0)), await ask(db, Policy(None)), await ask(db)
    await approvals.decide(ANN, decided.id, approve=False, payload_hash=None, source="api")
    await move_expiry(db, decided.id)
    assert await approvals.expire_due(10) == 0
    assert [(await row(db, opened.id))["status"] for opened in (later, never)] == ["pending"] * 2


async def test_it_is_handed_on_once_and_then_expires(db: Database, approvals: Approvals) -> None:
    policy = Policy(60.0, on_expiry="escalate", escalate_to=("leads",), escalate_s=500.0, groups=("sre",))
    approval_id, task_id = await overdue(db, policy)
    assert await approvals.expire_due(10) == 1
    found = await row(db, approval_id)
    assert (found["status"], found["groups"], found["escalations"]) == ("pending", ["leads"], 1)
    assert 490 < (found["expires_at"] - found["created_at"]).total_seconds() < 600
    ((event, data),) = await events(db, task_id)
    assert (event, orjson.loads(data)["groups"]) == ("approval.escalated", ["leads"])
    await move_expiry(db, approval_id)
    assert await approvals.expire_due(10) == 1
    assert (await row(db, approval_id))["status"] == "expired"


async def test_the_second_round_is_as_long_as_the_first_unless_it_says_otherwise(
    db: Database, approvals: Approvals
) -> None:
    opened = await ask(db, Policy(60.0, on_expiry="escalate", escalate_to=("leads",)))
    async with db.hot() as connection:  # as if it had been opened a minute earlier
        await connection.execute(
            "UPDATE approvals SET created_at = created_at - interval '60s', expires_at = expires_at - interval '60s'"
        )
    assert await approvals.expire_due(10) == 1
    found = await row(db, opened.id)
    assert 119 < (found["expires_at"] - found["created_at"]).total_seconds() < 179


async def test_a_held_task_whose_approval_expires_ends(db: Database, approvals: Approvals) -> None:
    _, task_id = await overdue(db, Policy(60.0), kind="start", step="start", status="held")
    await approvals.expire_due(10)
    assert await task_status(db, task_id) == "failed"


async def test_a_click_after_the_time_finds_it_expired_though_no_loop_came_by(
    db: Database, approvals: Approvals
) -> None:
    approval_id, task_id = await overdue(db, Policy(60.0))
    with pytest.raises(ApprovalDecided) as late:
        await approvals.decide(
            ANN, approval_id, approve=True, payload_hash=(await row(db, approval_id))["payload_hash"], source="api"
        )
    assert late.value.extra["approval_status"] == "expired"
    assert await task_status(db, task_id) == "queued"


async def test_a_click_after_the_time_of_the_first_group_counts_only_for_the_second(
    db: Database, approvals: Approvals
) -> None:
    policy = Policy(60.0, on_expiry="escalate", escalate_to=("leads",))
    approval_id, _ = await overdue(db, policy)
    with pytest.raises(Forbidden):
        await approvals.decide(ANN, approval_id, approve=False, payload_hash=None, source="api")
    assert (await row(db, approval_id))["escalations"] == 1, "what was found on the way is kept"


async def test_several_managers_expire_each_once(db: Database, hooks: RowHooks) -> None:
    made = [await overdue(db, Policy(60.0)) for _ in range(12)]
    done = await all_of(*(Approvals(db, hooks).expire_due(20) for _ in range(4)))
    assert all(isinstance(count, int) for count in done), done
    for _, task_id in made:
        assert [event for event, _ in await events(db, task_id)] == ["approval.decided"]


async def test_expiry_and_a_click_at_once_give_one_outcome(db: Database, hooks: RowHooks) -> None:
    for _ in range(10):
        approval_id, task_id = await overdue(db, Policy(60.0))
        click = Approvals(db, hooks).decide(ANN, approval_id, approve=False, payload_hash=None, source="api")
        clicked, expired = await all_of(click, Approvals(db, hooks).expire_due(10))
        assert isinstance(clicked, ApprovalDecided)
        assert isinstance(expired, int)
        assert [event for event, _ in await events(db, task_id)] == ["approval.decided"]


async def test_one_that_fails_keeps_no_other_waiting(db: Database, approvals: Approvals, hooks: RowHooks) -> None:
    made = [await overdue(db, Policy(60.0)) for _ in range(3)]
    hooks.refuse = RuntimeError("the first one fails")
    with pytest.raises(RuntimeError, match="the first one fails"):
        await approvals.expire_due(10)
    assert sorted([await task_status(db, task_id) for _, task_id in made]) == ["queued", "queued", "waiting"]
    assert await approvals.expire_due(10) == 1


async def test_the_loop_expires_and_counts_now_and_then(db: Database, approvals: Approvals, clock: HandClock) -> None:
    await overdue(db, Policy(60.0))
    await ask(db)
    loop = ExpiryLoop(db, clock, approvals)
    assert await loop.tick() is None
    assert PENDING._value.get() == 1
    await ask(db)
    await loop.tick()
    assert PENDING._value.get() == 1
    clock.forward(COUNT_INTERVAL_S)
    await loop.tick()
    assert PENDING._value.get() == 2
