"""Agents and the pods they are in: read from the tables, drained, evicted, and gone with their pod."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit
from uuid import UUID

import structlog

from app.core.db import Database
from app.registry.records import WORKING
from app.registry.service import ALIVE, Registry
from app.registry.view import RegistryView
from app.scaling.backends.kubernetes.choice import Worker
from app.scaling.backends.kubernetes.pods import Pod

log = structlog.get_logger()

type Evict = Callable[[Database, Collection[UUID], str], Awaitable[int]]

LABEL = "pod"
NEW_S = 60.0
"""A younger agent may be in a pod of which we have not heard yet."""

# Those that are gone are of interest while a task of theirs still runs: their pod must not end before it.
_AGENTS = """
WITH busy AS (
  SELECT agent_id, count(*) AS n FROM tasks WHERE status = 'running' AND agent_id IS NOT NULL GROUP BY 1
)
SELECT a.id, a.url, a.labels->>'pod' AS pod, a.status, COALESCE(b.n, 0)::int AS running,
  extract(epoch FROM a.registered_at)::float8 AS since,
  extract(epoch FROM clock_timestamp() - a.registered_at)::float8 AS age_s
FROM agents a LEFT JOIN busy b ON b.agent_id = a.id
WHERE a.pool = $1 AND (a.status <> 'gone' OR b.n > 0)
ORDER BY a.id
"""
_IN_PODS = "SELECT id, url, labels->>'pod' AS pod FROM agents WHERE status <> 'gone' AND pool = ANY($1) ORDER BY id"


@dataclass(frozen=True, slots=True)
class Occupant:
    """An agent of a Kubernetes pool. `running` tasks; seconds since it registered, and when that was."""

    id: UUID
    pod: str | None
    host: str
    status: str
    running: int
    since: float
    age_s: float


class Seats:
    """Who is in which pod: by the label that an agent gave itself; without one, by its address."""

    def __init__(self, occupants: Iterable[Occupant]) -> None:
        self._by_name: dict[str, list[Occupant]] = {}
        self._by_host: dict[str, list[Occupant]] = {}
        for item in occupants:
            where, key = (self._by_name, item.pod) if item.pod else (self._by_host, item.host)
            where.setdefault(key, []).append(item)

    def inside(self, pod: Pod) -> list[Occupant]:
        at_address = self._by_host.get(pod.ip, ()) if pod.ip else ()
        return [*self._by_name.get(pod.name, ()), *at_address]

    def of(self, pods: Iterable[Pod]) -> list[Occupant]:
        """In any of them."""
        return [item for pod in pods for item in self.inside(pod)]


class Roster:
    """Verbs on the agents of pods."""

    def __init__(self, db: Database, registry: Registry, view: RegistryView, evict: Evict) -> None:
        self._db, self._registry, self._view, self._evict = db, registry, view, evict

    async def occupants(self, pool: str) -> list[Occupant]:
        """The pool's agents, those that are gone but still run something included."""
        async with self._db.hot() as connection:
            rows = await connection.fetch(_AGENTS, pool)
        return [
            Occupant(
                row["id"], row["pod"], _host(row["url"]), row["status"], row["running"], row["since"], row["age_s"]
            )
            for row in rows
        ]

    def workers(self, pods: Iterable[Pod], occupants: Sequence[Occupant]) -> list[Worker]:
        """The pods, each with its agent."""
        seats = Seats(occupants)
        return [self._worker(pod, seats.inside(pod)) for pod in pods]

    def _worker(self, pod: Pod, inside: Sequence[Occupant]) -> Worker:
        running = sum(item.running for item in inside)
        living = [item for item in inside if item.status != "gone"]
        if not living:
            return Worker(pod, running=running)
        agent = max(living, key=lambda item: (item.since, item.id.int))
        known = self._view.agents.get(agent.id)
        works = agent.status in WORKING and not (known is not None and known.stopped)
        return Worker(pod, agent.id, agent.status, works, running, agent.since)

    async def drain(self, agent_ids: Sequence[UUID], why: str) -> None:
        """No new tasks for them."""
        if agent_ids and await self._registry.set_status(agent_ids, "draining", why, only_from=ALIVE):
            await self._view.refresh()

    async def evict(self, pods: Collection[Pod], occupants: Sequence[Occupant], why: str) -> None:
        """Return what runs in these pods to the queue, uncounted."""
        ids = [item.id for item in Seats(occupants).of(pods) if item.running]
        if ids:
            await self._evict(self._db, ids, why)

    async def lost(self, missing: Sequence[Occupant]) -> None:
        """They are gone with their pods, and what they ran is not waited for."""
        await self._gone([item.id for item in missing])

    async def gone(self, pools: Collection[str], pods: Sequence[Pod]) -> None:
        """These pods are no more, so their agents are not either: what they ran is queued again, uncounted."""
        await self._gone([item.id for item in (await self._seats(pools)).of(pods)])

    async def ending(self, pools: Collection[str], pods: Sequence[Pod]) -> None:
        """These pods were told to end."""
        ids = [item.id for item in (await self._seats(pools)).of(pods)]
        await self.drain(ids, "its pod was told to end")

    async def _seats(self, pools: Collection[str]) -> Seats:
        async with self._db.hot() as connection:
            rows = await connection.fetch(_IN_PODS, sorted(pools))
        return Seats(Occupant(row["id"], row["pod"], _host(row["url"]), "", 0, 0.0, 0.0) for row in rows)

    async def _gone(self, agent_ids: Sequence[UUID]) -> None:
        if not agent_ids:
            return
        moved = await self._registry.set_status(agent_ids, "gone", "its pod is gone", only_from=(*ALIVE, "draining"))
        if moved:
            log.info("agents_gone_with_pods", agents=[str(agent_id) for agent_id in moved])
            await self._view.refresh()
        await self._evict(self._db, agent_ids, "its pod is gone")


def missing(occupants: Iterable[Occupant], has_pod: Callable[[str], bool]) -> list[Occupant]:
    """Agents that name a pod that there is not."""
    return [item for item in occupants if item.pod and item.age_s >= NEW_S and not has_pod(item.pod)]


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
