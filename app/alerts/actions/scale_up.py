"""`scale_up`: the pool's floor is raised for a while. The autoscaler does the rest, within the pool's `max`."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any, ClassVar

from pydantic import Field

from app.alerts.actions.base import ActionParams, Ask, Begun, NothingToDo
from app.core.db import HotConnection
from app.scaling import raised

_POOL = """
SELECT desired, launch->>'kind' AS kind, (scale->>'max')::int AS most, COALESCE(scale->>'policy', '') AS policy
FROM pools WHERE name = $1
"""


class ScaleUpParams(ActionParams):
    """By so many replicas or this factor, whichever is more; the floor counts from what was wanted at that moment."""

    by_replicas: int = Field(1, ge=0, le=1000, description="So many more replicas.")
    factor: float = Field(1.0, ge=1, le=10, description="So many times the replicas there are.")


class ScaleUp:
    params_type: ClassVar[type[ActionParams]] = ScaleUpParams

    async def begin(self, connection: HotConnection, ask: Ask, params: ScaleUpParams) -> Begun:
        row = await connection.fetchrow(_POOL, ask.pool)
        if row is None:
            raise NothingToDo(f"There is no pool {ask.pool!r} to scale." if ask.pool else "The alert names no pool.")
        if row["kind"] == "external":
            raise NothingToDo(f"The agents of {ask.pool!r} are started by somebody else (launch.kind is external).")
        if row["policy"] == "manual":
            raise NothingToDo(f"The pool {ask.pool!r} is scaled by hand.")
        floor = floor_of(row["desired"], row["most"], params)
        if floor <= row["desired"]:
            raise NothingToDo(f"The pool {ask.pool!r} has all the replicas it may have ({row['most']}).")
        await raised.raise_floor(connection, ask.id, ask.pool, floor, ask.expires_at)
        detail = f"At least {floor} replicas of {ask.pool!r} instead of {row['desired']}."
        return Begun(detail, {"pool": ask.pool}, facts={"floor": floor, "before": row["desired"]})

    async def end(self, connection: HotConnection, ask: Ask, facts: Mapping[str, Any], why: str) -> None:
        await raised.end(connection, ask.id)


def floor_of(desired: int, most: int, params: ScaleUpParams) -> int:
    """The floor that it raises a pool's to."""
    wanted = max(desired + params.by_replicas, ceil(desired * params.factor - 1e-9))
    return min(most, wanted)
