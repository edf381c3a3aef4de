"""The accounts of answers to alerts: the statements of the loop, and what people read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from app.alerts.answering import INVESTIGATION, NO_EVIDENCE, Answer
from app.core.db import HotConnection
from app.core.jsonbody import dump_json

COLUMNS = """id, rule, fingerprint, fired_at, action, labels, scope, params, value, status, until_resolved, tries,
  due_at, created_at, started_at, expires_at, ended_at, ended_by, detail"""

_FIRING = """s.phase IN ('firing', 'recovering') AND s.state->>'fired_at' IS NOT NULL"""
_MISSING = f"""
SELECT s.rule, s.fingerprint, (s.state->>'fired_at')::timestamptz AS fired_at, s.state->'labels' AS labels,
  s.state->>'value' AS value, r.spec->>'action' AS action, COALESCE(r.spec->'action_params', '{{}}') AS params,
  r.spec->>'signal' AS signal, (r.spec->>'threshold')::float8 AS threshold, COALESCE(a.tries, 0) AS tries
FROM alert_states s JOIN alert_rules r ON r.name = s.rule AND r.enabled
LEFT JOIN alert_actions a ON a.rule = s.rule AND a.fingerprint = s.fingerprint
  AND a.fired_at = (s.state->>'fired_at')::timestamptz
WHERE {_FIRING} AND r.spec->>'action' IS NOT NULL
  AND (a.id IS NULL OR (a.status = 'retrying' AND a.due_at <= clock_timestamp()))
ORDER BY r.spec->>'action' = '{INVESTIGATION}', 3, 1, 2 LIMIT $1
"""  # noqa: S608 - only constants
_OPEN = f"""
SELECT a.id, a.rule, a.fingerprint, a.fired_at, a.action, a.labels, a.status, a.until_resolved, a.expires_at, a.value,
  a.facts, COALESCE({_FIRING} AND (s.state->>'fired_at')::timestamptz = a.fired_at, false) AS firing,
  COALESCE((s.state->>'fired_at')::timestamptz > a.fired_at
    OR (s.phase = 'resolved' AND s.state->>'reason' <> ALL($1::text[])), false) AS cleared,
  CASE WHEN r.enabled THEN r.spec->>'action' END AS rule_action
FROM alert_actions a LEFT JOIN alert_states s ON s.rule = a.rule AND s.fingerprint = a.fingerprint
  LEFT JOIN alert_rules r ON r.name = a.rule
WHERE a.status = 'retrying' OR (a.status = 'running' AND (a.due_at IS NULL OR a.due_at <= clock_timestamp()))
ORDER BY a.expires_at, a.id
"""  # noqa: S608
# Of two managers that come here at once the second waits for the first one's transaction, and finds it taken.
_CLAIM = """
INSERT INTO alert_actions AS a (id, rule, fingerprint, fired_at, action, labels, params, value, until_resolved, status,
  created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'retrying', clock_timestamp(),
  clock_timestamp() + make_interval(secs => $10))
ON CONFLICT ON CONSTRAINT uq_alert_actions_rule DO UPDATE SET tries = a.tries
WHERE a.status = 'retrying' AND a.due_at <= clock_timestamp() AND a.action = EXCLUDED.action
RETURNING id, expires_at
"""
_BEGUN = """
UPDATE alert_actions SET status = $2, scope = $3, facts = $4, detail = $5, tries = tries + 1, due_at = NULL,
  started_at = clock_timestamp(), ended_at = CASE WHEN $2 <> 'running' THEN clock_timestamp() END
WHERE id = $1
"""
_FAILED = """
INSERT INTO alert_actions AS a (id, rule, fingerprint, fired_at, action, labels, params, value, until_resolved, status,
  created_at, expires_at, tries, due_at, detail)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $11, clock_timestamp(), clock_timestamp() + make_interval(secs => $10), 1,
  clock_timestamp() + make_interval(secs => $12), $13)
ON CONFLICT ON CONSTRAINT uq_alert_actions_rule DO UPDATE SET tries = a.tries + 1, status = EXCLUDED.status,
  due_at = EXCLUDED.due_at, detail = EXCLUDED.detail,
  ended_at = CASE WHEN EXCLUDED.status = 'failed' THEN clock_timestamp() END
