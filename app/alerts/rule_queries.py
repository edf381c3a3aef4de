"""Reads of alerts, for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from app.alerts.state import State, from_json
from app.core.db import Database

_ALERTS = """
SELECT rule, fingerprint, phase, state, reading, changed_at FROM alert_states
WHERE (CASE WHEN $1::text IS NULL THEN phase <> 'ok' ELSE phase = $1 END) AND ($2::text IS NULL OR rule = $2)
  AND ($3::text IS NULL OR (rule, fingerprint) > ($3, $4::text))
ORDER BY rule, fingerprint LIMIT $5
"""
_COUNTS = "SELECT rule, phase, count(*)::int AS n FROM alert_states WHERE rule = ANY($1) GROUP BY 1, 2"
_TRANSITIONS = """
SELECT fingerprint, labels, before, after, reason, detail, value, at FROM alert_transitions
WHERE rule = $1 ORDER BY id DESC LIMIT $2
"""


@dataclass(frozen=True, slots=True)
class AlertRecord:
    """An instance as it was written last. `reading`: see `state_rows.reading_json`."""

    rule: str
    state: State
    reading: dict[str, Any]
    changed_at: datetime


async def alerts(
    db: Database, *, phase: str | None, rule: str | None, after: tuple[str, str] | None, limit: int
) -> list[AlertRecord]:
    """By rule and fingerprint; without a phase, all that are not ok. `after`: (rule, fingerprint) of the last one."""
    async with db.read() as connection:
        rows = await connection.fetch(_ALERTS, phase, rule, *(after or (None, None)), limit)
    return [
        AlertRecord(row["rule"], from_json(orjson.loads(row["state"])), orjson.loads(row["reading"]), row["changed_at"])
        for row in rows
    ]


async def counts(db: Database, rules: Sequence[str]) -> dict[str, dict[str, int]]:
    """By rule, how many instances are in which phase."""
    found: dict[str, dict[str, int]] = {}
    async with db.read() as connection:
        for row in await connection.fetch(_COUNTS, list(rules)):
            found.setdefault(row["rule"], {})[row["phase"]] = row["n"]
    return found


async def transitions(db: Database, rule: str, limit: int) -> list[dict[str, Any]]:
    """Of one rule, newest first."""
    async with db.read() as connection:
        rows = await connection.fetch(_TRANSITIONS, rule, limit)
    return [{**dict(row), "labels": orjson.loads(row["labels"])} for row in rows]
