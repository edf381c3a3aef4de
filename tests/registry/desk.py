"""A registry on a test's database, and the sentences its tests say about agents."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from app.auth.service import Authenticator
from app.core.db import Database
from app.registry import queries
from app.registry.addresses import AllowList
from app.registry.records import AgentRecord
from app.registry.service import Registry
from app.settings import AuthSettings
from tests.core.database import HandClock

POOL: dict[str, Any] = {
    "description": "", "skills": {}, "slots": 1, "balancer": "round_robin", "timeout_s": 60.0, "max_attempts": 3,
    "retry": {}, "scale": {"min": 0, "max": 9}, "launch": {"kind": "external"}, "input_schema": None,
    "output_schema": None,
}  # fmt: skip


class Desk:
    """One manager's registry."""

    def __init__(self, db: Database) -> None:
        self.db, clock = db, HandClock()
        authenticator = Authenticator(db, AuthSettings(pepper="p" * 32), clock)
        self.registry = Registry(
            db, authenticator, AllowList(["127.0.0.0/8"]), balancers=lambda: ["round_robin"],
            launches=("process", "kubernetes"), silent_after_s=60.0,
        )  # fmt: skip

    async def pool(self, name: str = "p", **fields: Any) -> None:
        await self.registry.put_pool(name, {**POOL, **fields})

    async def agent(self, port: int = 1, pool: str = "p", labels: dict[str, str] | None = None) -> AgentRecord:
        """A registered agent that works."""
        record, _ = await self.registry.register(
            pool, f"http://127.0.0.1:{port}", slots=None, weight=5.0, version="", labels=labels or {}
        )
        await self.registry.seen([record.id])
        return await self.read(record.id)

    async def read(self, agent_id: UUID) -> AgentRecord:
        found = await queries.agent(self.db, agent_id)
        assert found is not None
        return found

    async def status(self, agent_id: UUID) -> str:
        return (await self.read(agent_id)).status

    async def sql(self, statement: str, *args: Any) -> None:
        async with self.db.hot() as connection:
            await connection.execute(statement, *args)

    async def silent(self, agent_id: UUID, seconds: float) -> None:
        """The agent was last heard from so long ago."""
        await self.sql(
            """UPDATE agents SET last_seen_at = now() - make_interval(secs => $2), heartbeat_at = NULL,
            registered_at = now() - make_interval(secs => $2) WHERE id = $1""",
            agent_id,
            seconds,
        )
