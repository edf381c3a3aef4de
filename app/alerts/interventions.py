"""What people do about automatic answers: end one, lift emergency mode, switch it on. Each verb is one transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog

from app.alerts import action_queries as accounts
from app.alerts import investigation
from app.alerts.action_queries import Account
from app.alerts.answering import Answer
from app.auth.callers import Caller
from app.core.db import Database
from app.core.errors import Conflict, NotFound
from app.limits import restraint_service
from app.limits.restraints import Restraint
from app.registry.service import PoolNotFound

log = structlog.get_logger()

_KNOWN_POOL = "SELECT EXISTS (SELECT FROM pools WHERE name = $1)"

type End = Callable[[Answer, str], Awaitable[bool]]


class ActionNotFound(NotFound):
    code, title = "alert_action_not_found", "No such action"


class ActionOver(Conflict):
    code, title = "alert_action_over", "The action is over"


class ReportNotFound(NotFound):
    code, title = "alert_report_not_found", "No such report"


class Interventions:
    """The verbs. `end` is that of `responses.Responses`, `refresh` has this manager's view of restraints read anew."""

    def __init__(self, db: Database, end: End, refresh: Callable[[], Awaitable[None]]) -> None:
        self._db, self._end, self._refresh = db, end, refresh

    async def emergency(self) -> Sequence[Restraint]:
        """What emergency mode there is, oldest first."""
        async with self._db.read() as connection:
            return await restraint_service.standing(connection)

    async def switch_on(
        self, caller: Caller, pool: str | None, fields: Mapping[str, Any], *, duration_s: float, reason: str
    ) -> tuple[Restraint, bool]:
        """Emergency mode as this person wants it, and whether people had one there before; raises PoolNotFound."""
        async with self._db.hot() as connection, connection.transaction():
            if pool is not None and not await connection.fetchval(_KNOWN_POOL, pool):
                raise PoolNotFound(f"There is no pool {pool!r}.")
            now: datetime = await connection.fetchval("SELECT clock_timestamp()")
            until = now + timedelta(seconds=duration_s)
            made = await restraint_service.put(connection, pool, fields, reason=reason, by=caller.id, expires_at=until)
        log.warning("emergency_mode_on", pool=pool, by=caller.id, until=until.isoformat())
        await self._refresh()
        return made

    async def lift(self, caller: Caller, pool: str | None) -> list[Restraint]:
        """End emergency mode, of one pool or all there is: what stood. Alerts that fire do not switch it on again."""
        async with self._db.hot() as connection, connection.transaction():
            running, retrying = await accounts.lock_emergencies(connection, pool)
            lifted = await restraint_service.lift(connection, pool, caller.id)
            ids = {item.id for item in lifted}
            await accounts.end(connection, [*(one for one in running if one in ids), *retrying], caller.id)
        log.warning("emergency_mode_lifted", pool=pool, by=caller.id, lifted=len(lifted))
        await self._refresh()
        return lifted

    async def end(self, caller: Caller, action_id: UUID) -> Account:
        """Undo an answer now. Raises ActionNotFound or, where there is nothing to undo, ActionOver."""
        async with self._db.read() as connection:
            found = await accounts.answer(connection, action_id)
        if found is None:
            raise ActionNotFound("There is no action with this id.")
        ended = await self._end(found, caller.id)
        async with self._db.read() as connection:
            account = await accounts.account(connection, action_id)
        if account is None:
            raise ActionNotFound("There is no action with this id.")
        if not ended:
            raise ActionOver(f"The action is {account.status} already.", extra={"action_status": account.status})
        await self._refresh()
        return account

    async def accounts(self, **filters: Any) -> list[Account]:
        """As `action_queries.page`."""
        async with self._db.read() as connection:
            return await accounts.page(connection, **filters)

    async def account(self, action_id: UUID) -> Account:
        """One; raises ActionNotFound."""
        async with self._db.read() as connection:
            found = await accounts.account(connection, action_id)
        if found is None:
            raise ActionNotFound("There is no action with this id.")
        return found

    async def report(self, report_id: UUID) -> dict[str, Any]:
        """A report with what it is about; raises ReportNotFound."""
        async with self._db.read() as connection:
            found = await investigation.get(connection, report_id)
        if found is None:
            raise ReportNotFound("There is no report with this id (any more).")
        return found
