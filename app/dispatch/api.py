"""`/v1/pools/{pool}/balancer` and `/v1/pools/{pool}/attempts`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query

from app.auth.callers import Caller
from app.auth.edge import Edge
from app.core.clock import Clock
from app.core.db import Database
from app.core.errors import BadPageToken
from app.core.http import PageToken, StrictRoute, encode_page_token, problems, resume_after
from app.dispatch import wire
from app.dispatch.membership import Membership
from app.dispatch.slots import SlotTable
from app.dispatch.strategies import Strategies, Strategy
from app.registry.api import PoolName
from app.registry.service import PoolNotFound
from app.registry.view import RegistryView
from app.tasks import queries
from app.tasks.queries import AttemptRecord

DEFAULT_SINCE = timedelta(hours=1)

AgentCount = Annotated[int, Query(ge=0, le=10_000, description="Show so many agents at most.", examples=[100])]
Since = Annotated[
    datetime | None,
    Query(description="Ended at or after this time; by default the last hour.", examples=["2026-11-20T20:00:00Z"]),
]
AttemptCount = Annotated[int, Query(ge=1, le=5000, examples=[1000])]


class Desk:
    """Reads what the routes show."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        view: RegistryView,
        membership: Membership,
        slots: SlotTable,
        strategies: Strategies,
    ) -> None:
        self.db, self.clock, self.view = db, clock, view
        self._membership, self._slots, self._strategies = membership, slots, strategies

    async def strategy(self, pool: str) -> Strategy:
        """The pool's; raises PoolNotFound."""
        if pool not in self._strategies.pools:
            await self.view.refresh()  # another manager may have defined it a moment ago
        found = self._strategies.pools.get(pool)
        if found is None:
            raise PoolNotFound(f"There is no pool {pool!r}.")
        return found

    async def balancer(self, pool: str, agents: int, *, name_tasks: bool) -> wire.BalancerOut:
        strategy, now = await self.strategy(pool), self.clock.monotonic()
        learned, choices = strategy.shown(now)
        known = learned.get("agents", {})
        ejected = strategy.ejected(now)
        ids = sorted(strategy.members, key=lambda agent_id: (agent_id not in ejected, agent_id))
        return wire.BalancerOut(
            pool=pool,
            strategy=strategy.name,
            runs=strategy.runs,
            manager_id=self._membership.me,
            managers=max(1, len(self._membership.live)),
            choices_deferred=strategy.deferrals,
            errors=strategy.guarded.errors,
            last_error=strategy.guarded.last_error,
            agents=[self._agent(agent_id, known.get(agent_id, {}), ejected) for agent_id in ids[:agents]],
            agents_total=len(ids),
            types=learned.get("types", {}),
            last_choices=[self._choice(choice, name_tasks) for choice in choices],
        )

    def _agent(
        self, agent_id: str, learned: Mapping[str, Any], ejected: Mapping[str, tuple[float, str]]
    ) -> wire.BalancedAgentOut:
        seen = self._slots.view(agent_id)
        left_s, reason = ejected.get(agent_id, (None, None))
        return wire.BalancedAgentOut(
            id=agent_id,
            version=seen.version if seen else "",
            slots=seen.slots if seen else 0,
            in_flight=self._slots.in_flight(agent_id),
            ejected_s=left_s,
            ejected_reason=reason,
            learned=dict(learned),
        )

    def _choice(self, choice: Mapping[str, Any], name_task: bool) -> dict[str, Any]:
        """The choice with its time in the clock of the wall, and, as tasks of all tenants are here, perhaps no id."""
        at, task = choice.get("at"), choice.get("task")
        if isinstance(task, dict) and not name_task:
            choice = {**choice, "task": {**task, "id": None}}
        if not isinstance(at, float | int):
            return dict(choice)
        ago = timedelta(seconds=max(0.0, self.clock.monotonic() - at))
        return {**choice, "at": self.clock.now() - ago}

    def attempt(self, attempt: AttemptRecord, tenant: str) -> wire.AttemptOut:
        """As the caller of that tenant may see it."""
        agent = None if attempt.agent_id is None else self.view.agents.get(attempt.agent_id)
        names = [name for name in wire.AttemptOut.model_fields if name != "version"]
        values = {name: getattr(attempt, name) for name in names}
        if attempt.tenant != tenant:
            values["task_id"] = values["thread_id"] = None
        return wire.AttemptOut(**values, version=agent.version if agent else None)


def router(desk: Desk, edge: Edge) -> APIRouter:
    api = APIRouter(prefix="/v1/pools", tags=["pools"], route_class=StrictRoute)

    @api.get("/{pool}/balancer", responses=problems(401, 403, 404, 422, 503), summary="Explain a pool's balancer")
    async def balancer(
        pool: PoolName, agents: AgentCount = 100, caller: Caller = edge.require("pools:admin")
    ) -> wire.BalancerOut:
        """What it has learned of each agent, who is ejected, and the last choices with their scores."""
        return await desk.balancer(pool, agents, name_tasks=caller.may("admin"))

    @api.get("/{pool}/attempts", responses=problems(400, 401, 403, 404, 422, 503), summary="List ended attempts")
    async def attempts(
        pool: PoolName,
        since: Since = None,
        page_size: AttemptCount = 1000,
        page_token: PageToken = None,
        caller: Caller = edge.require("pools:admin"),
    ) -> wire.AttemptPage:
        """Of all tenants, oldest first, without payloads and results: the record that `yard simulate` replays."""
        await desk.strategy(pool)
        after = _position(resume_after(page_token, "attempts")) if page_token else None
        start = desk.clock.now() - DEFAULT_SINCE if since is None else _time(since)
        found = await queries.attempts_since(desk.db, pool, after or (start, UUID(int=0)), page_size + 1)
        page = found[:page_size]
        token = None
        if len(found) > page_size:
            token = encode_page_token("attempts", f"{page[-1].finished_at.isoformat()} {page[-1].task_id}")
        return wire.AttemptPage(items=[desk.attempt(item, caller.tenant) for item in page], next_page_token=token)

    return api


def _time(value: datetime) -> datetime:
    """In UTC, which a time without a zone is taken to be; the first or last moment there is instead of one beyond."""
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC) if value.year == 1 else datetime.max.replace(tzinfo=UTC)


def _position(text: str) -> tuple[datetime, UUID]:
    """Where the last page ended."""
    at, _, task_id = text.partition(" ")
    try:
        return _time(datetime.fromisoformat(at)), UUID(task_id)
    except ValueError:
        raise BadPageToken("The page token is damaged.") from None
