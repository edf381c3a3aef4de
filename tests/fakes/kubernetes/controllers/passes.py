"""All controllers in their order: one pass, or as many as it takes until nothing changes."""

from __future__ import annotations

from collections.abc import Callable

from tests.fakes.kubernetes.controllers.deployments import Deployments
from tests.fakes.kubernetes.controllers.garbage import Garbage
from tests.fakes.kubernetes.controllers.images import Images
from tests.fakes.kubernetes.controllers.jobs import Jobs
from tests.fakes.kubernetes.controllers.kubelet import Kubelet, Nodes
from tests.fakes.kubernetes.controllers.replicasets import ReplicaSets
from tests.fakes.kubernetes.controllers.scheduler import Scheduler
from tests.fakes.kubernetes.controllers.statefulsets import StatefulSets
from tests.fakes.kubernetes.controllers.upkeep import Upkeep
from tests.fakes.kubernetes.controllers.world import World
from tests.fakes.kubernetes.writes import Writes


class Passes:
    def __init__(self, writes: Writes, images: Images, hook: Callable[[], Kubelet]) -> None:
        self._world = World(writes)
        self.deployments = Deployments()
        self.nodes = Nodes(images, hook)
        self._stages = (
            Garbage(),
            self.deployments,
            ReplicaSets(),
            StatefulSets(),
            Jobs(),
            Scheduler(images),
        )
        self._last = (ReplicaSets(), self.deployments, Upkeep())

    async def step(self) -> bool:
        """One pass of everything; whether it changed anything."""
        store = self._world.writes.store
        before = store.version
        with store.lock:
            for stage in self._stages:
                stage.run(self._world)
        await self.nodes.run(self._world)
        with store.lock:
            for last in self._last:
                last.run(self._world)
        return store.version != before

    async def settle(self, limit: int) -> int:
        """Passes until nothing changes; returns how many. Raises TimeoutError where it never rests."""
        for number in range(1, limit + 1):
            if not await self.step():
                return number
        raise TimeoutError(f"the cluster does not come to rest in {limit} passes")
