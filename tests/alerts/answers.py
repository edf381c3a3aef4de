"""Rules with actions, and alerts that fire under them: as the evaluation of rules writes them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from app.alerts.records import fingerprint
from app.alerts.state import State, to_json
from app.core.jsonbody import dump_json
from app.settings import AlertSettings, WebhookSettings
from app.wiring import Yard
from tests.alerts.watching import unwatched
from tests.conftest import running_app, settings_for
from tests.support.service import Backing

FIRED = datetime(2026, 11, 20, 20, 25, tzinfo=UTC)
KEPT = {"no_data": "keep", "error": "keep", "severity": "critical"}
"""Instances stay as a test writes them, whatever managers read of their signal."""
POOL = {"alertname": "r", "severity": "critical", "pool": "echo"}

_RULE = """
INSERT INTO alert_rules (name, spec, created_by) VALUES ($1, $2, 'tests')
ON CONFLICT (name) DO UPDATE SET spec = EXCLUDED.spec
"""
_STATE = """
INSERT INTO alert_states (rule, fingerprint, phase, state, reading) VALUES ($1, $2, $3, $4, '{}')
ON CONFLICT (rule, fingerprint) DO UPDATE SET phase = EXCLUDED.phase, state = EXCLUDED.state
"""


@asynccontextmanager
async def quiet_app(backing: Backing, **sections: Any) -> AsyncIterator[tuple[httpx.AsyncClient, Yard]]:
    """A manager that evaluates no rules while a test lasts."""
    usual = {
        "alerts": AlertSettings(interval_s=300),
        "webhooks": WebhookSettings(allowed_networks=["127.0.0.0/8"], interval_s=0.2, first_retry_s=0.1),
    }
    settings = settings_for(backing, **{**usual, **sections})
    async with running_app(settings, backing.admin_key) as running:
        await unwatched(running[1])
        yield running


async def put_rule(
    connection: Any, action: str | None, params: Mapping[str, Any] | None = None, name: str = "r"
) -> None:
    """A rule with this action."""
    # An evaluation finds nothing to measure, and leaves it as it is.
    spec = {"signal": "success_rate", "comparison": "<", "threshold": 0.8, "action": action, **KEPT}
    await connection.execute(_RULE, name, dump_json({**spec, "action_params": dict(params or {})}))


async def set_phase(
    connection: Any,
    phase: str,
    labels: Mapping[str, str] = POOL,
    *,
    fired_at: datetime = FIRED,
    name: str = "r",
) -> tuple[str, str, datetime]:
    """An instance in this phase; its key."""
    state = State(labels, phase, "violated", fired_at, fired_at, fired_at, value=0.4)  # type: ignore[arg-type]
    mark = fingerprint(labels)
    await connection.execute(_STATE, name, mark, phase, dump_json(to_json(state)))
    return name, mark, fired_at


async def fire(yard: Yard, labels: Mapping[str, str] = POOL, *, again: int = 0, name: str = "r") -> None:
    """An instance begins to fire, for the `again`th time after the first."""
    async with yard.db.hot() as connection:
        await set_phase(connection, "firing", labels, fired_at=FIRED + timedelta(hours=again), name=name)


async def resolve(yard: Yard, labels: Mapping[str, str] = POOL, *, name: str = "r") -> None:
    """It fires no more."""
    async with yard.db.hot() as connection:
        await set_phase(connection, "resolved", labels, name=name)


async def rule(yard: Yard, action: str | None, name: str = "r", **params: Any) -> None:
    """A rule with this action."""
    async with yard.db.hot() as connection:
        await put_rule(connection, action, params, name)


async def tick(yard: Yard) -> None:
    """A pass of the loop, and this manager's view after it."""
    await yard.responding.responses.tick()
    await yard.responding.restraints.refresh()


async def accounts(client: httpx.AsyncClient, **filters: Any) -> list[dict[str, Any]]:
    """The accounts, newest first."""
    answer = await client.get("/v1/alert-actions", params=filters)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


async def sole(client: httpx.AsyncClient, **filters: Any) -> dict[str, Any]:
    """The only account."""
    (found,) = await accounts(client, **filters)
    return found


async def count(yard: Yard, query: str, *values: object) -> Any:
    """One value of the database."""
    async with yard.db.read() as connection:
        return await connection.fetchval(query, *values)


async def execute(yard: Yard, statement: str, *values: object) -> None:
    async with yard.db.hot() as connection:
        await connection.execute(statement, *values)


async def time_is_over(yard: Yard) -> None:
    """Whatever was begun expires now."""
    for table in ("alert_actions", "restraints", "temporary_limits", "raised_floors"):
        await execute(yard, f"UPDATE {table} SET expires_at = clock_timestamp()")
