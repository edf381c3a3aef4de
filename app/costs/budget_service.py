"""Verbs of budgets. Each change is one transaction: the budget, the epoch, the limit of its open accounts, the hint.

Writers stand in line at the epoch's row. Its new value keeps every manager from starting tasks under budgets that it
has not read, so what is claimed after the commit obeys the change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import orjson
import structlog
import uuid_utils

from app.auth.callers import Caller
from app.core.db import Database, HotConnection
from app.core.errors import Conflict, Invalid, NotFound
from app.core.jsonbody import dump_json
from app.core.wake import notify
from app.costs.budget_spec import CONTROL_PREFIX, BudgetSpec, is_same, same_accounts, thresholds_json
from app.costs.budget_view import COLUMNS, TOPIC, BudgetView
from app.costs.records import BudgetRecord

log = structlog.get_logger()

MAX_BUDGETS = 1000

_LOCK = "SELECT 1 FROM budget_epoch WHERE id = 1 FOR UPDATE"
_BUMP = "UPDATE budget_epoch SET epoch = epoch + 1 WHERE id = 1"
_GET = f"SELECT {COLUMNS} FROM budgets WHERE name = $1"  # noqa: S608 - only constants
_PAGE = f"SELECT {COLUMNS} FROM budgets WHERE $1::text IS NULL OR name > $1 ORDER BY name LIMIT $2"  # noqa: S608
_OF_CONTROL = f"SELECT {COLUMNS} FROM budgets WHERE control = $1 ORDER BY name"  # noqa: S608
_OF_CONTROLS = f"""
SELECT {COLUMNS} FROM budgets WHERE control = ANY(ARRAY(
  SELECT DISTINCT control FROM budgets WHERE control IS NOT NULL AND ($1::text IS NULL OR control > $1)
  ORDER BY control LIMIT $2))
ORDER BY control, name
"""  # noqa: S608
_KNOWN_POOL = "SELECT EXISTS (SELECT FROM pools WHERE name = $1)"
_COUNT = "SELECT count(*) FROM budgets"
_PUT = f"""
INSERT INTO budgets (name, id, tenant, pool, model, label_key, label_value, per, window_kind, zone, rolling_s, unit,
  "limit", thresholds, on_exhausted, control, created_by, created_by_tenant, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, clock_timestamp(),
  clock_timestamp())
ON CONFLICT (name) DO UPDATE SET id = EXCLUDED.id, tenant = EXCLUDED.tenant, pool = EXCLUDED.pool,
  model = EXCLUDED.model, label_key = EXCLUDED.label_key, label_value = EXCLUDED.label_value, per = EXCLUDED.per,
  window_kind = EXCLUDED.window_kind, zone = EXCLUDED.zone, rolling_s = EXCLUDED.rolling_s, unit = EXCLUDED.unit,
  "limit" = EXCLUDED."limit", thresholds = EXCLUDED.thresholds, on_exhausted = EXCLUDED.on_exhausted,
  control = EXCLUDED.control, updated_at = EXCLUDED.updated_at
