"""What the evaluation of rules would write: rules, and states of their instances."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from app.alerts.records import fingerprint
from app.alerts.state import State, from_json, to_json
from app.core.db import Database, HotConnection
from app.wiring import Yard

_RULE = """
INSERT INTO alert_rules (name, spec, created_by, evaluated_at) VALUES ($1, $2, 'tests', now())
ON CONFLICT (name) DO UPDATE SET spec = EXCLUDED.spec
"""
_STATE = """
INSERT INTO alert_states (rule, fingerprint, phase, state, reading) VALUES ($1, $2, $3, $4, '{}')
ON CONFLICT (rule, fingerprint) DO UPDATE SET phase = EXCLUDED.phase, state = EXCLUDED.state
"""
_WAKE = "SELECT pg_notify('yard', 'alerts:')"


class Watcher:
    """Writes alerts as they fire and end. A rule is made with its first alert."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def rule(self, name: str, **spec: Any) -> None:
        """One that keeps its instances as they are written here, whatever managers read of their signal."""
        kept = {"no_data": "keep", "error": "keep", "severity": "critical"}
        fields = {"signal": "success_rate", "comparison": "<", "threshold": 0.9, **kept, **spec}
        async with self._db.hot() as connection:
            await connection.execute(_RULE, name, json.dumps(fields))

    async def fire(self, name: str, *, value: float = 0.5, at: datetime | None = None, **labels: str) -> str:
        """The alert's fingerprint."""
        found = labels_of(name, labels)
        async with self._db.hot() as connection:
            known = await connection.fetchval("SELECT name FROM alert_rules WHERE name = $1", name)
        if known is None:
            await self.rule(name)
        async with self._db.hot() as connection:
            now = at or await connection.fetchval("SELECT now()")
            summary = {"summary": f"{name} is wrong."}
            state = State(found, "firing", "violated", now, now, now, value=value, annotations=summary)
            await _put(connection, name, state)
        return state.fingerprint

    async def resolve(self, name: str, **labels: str) -> None:
        found = labels_of(name, labels)
        async with self._db.hot() as connection:
            text = await connection.fetchval(
                "SELECT state FROM alert_states WHERE rule = $1 AND fingerprint = $2", name, fingerprint(found)
            )
            now = await connection.fetchval("SELECT now()")
            state = replace(from_json(json.loads(text)), phase="resolved", resolved_at=now, judged_at=now)
            await _put(connection, name, state)

    async def forget(self, name: str) -> None:
        """The rule's instances are gone."""
        async with self._db.hot() as connection:
            await connection.execute("DELETE FROM alert_states WHERE rule = $1", name)

    async def rows(self, statement: str, *args: Any) -> Sequence[Any]:
        async with self._db.hot() as connection:
            return list(await connection.fetch(statement, *args))


def labels_of(name: str, labels: dict[str, str]) -> dict[str, str]:
    return {"alertname": name, "severity": "critical", "pool": "ops", **labels}


async def _put(connection: HotConnection, rule: str, state: State) -> None:
    await connection.execute(_STATE, rule, state.fingerprint, state.phase, json.dumps(to_json(state)))
    await connection.execute(_WAKE)


async def unwatched(yard: Yard) -> None:
    """This manager evaluates no rules from now on: states are what a test writes."""
    for loop in yard.watching.loops:
        if loop.name == "alerts":
            await loop.stop()
