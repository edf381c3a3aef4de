"""Tasks that wait for money are let try again when their account has room, and lost reservations end."""

from __future__ import annotations

from collections.abc import Callable, Collection
from uuid import UUID

from app.core.clock import Clock
from app.core.db import Database, HotConnection
from app.costs import ledger_sql
from app.costs.budget_view import BudgetView
from app.costs.decide import ZERO, Account
from app.tasks import parking, spending
from app.tasks.parking import Room

AT_ONCE, PACED = 100, 5
"""How many tasks of an account are let try at once; of one with a pace each has a time of its own to come back."""
GAP_S = 0.2
"""So long at least between two times that tasks of an account are let try: all of them cannot keep the queue busy."""
ORPHANS = 500
ORPHANED_S = 60.0
"""What an attempt that was broken off holds is given back after so long, if nobody says what it cost."""

_ACCOUNTS = """
SELECT id, budget_id, spent + reserved AS committed, window_end, paced_until, slice_s FROM budget_accounts
WHERE id = ANY($1) ORDER BY id FOR UPDATE
"""


class Unparking:
    """Every manager runs it: rows are locked with SKIP LOCKED, so each is moved once. `on_due()`: some are due now."""

    def __init__(
        self, db: Database, budgets: BudgetView, clock: Clock, on_due: Callable[[], None], *, gap_s: float = GAP_S
    ) -> None:
        self._db, self._budgets, self._clock, self._on_due, self._gap_s = db, budgets, clock, on_due, gap_s
        self._waited_for: frozenset[UUID] = frozenset()
        self._rests_until: dict[UUID, float] = {}
        self.wake: Callable[[], None] = lambda: None

    def booked(self, accounts: Collection[UUID]) -> None:
        """These accounts may have room again."""
        if not self._waited_for.isdisjoint(accounts):
            self.wake()

    async def tick(self) -> float | None:
        async with self._db.hot() as connection:
            waited_for = await parking.parked_by(connection)
            self._waited_for = frozenset(waited_for)
            soon = await self._let_try(connection)
            given_back = await spending.give_back(connection, ORPHANED_S, ORPHANS)
        return 0.0 if given_back == ORPHANS else soon

    async def _let_try(self, connection: HotConnection) -> float | None:
        """Tasks that fit now are due; how soon to look again at accounts that were looked at just before."""
        now = self._clock.monotonic()
        resting = {account: at for account, at in self._rests_until.items() if account in self._waited_for and at > now}
        rooms = await self._rooms(self._waited_for - resting.keys())
        moved = await parking.unpark(connection, rooms) if rooms else {}
        if moved:
            self._on_due()
        self._rests_until = resting | dict.fromkeys(moved, now + self._gap_s)
        return min(self._rests_until.values()) - now if self._rests_until else None

    async def _rooms(self, ids: Collection[UUID]) -> dict[UUID, Room]:
        """Of accounts that have room, or are none any more."""
        if not ids:
            return {}
        async with self._db.hot() as connection, connection.transaction():
            rows = await connection.fetch(_ACCOUNTS, sorted(ids))
            rolling = [row["id"] for row in rows if row["slice_s"] is not None]
            if rolling:
                await connection.execute(ledger_sql.TURN, rolling)
                rows = await connection.fetch(_ACCOUNTS, sorted(ids))
        now, by_id = self._clock.now(), {budget.id: budget for budget in self._budgets.budgets}
        found = dict.fromkeys(ids, Room(None, AT_ONCE))
        for row in rows:
            budget = by_id.get(row["budget_id"])
            if budget is None or (row["window_end"] is not None and row["window_end"] <= now):
                continue
            account = Account(row["id"], budget, budget.limit, row["committed"], row["window_end"], row["paced_until"])
            room, paced = account.room(), account.pace() is not None
            found[account.id] = Room(room, AT_ONCE if not paced else PACED)
            waits = paced and account.paced_until is not None and account.paced_until > now
            if waits or (room is not None and room <= ZERO):
                del found[account.id]
        return found