WHERE a.status = 'retrying'
RETURNING status
"""
_GIVEN_UP = """
INSERT INTO alert_actions (id, rule, fingerprint, fired_at, action, labels, params, value, until_resolved, status,
  created_at, expires_at, tries, detail, ended_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, false, 'failed', clock_timestamp(), clock_timestamp(), 1, $9, clock_timestamp())
ON CONFLICT ON CONSTRAINT uq_alert_actions_rule DO UPDATE SET status = 'failed', detail = EXCLUDED.detail,
  ended_at = clock_timestamp() WHERE alert_actions.status = 'retrying'
"""
_LOCK = "SELECT status FROM alert_actions WHERE id = $1 AND status IN ('running', 'retrying') FOR UPDATE"
_END = f"""
UPDATE alert_actions SET status = 'ended', ended_by = $2, ended_at = clock_timestamp(), due_at = NULL
WHERE id = ANY($1::uuid[]) AND status IN ('running', 'retrying') RETURNING {COLUMNS}
"""  # noqa: S608
_LATER = """
UPDATE alert_actions SET due_at = clock_timestamp() + make_interval(secs => $2), detail = $3
WHERE id = $1 AND status = 'running'
"""
# In key order, before any row that they made: as the loop does it.
_LOCK_EMERGENCIES = """
SELECT id, status FROM alert_actions
WHERE action = 'immediate_intervention' AND status IN ('running', 'retrying')
  AND ($1::text IS NULL OR labels->>'pool' = $1 OR scope->>'pool' = $1)
ORDER BY id FOR UPDATE
"""
_OPEN_ONE = """
SELECT id, rule, fingerprint, fired_at, action, labels, status, until_resolved, expires_at, value, facts
FROM alert_actions WHERE id = $1
"""
_ONE = f"SELECT {COLUMNS} FROM alert_actions WHERE id = $1"  # noqa: S608
_PAGE = f"""
SELECT {COLUMNS} FROM alert_actions
WHERE ($1::uuid IS NULL OR id < $1) AND ($2::text IS NULL OR rule = $2) AND ($3::text IS NULL OR action = $3)
  AND ($4::text IS NULL OR status = $4) AND ($5::text IS NULL OR fingerprint = $5)
