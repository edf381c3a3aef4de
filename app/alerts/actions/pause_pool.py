"""`pause_pool`: nothing of the pool starts for a while; what runs goes on, what comes waits.

It holds for its time though the alert is resolved: a pool in which nothing runs breaks no rule, and the pause would end
by its own effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from app.alerts.actions.base import MAX_DURATION_S, ActionParams, Ask, Begun, NothingToDo
from app.core.db import HotConnection
from app.limits import restraint_service

_KNOWN = "SELECT EXISTS (SELECT FROM pools WHERE name = $1)"


class PausePoolParams(ActionParams):
    duration_s: float = Field(600.0, ge=10, le=MAX_DURATION_S, description="It is over after this long at the latest.")
    until_resolved: bool = Field(False, description="It is over as soon as the alert is resolved.")


class PausePool:
    params_type: ClassVar[type[ActionParams]] = PausePoolParams

    async def begin(self, connection: HotConnection, ask: Ask, params: PausePoolParams) -> Begun:
        if not ask.pool or not await connection.fetchval(_KNOWN, ask.pool):
            raise NothingToDo(f"There is no pool {ask.pool!r} to pause." if ask.pool else "The alert names no pool.")
        await restraint_service.begin(
            connection,
            ask.id,
            "pause",
            ask.pool,
            {"max_running": 0},
            reason=f"the alert {ask.rule} fires",
            source="alert",
            by=ask.by,
            expires_at=ask.expires_at,
        )
        return Begun(f"Nothing of {ask.pool!r} starts.", {"pool": ask.pool})

    async def end(self, connection: HotConnection, ask: Ask, facts: Mapping[str, Any], why: str) -> None:
        await restraint_service.end(connection, ask.id, why)
