"""Writing new tasks: the plain ones batched by what has arrived, the others in a transaction of their own.

A task is not plain when it must be held for an approval, or when its concurrency key says what becomes of one more.
Its start is asked about by its pool's policy, or for as long as the pool is tightened (`app.limits.tightening`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from uuid import UUID

from app.approvals import policy as approval_policy
from app.approvals.opening import Opened, Question, open_many
from app.approvals.payload import NotCanonical, payload_hash
from app.approvals.policy import Policy
from app.auth.callers import PROBES_TENANT
from app.core.batch import Batcher
from app.core.db import Database, HotConnection
from app.core.errors import Conflict, Invalid
from app.core.failpoints import reach
from app.core.http import is_bad_row
from app.core.jsonbody import parse_json
from app.events.hub import Hub
from app.registry.view import RegistryView
from app.tasks import admission, queue
from app.tasks.cancelling import Cancelled, cancel_within
from app.tasks.limits import KeyLimit, TaskLimits
from app.tasks.queue import Freed, NewTask

BATCH_BYTES = 4 * 1024 * 1024
MAX_HELD_BYTES = 262_144
"""A person cannot approve more than that, and its canonical form takes a tenth of a second to make."""
ROW_BYTES = 500
"""What a task takes besides its payload, about."""


class ConcurrencyLimit(Conflict):
    code, title = "concurrency_limit", "The concurrency key is in use"


class StartNotApprovable(Invalid):
    code, title = "approval_args_not_canonical", "The payload cannot be approved"


class _KeyInUse(Exception):
    """Another request with the same idempotency key was faster."""


class Intake:
    """`on_inserted(pools)` is called after plain tasks were committed, `on_queued(pools)` where some are pinned,
    `on_delayed()` when some wait for a time, `on_freed(freed)` when keyed ones ask for room."""

    def __init__(
        self,
        db: Database,
        view: RegistryView,
        hub: Hub,
        limits: TaskLimits,
        *,
        insert_batch: int,
        approval_expires_s: float,
        on_queued: Callable[[set[str]], None],
        on_inserted: Callable[[set[str]], None],
        on_delayed: Callable[[], None],
        on_freed: Callable[[Freed], None],
        tightened: Callable[[str], str | None] = lambda pool: None,
    ) -> None:
        """`tightened(pool)`: why each start in it is asked about at present, besides its policy; None: it is not."""
        self._db, self._view, self._hub, self._limits = db, view, hub, limits
        self._approval_expires_s, self._tightened = approval_expires_s, tightened
        # Where nobody was named to decide, a tenant with one key can still go on.
        self._usual = Policy(approval_expires_s, self_approval=True)
        self._on_queued, self._on_inserted = on_queued, on_inserted
        self._on_delayed, self._on_freed = on_delayed, on_freed
        self._inserter: Batcher[list[NewTask], set[UUID]] = Batcher(
            self._insert,
            limit=insert_batch,
            writers=2,
            weigh=lambda group: sum(len(task.payload) + len(task.labels or "") + ROW_BYTES for task in group),
            max_weight=BATCH_BYTES,
            isolate=is_bad_row,
        )

    @property
    def waiting_bytes(self) -> int:
        """What is accepted but not yet written, about."""
        return self._inserter.waiting_weight

    def asks_people(self, pool: str) -> bool:
        """Whether people decide in this pool what its policies would let pass."""
        return self._limits.asks_people(pool)

    async def close(self) -> None:
        """Write what was accepted; refuse more."""
        await self._inserter.close()

    async def put(self, tasks: Sequence[NewTask]) -> set[UUID]:
        """Durable when this returns: the ids that were new (others met an idempotency key in use).

        Raises ConcurrencyLimit, having written none. It marks the tasks that are held or ask for room.
        """
        if all(self._plain(task) for task in tasks):
            return await self._inserter.put(list(tasks))
        try:
            async with self._db.hot() as connection, connection.transaction():
                added, cancelled = await self.insert_within(connection, tasks)
                if len(added) < len(tasks):
                    raise _KeyInUse  # noqa: TRY301 - it undoes the transaction
        except _KeyInUse:  # all is undone, what made room for it too
            return set()
        self.committed([task for task in tasks if task.id in added], cancelled)
        return added

    async def insert_within(
        self, connection: HotConnection, tasks: Sequence[NewTask]
    ) -> tuple[set[UUID], Cancelled | None]:
        """The same in the caller's transaction, which has locked no row yet; after its commit, `committed`."""
        cancelled = None
        for task in tasks:
            self._plain(task)
        policies = {(task.pool, task.concurrency_key): limit for task in tasks if (limit := self._key_limit(task))}
        if any(limit.policy != "queue" for limit in policies.values()):
            cancelled = await self._make_room(connection, tasks, policies)
        added = await queue.insert(connection, tasks)
        held = [task for task in tasks if task.held and task.id in added]
        if held:
            await ask(connection, [self._question(task) for task in held])
        return added, cancelled

    def committed(self, tasks: Sequence[NewTask], cancelled: Cancelled | None = None) -> None:
        """Tell those who may do something with what was inserted."""
        ready = [task for task in tasks if not task.held]
        pools = {task.pool for task in ready}
        if pools:
            pinned = any(task.pinned_agent_id is not None for task in ready)
            (self._on_queued if pinned else self._on_inserted)(pools)
        if any(task.run_at is not None or task.deadline_s is not None for task in tasks):
            self._on_delayed()
        freed = Freed(
            keys={
                (task.pool, task.tenant, task.concurrency_key) for task in ready if task.gated and task.concurrency_key
            }
        )
        if cancelled is not None:
            self._hub.changed(cancelled.ids)
            freed.parents |= cancelled.freed.parents
            freed.keys |= cancelled.freed.keys
        if freed:
            self._on_freed(freed)

    def _plain(self, task: NewTask) -> bool:
        """Whether the task goes the short way; marks it as held or gated."""
        start = self._start_policy(task.pool)
        task.held = start is not None and start.required
        if not task.held and self._asked_for_now(task.tenant, task.pool, start):
            # `submit` refuses what nobody could approve. Here it is another task's, or a schedule's: that goes on.
            task.held = approvable(task.payload)
        limit = self._key_limit(task)
        task.gated = limit is not None
        return not task.held and (limit is None or limit.policy == "queue")

    def asks(self, tenant: str, pool: str) -> bool:
        """Whether what this tenant submits to this pool now may be held for an approval."""
        start = self._start_policy(pool)
        return (start is not None and start.required) or self._asked_for_now(tenant, pool, start)

    def _asked_for_now(self, tenant: str, pool: str, start: Policy | None) -> bool:
        """Whether people decide, for a while, what the pool's policies let pass. Not about probes: they tell whether
        the pool is well again."""
        if tenant == PROBES_TENANT:
            return False
        return self._tightened(pool) is not None or (start is not None and self.asks_people(pool))

    def _start_policy(self, name: str) -> Policy | None:
        pool = self._view.pools.get(name)
        if pool is None or not pool.approvals:
            return None
        return approval_policy.of(pool.approvals, "start", "start", self._approval_expires_s)

    def _key_limit(self, task: NewTask) -> KeyLimit | None:
        return None if task.concurrency_key is None else self._limits.of_key(task.tenant, task.pool)

    async def _make_room(
        self, connection: HotConnection, tasks: Sequence[NewTask], limits: dict[tuple[str, str | None], KeyLimit]
    ) -> Cancelled | None:
        """Refuse, or cancel the older, where a key has no room. Locked, so that two requests do not both see room."""
        await admission.lock(connection)
        coming: dict[tuple[str, str], int] = defaultdict(int)
        for task in tasks:
            limit = limits.get((task.pool, task.concurrency_key))
            if task.concurrency_key is not None and limit is not None and limit.policy != "queue":
                coming[task.pool, task.concurrency_key] += 1
        tenant = tasks[0].tenant
        older: list[UUID] = []
        open_now = await admission.under_keys(connection, tenant, list(coming))
        for key, count in coming.items():
            ids, limit = open_now.get(key, []), limits[key]
            excess = len(ids) + count - limit.limit
            if excess > 0 and (limit.policy == "reject" or count > limit.limit):
                raise ConcurrencyLimit(
                    f"{len(ids)} tasks are open under the concurrency key {key[1]!r} and {count} came; "
                    f"{limit.limit} may be.",
                    extra={"limit": limit.limit, "open": len(ids), "task_ids": [str(found) for found in ids[:10]]},
                )
            older += ids[: max(0, excess)] if limit.policy == "cancel_older" else []
        if not older:
            return None
        return await cancel_within(connection, tenant, older, "A newer task took its concurrency key.", "superseded")

    def _question(self, task: NewTask) -> Question:
        start = self._start_policy(task.pool)
        return Question(
            task_id=task.id,
            tenant=task.tenant,
            pool=task.pool,
            kind="start",
            step="start",
            action="start",
            args_json=task.payload,
            submitted_by=task.submitted_by,
            policy=self._usual if start is None else approval_policy.tightened(start),
            risk=self._tightened(task.pool),
        )

    async def _insert(self, groups: Sequence[list[NewTask]]) -> list[set[UUID]]:
        async with self._db.hot() as connection:
            if any(len(group) > 1 and group[0].idempotency_key is not None for group in groups):
                added = await _insert_whole(connection, groups)
            else:
                added = await queue.insert(connection, [task for group in groups for task in group])
        reach("insert.written")
        self.committed([task for group in groups for task in group])
        return [{task.id for task in group if task.id in added} for group in groups]


