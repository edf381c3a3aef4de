"""`drain_agent`: an agent gets no new tasks, finishes what it runs, and leaves.

The agent that the alert names (`agent_id`), else the one of its pool that failed most lately. It is never the last one
that works. There is no way back: an agent that was told to drain ends, and another, or the same one anew, registers.
So nothing is undone, and it is over at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from uuid import UUID

from pydantic import Field

from app.alerts.actions.base import ActionParams, Ask, Begun, NothingToDo
from app.core.db import HotConnection
from app.registry import draining

WINDOW_S = 900.0

# Attempts that the agent answers for: what was refused, returned or revoked is not counted.
_WORST = """
SELECT g.id, g.pool, count(*) FILTER (WHERE a.outcome = 'failed') AS failed, count(*) AS tried
FROM agents g JOIN attempts a ON a.agent_id = g.id
WHERE a.finished_at > clock_timestamp() - make_interval(secs => $2) AND a.counted AND g.pool = $1
  AND g.status IN ('idle', 'busy')
GROUP BY g.id, g.pool HAVING count(*) FILTER (WHERE a.outcome = 'failed') >= $3
ORDER BY (count(*) FILTER (WHERE a.outcome = 'failed'))::float8 / count(*) DESC, failed DESC, g.id LIMIT 1
"""
_NAMED = "SELECT id, pool FROM agents WHERE id = $1 AND status NOT IN ('draining', 'gone')"
_OTHERS = "SELECT count(*) FROM agents WHERE pool = $1 AND id <> $2 AND status IN ('idle', 'busy')"
# Two that drain in one pool stand in line, so that each sees what the other left.
_LOCK = "SELECT 1 FROM pools WHERE name = $1 FOR UPDATE"


class DrainAgentParams(ActionParams):
    min_failures: int = Field(3, ge=1, le=10_000, description="An agent with fewer failed attempts lately is kept.")


class DrainAgent:
    params_type: ClassVar[type[ActionParams]] = DrainAgentParams

    async def begin(self, connection: HotConnection, ask: Ask, params: DrainAgentParams) -> Begun:
        agent_id, pool, why = await self._choose(connection, ask, params)
        await connection.execute(_LOCK, pool)
        if not await connection.fetchval(_OTHERS, pool, agent_id):
            raise NothingToDo(f"Agent {agent_id} is the last of {pool!r} that works.")
        if not await draining.drain(connection, agent_id, f"alert {ask.rule}"):
            raise NothingToDo(f"Agent {agent_id} is leaving or gone already.")
        scope = {"pool": pool, "agent_id": str(agent_id)}
        return Begun(f"Agent {agent_id} of {pool!r} drains: {why}.", scope, lasts=False)

    async def end(self, connection: HotConnection, ask: Ask, facts: Mapping[str, Any], why: str) -> None:
        """Nothing lasts."""

    @staticmethod
    async def _choose(connection: HotConnection, ask: Ask, params: DrainAgentParams) -> tuple[UUID, str, str]:
        named = ask.labels.get("agent_id")
        if named is not None:
            row = await connection.fetchrow(_NAMED, _uuid(named))
            if row is None:
                raise NothingToDo(f"There is no agent {named} that could drain.")
            return row["id"], row["pool"], "the alert names it"
        if not ask.pool:
            raise NothingToDo("The alert names no agent and no pool.")
        row = await connection.fetchrow(_WORST, ask.pool, WINDOW_S, params.min_failures)
        if row is None:
            raise NothingToDo(f"No agent of {ask.pool!r} failed {params.min_failures} times in 15 minutes.")
        return row["id"], row["pool"], f"{row['failed']} of its last {row['tried']} attempts failed"


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise NothingToDo(f"{text[:100]!r} is no agent's id.") from None
