"""What becomes of tasks that the gate of money does not start: they wait, are asked about, or fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import asyncpg

from app.approvals import policy as approval_policy
from app.approvals.opening import Question
from app.core.db import HotConnection
from app.core.jsonbody import dump_json
from app.costs.decide import Refused, shown
from app.dispatch.telemetry import PARKED
from app.registry.records import PoolRecord
from app.tasks import intake, parking
from app.tasks.parking import Parked
from app.tasks.queue import Freed, Ready, concurrency_keys

PARK_AT_ONCE = 1000
MIN_PARK_S, LONG_PARK_S = 0.05, 3600.0


class SettingAside:
    """In the gate's transaction, which holds the accounts' locks. `pool(name)` gives the pool as it is now."""

    def __init__(
        self, *, recheck_s: float, approval_expires_s: float, pool: Callable[[str], PoolRecord | None]
    ) -> None:
        self._recheck_s, self._expires_s, self._pool = recheck_s, approval_expires_s, pool

    async def set(self, connection: HotConnection, refused: Sequence[tuple[Ready, Refused]], now: datetime) -> Freed:
        """What it lets others do that these tasks do not start now."""
        freed = Freed()
        for_people = [item for item in refused if item[1].why == "approval"]
        for_good = [
            item for item in refused if item[1].why == "exhausted" and item[1].account.budget.on_exhausted == "fail"
        ]
        taken = {task.id for task, _ in (*for_people, *for_good)}
        waiting = [item for item in refused if item[0].id not in taken]
        rows = list(await parking.park(connection, [self._parked(*item, now) for item in waiting])) if waiting else []
        rows += await self._park_all(connection, waiting, now)
        if for_good:
            ends = [(task.id, task.fence, _sentence(verdict)) for task, verdict in for_good]
            freed.add(await parking.refuse(connection, ends))
        if for_people:
            rows += await self._ask_people(connection, for_people, now)
        freed.keys |= concurrency_keys(rows)
        for task, verdict in refused:
            PARKED.labels(task.pool, verdict.why).inc()
        return freed

    def _parked(self, task: Ready, verdict: Refused, now: datetime) -> Parked:
        until = self._until(verdict, now)
        data = {
            "budget": verdict.account.budget.name,
            "reason": verdict.why,
            "needed": shown(verdict.need),
            "left": shown(verdict.left),
            "unit": verdict.account.budget.unit,
            "until": verdict.until,
        }
        return Parked(task.id, task.fence, verdict.account.id, until, verdict.more, dump_json(data))

    def _until(self, verdict: Refused, now: datetime) -> datetime:
        """When to look again: room may come sooner, which wakes it too."""
        some_left = verdict.why == "exhausted" and verdict.left > 0
        latest = now + timedelta(seconds=self._recheck_s if some_left else LONG_PARK_S)
        until = latest if verdict.until is None else min(latest, verdict.until)
        return max(until, now + timedelta(seconds=MIN_PARK_S))

    async def _park_all(
        self, connection: HotConnection, waiting: Sequence[tuple[Ready, Refused]], now: datetime
    ) -> list[asyncpg.Record]:
        """Of scopes without any money left the rest of the queue too."""
        seen: set[tuple[str, str | None, str]] = set()
        rows: list[asyncpg.Record] = []
        for task, verdict in waiting:
            scope = verdict.account.budget.scope
            whole = scope.per is None and scope.model is None and scope.label_key is None
            key = (task.pool, scope.tenant, task.type)
            if whole and verdict.why == "exhausted" and verdict.left <= 0 < verdict.need and key not in seen:
                seen.add(key)
                until = self._until(verdict, now)
                rows += await parking.park_all(connection, *key, verdict.account.id, until, PARK_AT_ONCE, verdict.need)
        return rows

    async def _ask_people(
        self, connection: HotConnection, items: Sequence[tuple[Ready, Refused]], now: datetime
    ) -> list[asyncpg.Record]:
        """Hold the tasks until people agree. A payload that nobody could approve exactly waits for money instead."""
        rows = await parking.hold(connection, [(task.id, task.fence, verdict.account.id) for task, verdict in items])
        names = {task.id: verdict.account.budget.name for task, verdict in items}
        fit = [row for row in rows if intake.approvable(row["payload"])]
        await intake.ask(connection, [self._question(row, names[row["id"]]) for row in fit])
        unfit = {row["id"] for row in rows} - {row["id"] for row in fit}
        if unfit:
            await parking.take_back(connection, unfit, now + timedelta(seconds=self._recheck_s))
        return rows

    def _question(self, row: asyncpg.Record, budget: str) -> Question:
        pool = self._pool(row["pool"])
        start = None if pool is None else approval_policy.of(pool.approvals, "start", "start", self._expires_s)
        return Question(
            task_id=row["id"],
            tenant=row["tenant"],
            pool=row["pool"],
            kind="start",
            step=f"budget:{budget}",
            action="start_over_budget",
            args_json=row["payload"],
            submitted_by=row["submitted_by"],
            policy=start if start is not None and start.required else approval_policy.Policy(self._expires_s),
            risk=f"The budget {budget!r} has no room for it.",
        )


def _sentence(refused: Refused) -> str:
    budget = refused.account.budget
    return (
        f"The budget {budget.name!r} has {shown(refused.left)} {budget.unit} left; "
        f"the task is expected to take {shown(refused.need)}."
    )
