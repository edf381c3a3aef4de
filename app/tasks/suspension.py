"""Suspending a running task: the end of its attempt and what it waits for, in one transaction.

The attempt ends uncounted, so that waiting costs no try. What is wrong with the wish itself (no such pool, a cycle of
calls, too many of them) is said by `Declined`: the attempt failed then, and nothing was written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg
import orjson
import uuid_utils

from app.approvals import policy as approval_policy
from app.approvals.opening import Question
from app.approvals.payload import NotCanonical, payload_hash
from app.core.db import HotConnection
from app.core.failpoints import reach
from app.core.jsonbody import dump_json
from app.registry.records import PoolRecord
from app.registry.view import RegistryView
from app.settings import DurableSettings
from app.tasks import queue, waits, waits_sql
from app.tasks.asking import Ask, AskApproval, AskCalls, AskEvent, AskTimer, Called, in_line, input_hash, reason_of
from app.tasks.cancelling import Cancelled
from app.tasks.intake import Intake, ask
from app.tasks.queue import Freed, NewTask, Settled, UsageRow
from app.tasks.submission import default_type
from app.tasks.waits import Outcome, Resumed

_TREE_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended($1::text, 0))"


class Declined(Exception):
    """The task cannot wait for that. `code` is stable."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


@dataclass(frozen=True, slots=True)
class Suspending:
    """An attempt that asked to wait. `told` goes into its event."""

    task_id: UUID
    tenant: str
    pool: str
    fence: int
    attempt: int
    ask: Ask
    told: dict[str, int] = field(default_factory=dict)
    usage: tuple[UsageRow, ...] = ()


@dataclass(slots=True)
class Suspended:
    """What came of it. `ours` False: the attempt was no longer current and nothing was written."""

    ours: bool
    freed: Freed = field(default_factory=Freed)
    resumed: Resumed = field(default_factory=Resumed)
    children: list[NewTask] = field(default_factory=list)
    cancelled: Cancelled | None = None


class Suspensions:
    """`suspend` is one transaction; `committed` tells those who can go on with what it made."""

    def __init__(
        self, view: RegistryView, intake: Intake, settings: DurableSettings, *, approval_expires_s: float
    ) -> None:
        self._view, self._intake, self._settings = view, intake, settings
        self._approval_expires_s = approval_expires_s

    async def suspend(self, connection: HotConnection, item: Suspending) -> Suspended:
        """Let the task wait; raises Declined."""
        done = Suspended(ours=False)
        async with connection.transaction():
            if isinstance(item.ask, AskEvent):
                await waits.lock_event(connection, item.tenant, item.ask.name)
            children = await self._children(connection, item)
            ours = await queue.settle(connection, [_settled(item, children)], done.freed)
            reach("suspend.settled")
            if not ours:
                return done
            done.ours = True
            await connection.execute(waits_sql.AWAIT, *_row(item))
            if children:
                _, done.cancelled = await self._intake.insert_within(connection, children)
                done.children = children
            elif isinstance(item.ask, AskApproval):
                done.resumed = await self._ask(connection, item, item.ask)
            elif isinstance(item.ask, AskEvent):
                done.resumed = await waits.resume_matched(connection, task_id=item.task_id)
            reach("suspend.written")
        reach("suspend.committed")
        return done

    def committed(self, done: Suspended) -> None:
        """After the commit."""
        if done.children:
            self._intake.committed(done.children, done.cancelled)

    async def _ask(self, connection: HotConnection, item: Suspending, wanted: AskApproval) -> Resumed:
        parent = await connection.fetchrow(waits_sql.PARENT, item.task_id)
        assert parent is not None
        pool = self._view.pools.get(item.pool)
        policy = approval_policy.of(
            {} if pool is None else pool.approvals, "action", wanted.action, self._approval_expires_s
        )
        assert policy is not None
        if self._intake.asks_people(item.pool):
            policy = approval_policy.tightened(policy)
        question = Question(
            task_id=item.task_id,
            tenant=item.tenant,
            pool=item.pool,
            kind="action",
            step=wanted.step,
            action=wanted.action,
            args_json=wanted.args,
            risk=wanted.risk,
            submitted_by=parent["submitted_by"],
            policy=policy,
            expires_s=wanted.expires_s,
        )
        opened = (await ask(connection, [question]))[item.task_id]
        if opened.decided is None:
            return Resumed()
        return await waits.resume(connection, [Outcome(item.task_id, wanted.step, opened.decided.outcome())])

    async def _children(self, connection: HotConnection, item: Suspending) -> list[NewTask]:
        """The sub-tasks to make; raises Declined. The tree is locked first: its bounds count all of it."""
        await self._check(connection, item)
        if not isinstance(item.ask, AskCalls):
            return []
        parent = await connection.fetchrow(waits_sql.PARENT, item.task_id)
        if parent is None:
            return []
        root = parent["root_id"] or item.task_id
        await connection.execute(_TREE_LOCK, str(root))
        pools = [self._pool_of(called) for called in item.ask.calls]
        await self._check_tree(connection, item.ask, root, parent["depth"])
        return _new_children(item, item.ask.calls, pools, parent, root)

    async def _check(self, connection: HotConnection, item: Suspending) -> None:
        wanted = item.ask
        asked_s = wanted.seconds if isinstance(wanted, AskTimer) else getattr(wanted, "timeout_s", None)
        if asked_s is not None and asked_s > self._settings.max_wait_s:
            raise Declined("wait_too_long", f"A task waits {self._settings.max_wait_s:g} s at most, not {asked_s:g} s.")
        if isinstance(wanted, AskApproval):
            if len(wanted.args) > self._settings.max_approval_bytes:
                raise Declined(
                    "approval_args_too_large",
                    f"The arguments are larger than {self._settings.max_approval_bytes} bytes.",
                )
            try:
                payload_hash(wanted.action, orjson.loads(wanted.args))
            except NotCanonical as exc:
                raise Declined("approval_args_not_canonical", f"Nobody could approve exactly that: {exc}.") from None
        count, taken = await connection.fetchrow(waits_sql.KNOWN_STEPS, item.task_id, wanted.step) or (0, False)
        if count >= self._settings.max_steps:
            raise Declined("too_many_steps", f"A task has {self._settings.max_steps} steps at most.")
        if taken:
            raise Declined(
                "step_conflict", f"The step {wanted.step!r} is finished already; names are unique in a task."
            )

    async def _check_tree(self, connection: HotConnection, wanted: AskCalls, root: UUID, depth: int) -> None:
        limits = self._settings
        if len(wanted.calls) > limits.max_fan_out:
            raise Declined("fan_out_limit", f"{len(wanted.calls)} calls at once; {limits.max_fan_out} may be.")
        if depth + 1 > limits.max_depth:
            raise Declined("depth_limit", f"Calls are {depth} deep already; {limits.max_depth} may be.")
        tree = await connection.fetchrow(waits_sql.TREE, root)
        assert tree is not None
        if tree["children"] + len(wanted.calls) > limits.max_children:
            raise Declined(
                "children_limit",
                f"The root task has {tree['children']} sub-tasks and asks for {len(wanted.calls)} more; "
                f"{limits.max_children} may be.",
            )
        if tree["attempts"] >= limits.max_tree_attempts:
            raise Declined(
                "attempts_limit",
                f"The root task and those below it took {tree['attempts']} attempts; "
                f"{limits.max_tree_attempts} may be.",
            )

    def _pool_of(self, called: Called) -> PoolRecord:
        if called.pool is not None:
            pool = self._view.pools.get(called.pool)
            if pool is None:
                raise Declined("pool_not_found", f"There is no pool {called.pool!r} to call.")
        else:
            pool = self._view.pool_for_type(called.type or "")
            if pool is None:
                raise Declined("no_pool_for_type", f"No pool has the skill {called.type!r}.")
        errors = pool.input_contract.errors(called.payload)
        if errors:
            first = errors[0]
            raise Declined(
                "contract_violation", f"The payload for {pool.name!r}: {first['path'] or '$'}: {first['message']}"
            )
        return pool


