"""Verbs of objectives: set, read, delete. An objective belongs to the tenant of whoever set it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal
from uuid import UUID

import structlog
import uuid_utils

from app.auth.callers import Caller
from app.core.db import Database, HotConnection
from app.core.errors import Conflict, Invalid, NotFound
from app.limits import tightening
from app.limits.tightening import Measure
from app.settings import SloSettings
from app.slo import statements as sql
from app.slo.burn_alerts import BurnRule, PlannedRule, plan, standard
from app.slo.objective import BadObjective, Objective, checked_objective
from app.slo.records import SloRecord, counts_alike, record, values

log = structlog.get_logger()

type Outcome = Literal["created", "updated", "unchanged"]


class SloNotFound(NotFound):
    code, title = "slo_not_found", "No such objective"


class UnknownPool(Invalid):
    code, title = "unknown_pool", "No such pool"


class TooManyObjectives(Conflict):
    code, title = "too_many_slos", "Too many objectives"


@dataclass(frozen=True, slots=True)
class Wanted:
    """An objective as it is asked for. `rules` None: the standard ones. `min_events`, `on_exhausted` None: as they
    were; of a new one as the service has it, and nothing."""

    objective: Objective
    rules: tuple[BurnRule, ...] | None = None
    min_events: int | None = None
    on_exhausted: tuple[Measure, ...] | None = None


def planned(wanted: Wanted) -> tuple[PlannedRule, ...]:
    """The burn rules that an objective gets. Raises BadObjective, BurnRuleRefused or BurnRuleNeverFires."""
    objective = checked_objective(wanted.objective)
    wrong = _why_not(objective, wanted.on_exhausted or ())
    if wrong is not None:
        raise BadObjective(f"on_exhausted: {wrong}", extra={"errors": [{"path": "on_exhausted", "message": wrong}]})
    if wanted.rules is None:
        return standard(objective.target, objective.window.period_s)
    return plan(objective.target, objective.window.period_s, wanted.rules)


def _why_not(objective: Objective, measures: Collection[Measure]) -> str | None:
    """Why these cannot follow from its budget; None: they can."""
    if measures and objective.scope.pool is None:
        return "it is a pool that is tightened: the objective's scope names one"
    if measures and (objective.scope.tenant is not None or objective.scope.label_key is not None):
        return "the whole pool would be tightened: the objective's scope names no tenant and no label"
    if "require_approval" in measures and objective.kind == "latency" and objective.queue_wait:
        return "the time that people take would be latency, and keep the budget exhausted: set queue_wait to false"
    return None


class Slos:
    """Set, read and delete objectives."""

    def __init__(self, db: Database, settings: SloSettings) -> None:
        self.db, self._settings = db, settings

    async def put(self, by: Caller, wanted: Wanted, *, dry_run: bool = False) -> tuple[SloRecord | None, Outcome]:
        """Set an objective as a whole; with `dry_run` only say what would become of it. Raises what `planned` does,
        UnknownPool or TooManyObjectives.

        With other events to count it begins anew under a new id, and they are counted again from the tasks that are
        kept; another target, window or rules judge the same counts.
        """
        rules = planned(wanted)
        async with self.db.hot() as connection, connection.transaction():
            await connection.execute(sql.LOCK_ALL)
            old = await _find(connection, by.tenant, wanted.objective.name)
            wanted = self._filled(wanted, old)
            await self._check(connection, wanted.objective, old)
            if old is not None and _is_same(old, wanted, rules):
                return old, "unchanged"
            outcome: Outcome = "created" if old is None else "updated"
            if dry_run:
                return None, outcome
            made = await _write(connection, by, wanted, rules, old)
        log.info("slo_set", slo=made.name, owner=made.owner, outcome=outcome, by=by.id)
        return made, outcome

    async def delete(self, by: Caller, name: str) -> SloRecord:
        """What it was; what it tightened is lifted. Raises SloNotFound."""
        async with self.db.hot() as connection, connection.transaction():
            await connection.execute(sql.LOCK_ALL)
            row = await connection.fetchrow(sql.DELETE, by.tenant, name)
            if row is None:
                raise _missing(name)
            await tightening.clear(connection, row["id"])
        log.info("slo_deleted", slo=name, owner=by.tenant, by=by.id)
        return record(row)

    async def get(self, caller: Caller, name: str) -> SloRecord:
        """One objective of the caller's tenant; raises SloNotFound, as for one that the caller may not see."""
        async with self.db.read() as connection:
            row = await connection.fetchrow(sql.GET, caller.tenant, caller.may("admin"), name)
        if row is None:
            raise _missing(name)
        return record(row)

    async def page(self, caller: Caller, after: str | None, limit: int) -> Sequence[SloRecord]:
        """Those that the caller may see, by name."""
        async with self.db.read() as connection:
            rows = await connection.fetch(sql.PAGE, caller.tenant, caller.may("admin"), after, limit)
        return [record(row) for row in rows]

    def _filled(self, wanted: Wanted, old: SloRecord | None) -> Wanted:
        """With what was left open."""
        events, measures = wanted.min_events, wanted.on_exhausted
        if events is None:
            events = self._settings.min_events if old is None else old.min_events
        if measures is None:
            were = () if old is None else old.on_exhausted
            measures = tuple(item for item in were if _why_not(wanted.objective, (item,)) is None)
        return replace(wanted, min_events=events, on_exhausted=measures)

    async def _check(self, connection: HotConnection, objective: Objective, old: SloRecord | None) -> None:
        pool = objective.scope.pool
        if pool is not None and not await connection.fetchval(sql.KNOWN_POOL, pool):
            message = f"There is no pool {pool!r}."
            raise UnknownPool(message, extra={"errors": [{"path": "scope.pool", "message": message}]})
        if old is None and await connection.fetchval(sql.COUNT) >= self._settings.max_objectives:
            most = self._settings.max_objectives
            raise TooManyObjectives(f"There are {most} objectives already; delete one that is not needed.")


async def _find(connection: HotConnection, owner: str, name: str) -> SloRecord | None:
    row = await connection.fetchrow(sql.FIND, owner, name)
    return None if row is None else record(row)


def _is_same(old: SloRecord, wanted: Wanted, rules: tuple[PlannedRule, ...]) -> bool:
    was = old.objective, old.rules, old.min_events, old.on_exhausted
    return was == (wanted.objective, rules, wanted.min_events, wanted.on_exhausted)


async def _write(
    connection: HotConnection, by: Caller, wanted: Wanted, rules: tuple[PlannedRule, ...], old: SloRecord | None
) -> SloRecord:
    objective, events, measures = wanted.objective, wanted.min_events or 1, wanted.on_exhausted or ()
    if old is not None and counts_alike(old.objective, objective):
        await tightening.clear(connection, old.id, keep=measures)
        row = await connection.fetchrow(
            sql.UPDATE, *values(old.id, old.owner, objective, rules, events, measures, old.created_by)
        )
    else:
        if old is not None:
            await tightening.clear(connection, old.id)
            await connection.execute(sql.DELETE, old.owner, old.name)
        slo_id = UUID(bytes=uuid_utils.uuid7().bytes)
        made = values(slo_id, by.tenant, objective, rules, events, measures, by.id)
        row = await connection.fetchrow(sql.INSERT, *made)
    assert row is not None
    return record(row)


def _missing(name: str) -> SloNotFound:
    return SloNotFound(f"There is no objective {name!r}.")
