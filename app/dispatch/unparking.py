"""Tasks that wait for money are let try again when their account has room, and lost reservations end."""

from __future__ import annotations

from collections.abc import Callable, Collection
from decimal import Decimal
from uuid import UUID

from app.core.clock import Clock
from app.core.db import Database
from app.costs import ledger_sql
from app.costs.budget_view import BudgetView
from app.costs.decide import ZERO, Account
from app.tasks import parking, spending

AT_ONCE = 100
ORPHANS = 500
ORPHANED_S = 60.0
"""What an attempt that was broken off holds is given back after so long, if nobody says what it cost."""

_ACCOUNTS = """
SELECT id, budget_id, spent + reserved AS committed, window_end, paced_until, slice_s FROM budget_accounts
WHERE id = ANY($1) ORDER BY id FOR UPDATE
"""


class Unparking:
    """Every manager runs it: rows are locked with SKIP LOCKED, so each is moved once. `on_due()`: some are due now."""

    def __init__(self, db: Database, budgets: BudgetView, clock: Clock, on_due: Callable[[], None]) -> None:
        self._db, self._budgets, self._clock, self._on_due = db, budgets, clock, on_due
        self._waited_for: frozenset[UUID] = frozenset()
        self._looked: dict[UUID, tuple[int, Decimal]] = {}  # what was committed when tasks were last let try
        self.wake: Callable[[], None] = lambda: None

    def booked(self, accounts: Collection[UUID]) -> None:
        """These accounts may have room again."""
        if not self._waited_for.isdisjoint(accounts):
            self.wake()

    async def tick(self) -> float | None:
        async with self._db.hot() as connection:
            waited_for = await parking.parked_by(connection)
            self._waited_for = frozenset(waited_for)
            due = 0
            if waited_for:
                roomy = await self._roomy(waited_for)
                due = await parking.unpark(connection, roomy, AT_ONCE) if roomy else 0
            given_back = await spending.give_back(connection, ORPHANED_S, ORPHANS)
        if due:
            self._on_due()
        return 0.0 if given_back == ORPHANS else None

    async def _roomy(self, ids: Collection[UUID]) -> list[UUID]:
        """Accounts that have room, or are none any more; none in which nothing has moved since tasks last tried."""
        async with self._db.hot() as connection, connection.transaction():
            rows = await connection.fetch(_ACCOUNTS, sorted(ids))
            rolling = [row["id"] for row in rows if row["slice_s"] is not None]
            if rolling:
                await connection.execute(ledger_sql.TURN, rolling)
                rows = await connection.fetch(_ACCOUNTS, sorted(ids))
        now, by_id = self._clock.now(), {budget.id: budget for budget in self._budgets.budgets}
        full = set()
        for row in rows:
            budget = by_id.get(row["budget_id"])
            if budget is None or (row["window_end"] is not None and row["window_end"] <= now):
                continue
            account = Account(row["id"], budget, budget.limit, row["committed"], row["window_end"], row["paced_until"])
            room = account.room()
            state = (self._budgets.epoch, row["committed"])
            paced = account.active("throttle") and account.paced_until is not None and account.paced_until > now
            if paced or (room is not None and room <= ZERO) or self._looked.get(account.id) == state:
                full.add(account.id)
            else:
                self._looked[account.id] = state
        self._looked = {account_id: state for account_id, state in self._looked.items() if account_id in ids}
        return [account_id for account_id in ids if account_id not in full]