def _settled(item: Suspending, children: Sequence[NewTask]) -> Settled:
    data: dict[str, Any] = {"attempt": item.attempt, "step": item.ask.step, "reason": reason_of(item.ask), **item.told}
    match item.ask:
        case AskCalls(calls=calls):
            data |= {"calls": len(calls), "task_ids": [str(child.id) for child in children]}
        case AskEvent(name=name, timeout_s=timeout_s):
            data |= {"name": name, "timeout_s": timeout_s}
        case AskTimer(seconds=seconds):
            data["seconds"] = seconds
        case AskApproval(action=action):
            data["action"] = action
    return Settled(
        item.task_id,
        item.fence,
        "waiting",
        "suspended",
        "task.waiting",
        dump_json(data),
        counted=False,
        usage=item.usage,
    )


def _row(item: Suspending) -> tuple[Any, ...]:
    due_s: float | None = None
    name: str | None = None
    match: str | None = None
    if isinstance(item.ask, AskTimer):
        due_s = item.ask.seconds
    elif isinstance(item.ask, AskEvent):
        due_s, name = item.ask.timeout_s, item.ask.name
        match = None if item.ask.match is None else dump_json(item.ask.match)
    return item.task_id, item.tenant, reason_of(item.ask), item.ask.step, due_s, name, match


def _new_children(
    item: Suspending, calls: Sequence[Called], pools: Sequence[PoolRecord], parent: asyncpg.Record, root: UUID
) -> list[NewTask]:
    """Raises Declined for a call that one of its callers is already at work on."""
    own = input_hash(item.pool, orjson.loads(parent["payload"]))
    lineage = (parent["lineage"] or b"") + own
    for called, pool in zip(calls, pools, strict=True):
        if in_line(lineage, input_hash(pool.name, called.payload)):
            raise Declined(
                "call_cycle", f"A task calls {pool.name!r} with the input that it, or one of its callers, works on."
            )
    ids = sorted(UUID(bytes=uuid_utils.uuid7().bytes) for _ in calls)  # answers are given in the order of the ids
    return [
        NewTask(
            id=task_id,
            tenant=item.tenant,
            submitted_by=parent["submitted_by"],
            pool=pool.name,
            type=called.type or default_type(pool),
            payload=dump_json(called.payload),
            priority=parent["priority"] if called.priority is None else called.priority,
            max_attempts=called.max_attempts or pool.max_attempts,
            deadline_s=called.deadline_s,
            thread_id=parent["thread_id"],
            synthetic=parent["synthetic"],
            traceparent=parent["traceparent"],
            parent_id=item.task_id,
            parent_step=item.ask.step,
            root_id=root,
            depth=parent["depth"] + 1,
            lineage=lineage,
            labels=parent["labels"],
        )
        for task_id, called, pool in zip(ids, calls, pools, strict=True)
    ]
