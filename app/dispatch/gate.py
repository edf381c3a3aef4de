"""The gate of money: placed tasks are started after what they are expected to cost is reserved in every budget.

One transaction locks the accounts, judges (`costs.decide`), starts what was granted with its reservation, and sets the
rest aside. Where no budget fits, tasks start in one statement as ever.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from app.core.clock import Clock
from app.core.db import HotConnection
from app.core.failpoints import reach
from app.costs import decide, ledger
from app.costs.budget_view import BudgetView
from app.costs.decide import Ask, Granted, Refused
from app.costs.estimates import Estimates, amount
from app.dispatch.budget_scopes import Scopes, Touched, openings_of
from app.dispatch.setting_aside import SettingAside
from app.registry.records import AgentRecord, PoolRecord
from app.tasks import queue
from app.tasks.queue import Freed, Ready, Started

MAX_KNOWN = 100_000
TIGHT_S = 1.0


type _Kind = tuple[int, str, str, float]


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
        self._scopes = Scopes(budgets)
        self._aside = SettingAside(recheck_s=recheck_s, approval_expires_s=approval_expires_s, pool=pool)
        self._opened: set[UUID] = set()
        self._tight: dict[UUID, float] = {}

    async def start(self, connection: HotConnection, me: UUID, placed: Sequence[tuple[Ready, AgentRecord]]) -> Passed:
        """Start placed tasks as far as there is money for them."""
        passed = Passed()
        now = self._clock.now()
        epoch = self._scopes.follow(now)
        touched = {task.id: self._scopes.touched(task, now) for task, _ in placed}
        if any(touched.values()) or any(task.holds for task, _ in placed):
            openings = openings_of(touched)
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
        touched: Mapping[UUID, Mapping[UUID, Touched]],
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
        touched: Mapping[UUID, Mapping[UUID, Touched]],
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
        passed.aside = {task.id for task, _ in refused}
        passed.freed = await self._aside.set(connection, refused, now)
        reach("gate.reserved")

    async def _open(self, connection: HotConnection, openings: Sequence[ledger.Opening]) -> None:
        new = [item for item in openings if item.id not in self._opened]
        if new:
            await ledger.open_accounts(connection, new)
            if len(self._opened) > MAX_KNOWN:
                self._opened.clear()
            self._opened |= {item.id for item in new}

    def _needs(self, task: Ready, touched: Mapping[UUID, Touched], now: datetime) -> dict[UUID, Decimal]:
        expected = self._estimates.expect(task.pool, task.type, task.complexity, now)
        return {account_id: amount(item.budget, expected) for account_id, item in touched.items()}

    def _ask(self, task: Ready, touched: Mapping[UUID, Touched], now: datetime) -> Ask:
        needs = self._needs(task, touched, now)
        own = dict(zip(task.holds or (), task.hold_amounts or (), strict=True))
        return Ask(task.id, needs, own, task.over_budget)
