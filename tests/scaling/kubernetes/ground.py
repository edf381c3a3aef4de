"""One manager with the Kubernetes backend over a cluster of our own, its loops ticked by hand."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from app.core.clock import Clock
from app.core.db import Database
from app.core.leader import Leader
from app.registry.fleet_wire import KubernetesLaunch
from app.registry.records import AgentRecord
from app.registry.view import RegistryView
from app.scaling.backends.base import Fleet
from app.scaling.backends.kubernetes import KubernetesBackend, manifest, names
from app.scaling.backends.kubernetes.mirrors import Mirrors
from app.scaling.loop import FleetLoop
from app.settings import KubernetesSettings, ScalingSettings
from tests.fakes.kubernetes import FakeCluster
from tests.registry.desk import Desk
from tests.support.waiting import until_async
from tests.tasks import queue_driver

NAMESPACE = "agents"
GRACE_S = 30.0
IMAGE = "acme/agents:1"
_ports = itertools.count(20_000)


class AheadClock(Clock):
    """The machine's clock, so many seconds ahead: what times an API server writes can be compared with."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.ahead_s)

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s

    def forward(self, seconds: float) -> None:
        self.ahead_s += seconds


class Ground(Desk):
    """`tick` is a pass of the fleet loop over what the backend knows by then; `turn` lets the cluster work, too."""

    def __init__(self, db: Database, cluster: FakeCluster, folder: Path, *, token: str = "", **settings: Any) -> None:
        super().__init__(db)
        self.cluster, self.clock = cluster, AheadClock()
        self.view = RegistryView(db)
        config = cluster.kubeconfig(folder / f"config-{next(_ports)}", token=token)
        given: dict[str, Any] = {
            "mode": "kubeconfig",
            "kubeconfig": str(config),
            "namespace": NAMESPACE,
            "request_timeout_s": 5.0,
        }
        self.settings = KubernetesSettings(**(given | settings))
        self.scaling = ScalingSettings(drain_grace_s=GRACE_S, manager_url="http://yard:8080")
        self.frozen = set[str]()
        self.backend = KubernetesBackend(
            db,
            self.clock,
            self.registry,
            self.view,
            self.settings,
            self.scaling,
            "yk_agents_key",
            frozen=self.frozen.__contains__,
            pauses_s=(0.01, 0.2),
        )
        leader = Leader(db, Clock(), f"kubernetes-{next(_ports)}", "me")  # each believes to lead
        self.loop = FleetLoop(db, self.clock, leader, self.view, self.backend)

    @property
    def mirrors(self) -> Mirrors:
        return self.backend._mirrors

    async def wish(
        self, replicas: int, name: str = "p", *, most: int = 9, grace_s: float | None = None, **launch: Any
    ) -> None:
        """A pool of so many replicas, defined as by the API."""
        made = KubernetesLaunch.model_validate({"kind": "kubernetes", "image": IMAGE, **launch})
        scale = {"min": 0, "max": 9, "drain_grace_s": grace_s}
        await self.pool(name, launch=made.model_dump(mode="json"), scale=scale)
        await self.sql("UPDATE pools SET desired = $2, updated_at = clock_timestamp() WHERE name = $1", name, replicas)

    async def want(self, replicas: int, name: str = "p") -> None:
        await self.sql("UPDATE pools SET desired = $2, updated_at = clock_timestamp() WHERE name = $1", name, replicas)

    async def caught_up(self) -> None:
        """Until the backend knows what the cluster has."""

        async def same() -> bool:
            same = self._known("Deployment") == self._there("Deployment") and self._known("Pod") == self._there("Pod")
            return same and self.mirrors.told_of(self.mirrors._pods.objects)

        await until_async(same, "the backend knows the cluster")

    def _known(self, kind: str) -> dict[str, str]:
        mirror = self.mirrors._deployments if kind == "Deployment" else self.mirrors._pods
        return {name: item["metadata"]["resourceVersion"] for name, item in mirror.objects.items()}

    def _there(self, kind: str) -> dict[str, str]:
        found = self.cluster.objects(kind, NAMESPACE, manifest.selector(self.settings.instance))
        return {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in found}

    async def tick(self) -> None:
        await self.caught_up()
        await self.view.refresh()
        await self.loop.tick()

    async def fleet(self, name: str = "p") -> Fleet:
        """A pass of one pool, and what it saw."""
        await self.caught_up()
        await self.view.refresh()
        return await self.backend.converge(name, self.view.pools.get(name))

    async def turn(self, times: int = 1) -> None:
        """A pass, then the cluster does its part and the agents in ready pods register."""
        for _ in range(times):
            await self.tick()
            await self.cluster.reconcile()
            await self.register()

    async def register(self) -> None:
        """As the agent in each ready pod does when it starts."""
        known = {agent.labels.get("pod") for agent in await self.agents()}
        for pod in self.pods():
            name = pod["metadata"]["name"]
            pool = pod["metadata"]["annotations"][manifest.POOL]
            if is_ready(pod) and name not in known and "deletionTimestamp" not in pod["metadata"]:
                await self.agent(next(_ports), pool, {"pod": name})

    async def agents(self) -> list[AgentRecord]:
        await self.view.refresh()
        return list(self.view.agents.values())

    async def agent_of(self, pod: str) -> UUID:
        return next(agent.id for agent in await self.agents() if agent.labels.get("pod") == pod)

    async def busy(self, pod: str, tasks: int = 1, pool: str = "p") -> None:
        """The pod's agent runs so many tasks."""
        await queue_driver.insert(self.db, *queue_driver.tasks(tasks, pool))
        started = await queue_driver.claim(self.db, tasks, pool, agent=await self.agent_of(pod))
        assert len(started) == tasks

    async def ends(self, pod: str) -> None:
        """All that the pod's agent runs ends well."""
        await self.sql(
            "UPDATE tasks SET status = 'succeeded', finished_at = now() WHERE status = 'running' AND agent_id = $1",
            await self.agent_of(pod),
        )

    async def task_states(self) -> list[tuple[str, int]]:
        """(status, attempt) of all tasks."""
        async with self.db.hot() as connection:
            rows = await connection.fetch("SELECT status, attempt FROM tasks ORDER BY id")
        return [(row["status"], row["attempt"]) for row in rows]

    async def conditions(self, name: str = "p") -> dict[str, str]:
        await self.view.refresh()
        return {item["code"]: item["message"] for item in self.view.pools[name].conditions}

    def home(self, name: str = "p") -> str:
        return names.deployment_name(self.settings.instance, name)

    def deployment(self, name: str = "p") -> dict[str, Any]:
        found = self.cluster.get("Deployment", self.home(name), NAMESPACE)
        assert found is not None
        return found

    def replicas(self, name: str = "p") -> int:
        return int(self.deployment(name)["spec"]["replicas"])

    def pods(self) -> list[dict[str, Any]]:
        return self.cluster.objects("Pod", NAMESPACE)

    def pod_names(self) -> list[str]:
        """Of those that were not told to end."""
        return sorted(item["metadata"]["name"] for item in self.pods() if "deletionTimestamp" not in item["metadata"])


def is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


@asynccontextmanager
async def ground(db: Database, cluster: FakeCluster, folder: Path, **settings: Any) -> AsyncIterator[Ground]:
    """Opened, and closed at the end."""
    made = Ground(db, cluster, folder, **settings)
    await made.backend.open()
    try:
        yield made
    finally:
        await made.backend.close()
