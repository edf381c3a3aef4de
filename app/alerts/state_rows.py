"""Rules, states and transitions as rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Any
from uuid import UUID

import asyncpg
import orjson
import uuid_utils

from app.alerts.decide import Transition
from app.alerts.reading import Reading, Sample
from app.alerts.records import fingerprint
from app.alerts.state import State, Timers, cleared, from_json, to_json
from app.core.db import HotConnection
from app.core.jsonbody import dump_json

PURGE_BATCH = 5_000

COLUMNS = "name, spec, enabled, created_by, created_at, updated_at, evaluated_at, error, clock_timestamp() AS now"
_RULES = f"SELECT {COLUMNS} FROM alert_rules ORDER BY name"  # noqa: S608 - only constants
_LOCK = f"SELECT {COLUMNS} FROM alert_rules WHERE name = $1 FOR UPDATE"  # noqa: S608
_NOTE = """
UPDATE alert_rules SET error = $2, evaluated_at = coalesce($3::timestamptz, clock_timestamp()) WHERE name = $1
"""
_SEEN = "SELECT fingerprint, state FROM alert_states WHERE rule = $1 ORDER BY fingerprint"
# Ordered, so that two that resolve wait for each other and not both.
_STATES = "SELECT fingerprint, state FROM alert_states WHERE rule = $1 ORDER BY fingerprint FOR UPDATE"
_PUT = """
INSERT INTO alert_states AS s (rule, fingerprint, phase, state, reading, changed_at)
SELECT $1, p.fingerprint, p.phase, p.state::json, p.reading::json, clock_timestamp()
FROM unnest($2::text[], $3::text[], $4::text[], $5::text[]) AS p(fingerprint, phase, state, reading)
ON CONFLICT (rule, fingerprint) DO UPDATE SET phase = EXCLUDED.phase, state = EXCLUDED.state,
  reading = EXCLUDED.reading,
  changed_at = CASE WHEN s.phase = EXCLUDED.phase THEN s.changed_at ELSE EXCLUDED.changed_at END
"""
_DROP = "DELETE FROM alert_states WHERE rule = $1 AND fingerprint = ANY($2::text[])"
_MOVED = """
INSERT INTO alert_transitions (id, rule, fingerprint, labels, before, after, reason, detail, value, at)
VALUES ($1, $2, $3, $4::json, $5, $6, $7, $8, $9, coalesce($10::timestamptz, clock_timestamp()))
"""
_ORPHANED = """
SELECT DISTINCT s.rule FROM alert_states s
WHERE NOT EXISTS (SELECT FROM alert_rules r WHERE r.name = s.rule AND r.enabled)
"""
_COUNTS = "SELECT rule, phase, count(*)::int FROM alert_states WHERE phase <> 'ok' GROUP BY 1, 2"
# Ids are UUIDv7: the key is an index of age, which bounds the walk; the time itself decides.
_PURGE = f"""
DELETE FROM alert_transitions WHERE id = ANY(ARRAY(SELECT id FROM alert_transitions ORDER BY id LIMIT {PURGE_BATCH}))
  AND at < clock_timestamp() - make_interval(secs => $1)
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class StoredRule:
    """A rule's row. `now`: the database's time when it was read."""

    name: str
    spec: Mapping[str, Any]
    enabled: bool
    created_by: str
    created_at: datetime
    updated_at: datetime
    evaluated_at: datetime | None
    error: str
    now: datetime


def stored(row: asyncpg.Record) -> StoredRule:
    """From a row of the columns above."""
    found = {name: row[name] for name in StoredRule.__slots__}
    return StoredRule(**{**found, "spec": orjson.loads(row["spec"])})


async def rules(connection: HotConnection) -> list[StoredRule]:
    """All, by name."""
    return [stored(row) for row in await connection.fetch(_RULES)]


async def lock_rule(connection: HotConnection, name: str) -> StoredRule | None:
    """The rule, locked until the transaction ends."""
    row = await connection.fetchrow(_LOCK, name)
    return None if row is None else stored(row)


