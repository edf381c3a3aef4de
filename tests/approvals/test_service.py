"""Decisions on real rows: one atomic decision, together with what becomes of the task."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest

from app.approvals import queries
from app.approvals.opening import open_many, supersede
from app.approvals.payload import NotCanonical, payload_hash
from app.approvals.policy import Policy
from app.approvals.records import ApprovalRecord
from app.approvals.refusals import (
    AlreadyVoted,
    ApprovalDecided,
    ApprovalNotFound,
    ArgsNotCanonical,
    PayloadChanged,
    SelfApproval,
)
from app.approvals.service import UNSET, Approvals
from app.auth.callers import Caller
from app.auth.service import Forbidden
from app.core.db import Database
from tests.approvals.rows import (
    ANN,
    BOB,
    EVE,
    SUBMITTER,
    TENANT,
    Refusing,
    RowHooks,
    add_task,
    all_of,
    ask,
    events,
    question,
    row,
    task_status,
)

ARGS = {"command": ["df", "-h"]}
HASH = payload_hash("shell", ARGS)
TWO = Policy(3600.0, quorum=2)


@pytest.fixture
def hooks() -> RowHooks:
    return RowHooks()


@pytest.fixture
def approvals(db: Database, hooks: RowHooks) -> Approvals:
    return Approvals(db, hooks)


async def decide(approvals: Approvals, caller: Caller, approval_id: UUID, **fields: Any) -> ApprovalRecord:
    values = {"approve": True, "payload_hash": HASH, "args": UNSET, "source": "api:10.0.0.9", **fields}
    return await approvals.decide(caller, approval_id, **values)


async def result_of(db: Database, task_id: UUID) -> Any:
    async with db.hot() as connection:
        text = await connection.fetchval("SELECT result FROM task_steps WHERE task_id = $1", task_id)
    return None if text is None else orjson.loads(text)


async def test_an_approval_is_opened_with_what_people_must_know(db: Database) -> None:
    policy = Policy(60.0, True, "escalate", ("leads",), 30.0, ("sre",), "pools:admin", 2, True)
    opened = await ask(db, policy)
    found = await row(db, opened.id)
    assert (found["status"], found["payload_hash"], opened.payload_hash) == ("pending", HASH, HASH)
    assert (found["scope"], found["groups"], found["quorum"], found["self_approval"]) == (
        "pools:admin", ["sre"], 2, True,
    )  # fmt: skip
    assert (found["on_expiry"], found["escalate_to"], found["escalate_s"]) == ("escalate", ["leads"], 30.0)
    assert (found["expires_at"] - found["created_at"]).total_seconds() == 60
    assert opened.decided is None
    ((event, data),) = opened.events
    assert event == "approval.requested"
    assert orjson.loads(data)["payload_hash"] == HASH
    assert orjson.loads(data)["groups"] == ["sre"]


async def test_a_suspend_shortens_the_expiry_and_never_means_never(db: Database) -> None:
    for policy_s, wanted_s, seconds in ((60.0, 5.0, 5), (60.0, 500.0, 60), (None, 5.0, 5), (None, None, None)):
        found = await row(db, (await ask(db, Policy(policy_s), expires_s=wanted_s)).id)
        expires_at = found["expires_at"]
        assert (expires_at and (expires_at - found["created_at"]).total_seconds()) == seconds


async def test_what_needs_no_approval_is_approved_by_the_policy(db: Database, approvals: Approvals) -> None:
    opened = await ask(db, Policy(60.0, required=False))
    assert opened.decided is not None
    assert orjson.loads(opened.decided.outcome()) == {
        "status": "approved", "action": "shell", "args": ARGS, "reason": "", "decided_by": "policy",
        "payload_hash": HASH,
    }  # fmt: skip
    assert [event for event, _ in opened.events] == ["approval.decided"]
    found = await row(db, opened.id)
    assert (found["status"], found["decided_by"], found["expires_at"]) == ("approved", "policy", None)
    with pytest.raises(ApprovalDecided):
        await decide(approvals, ANN, opened.id)


async def test_many_are_opened_together_or_not_at_all(db: Database) -> None:
    ids = [await add_task(db) for _ in range(20)]
    async with db.hot() as connection:
        opened = await open_many(connection, [question(task_id) for task_id in ids])
        assert list(opened) == ids
        assert await open_many(connection, []) == {}
        bad = [question(ids[0]), question(ids[1], args_json=str(2**60))]
        with pytest.raises(NotCanonical):
            await open_many(connection, bad)
        assert await connection.fetchval("SELECT count(*) FROM approvals") == 20


async def test_approved_the_task_goes_on_with_exactly_that(db: Database, approvals: Approvals, hooks: RowHooks) -> None:
    opened = await ask(db)
    record = await decide(approvals, ANN, opened.id, reason="fine")
    assert (record.status, record.decided_by, record.decided_from, record.reason) == (
        "approved", "ann", "api:10.0.0.9", "fine",
    )  # fmt: skip
    assert record.decided_at is not None
    assert [(vote.caller, vote.decision, vote.payload_hash) for vote in record.votes] == [("ann", "approve", HASH)]
    assert await result_of(db, record.task_id) == {
        "status": "approved", "action": "shell", "args": ARGS, "reason": "fine", "decided_by": "ann",
        "payload_hash": HASH,
    }  # fmt: skip
    assert await task_status(db, record.task_id) == "queued"
    ((event, data),) = await events(db, record.task_id)
    assert event == "approval.decided"
    assert orjson.loads(data) == {
        "approval_id": str(record.id), "step": "approve:shell", "status": "approved", "decided_by": "ann",
        "source": "api:10.0.0.9", "reason": "fine", "payload_hash": HASH,
    }  # fmt: skip
    assert hooks.told == [record.task_id]


async def test_rejected_with_a_reason_and_no_hash(db: Database, approvals: Approvals) -> None:
    opened = await ask(db, TWO)
    record = await decide(approvals, ANN, opened.id, approve=False, payload_hash=None, reason="not here")
    assert (record.status, record.reason, record.edited_args) == ("rejected", "not here", None)
    result = await result_of(db, record.task_id)
    assert (result["status"], result["reason"]) == ("rejected", "not here")


async def test_edited_arguments_are_what_runs_under_a_new_hash(db: Database, approvals: Approvals) -> None:
    opened = await ask(db)
    safer = {"command": ["df"]}
    record = await decide(approvals, ANN, opened.id, args=safer)
    assert (record.status, record.payload_hash) == ("edited", payload_hash("shell", safer))
    result = await result_of(db, record.task_id)
    assert (result["status"], result["args"], result["payload_hash"]) == ("edited", safer, record.payload_hash)
    assert orjson.loads(record.args) == ARGS, "what was asked stays on record"


async def test_null_is_an_edit_and_the_same_arguments_are_none(db: Database, approvals: Approvals) -> None:
    edited = await decide(approvals, ANN, (await ask(db)).id, args=None)
    assert (edited.status, edited.edited, edited.current_args) == ("edited", True, "null")
    assert (await result_of(db, edited.task_id))["args"] is None
    same = await decide(approvals, ANN, (await ask(db)).id, args=ARGS)
    assert (same.status, same.edited, same.payload_hash) == ("approved", False, HASH)


async def test_two_must_approve_and_each_counts_once(db: Database, approvals: Approvals) -> None:
    opened = await ask(db, TWO)
    first = await decide(approvals, ANN, opened.id)
    assert (first.status, len(first.votes), await task_status(db, first.task_id)) == ("pending", 1, "waiting")
    with pytest.raises(AlreadyVoted):
        await decide(approvals, ANN, opened.id)
    second = await decide(approvals, BOB, opened.id)
    assert (second.status, second.decided_by) == ("approved", "bob")
    assert [event for event, _ in await events(db, first.task_id)] == ["approval.voted", "approval.decided"]


async def test_an_edit_voids_the_votes_before_it(db: Database, approvals: Approvals) -> None:
    opened = await ask(db, TWO)
    await decide(approvals, ANN, opened.id)
    edited = await decide(approvals, BOB, opened.id, args=[1])
    assert (edited.status, edited.payload_hash) == ("pending", payload_hash("shell", [1]))
    assert [(vote.caller, vote.void) for vote in edited.votes] == [("ann", True), ("bob", False)]
    with pytest.raises(PayloadChanged) as stale:
        await decide(approvals, EVE, opened.id)
    assert stale.value.extra == {"payload_hash": edited.payload_hash}
    done = await decide(approvals, ANN, opened.id, payload_hash=edited.payload_hash)
    assert (done.status, done.current_args, len(done.votes)) == ("edited", "[1]", 3)


async def test_edited_back_it_is_what_was_asked(db: Database, approvals: Approvals) -> None:
    opened = await ask(db, TWO)
    await decide(approvals, ANN, opened.id)
    edited = await decide(approvals, BOB, opened.id, args=[1])
    back = await decide(approvals, EVE, opened.id, payload_hash=edited.payload_hash, args=ARGS)
    assert (back.status, back.payload_hash, back.edited_args) == ("pending", HASH, None)
    assert [vote.void for vote in back.votes] == [True, True, False], "a vote once void stays void"
    assert (await decide(approvals, ANN, opened.id)).status == "approved"


@pytest.mark.parametrize("bad", [2**53, {"a": 2**60}])
async def test_edited_arguments_need_a_canonical_form(db: Database, approvals: Approvals, bad: Any) -> None:
    opened = await ask(db)
    with pytest.raises(ArgsNotCanonical):
        await decide(approvals, ANN, opened.id, args=bad)
    assert (await row(db, opened.id))["status"] == "pending"


async def test_who_may_not(db: Database, approvals: Approvals) -> None:
    opened = await ask(db, Policy(None, groups=("sre",)))
    sre = replace(ANN, groups=frozenset({"sre"}))
    for caller, refusal in (
        (ANN, Forbidden),
        (replace(sre, scopes=frozenset({"tasks:write"})), Forbidden),
        (replace(sre, scopes=frozenset()), Forbidden),
        (replace(sre, id=SUBMITTER), SelfApproval),
        (replace(sre, id=SUBMITTER, scopes=frozenset({"admin"})), SelfApproval),
        (replace(sre, tenant="other"), ApprovalNotFound),
        (replace(sre, tenant="other", scopes=frozenset({"tasks:write"})), Forbidden),
    ):
        for approve in (True, False):
            with pytest.raises(refusal):
                await decide(approvals, caller, opened.id, approve=approve)
    with pytest.raises(ApprovalNotFound):
        await decide(approvals, sre, uuid4())
    assert (await row(db, opened.id))["status"] == "pending"
    assert (await decide(approvals, sre, opened.id)).status == "approved"


async def test_the_submitter_may_where_the_policy_says_so(db: Database, approvals: Approvals) -> None:
    opened = await ask(db, Policy(None, self_approval=True))
    assert (await decide(approvals, replace(ANN, id=SUBMITTER), opened.id)).decided_by == SUBMITTER


async def test_of_many_words_at_once_one_decides(db: Database, hooks: RowHooks) -> None:
    opened = await ask(db)
    two = [Approvals(db, hooks), Approvals(db, hooks)]
    clicks = [
        decide(two[n % 2], Caller(f"c{n}", TENANT, frozenset({"admin"})), opened.id, approve=n % 3 > 0, args=args)
        for n in range(30)
        for args in [UNSET if n % 5 else {"n": n}]
    ]
    done = await all_of(*clicks)
    (won,) = [answer for answer in done if isinstance(answer, ApprovalRecord)]
    late = [answer for answer in done if not isinstance(answer, ApprovalRecord)]
    assert {type(answer) for answer in late} == {ApprovalDecided}
    for answer in late:
        assert answer.extra == {
            "approval_status": won.status, "decided_by": won.decided_by, "decided_at": won.decided_at,
        }  # fmt: skip
    assert [event for event, _ in await events(db, won.task_id)] == ["approval.decided"]
    assert (await result_of(db, won.task_id))["status"] == won.status


async def test_a_quorum_is_reached_once_whoever_comes_together(db: Database, approvals: Approvals) -> None:
    opened = await ask(db, Policy(None, quorum=5))
    callers = [Caller(f"c{n}", TENANT, frozenset({"admin"})) for n in range(10)]
    done = await all_of(*(decide(approvals, caller, opened.id) for caller in callers + callers))
    counted = [answer for answer in done if isinstance(answer, ApprovalRecord)]
    assert sorted(answer.status for answer in counted) == ["approved", *["pending"] * 4]
    names = [event for event, _ in await events(db, counted[0].task_id)]
    assert names == ["approval.voted"] * 4 + ["approval.decided"]


@pytest.mark.parametrize("status", ["cancelled", "running", "queued", "succeeded"])
async def test_the_approval_of_a_task_that_went_on_is_superseded(
    db: Database, approvals: Approvals, status: str
) -> None:
    opened = await ask(db, status=status)
    with pytest.raises(ApprovalDecided) as late:
        await decide(approvals, ANN, opened.id)
    assert late.value.extra["approval_status"] == "superseded"
    found = await row(db, opened.id)
    assert (found["status"], found["decided_by"]) == ("superseded", None)
    assert await task_status(db, found["task_id"]) == status
    final = status in ("cancelled", "succeeded")
    assert [event for event, _ in await events(db, found["task_id"])] == ([] if final else ["approval.superseded"])


async def test_what_the_tasks_refuse_undoes_the_decision(db: Database, approvals: Approvals, hooks: RowHooks) -> None:
    opened = await ask(db, kind="start", step="start", status="held")
    hooks.refuse = Refusing("the pool wants a log")
    with pytest.raises(Refusing):
        await decide(approvals, ANN, opened.id, args={"wrong": True})
    record = await queries.get(db, TENANT, opened.id)
    assert record is not None
    assert (record.status, record.votes, record.payload_hash) == ("pending", (), HASH)
    assert await events(db, record.task_id) == []
    assert (await decide(approvals, ANN, opened.id)).status == "approved"
    assert await task_status(db, record.task_id) == "queued"


async def test_superseding_ends_what_is_pending_and_nothing_else(db: Database, approvals: Approvals) -> None:
    decided, pending, other = await ask(db), await ask(db), await ask(db)
    done = await decide(approvals, ANN, decided.id)
    gone_id = (await row(db, pending.id))["task_id"]
    async with db.hot() as connection, connection.transaction():
        gone = await supersede(connection, [gone_id, done.task_id], "cancelled")
    assert [(item.id, item.task_id) for item in gone] == [(pending.id, gone_id)]
    assert orjson.loads(gone[0].data)["reason"] == "cancelled"
    states = [(await row(db, opened.id))["status"] for opened in (decided, pending, other)]
    assert states == ["approved", "superseded", "pending"]


async def test_lists_are_of_one_tenant_newest_first_and_without_arguments(db: Database) -> None:
    ids = [(await ask(db)).id for _ in range(3)]
    await ask(db, tenant="other")
    found = await queries.page(db, TENANT, limit=10)
    assert [record.id for record in found] == ids[::-1]
    assert {record.args for record in found} == {"null"}
    assert [record.id for record in await queries.page(db, TENANT, before=ids[1], limit=10)] == ids[:1]
    assert [record.id for record in await queries.page(db, TENANT, task_id=found[0].task_id, limit=10)] == [ids[2]]
    assert await queries.page(db, TENANT, status="approved", limit=10) == []
    assert await queries.page(db, TENANT, pool="q", limit=10) == []
    assert await queries.get(db, "other", ids[0]) is None
    assert await queries.pending(db) == 4
