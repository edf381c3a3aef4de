"""Managers of this process that share a database and a Redis, for what is learned in one and needed in another."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import httpx
import redis.asyncio as redis

from app.dispatch.balancers.base import Outcome, TaskView
from app.dispatch.learning import KEY
from app.settings import DispatchSettings
from app.wiring import Yard
from tests.conftest import running_app, settings_for
from tests.support.service import Backing

POOL = "echo"
RESULTS = 40
# They meet soon and stay together: a machine that stalls for seconds must not part them.
QUICK = DispatchSettings(grace_s=1.0, lease_s=60.0, heartbeat_interval_s=0.2)


@dataclass
class Twin:
    """A manager of this process, and an admin's client of it."""

    client: httpx.AsyncClient
    yard: Yard

    def teach(self, agent_id: str, seconds: float, results: int = RESULTS, ok: bool = True) -> None:
        """As if this manager had seen so many attempts on the agent."""
        agent = self.yard.view.agents[UUID(agent_id)]
        for number in range(results):
            self.yard.placer.finished(POOL, agent, TaskView(f"{uuid4()}-{number}", "work"), Outcome(ok, seconds))

    async def shown(self) -> dict[str, Any]:
        answer = await self.client.get(f"/v1/pools/{POOL}/balancer")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def samples(self) -> float:
        """Attempts at `work` that it knows of, from all managers."""
        types = (await self.shown())["types"].get("work", {})
        return float(sum(cell["samples"] for cell in types.values()))

    async def knows(self, count: int) -> bool:
        """Whether its balancer has heard of so many agents."""
        answer = await self.client.get(f"/v1/pools/{POOL}/balancer")
        return answer.status_code == 200 and bool(answer.json()["agents_total"] == count)


class Two:
    """Two managers on one database and one Redis, ticked by hand as well as by their loops."""

    def __init__(self, first: Twin, second: Twin, redis_url: str, agents: list[str]) -> None:
        self.first, self.second, self.agents = first, second, agents
        self.redis = redis.Redis.from_url(redis_url)

    @property
    def key(self) -> str:
        return KEY.format(pool=POOL)

    async def tick(self) -> None:
        """One exchange: what the first shares is there when the second reads, and the other way round."""
        for twin in (self.first, self.second, self.first):
            await twin.yard.learning.tick()


async def twin(stack: AsyncExitStack, backing: Backing, **sections: Any) -> Twin:
    settings = settings_for(backing, dispatch=QUICK, **sections)
    return Twin(*await stack.enter_async_context(running_app(settings, backing.admin_key)))
