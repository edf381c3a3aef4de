"""Verbs of tasks: submit, cancel, retry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from uuid import UUID

from app.auth.callers import Caller
from app.core.db import Database, HotConnection
from app.core.errors import Conflict, Invalid, NotFound, Unavailable
from app.events.hub import Hub
from app.registry.records import PoolRecord
from app.registry.service import PoolNotFound
from app.registry.view import RegistryView
from app.tasks import queries, queue
from app.tasks.cancelling import cancel_within
from app.tasks.depth import Depth
from app.tasks.intake import Intake, check_canonical
from app.tasks.limits import TaskLimits
from app.tasks.queue import Freed, concurrency_keys
from app.tasks.records import TaskRecord
from app.tasks.submission import Accepted, Submission, at, keys_of, mark_of, new_task
from app.tasks.telemetry import current_traceparent

MAX_WAITING_BYTES = 64 * 1024 * 1024


class TaskNotFound(NotFound):
    code, title = "task_not_found", "No such task"


class ContractViolation(Invalid):
    code, title = "contract_violation", "Payload does not fit the pool's contract"


class NoPoolForType(Invalid):
    code, title = "no_pool_for_type", "No pool has this skill"


class AgentNotInPool(Invalid):
    code, title = "agent_not_in_pool", "Agent is not in the pool"


class IdempotencyKeyReused(Invalid):
    code, title = "idempotency_key_reused", "Idempotency key used for another request"


class Overloaded(Unavailable):
    code, title = "overloaded", "Too much at once"


class TaskFinal(Conflict):
    code, title = "task_final", "The task is final"


class NotFailed(Conflict):
    code, title = "task_not_failed", "The task has not failed"


class HasCaller(Conflict):
    code, title = "task_has_caller", "A sub-task whose caller does not wait for it"


class Tasks:
    """The verbs. `on_queued(pools)` is called after tasks were committed as queued, `on_freed` after some ended."""

    def __init__(
        self,
        db: Database,
        view: RegistryView,
        hub: Hub,
        depth: Depth,
        intake: Intake,
        limits: TaskLimits,
        *,
        on_queued: Callable[[set[str]], None],
        on_freed: Callable[[Freed], None],
    ) -> None:
        self._db, self._view, self._hub, self._depth, self._limits = db, view, hub, depth, limits
        self._on_queued, self._on_freed = on_queued, on_freed
        self._intake = intake

    async def close(self) -> None:
        """Write what was accepted; refuse more."""
        await self._intake.close()

    async def submit(
        self,
        caller: Caller,
        submissions: Sequence[Submission],
        *,
        idempotency_key: str | None = None,
        many: bool = False,
    ) -> list[Accepted]:
        """Accept all or none. Returns after commit; raises Invalid kinds, PoolNotFound or QueueFull before any write.

        `many` tells a batch from a single submission: they have keys of their own and name errors by position.
        """
        pools = [await self._pool_of(item, index if many else None) for index, item in enumerate(submissions)]
        keys = keys_of(idempotency_key, len(submissions), many)
        mark = mark_of(submissions) if idempotency_key is not None else None
        if mark is not None:
            replayed = await self._replay(caller.tenant, keys, mark)
            if replayed is not None:
                return replayed
        for index, (item, pool) in enumerate(zip(submissions, pools, strict=True)):
            if item.agent_id is not None and item.agent_id not in self._view.agents_of(pool.name):
                await self._view.refresh()  # it may have registered a moment ago
            self._check(item, pool, index if many else None)
            self._limits.shed(pool.name, item.priority)
        if self._intake.waiting_bytes > MAX_WAITING_BYTES:
            raise Overloaded("Submissions arrive faster than they can be stored; try again shortly.")
        counts = Counter(pool.name for pool in pools)
        await self._limits.admit(caller, counts)
        await self._depth.admit(counts)
        trace = current_traceparent()
        new = [
            new_task(caller, item, pool, key, mark, trace)
            for item, pool, key in zip(submissions, pools, keys, strict=True)
        ]
        for task in new:
            if self._intake.asks(task.tenant, task.pool):
                check_canonical(task)
        added = await self._intake.put(new)
        if len(added) < len(new):  # another request with the same key was faster
            replayed = await self._replay(caller.tenant, keys, mark or b"")
            if replayed is not None:
                return replayed
        return [Accepted(task.id, task.pool, "held" if task.held else "queued") for task in new]

    async def check(self, item: Submission) -> None:
        """Raise what submitting it now would raise for what it asks: PoolNotFound or Invalid kinds."""
        self._check(item, await self._pool_of(item, None), None)

    async def submit_within(
        self, connection: HotConnection, caller: Caller, submissions: Sequence[Submission], keys: Sequence[str | None]
    ) -> tuple[list[Accepted], Callable[[], None]]:
        """Accept all in the caller's transaction, which has locked no task yet; call what is returned besides after
        its commit. A task whose idempotency key is in use is left out. Rates and the queue's length bound nothing here.
        """
        pools = [await self._pool_of(item, None) for item in submissions]
        for item, pool in zip(submissions, pools, strict=True):
            self._check(item, pool, None)
        new = [
            new_task(caller, item, pool, key, None, None)
            for item, pool, key in zip(submissions, pools, keys, strict=True)
        ]
        added, cancelled = await self._intake.insert_within(connection, new)
        new = [task for task in new if task.id in added]
        accepted = [Accepted(task.id, task.pool, "held" if task.held else "queued") for task in new]
        return accepted, lambda: self._intake.committed(new, cancelled)

    async def cancel(self, caller: Caller, task_id: UUID, reason: str) -> TaskRecord:
        """Cancel a task and all its sub-tasks; running executors are told. Cancelling twice changes nothing; raises
        TaskNotFound or TaskFinal."""
        done = await self.cancel_many(caller.tenant, [task_id], reason)
        task = await self.get(caller, task_id)
        if not done and task.status != "cancelled":
            raise TaskFinal(f"The task is {task.status} and stays so.", extra={"task_status": task.status})
        return task

    async def cancel_many(
        self, tenant: str, task_ids: Sequence[UUID], reason: str, code: str = "cancelled"
    ) -> list[UUID]:
        """Cancel those of these tasks that are not final, with all their sub-tasks; the ids of all that were."""
        async with self._db.hot() as connection, connection.transaction():
            done = await cancel_within(connection, tenant, task_ids, reason, code)
        self._hub.changed(done.ids)
        self._on_freed(done.freed)
        return done.ids

    async def cancel_orphans(self, limit: int) -> bool:
        """Cancel sub-tasks whose caller has ended without them; whether there may be more."""
        async with self._db.hot() as connection:
            rows = await queue.orphans(connection, limit)
        for tenant in {row["tenant"] for row in rows}:
            ids = [row["id"] for row in rows if row["tenant"] == tenant]
            await self.cancel_many(tenant, ids, "The task that called it has ended.", "parent_ended")
        return len(rows) == limit

    async def retry(self, caller: Caller, task_id: UUID) -> TaskRecord:
        """Queue a failed task again, attempts counted from zero; raises TaskNotFound, NotFailed or
        HasCaller."""
        done = await self.retry_many(caller.tenant, [task_id])
        task = await self.get(caller, task_id)
        if not done and task.status == "failed" and task.parent_id is not None:
            raise HasCaller(
                "The task that called it has gone on or ended; retry that one: it calls again what failed.",
                extra={"parent_id": str(task.parent_id)},
            )
        if not done:
            raise NotFailed(
                f"Only a failed task can be retried; it is {task.status}.", extra={"task_status": task.status}
            )
        return task

    async def retry_many(self, tenant: str, task_ids: Sequence[UUID]) -> list[UUID]:
        """Queue those of these tasks that failed again; their ids. Finished steps stay; waits that ended badly are
        waited for anew."""
        async with self._db.hot() as connection:
            rows = await queue.retry(connection, tenant, task_ids)
        self._hub.changed([row["id"] for row in rows])
        self._on_queued({row["pool"] for row in rows if row["key"] is None})
        self._on_freed(Freed(keys=concurrency_keys(rows)))
        return [row["id"] for row in rows]

    async def get(self, caller: Caller, task_id: UUID) -> TaskRecord:
        """A task of the caller's tenant; raises TaskNotFound."""
        task = await queries.get(self._db, caller.tenant, task_id)
        if task is None:
            raise TaskNotFound("There is no task with this id.")
        return task

    async def wait(self, caller: Caller, task_id: UUID, timeout_s: float, now: Callable[[], float]) -> TaskRecord:
        """The task once it is final, or as it is after `timeout_s`."""
        watch = self._hub.watch(task_id)
        try:
            until = now() + timeout_s
            while True:
                watch.stale = False
                task = await self.get(caller, task_id)
                while not watch.stale and not task.final and not self._hub.closing and (left := until - now()) > 0:
                    await watch.changed(left)
                    watch.take()
                if task.final or self._hub.closing or until <= now():
                    return task
        finally:
            self._hub.unwatch(watch)

    def notice(self, pool: str, status: str, pinned: UUID | None = None) -> dict[str, str] | None:
        """Why a queued task cannot start yet, when its pool as a whole, or its only agent, is the reason."""
        if status != "queued":
            return None
        if pinned is not None and pinned not in self._view.agents:
            return {"code": "agent_gone", "message": "The only agent that may run this task is gone; cancel it."}
        if self._view.working(pool) > 0:
            return None
        agents = self._view.agents_of(pool)
        if not agents:
            return {"code": "no_agent", "message": f"No agent is registered in {pool!r}; the task waits for one."}
        states = ", ".join(sorted({"stopped" if agent.stopped else agent.status for agent in agents.values()}))
        return {"code": "no_working_agent", "message": f"No agent of {pool!r} can work now ({states}); the task waits."}

    async def _pool_of(self, item: Submission, index: int | None) -> PoolRecord:
        for attempt in range(2):
            if attempt:
                await self._view.refresh()  # it may have been defined a moment ago, on another manager
            if item.pool is not None and item.pool in self._view.pools:
                return self._view.pools[item.pool]
            if item.pool is None and item.type is not None and (pool := self._view.pool_for_type(item.type)):
                return pool
        if item.pool is not None:
            raise PoolNotFound(f"There is no pool {item.pool!r}.", extra=at(index, "pool", "no such pool"))
        raise NoPoolForType(f"No pool has the skill {item.type!r}.", extra=at(index, "type", "no pool has this skill"))

    def _check(self, item: Submission, pool: PoolRecord, index: int | None) -> None:
        errors = pool.input_contract.errors(item.payload)
        if errors:
            where = "payload" if index is None else f"tasks.{index}.payload"
            listed = [{"path": where + error["path"], "message": error["message"]} for error in errors]
            first = listed[0]
            raise ContractViolation(f"{first['path']}: {first['message']}", extra={"errors": listed, "pool": pool.name})
        if item.agent_id is not None and item.agent_id not in self._view.agents_of(pool.name):
            raise AgentNotInPool(
                f"The pool {pool.name!r} has no agent {item.agent_id}.", extra=at(index, "agent_id", "not in the pool")
            )

    async def _replay(self, tenant: str, keys: Sequence[str | None], mark: bytes) -> list[Accepted] | None:
        wanted = [key for key in keys if key is not None]
        found = await queries.by_idempotency_keys(self._db, tenant, wanted)
        if not found:
            return None
        if len(found) < len(wanted) or any(task.request_hash != mark for task in found.values()):
            raise IdempotencyKeyReused("This Idempotency-Key was used with another request body.")
        return [Accepted(found[key].id, found[key].pool, found[key].status, replayed=True) for key in wanted]
