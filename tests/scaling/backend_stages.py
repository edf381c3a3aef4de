"""Places where backends run for the contract suite: each can want, pass, and let its platform work."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Protocol
from uuid import UUID

from app.core.clock import Clock
from app.core.db import Database
from app.registry.view import RegistryView
from app.scaling.backends.base import Backend, Fleet
from app.scaling.backends.process import ProcessBackend
from app.settings import ScalingSettings
from tests.fakes.kubernetes import FakeCluster, Image
from tests.registry.desk import Desk
from tests.scaling.kubernetes.ground import NAMESPACE, Ground, ground
from tests.scaling.test_launcher import ASLEEP, Yardhand
from tests.tasks import queue_driver

POOL = "p"
_ports = itertools.count(30_000)


class Stage(Protocol):
    """One backend and its platform. Replicas are named by strings."""

    desk: Desk
    view: RegistryView
    backend: Backend

    async def want(self, replicas: int, *, broken: bool = False, grace_s: float = 600.0) -> None:
        """The pool is launched by this backend, with so many replicas; `broken`: such as cannot start."""

    async def released(self) -> None:
        """Somebody else launches the pool from now on."""

    async def fleet(self) -> Fleet:
        """One pass."""

    async def started(self) -> None:
        """The platform does its part."""

    async def registered(self) -> None:
        """The agents of new replicas register."""

    async def members(self) -> list[str]:
        """Replicas that live."""

    async def agent_of(self, member: str) -> UUID:
        """Its agent."""

    async def kill(self, member: str) -> None:
        """It ends without a word."""

    async def twin(self) -> Backend:
        """Another manager's backend on the same platform, opened; closed with the stage."""


class KubernetesStage:
    """On the fake API."""

    def __init__(self, yard: Ground, twins: Callable[[], asyncio.Future[Ground]]) -> None:
        self.desk: Desk = yard
        self.view, self._yard, self._twins = yard.view, yard, twins
        self.backend: Backend = yard.backend

    async def want(self, replicas: int, *, broken: bool = False, grace_s: float = 600.0) -> None:
        self._yard.cluster.images["bad:1"] = Image.never_starts()
        await self._yard.wish(replicas, POOL, grace_s=grace_s, image="bad:1" if broken else "good:1")

    async def released(self) -> None:
        await self._yard.pool(POOL, launch={"kind": "external"})

    async def fleet(self) -> Fleet:
        await self._yard.caught_up()
        return await converged(self._yard.view, self.backend)

    async def started(self) -> None:
        await self._yard.cluster.reconcile()

    async def registered(self) -> None:
        await self._yard.register()

    async def members(self) -> list[str]:
        return self._yard.pod_names()

    async def agent_of(self, member: str) -> UUID:
        return await self._yard.agent_of(member)

    async def kill(self, member: str) -> None:
        self._yard.cluster.delete("Pod", member, NAMESPACE, gracePeriodSeconds=0)

    async def twin(self) -> Backend:
        other = await self._twins()
        await other.caught_up()
        return other.backend


class ProcessStage:
    """Real processes of this machine; their agents are registered in their stead."""

    def __init__(self, db: Database, folder: Path) -> None:
        self.desk = Desk(db)
        self.view = RegistryView(db)
        self.launcher = Yardhand(folder, "http://127.0.0.1:1", "key")
        self.backend: Backend = self._made()

    def _made(self) -> ProcessBackend:
        settings = ScalingSettings()
        return ProcessBackend(self.desk.db, Clock(), self.desk.registry, self.view, self.launcher, settings)

    async def want(self, replicas: int, *, broken: bool = False, grace_s: float = 600.0) -> None:
        command = ["/nowhere/agent"] if broken else ASLEEP
        launch = {"kind": "process", "command": command, "env": {}}
        await self.desk.pool(POOL, launch=launch, scale={"min": 0, "max": 9, "drain_grace_s": grace_s})
        await self.desk.sql("UPDATE pools SET desired = $1, updated_at = clock_timestamp()", replicas)

    async def released(self) -> None:
        await self.desk.pool(POOL, launch={"kind": "external"})

    async def fleet(self) -> Fleet:
        return await converged(self.view, self.backend)

    async def started(self) -> None:
        """They run as soon as they are launched."""

    async def registered(self) -> None:
        await self.view.refresh()
        known = {agent.labels["replica"] for agent in self.view.agents.values()}
        for member in await self.members():
            if member not in known:
                await self.desk.agent(next(_ports), POOL, {"replica": member})

    async def members(self) -> list[str]:
        async with self.desk.db.hot() as connection:
            rows = await connection.fetch("SELECT id, pid, pid_started FROM replicas ORDER BY id")
        return [str(row["id"]) for row in rows if self.launcher.alive(row["pid"], row["pid_started"])]

    async def agent_of(self, member: str) -> UUID:
        await self.view.refresh()
        return next(agent.id for agent in self.view.agents.values() if agent.labels["replica"] == member)

    async def kill(self, member: str) -> None:
        async with self.desk.db.hot() as connection:
            row = await connection.fetchrow("SELECT pid, pid_started FROM replicas WHERE id = $1", UUID(member))
        assert row is not None
        self.launcher.kill(row["pid"], row["pid_started"])
        await self.desk.sql("UPDATE replicas SET start_after = now()")

    async def twin(self) -> Backend:
        return self._made()


async def converged(view: RegistryView, backend: Backend) -> Fleet:
    """One pass of the pool, as the fleet loop makes it."""
    await view.refresh()
    pool = view.pools.get(POOL)
    mine = pool is not None and pool.launch["kind"] == backend.kind
    return await backend.converge(POOL, pool if mine else None)


async def work(stage: Stage) -> None:
    """The platform starts what is new, and its agents register."""
    await stage.started()
    await stage.registered()


async def busy(stage: Stage, member: str) -> None:
    """Its agent runs a task."""
    await queue_driver.insert(stage.desk.db, queue_driver.task(POOL))
    assert await queue_driver.claim(stage.desk.db, 1, POOL, agent=await stage.agent_of(member))


async def ended(stage: Stage, member: str) -> None:
    """What it runs ends well."""
    await stage.desk.sql(
        "UPDATE tasks SET status = 'succeeded', finished_at = now() WHERE status = 'running' AND agent_id = $1",
        await stage.agent_of(member),
    )


async def tasks(stage: Stage) -> list[tuple[str, int]]:
    """(status, attempt) of all tasks."""
    async with stage.desk.db.hot() as connection:
        rows = await connection.fetch("SELECT status, attempt FROM tasks ORDER BY id")
    return [(row["status"], row["attempt"]) for row in rows]


@asynccontextmanager
async def process_stage(db: Database, folder: Path) -> AsyncIterator[Stage]:
    stage = ProcessStage(db, folder)
    await stage.backend.open()
    yield stage
    await stage.backend.close()
    await stage.backend.end_all()
    stage.launcher.end_all()


@asynccontextmanager
async def kubernetes_stage(db: Database, folder: Path) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(FakeCluster(namespaces=("default", NAMESPACE)))
        yard = await stack.enter_async_context(ground(db, cluster, folder))

        def twins() -> asyncio.Future[Ground]:
            return asyncio.ensure_future(stack.enter_async_context(ground(db, cluster, folder)))

        yield KubernetesStage(yard, twins)


STAGES = {"process": process_stage, "kubernetes": kubernetes_stage}
