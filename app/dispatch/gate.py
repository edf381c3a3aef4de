"""The gate of money: placed tasks are started after what they are expected to cost is reserved in every budget.

One transaction locks the accounts, judges (`costs.decide`), starts what was granted with its reservation, and sets the
rest aside. Where no budget fits, tasks start in one statement as ever.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

import asyncpg

from app.approvals import policy as approval_policy
from app.approvals.opening import Question
from app.core.clock import Clock
from app.core.db import HotConnection
from app.core.failpoints import reach
from app.core.jsonbody import dump_json
from app.costs import decide, ledger
from app.costs.budget_view import BudgetView
from app.costs.decide import Ask, Granted, Refused, shown
from app.costs.estimates import Estimates, amount
from app.costs.records import BudgetRecord
from app.costs.windows import Window, window
from app.dispatch.telemetry import PARKED
from app.registry.records import AgentRecord, PoolRecord
from app.tasks import intake, parking, queue
from app.tasks.labels import labels_of
from app.tasks.parking import Parked
from app.tasks.queue import Freed, Ready, Started, concurrency_keys

PARK_AT_ONCE = 1000
MAX_KNOWN = 100_000
MIN_PARK_S, LONG_PARK_S = 0.05, 3600.0
TIGHT_S = 1.0


type _Kind = tuple[int, str, str, float]


class _Touched(NamedTuple):
    budget: BudgetRecord
    key: str
    window: Window


@dataclass(slots=True)
class Passed:
    """What became of placed tasks: those that run now, those set aside, and what that lets others do."""

    started: dict[UUID, Started] = field(default_factory=dict)
    aside: set[UUID] = field(default_factory=set)
    freed: Freed = field(default_factory=Freed)


class Gate:
    """One manager's. `pool(name)` gives the pool as it is now."""

    def __init__(
        self,
        budgets: BudgetView,
        estimates: Estimates,
        clock: Clock,
        *,
        recheck_s: float,
        approval_expires_s: float,
        pool: Callable[[str], PoolRecord | None],
    ) -> None:
        self._budgets, self._estimates, self._clock = budgets, estimates, clock
        self._recheck_s, self._expires_s, self._pool = recheck_s, approval_expires_s, pool
        self._epoch = -1
        self._fitting: dict[tuple[str, str], tuple[BudgetRecord, ...]] = {}
        self._windows: dict[UUID, Window] = {}
        self._same_for_all: dict[tuple[str, str], dict[UUID, _Touched]] = {}
        self._opened: set[UUID] = set()
        self._tight: dict[UUID, float] = {}

    async def start(self, connection: HotConnection, me: UUID, placed: Sequence[tuple[Ready, AgentRecord]]) -> Passed:
        """Start placed tasks as far as there is money for them."""
        passed = Passed()
        now = self._clock.now()
        epoch = self._follow(now)
        touched = {task.id: self._touched(task, now) for task, _ in placed}
        if any(touched.values()) or any(task.holds for task, _ in placed):
            openings = _openings(touched)
            await self._open(connection, openings)
            if not await self._start_at_ease(connection, me, placed, epoch, touched, now, passed):
                async with connection.transaction():
                    await self._start_within(connection, me, placed, epoch, touched, openings, now, passed)
            reach("gate.committed")
        else:
            chosen = [(task.id, task.fence, agent.id) for task, agent in placed]
            passed.started = await queue.start(connection, me, chosen, epoch)
        if placed and not passed.started and not passed.aside:  # perhaps the budgets are others by now
            await self._budgets.refresh()
        return passed

    async def _start_at_ease(
        self,
        connection: HotConnection,
        me: UUID,
        placed: Sequence[tuple[Ready, AgentRecord]],
        epoch: int,
        touched: Mapping[UUID, Mapping[UUID, _Touched]],
        now: datetime,
        passed: Passed,
    ) -> bool:
        """Start all in one statement if every budget has room for them and more: it holds the accounts' locks for the
        shortest time. Where one turns out to be near a threshold it is not tried for a moment."""
        distinct = {id(of): of for of in touched.values()}.values()
        accounts = {account_id: item.budget for of in distinct for account_id, item in of.items()}
        moment = self._clock.monotonic()
        if any(task.holds for task, _ in placed) or any(self._tight.get(one, 0.0) > moment for one in accounts):
            return False
        alike: dict[_Kind, dict[UUID, Decimal]] = {}
        holds: dict[UUID, dict[UUID, Decimal]] = {}
        count: Counter[_Kind] = Counter()
        for task, _ in placed:
            of = touched[task.id]
            kind = (id(of), task.pool, task.type, task.complexity)
            count[kind] += 1
            holds[task.id] = alike[kind] = alike.get(kind) or self._needs(task, of, now)
        needs: dict[UUID, Decimal] = dict.fromkeys(accounts, Decimal(0))
        for kind, tasks in count.items():
            for account_id, need in alike[kind].items():
                needs[account_id] += tasks * need
        rooms = [(account_id, needs[account_id], decide.bound(budget)) for account_id, budget in accounts.items()]
        chosen = [(task.id, task.fence, agent.id) for task, agent in placed]
        passed.started = await queue.start(connection, me, chosen, epoch, holds, rooms=rooms)
        for task_id, begun in passed.started.items():
            begun.accounts = tuple(holds[task_id])
        if not passed.started:
            self._tight = {one: until for one, until in self._tight.items() if until > moment}
            self._tight |= dict.fromkeys(accounts, moment + TIGHT_S)
        return bool(passed.started)

    async def _start_within(
        self,
        connection: HotConnection,
        me: UUID,
        placed: Sequence[tuple[Ready, AgentRecord]],
        epoch: int,
        touched: Mapping[UUID, Mapping[UUID, _Touched]],
        openings: Sequence[ledger.Opening],
        now: datetime,
        passed: Passed,
    ) -> None:
        held = {account_id for task, _ in placed for account_id in task.holds or ()}
        accounts = await ledger.lock(connection, openings, held - {item.id for item in openings})
        if await ledger.epoch(connection) != epoch:  # nothing is refused either by budgets that are others by now
            return
        if len(accounts) < len(openings):  # pruned since they were opened: the next pass opens them again
            self._opened.clear()
            return
        asks = [self._ask(task, touched[task.id], now) for task, _ in placed]
        verdicts = decide.grant(accounts, asks, now)
        granted = {verdict.task_id: verdict for verdict in verdicts if isinstance(verdict, Granted)}
        chosen = [(task.id, task.fence, agent.id) for task, agent in placed if task.id in granted]
        holds = {task_id: verdict.holds for task_id, verdict in granted.items()}
        passed.started = await queue.start(
            connection, me, chosen, epoch, holds, {task.id for task, _ in placed if task.holds}
        )
        for task_id, begun in passed.started.items():
            begun.accounts, begun.models = tuple(holds[task_id]), granted[task_id].models
        if granted and not passed.started:
            return
        await ledger.pace(connection, accounts.values())
        tasks = {task.id: task for task, _ in placed}
        refused = [(tasks[verdict.task_id], verdict) for verdict in verdicts if isinstance(verdict, Refused)]
        await self._set_aside(connection, refused, now, passed)
        reach("gate.reserved")

    def _follow(self, now: datetime) -> int:
        """The epoch of the budgets that this pass obeys; what was worked out under an older one is forgotten."""
        if self._epoch != self._budgets.epoch:
            self._epoch = self._budgets.epoch
            self._fitting.clear()
            self._windows.clear()
            self._same_for_all.clear()
        for budget_id, known in list(self._windows.items()):
            if known.end is not None and known.end <= now:
                del self._windows[budget_id]
                self._same_for_all.clear()
        return self._epoch

    def _touched(self, task: Ready, now: datetime) -> dict[UUID, _Touched]:
        """The accounts that the task touches, by id."""
        known = self._same_for_all.get((task.tenant, task.pool))
        if known is not None:
            return known
        found: dict[UUID, _Touched] = {}
        labels: Mapping[str, str] | None = None
        fitting = self._fitting_of(task.tenant, task.pool)
        for budget in fitting:
            if budget.scope.label_key is not None:
                labels = labels_of(task.labels) if labels is None else labels
                if labels.get(budget.scope.label_key) != budget.scope.label_value:
                    continue
            key = budget.scope.key(task.tenant, task.id, task.root_id, task.thread_id)
            if key is not None:
                of = self._window(budget, now)
                found[budget.account_id(key, of.start)] = _Touched(budget, key, of)
        if all(budget.scope.label_key is None and budget.scope.per is None for budget in fitting):
            self._same_for_all[task.tenant, task.pool] = found
        return found

    def _fitting_of(self, tenant: str, pool: str) -> tuple[BudgetRecord, ...]:
        known = self._fitting.get((tenant, pool))
        if known is None:
            known = self._fitting[tenant, pool] = tuple(
                budget for budget in self._budgets.budgets if budget.scope.fits(tenant, pool)
            )
        return known

    def _window(self, budget: BudgetRecord, now: datetime) -> Window:
        known = self._windows.get(budget.id)
        if known is None:
            known = self._windows[budget.id] = window(budget.window_kind, budget.zone, budget.rolling_s, now)
        return known

    async def _open(self, connection: HotConnection, openings: Sequence[ledger.Opening]) -> None:
        new = [item for item in openings if item.id not in self._opened]
        if new:
            await ledger.open_accounts(connection, new)
            if len(self._opened) > MAX_KNOWN:
                self._opened.clear()
            self._opened |= {item.id for item in new}

    def _needs(self, task: Ready, touched: Mapping[UUID, _Touched], now: datetime) -> dict[UUID, Decimal]:
        expected = self._estimates.expect(task.pool, task.type, task.complexity, now)
        return {account_id: amount(item.budget, expected) for account_id, item in touched.items()}

    def _ask(self, task: Ready, touched: Mapping[UUID, _Touched], now: datetime) -> Ask:
        needs = self._needs(task, touched, now)
        own = dict(zip(task.holds or (), task.hold_amounts or (), strict=True))
        return Ask(task.id, needs, own, task.over_budget)

    async def _set_aside(
        self, connection: HotConnection, refused: Sequence[tuple[Ready, Refused]], now: datetime, passed: Passed
    ) -> None:
        for_people = [item for item in refused if item[1].why == "approval"]
        for_good = [
            item for item in refused if item[1].why == "exhausted" and item[1].account.budget.on_exhausted == "fail"
        ]
        taken = {task.id for task, _ in (*for_people, *for_good)}
        waiting = [item for item in refused if item[0].id not in taken]
        passed.aside = {task.id for task, _ in refused}
        rows = list(await parking.park(connection, [self._parked(*item, now) for item in waiting])) if waiting else []
        rows += await self._park_all(connection, waiting, now)
        if for_good:
            ends = [(task.id, task.fence, _sentence(verdict)) for task, verdict in for_good]
            ended = await parking.refuse(connection, ends)
            passed.freed.add(ended)
        if for_people:
            rows += await self._ask_people(connection, for_people, now)
        passed.freed.keys |= concurrency_keys(rows)
        for task, verdict in refused:
            PARKED.labels(task.pool, verdict.why).inc()

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


def _openings(touched: Mapping[UUID, Mapping[UUID, _Touched]]) -> list[ledger.Opening]:
    distinct = {id(of): of for of in touched.values()}.values()
    wanted = {account_id: item for of in distinct for account_id, item in of.items()}
    return [ledger.Opening(account_id, item.budget, item.key, item.window) for account_id, item in wanted.items()]


def _sentence(refused: Refused) -> str:
    budget = refused.account.budget
    return (
        f"The budget {budget.name!r} has {shown(refused.left)} {budget.unit} left; "
        f"the task is expected to take {shown(refused.need)}."
    )