async def ask(connection: HotConnection, questions: Sequence[Question]) -> dict[UUID, Opened]:
    """Open approvals for tasks that this transaction holds, and write their events; by task id."""
    opened = await open_many(connection, questions)
    for task_id, approval in opened.items():
        for event_type, data in approval.events:
            await queue.note(connection, task_id, event_type, data)
    return opened


def check_canonical(task: NewTask) -> None:
    """Raise StartNotApprovable for a payload that nobody could approve exactly."""
    if len(task.payload) > MAX_HELD_BYTES:
        raise StartNotApprovable(
            f"The pool asks for an approval of each start: such a payload has at most {MAX_HELD_BYTES} bytes."
        )
    try:
        payload_hash("start", parse_json(task.payload.encode()))
    except NotCanonical as exc:
        raise StartNotApprovable(f"The pool asks for an approval of each start, but {exc}.") from None


def approvable(payload: str) -> bool:
    """Whether people could approve exactly this payload (JSON text)."""
    if len(payload) > MAX_HELD_BYTES:
        return False
    try:
        payload_hash("start", parse_json(payload.encode()))
    except NotCanonical:
        return False
    return True


async def _insert_whole(connection: HotConnection, groups: Sequence[list[NewTask]]) -> set[UUID]:
    """The same, all of a group or none: a keyed batch may meet a shorter one that has its first keys already."""
    async with connection.transaction():
        added = await queue.insert(connection, [task for group in groups for task in group])
        met = [group for group in groups if any(task.id not in added for task in group)]
        partial = {task.id for group in met for task in group} & added
        if partial:
            await queue.withdraw(connection, partial)
    return added - partial