async def time(connection: HotConnection) -> datetime:
    """The database's."""
    found: datetime = await connection.fetchval("SELECT clock_timestamp()")
    return found


async def note(connection: HotConnection, name: str, error: str, at: datetime | None = None) -> None:
    """That the rule was evaluated, and what went wrong. `at`: what it was judged by is of then; None: of now."""
    await connection.execute(_NOTE, name, error, at)


async def states(connection: HotConnection, name: str) -> dict[str, State]:
    """The rule's states by fingerprint, locked until the transaction ends."""
    return {row["fingerprint"]: from_json(orjson.loads(row["state"])) for row in await connection.fetch(_STATES, name)}


async def seen_states(connection: HotConnection, name: str) -> dict[str, State]:
    """The same without a lock."""
    return {row["fingerprint"]: from_json(orjson.loads(row["state"])) for row in await connection.fetch(_SEEN, name)}


async def orphaned(connection: HotConnection) -> list[str]:
    """Names of rules that are gone or disabled and have instances."""
    return [row["rule"] for row in await connection.fetch(_ORPHANED)]


async def counts(connection: HotConnection) -> list[tuple[str, str, int]]:
    """(rule, phase, instances), without those that are ok."""
    return [tuple(row) for row in await connection.fetch(_COUNTS)]


async def purge(connection: HotConnection, keep_s: float) -> bool:
    """Forget a batch of old transitions; whether fewer were left than a batch."""
    done = await connection.execute(_PURGE, keep_s)
    return int(done.rpartition(" ")[2]) < PURGE_BATCH


def ended(before: Mapping[str, State], now: datetime) -> tuple[dict[str, State], list[Transition]]:
    """The states of a rule that is no longer: resolved at once, or forgotten. Pure."""
    after, moved = dict[str, State](), list[Transition]()
    for key, state in before.items():
        end = cleared(state, "rule_changed", Timers.of(0, 0), now)
        if end is not None and not end.outlived(now):
            after[key] = end
        phase = "ok" if end is None else end.phase
        if phase != state.phase:
            moved.append(Transition(state.phase, phase, state.labels, "rule_changed"))
    return after, moved


async def write(
    connection: HotConnection,
    rule: str,
    before: Mapping[str, State],
    after: Mapping[str, State],
    readings: Mapping[str, Reading],
    transitions: Sequence[Transition],
) -> None:
    """Keep what is new, forget what is gone, and note what changed. `readings`: by fingerprint."""
    news = {key: state for key, state in after.items() if before.get(key) != state}
    if news:
        texts = [dump_json(to_json(state)) for state in news.values()]
        shown = [dump_json(reading_json(readings.get(key))) for key in news]
        phases = [state.phase for state in news.values()]
        await connection.execute(_PUT, rule, list(news), phases, texts, shown)
    if gone := [key for key in before if key not in after]:
        await connection.execute(_DROP, rule, gone)
    if transitions:
        rows = [_transition(rule, item, after, readings) for item in transitions]
        await connection.executemany(_MOVED, rows)


def _transition(
    rule: str, moved: Transition, after: Mapping[str, State], readings: Mapping[str, Reading]
) -> tuple[Any, ...]:
    key = fingerprint(moved.labels)
    reading, state = readings.get(key), after.get(key)
    value = reading.value if isinstance(reading, Sample) else None
    at = state.judged_at if state is not None else None
    labels = dump_json(dict(moved.labels))
    new_id = UUID(bytes=uuid_utils.uuid7().bytes)
    return (new_id, rule, key, labels, moved.before, moved.after, moved.reason, moved.detail, value, at)


def reading_json(reading: Reading | None) -> dict[str, Any]:
    """What an instance was judged by, without its labels. {}: nothing was said of it."""
    if reading is None:
        return {}
    if not isinstance(reading, Sample):
        return {"why": reading.why, "detail": reading.detail}
    value = reading.value if isfinite(reading.value) else repr(reading.value)
    return {"value": value, "total": reading.total, "good": reading.good}
