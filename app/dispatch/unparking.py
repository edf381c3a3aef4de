"""Tasks that wait for money are let try again when their account has room, and lost reservations end."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from app.core.clock import Clock
from app.core.db import Database, HotConnection
from app.costs import ledger_sql
from app.costs.budget_view import BudgetView
from app.costs.decide import ZERO, Account
from app.tasks import parking, spending

AT_ONCE = 100
GAP_S = 0.2
"""So long at least between two times that tasks of an account are let try: all of them cannot keep the queue busy."""
ORPHANS = 500
ORPHANED_S = 60.0
"""What an attempt that was broken off holds is given back after so long, if nobody says what it cost."""

type _State = tuple[int, Decimal]
_GONE: _State = (-1, ZERO)
FIRST = UUID(int=0)

_ACCOUNTS = """
SELECT id, budget_id, spent + reserved AS committed, window_end, paced_until, slice_s FROM budget_accounts
WHERE id = ANY($1) ORDER BY id FOR UPDATE
"""


@dataclass(slots=True)
class _Round:
    """Where an account's waiting tasks are gone through, by their ids. States are what had moved by then."""

    after: UUID = FIRST
    began: _State | None = None
    rests: _State | None = None
    due_at: float = 0.0

    def moved(self, ids: Sequence[UUID], state: _State) -> None:
        """These were let try. A round that nothing has moved in was in vain: rest until something does."""
        if len(ids) == AT_ONCE:
            self.after = ids[-1]
            return
        self.after, self.rests = FIRST, state if self.began == state else None


class Unparking:
    """Every manager runs it: rows are locked with SKIP LOCKED, so each is moved once. `on_due()`: some are due now."""

    def __init__(
        self, db: Database, budgets: BudgetView, clock: Clock, on_due: Callable[[], None], *, gap_s: float = GAP_S
    ) -> None:
        self._db, self._budgets, self._clock, self._on_due, self._gap_s = db, budgets, clock, on_due, gap_s
        self._waited_for: frozenset[UUID] = frozenset()
        self._rounds: dict[UUID, _Round] = {}
        self.wake: Callable[[], None] = lambda: None

    def booked(self, accounts: Collection[UUID]) -> None:
        """These accounts may have room again."""
        if not self._waited_for.isdisjoint(accounts):
            self.wake()

    async def tick(self) -> float | None:
        async with self._db.hot() as connection:
            waited_for = await parking.parked_by(connection)
            self._waited_for = frozenset(waited_for)
            soon = await self._let_try(connection, waited_for)
            given_back = await spending.give_back(connection, ORPHANED_S, ORPHANS)
        return 0.0 if given_back == ORPHANS else soon

    async def _let_try(self, connection: HotConnection, waited_for: Collection[UUID]) -> float | None:
        """Tasks of accounts with room are due now; how soon to look again."""
        now = self._clock.monotonic()
        self._rounds = {account: self._rounds.get(account) or _Round() for account in waited_for}
        early = [round_.due_at - now for round_ in self._rounds.values() if round_.due_at > now]
        ready = [account for account, round_ in self._rounds.items() if round_.due_at <= now]
        states = await self._roomy(ready) if ready else {}
        if not states:
            return min(early, default=None)
        for account, state in states.items():
            round_ = self._rounds[account]
            round_.due_at = now + self._gap_s
            if round_.after == FIRST:
                round_.began = state
        after = {account: self._rounds[account].after for account in states}
        moved = await parking.unpark(connection, after, AT_ONCE)
        for account, ids in moved.items():
            self._rounds[account].moved(ids, states[account])
        if any(moved.values()):
            self._on_due()
        unfinished = any(len(ids) == AT_ONCE for ids in moved.values())
        return min([*early, *([self._gap_s] if unfinished else [])], default=None)

    async def _roomy(self, ids: Collection[UUID]) -> dict[UUID, _State]:
        """Accounts that have room, or are none any more, and have moved since all their tasks were let try."""
        async with self._db.hot() as connection, connection.transaction():
            rows = await connection.fetch(_ACCOUNTS, sorted(ids))
            rolling = [row["id"] for row in rows if row["slice_s"] is not None]
            if rolling:
                await connection.execute(ledger_sql.TURN, rolling)
                rows = await connection.fetch(_ACCOUNTS, sorted(ids))
        now, by_id = self._clock.now(), {budget.id: budget for budget in self._budgets.budgets}
        found: dict[UUID, _State] = dict.fromkeys(ids, _GONE)
        for row in rows:
            budget = by_id.get(row["budget_id"])
            if budget is None or (row["window_end"] is not None and row["window_end"] <= now):
                continue
            account = Account(row["id"], budget, budget.limit, row["committed"], row["window_end"], row["paced_until"])
            room = account.room()
            found[account.id] = (self._budgets.epoch, row["committed"])
            paced = account.active("throttle") and account.paced_until is not None and account.paced_until > now
            if paced or (room is not None and room <= ZERO) or self._rounds[account.id].rests == found[account.id]:
                del found[account.id]
        return found
