"""The health loop: ask `/health` where heartbeats are missing, fail the silent, welcome those that answer again.

A failed agent is asked ever more rarely, and after `failed_retention_s` it is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import structlog

from app.core.db import Database
from app.core.leader import Leader
from app.registry import queries
from app.registry.records import AgentRecord
from app.registry.service import Registry
from app.settings import RegistrySettings

log = structlog.get_logger()

BATCH = 500

type Probe = Callable[[AgentRecord], Awaitable[bool]]
"""Whether the agent answers `/health`; does not raise."""


class HealthLoop:
    """One pass: probe the quiet agents, note who answered, fail who has been silent too long."""

    def __init__(
        self, db: Database, registry: Registry, leader: Leader, probe: Probe, settings: RegistrySettings
    ) -> None:
        self._db, self._registry, self._leader = db, registry, leader
        self._probe, self._settings = probe, settings

    async def tick(self) -> float | None:
        """One batch. A full one is followed by the next at once: who was just asked is not due, so that has an end."""
        if not await self._leader.leads():
            return None
        settings = self._settings
        missed_s = min(settings.silent_after_s / 2, 1.5 * settings.heartbeat_interval_s + settings.flush_interval_s)
        quiet = await queries.to_probe(self._db, settings.probe_interval_s, missed_s, BATCH)
        if quiet:
            await self._registry.probed([agent.id for agent in quiet])
            answered = await self._ask(quiet)
            if answered:
                await self._registry.seen(list(answered))
            await self._fail([agent for agent in quiet if agent.id not in answered])
        await self._retire()
        return 0.0 if len(quiet) == BATCH else None

    async def _retire(self) -> None:
        for agent_id in await self._registry.retire_failed(self._settings.failed_retention_s):
            log.warning("agent_gone", agent_id=str(agent_id), reason="failed for too long")
        await self._registry.forget_gone(self._settings.gone_retention_s)

    async def _ask(self, quiet: Sequence[AgentRecord]) -> set[UUID]:
        """Who answered."""
        gate = asyncio.Semaphore(self._settings.probe_concurrency)

        async def one(agent: AgentRecord) -> bool:
            async with gate:
                return await self._probe(agent)

        answers = await asyncio.gather(*(one(agent) for agent in quiet))
        return {agent.id for agent, answered in zip(quiet, answers, strict=True) if answered}

    async def _fail(self, silent: Sequence[AgentRecord]) -> None:
        if not silent:
            return
        ids, limit = [agent.id for agent in silent], self._settings.silent_after_s
        failed = await self._registry.set_status(
            ids,
            "failed",
            f"silent for {limit:g} s and not answering /health",
            only_from=("starting", "idle", "busy", "maintenance"),
            quiet_s=limit,
        )
        gone = await self._registry.set_status(
            ids, "gone", "silent while draining", only_from=("draining",), quiet_s=limit
        )
        for agent_id in failed:
            log.warning("agent_failed", agent_id=str(agent_id), silent_s=limit)
        for agent_id in gone:
            log.info("agent_gone", agent_id=str(agent_id))