RETURNING {COLUMNS}
"""  # noqa: S608
# Another limit is another question: what has been reached of it is told anew.
_RELIMIT = """
WITH open AS (
  SELECT id FROM budget_accounts
  WHERE budget_id = $1 AND "limit" <> $2 AND (window_end IS NULL OR window_end > clock_timestamp())
  ORDER BY id FOR UPDATE
)
UPDATE budget_accounts a SET "limit" = $2, reported = '{}' FROM open WHERE a.id = open.id
"""
_DELETE = f"DELETE FROM budgets WHERE name = $1 RETURNING {COLUMNS}"  # noqa: S608


class BudgetNotFound(NotFound):
    code, title = "budget_not_found", "No such budget"


class UnknownPool(Invalid):
    code, title = "unknown_pool", "No such pool"


class TooManyBudgets(Conflict):
    code, title = "too_many_budgets", "Too many budgets"


class BudgetOfControl(Conflict):
    code, title = "budget_of_control", "The budget belongs to a cost control"


@dataclass(slots=True)
class _Change:
    """What a transaction did. `room`: tasks without money may have some now."""

    wrote: bool = False
    room: bool = False


class Budgets:
    """Set, read and delete budgets. `on_room` is called after changes that may leave parked tasks money."""

    def __init__(self, db: Database, view: BudgetView, on_room: Callable[[], None] = lambda: None) -> None:
        self._db, self._view, self._on_room = db, view, on_room

    async def put(self, name: str, spec: BudgetSpec, by: Caller) -> BudgetRecord:
        """Set a budget as a whole. Raises UnknownPool, TooManyBudgets or BudgetOfControl.

        With another scope, window or unit it begins anew, with a new id: what was spent answers another question.
        """
        if name.startswith(CONTROL_PREFIX):
            raise _of_control(name)
        return (await self._set({name: spec}, None, by))[0]

    async def put_control(self, control: str, specs: Mapping[str, BudgetSpec], by: Caller) -> list[BudgetRecord]:
        """Set the budgets of a cost control, these and no others; none: it is deleted, and the answer is what it had.
        Raises UnknownPool, TooManyBudgets or, where there is nothing to delete, BudgetNotFound."""
        if specs:
            return await self._set(specs, control, by)
        change = _Change(wrote=True, room=True)
        async with self._db.hot() as connection, connection.transaction():
            await connection.execute(_LOCK)
            gone = [_record(row) for row in await connection.fetch(_OF_CONTROL, control)]
            if not gone:
                raise BudgetNotFound(f"There is no cost control for the {control.replace('/', ' ', 1)}.")
            for budget in gone:
                await connection.execute(_DELETE, budget.name)
            await _publish(connection, change)
        await self._after(change, by, [budget.name for budget in gone])
        return gone

    async def delete(self, name: str, by: Caller) -> BudgetRecord:
        """What it was. What running tasks hold in its accounts goes as they end. Raises BudgetNotFound or
        BudgetOfControl."""
        change = _Change(wrote=True, room=True)
        async with self._db.hot() as connection, connection.transaction():
            await connection.execute(_LOCK)
            row = await connection.fetchrow(_DELETE, name)
            if row is None:
                raise _missing(name)
            if row["control"] is not None:
                raise _of_control(name)
            await _publish(connection, change)
        await self._after(change, by, [name])
        return _record(row)

    async def get(self, name: str) -> BudgetRecord:
        """One budget; raises BudgetNotFound."""
        async with self._db.read() as connection:
            row = await connection.fetchrow(_GET, name)
        if row is None:
            raise _missing(name)
        return _record(row)

    async def page(self, after: str | None, limit: int) -> list[BudgetRecord]:
        """By name."""
        async with self._db.read() as connection:
            return [_record(row) for row in await connection.fetch(_PAGE, after, limit)]

    async def controls(self, after: str | None, limit: int) -> list[BudgetRecord]:
        """The budgets of up to `limit` cost controls behind `after`, by control and name."""
        async with self._db.read() as connection:
            return [_record(row) for row in await connection.fetch(_OF_CONTROLS, after, limit)]

    async def of_control(self, control: str) -> list[BudgetRecord]:
        """The budgets of one cost control; none: there is no such control."""
        async with self._db.read() as connection:
            return [_record(row) for row in await connection.fetch(_OF_CONTROL, control)]

    async def _set(self, specs: Mapping[str, BudgetSpec], control: str | None, by: Caller) -> list[BudgetRecord]:
        change, made = _Change(), list[BudgetRecord]()
        async with self._db.hot() as connection, connection.transaction():
            await connection.execute(_LOCK)
            for name, spec in specs.items():
                made.append(await _write(connection, name, spec, control, by, change))
            if control is not None:
                for row in await connection.fetch(_OF_CONTROL, control):
                    if row["name"] not in specs:
                        await connection.execute(_DELETE, row["name"])
                        change.wrote = change.room = True
            await _publish(connection, change)
        await self._after(change, by, list(specs))
        return made

    async def _after(self, change: _Change, by: Caller, names: Sequence[str]) -> None:
        if not change.wrote:
            return
        log.info("budgets_changed", names=list(names), by=by.id)
        await self._view.refresh()
        if change.room:
            self._on_room()


async def put_within(connection: HotConnection, name: str, spec: BudgetSpec, by: Caller) -> BudgetRecord:
    """Set a budget in the caller's transaction. Raises UnknownPool or TooManyBudgets."""
    await connection.execute(_LOCK)
    change = _Change()
    made = await _write(connection, name, spec, None, by, change)
    await _publish(connection, change)
    return made


async def delete_within(connection: HotConnection, name: str) -> bool:
    """Delete a budget in the caller's transaction; False where it is gone. What waits for it is soon looked at."""
    await connection.execute(_LOCK)
    gone = bool(await connection.fetch(_DELETE, name))
    await _publish(connection, _Change(wrote=gone))
    return gone


async def _write(
    connection: HotConnection, name: str, spec: BudgetSpec, control: str | None, by: Caller, change: _Change
) -> BudgetRecord:
    pool = spec.scope.pool
    if pool is not None and not await connection.fetchval(_KNOWN_POOL, pool):
        message = f"There is no pool {pool!r}."
        raise UnknownPool(message, extra={"errors": [{"path": "scope.pool", "message": message}]})
    found = await connection.fetchrow(_GET, name)
    old = None if found is None else _record(found)
    if old is None and await connection.fetchval(_COUNT) >= MAX_BUDGETS:
        raise TooManyBudgets(f"There are {MAX_BUDGETS} budgets already; delete one that is not needed.")
    if old is not None and is_same(old, spec):
        return old
    keeps = old is not None and same_accounts(old, spec)
    budget_id = old.id if old is not None and keeps else UUID(bytes=uuid_utils.uuid7().bytes)
    scope = spec.scope
    row = await connection.fetchrow(
        _PUT,
        name,
        budget_id,
        *(scope.tenant, scope.pool, scope.model, scope.label_key, scope.label_value, scope.per),
        *(spec.window_kind, spec.zone, spec.rolling_s, spec.unit, spec.limit),
        *(dump_json(thresholds_json(spec.thresholds)), spec.on_exhausted, control, by.id, by.tenant),
    )
    assert row is not None
    if old is not None and keeps and old.limit != spec.limit:
        await connection.execute(_RELIMIT, budget_id, spec.limit)
    change.wrote, change.room = True, change.room or old is not None
    return _record(row)


async def _publish(connection: HotConnection, change: _Change) -> None:
    if change.wrote:
        await connection.execute(_BUMP)
        await notify(connection, TOPIC)


def _record(row: asyncpg.Record) -> BudgetRecord:
    return BudgetRecord.of({**dict(row), "thresholds": orjson.loads(row["thresholds"])})


def _missing(name: str) -> BudgetNotFound:
    return BudgetNotFound(f"There is no budget {name!r}.")


def _of_control(name: str) -> BudgetOfControl:
    return BudgetOfControl(
        f"Budgets named {CONTROL_PREFIX}… belong to cost controls: change {name!r} through /v1/cost-controls."
    )
