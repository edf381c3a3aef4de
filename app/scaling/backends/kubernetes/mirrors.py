"""What the cluster has of ours, as of now: Deployments and pods, and word of the pods that end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Any

from app.core.clock import Clock
from app.core.loop import Loop
from app.scaling.backends.base import BackendError
from app.scaling.backends.kubernetes import manifest, names, pods
from app.scaling.backends.kubernetes.client import Api
from app.scaling.backends.kubernetes.pods import Pod
from app.scaling.backends.kubernetes.roster import Roster
from app.scaling.backends.kubernetes.watch import FIRST_PAUSE_S, LONGEST_PAUSE_S, Mirror

type Json = dict[str, Any]

IDLE_S = 300.0
HINT_S = 0.25
"""What changes within it asks for one pass."""


class Mirrors:
    """Kept by tasks of their own between `open` and `close`.

    `on_change` is called when something changed that a pass may have to do with. An agent is taken from the registry as
    soon as its pod is gone, and gets nothing new as soon as its pod is told to end; passes do not have to come by.
    """

    def __init__(
        self,
        api: Api,
        clock: Clock,
        roster: Roster,
        instance: str,
        *,
        watch_s: float,
        timeout_s: float,
        on_change: Callable[[], None],
        pauses_s: tuple[float, float] = (FIRST_PAUSE_S, LONGEST_PAUSE_S),
    ) -> None:
        self._roster, self._on_change, self._timeout_s = roster, on_change, timeout_s
        self._asking: asyncio.TimerHandle | None = None
        self._parsed: dict[str, Pod] = {}
        self._by_home: dict[str, set[str]] = {}
        selector = manifest.selector(instance)

        def mirror(resource: str, changed: Callable[[Json | None, Json | None], None]) -> Mirror:
            return Mirror(api, clock, resource, selector, watch_s=watch_s, changed=changed, pauses_s=pauses_s)

        self._deployments = mirror("deployments", self._deployment_changed)
        self._pods = mirror("pods", self._pod_changed)
        self._tasks: list[asyncio.Task[None]] = []
        self._gone: dict[str, tuple[str, Pod]] = {}
        self._ending: dict[str, tuple[str, Pod]] = {}
        self._follow = Loop("kubernetes_pods", self._tell, interval_s=IDLE_S)

    def open(self) -> None:
        """Start to look."""
        self._tasks = [
            asyncio.create_task(mirror.run(), name=f"kubernetes:{resource}")
            for resource, mirror in (("deployments", self._deployments), ("pods", self._pods))
        ]
        self._follow.start()

    async def close(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._follow.stop()
        if self._asking is not None:
            self._asking.cancel()

    async def ready(self) -> None:
        """Wait until the cluster was read. Raises BackendError where it cannot be, or not any more."""
        for mirror in (self._deployments, self._pods):
            try:
                async with asyncio.timeout(self._timeout_s):
                    await mirror.settled.wait()
            except TimeoutError:
                raise BackendError("api_unreachable", "The Kubernetes API was not read yet.") from None
            if mirror.failure is not None:
                raise BackendError(mirror.failure.code, str(mirror.failure))

    @property
    def deployments(self) -> Mapping[str, Json]:
        """By name. Read them; never change one."""
        return self._deployments.objects

    def pods_of(self, deployment: str) -> list[Pod]:
        """Its pods, by name."""
        return [self._parsed[name] for name in sorted(self._by_home.get(deployment, ()))]

    def raw_pods_of(self, deployment: str) -> list[Json]:
        """The same, as the API has them."""
        return [self._pods.objects[name] for name in sorted(self._by_home.get(deployment, ()))]

    def has_pod(self, name: str) -> bool:
        """Whether there is one of ours in which something may run."""
        pod = self._parsed.get(name)
        return pod is not None and not pod.ended

    def told_of(self, names: Collection[str]) -> bool:
        """Whether the watch of pods says the same of all these as we know of them ourselves."""
        return all(map(self._pods.told, names))

    async def read_pods(self, pool: str) -> None:
        """Ask the API for the pool's pods, where a watch that went dumb would do harm. Raises ApiError."""
        key, value = "agent-type", names.label_value(pool)
        known = [
            name
            for name, item in self._pods.objects.items()
            if (item["metadata"].get("labels") or {}).get(key) == value
        ]
        await self._pods.read(f"{key}={value}", known)

    def put_deployment(self, item: Json) -> Json:
        """As a call of ours answered. The Deployment as it is known then."""
        return self._deployments.put(item)

    def put_pod(self, item: Json) -> None:
        self._pods.put(item)

    def _ask(self) -> None:
        """For a pass, soon: one for all that changes meanwhile."""
        if self._asking is None:
            self._asking = asyncio.get_running_loop().call_later(HINT_S, self._asked)

    def _asked(self) -> None:
        self._asking = None
        self._on_change()

    def _deployment_changed(self, before: Json | None, after: Json | None) -> None:
        if before is None or after is None or _facts(before) != _facts(after):
            self._ask()

    def _pod_changed(self, before: Json | None, after: Json | None) -> None:
        heard = after or before or {}
        was, now = self._index(heard["metadata"]["name"], after)
        if was is not None and not was.ended and (now is None or now.ended):
            self._gone[was.uid] = (_pool_of(heard), was)
            self._follow.wake()
        elif now is not None and now.ends_at is not None and (was is None or was.ends_at is None):
            self._ending[now.uid] = (_pool_of(heard), now)
            self._follow.wake()
        if was != now:
            self._ask()

    def _index(self, name: str, after: Json | None) -> tuple[Pod | None, Pod | None]:
        """The pod as it was and as it is: parsed once a change, not once a pass."""
        was, now = self._parsed.pop(name, None), None if after is None else pods.parse(after)
        if was is not None and (now is None or now.deployment != was.deployment):
            self._by_home[was.deployment].discard(name)
            if not self._by_home[was.deployment]:
                del self._by_home[was.deployment]
        if now is not None:
            self._parsed[name] = now
            self._by_home.setdefault(now.deployment, set()).add(name)
        return was, now

    async def _tell(self) -> float | None:
        """What was told is not told again; what could not be is."""
        for heard, tell in ((self._ending, self._roster.ending), (self._gone, self._roster.gone)):
            taken = dict(heard)
            if taken:
                await tell({pool for pool, _ in taken.values()}, [pod for _, pod in taken.values()])
            for uid in taken:
                del heard[uid]
        return None


def _pool_of(item: Json) -> str:
    return str((item["metadata"].get("annotations") or {}).get(manifest.POOL, ""))


def _facts(item: Json) -> object:
    """What of a Deployment matters to a pass."""
    metadata, status = item["metadata"], item.get("status") or {}
    said = [(one["type"], one["status"], one.get("message")) for one in status.get("conditions") or ()]
    seen = (status.get("observedGeneration"), status.get("updatedReplicas"), status.get("replicas"))
    return metadata.get("generation"), metadata.get("labels"), metadata.get("annotations"), seen, said
