"""`immediate_intervention`: emergency mode for the alert's pool, or for the installation."""

from __future__ import annotations

from collections.abc import Mapping
from math import floor
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from app.alerts.actions.base import ActionParams, Ask, Begun, NothingToDo
from app.core.db import HotConnection
from app.limits import restraint_service

_SLOTS = """
SELECT COALESCE(sum(slots), 0) FROM agents WHERE pool = $1 AND status IN ('idle', 'busy')
"""


class InterventionParams(ActionParams):
    """What emergency mode does. Null: it does not do that."""

    scope: Literal["pool", "installation"] = Field("pool", description="The alert's pool, or all pools.")
    min_priority: int | None = Field(0, ge=-1000, le=1001, description="What is below is not taken in or started.")
    max_share: float | None = Field(
        0.5,
        gt=0,
        le=1,
        description="So much of a pool's slots work at once: of those it has when this begins; of all "
        "pools, of those that each has now.",
    )
    max_running: int | None = Field(None, ge=1, le=1_000_000, description="So many tasks of a pool run at once.")
    require_approval: bool = Field(True, description="People decide what policies would let pass.")

    @model_validator(mode="after")
    def _something(self) -> InterventionParams:
        bounds = (self.min_priority, self.max_share, self.max_running)
        if all(bound is None for bound in bounds) and not self.require_approval:
            raise ValueError("does nothing: set min_priority, max_share, max_running or require_approval")
        return self


class ImmediateIntervention:
    params_type: ClassVar[type[ActionParams]] = InterventionParams

    async def begin(self, connection: HotConnection, ask: Ask, params: InterventionParams) -> Begun:
        pool = ask.pool if params.scope == "pool" else None
        if pool == "":
            raise NothingToDo("The alert names no pool; with the scope `installation` it holds all of them back.")
        if pool is not None:
            params = counted(params, int(await connection.fetchval(_SLOTS, pool)))
        await restraint_service.begin(
            connection,
            ask.id,
            "emergency",
            pool,
            params.model_dump(include={"min_priority", "max_share", "max_running", "require_approval"}),
            reason=f"the alert {ask.rule} fires",
            source="alert",
            by=ask.by,
            expires_at=ask.expires_at,
        )
        of = "all pools" if pool is None else repr(pool)
        return Begun(f"Emergency mode of {of}: {told(params)}.", {} if pool is None else {"pool": pool})

    async def end(self, connection: HotConnection, ask: Ask, facts: Mapping[str, Any], why: str) -> None:
        await restraint_service.end(connection, ask.id, why)


def counted(params: InterventionParams, slots: int) -> InterventionParams:
    """The share as so many of a pool's slots, at least one: agents that start meanwhile do not undo it. While there are
    none there is nothing to count, and it stays a share."""
    if params.max_share is None or slots == 0:
        return params
    most = max(1, floor(params.max_share * slots + 1e-9))
    return params.model_copy(update={"max_share": None, "max_running": min(most, params.max_running or most)})


def told(params: InterventionParams) -> str:
    """What it does, in words."""
    parts = []
    if params.min_priority is not None:
        parts.append(f"nothing below priority {params.min_priority}")
    if params.max_share is not None:
        parts.append(f"{params.max_share:.3g} of the slots")
    if params.max_running is not None:
        parts.append(f"{params.max_running} tasks at once")
    if params.require_approval:
        parts.append("people decide what policies would let pass")
    return ", ".join(parts)