ORDER BY id DESC LIMIT $6
"""  # noqa: S608
_FORGET = (
    """
    DELETE FROM alert_actions a WHERE created_at < clock_timestamp() - make_interval(secs => $1)
      AND status NOT IN ('retrying', 'running') AND NOT EXISTS (SELECT FROM alert_states s
        WHERE s.rule = a.rule AND s.fingerprint = a.fingerprint AND s.phase IN ('firing', 'recovering'))
    """,
    "DELETE FROM alert_reports WHERE created_at < clock_timestamp() - make_interval(secs => $1)",
)
_JSON = ("labels", "scope", "params", "facts")


@dataclass(frozen=True, slots=True)
class Unanswered:
    """An alert instance that fires, and that nobody has answered as its rule says; `tries` of it did not work."""

    rule: str
    fingerprint: str
    fired_at: datetime
    labels: dict[str, str]
    value: float | None
    action: str
    params: dict[str, Any]
    signal: str = ""
    threshold: float = 0.0
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """An open answer beside what it is judged by."""

    answer: Answer
    firing: bool
    cleared: bool
    rule_action: str | None


@dataclass(frozen=True, slots=True)
class Account:
    """An answer as people read it."""

    id: UUID
    rule: str
    fingerprint: str
    fired_at: datetime
    action: str
    labels: dict[str, str]
    scope: dict[str, str]
    params: dict[str, Any]
    value: float | None
    status: str
    until_resolved: bool
    tries: int
    due_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    expires_at: datetime
    ended_at: datetime | None
    ended_by: str | None
    detail: str


async def unanswered(connection: HotConnection, limit: int) -> list[Unanswered]:
    """Those that began to fire first come first, but those to investigate last: that takes longest."""
    return [_unanswered(row) for row in await connection.fetch(_MISSING, limit)]


def _unanswered(row: asyncpg.Record) -> Unanswered:
    values = _read(row)
    found = values["value"]
    return Unanswered(**{**values, "value": None if found is None else float(found)})


async def open_answers(connection: HotConnection) -> list[Standing]:
    """All that may have to end, those that expire first first."""
    found = []
    for row in await connection.fetch(_OPEN, NO_EVIDENCE):
        values = _read(row)
        beside = {name: values.pop(name) for name in ("firing", "cleared", "rule_action")}
        found.append(Standing(Answer(**values), **beside))
    return found


async def claim(
    connection: HotConnection, new: UUID, alert: Unanswered, *, until_resolved: bool, duration_s: float
) -> tuple[UUID, datetime] | None:
    """Open the account, in a transaction: its id and expiry. None: somebody else did."""
    row = await connection.fetchrow(_CLAIM, new, *_of(alert), until_resolved, duration_s)
    return None if row is None else (row["id"], row["expires_at"])


async def begun(
    connection: HotConnection, action_id: UUID, status: str, scope: object, facts: object, detail: str
) -> None:
    """The action did what it does, or there was nothing to do."""
    await connection.execute(_BEGUN, action_id, status, dump_json(scope), dump_json(facts), detail)


async def failed(
    connection: HotConnection,
    new: UUID,
    alert: Unanswered,
    detail: str,
    *,
    until_resolved: bool,
    duration_s: float,
    retry_s: float | None,
) -> str | None:
    """It did not work, and is tried again after `retry_s` (None: not at all): the status. None: somebody was faster."""
    status = "failed" if retry_s is None else "retrying"
    values = (*_of(alert), until_resolved, duration_s, status, retry_s or 0.0, detail)
    found: str | None = await connection.fetchval(_FAILED, new, *values)
    return found


async def give_up(connection: HotConnection, new: UUID, alert: Unanswered, detail: str) -> None:
    """It can never work."""
    await connection.execute(_GIVEN_UP, new, *_of(alert), detail)


def _of(alert: Unanswered) -> tuple[object, ...]:
    labels, params = dump_json(alert.labels), dump_json(alert.params)
    return alert.rule, alert.fingerprint, alert.fired_at, alert.action, labels, params, alert.value


async def lock(connection: HotConnection, action_id: UUID) -> str | None:
    """The status of an open account, locked; None: it is not open."""
    status: str | None = await connection.fetchval(_LOCK, action_id)
    return status


async def lock_emergencies(connection: HotConnection, pool: str | None) -> tuple[list[UUID], list[UUID]]:
    """Open accounts of emergency mode (of this pool), locked: those whose effect lasts, and those without one yet."""
    rows = await connection.fetch(_LOCK_EMERGENCIES, pool)
    both = [[row["id"] for row in rows if row["status"] == status] for status in ("running", "retrying")]
    return both[0], both[1]


async def end(connection: HotConnection, action_ids: Sequence[UUID], by: str) -> list[Account]:
    """Close accounts; those that were open."""
    return [_account(row) for row in await connection.fetch(_END, list(action_ids), by)]


async def later(connection: HotConnection, action_id: UUID, seconds: float, detail: str) -> None:
    """Its effect could not be ended: look again then."""
    await connection.execute(_LATER, action_id, seconds, detail)


async def answer(connection: HotConnection, action_id: UUID) -> Answer | None:
    """One, as the loop sees it."""
    row = await connection.fetchrow(_OPEN_ONE, action_id)
    return None if row is None else Answer(**_read(row))


async def account(connection: HotConnection, action_id: UUID) -> Account | None:
    """One, as people read it."""
    row = await connection.fetchrow(_ONE, action_id)
    return None if row is None else _account(row)


async def page(
    connection: HotConnection,
    *,
    before: UUID | None,
    rule: str | None,
    action: str | None,
    status: str | None,
    fingerprint: str | None,
    limit: int,
) -> list[Account]:
    """Newest first."""
    rows = await connection.fetch(_PAGE, before, rule, action, status, fingerprint, limit)
    return [_account(row) for row in rows]


async def forget(connection: HotConnection, keep_s: float) -> None:
    """Delete closed accounts and reports that are so old; not of what still fires: it would be answered again."""
    for statement in _FORGET:
        await connection.execute(statement, keep_s)


def _account(row: asyncpg.Record) -> Account:
    return Account(**_read(row))


def _read(row: asyncpg.Record) -> dict[str, Any]:
    """Columns of JSON come from the driver as text."""
    return {name: orjson.loads(value) if name in _JSON else value for name, value in row.items()}
