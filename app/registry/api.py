"""`/v1/pools` and `/v1/agents`."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

import structlog
from fastapi import APIRouter, Path, Query, Request, Response

from app.auth.callers import Caller
from app.auth.edge import Edge
from app.auth.service import Forbidden
from app.core.db import Database
from app.core.errors import BadPageToken
from app.core.http import (
    JsonResponse,
    PageSize,
    PageToken,
    StrictRoute,
    encode_page_token,
    problems,
    quick,
    resume_after,
    validated,
)
from app.registry import fleet_wire, queries, wire
from app.registry.heartbeats import Heartbeats
from app.registry.records import AgentRecord, PoolRecord
from app.registry.service import AgentNotFound, PoolNotFound, Registry
from app.registry.view import RegistryView

log = structlog.get_logger()

PoolName = Annotated[str, Path(pattern=wire.NAME, examples=["log_analyzer"])]
AgentId = Annotated[UUID, Path(examples=[wire.AGENT_EXAMPLE["id"]])]
AgentStatus = Literal["starting", "idle", "busy", "failed", "maintenance", "draining", "gone"]


def _pool_out(pool: PoolRecord, counts: dict[str, int], caller: Caller) -> wire.PoolOut:
    values = {name: getattr(pool, name) for name in wire.PoolOut.model_fields if name != "agents"}
    if not caller.may("pools:admin"):
        values["launch"] = fleet_wire.masked(pool.launch)
    return wire.PoolOut(**values, agents=counts)


def _agent_out(agent: AgentRecord) -> wire.AgentOut:
    return wire.AgentOut.model_validate(agent, from_attributes=True)


def pools_router(db: Database, registry: Registry, view: RegistryView, edge: Edge) -> APIRouter:
    api = APIRouter(prefix="/v1/pools", tags=["pools"], route_class=StrictRoute)

    @api.put("/{pool}", responses=problems(400, 401, 403, 413, 422, 503), summary="Define a pool")
    async def put_pool(pool: PoolName, body: wire.PoolIn, caller: Caller = edge.require("pools:admin")) -> wire.PoolOut:
        """Creates the pool or replaces its definition; running tasks keep the one they started with.

        Where `launch` changed, running replicas are replaced one by one.
        """
        record = await registry.put_pool(pool, body.model_dump())
        await view.refresh()
        return _pool_out(record, (await queries.agent_counts(db)).get(pool, {}), caller)

    @api.get("", responses=problems(400, 401, 403, 422, 503), summary="List pools")
    async def list_pools(
        page_size: PageSize = 50, page_token: PageToken = None, caller: Caller = edge.require("tasks:read")
    ) -> wire.PoolPage:
        """By name, each with its agents by status."""
        after = resume_after(page_token, "pools") if page_token else None
        found = await queries.pools(db, after=after, limit=page_size + 1)
        counts = await queries.agent_counts(db)
        page = found[:page_size]
        token = encode_page_token("pools", page[-1].name) if len(found) > page_size else None
        items = [_pool_out(pool, counts.get(pool.name, {}), caller) for pool in page]
        return wire.PoolPage(items=items, next_page_token=token)

    @api.get("/{pool}", responses=problems(401, 403, 404, 422, 503), summary="Read a pool")
    async def get_pool(pool: PoolName, caller: Caller = edge.require("tasks:read")) -> wire.PoolOut:
        """Its definition, the replicas wanted, and its agents by status."""
        record = await queries.pool(db, pool)
        if record is None:
            raise PoolNotFound(f"There is no pool {pool!r}.")
        return _pool_out(record, (await queries.agent_counts(db)).get(pool, {}), caller)

    @api.post("/{pool}/scale", responses=problems(400, 401, 403, 404, 409, 413, 422, 503), summary="Scale a pool")
    async def scale(
        pool: PoolName, body: wire.ScaleRequest, caller: Caller = edge.require("pools:admin")
    ) -> wire.ScaleOut:
        """Sets the replicas wanted. Fewer: idle ones are drained first, and a busy one finishes its tasks."""
        record = await registry.scale(pool, body.replicas)
        log.info("pool_scaled", pool=pool, replicas=body.replicas, reason=body.reason, by=caller.id)
        await view.refresh()
        return wire.ScaleOut(pool=pool, desired=record.desired, current=view.working(pool))

    return api


def agents_router(
    db: Database,
    registry: Registry,
    view: RegistryView,
    heartbeats: Heartbeats,
    edge: Edge,
    *,
    heartbeat_interval_s: float,
) -> APIRouter:
    api = APIRouter(prefix="/v1/agents", tags=["agents"], route_class=StrictRoute)

    @api.post(
        "", status_code=201, responses=problems(400, 401, 403, 404, 409, 413, 422, 503), summary="Register an agent"
    )
    async def register(
        body: wire.AgentIn, response: Response, caller: Caller = edge.require("agents:register")
    ) -> wire.RegisteredOut:
        """An agent that registers again with the same pool and URL keeps its id and gets a new token.

        409 `agent_url_taken` while the URL is an agent of another pool that is neither failed nor draining.
        """
        record, token = await registry.register(
            body.pool, body.url, slots=body.slots, weight=body.weight, version=body.version, labels=body.labels
        )
        response.headers["Location"] = f"/v1/agents/{record.id}"
        return wire.RegisteredOut(
            **_agent_out(record).model_dump(), token=token, heartbeat_interval_s=heartbeat_interval_s
        )

    @api.get("", responses=problems(400, 401, 403, 422, 503), summary="List agents")
    async def list_agents(
        pool: Annotated[str | None, Query(pattern=wire.NAME, examples=["log_analyzer"])] = None,
        status: Annotated[AgentStatus | None, Query(examples=["idle"])] = None,
        page_size: PageSize = 50,
        page_token: PageToken = None,
        caller: Caller = edge.require("tasks:read"),
    ) -> wire.AgentPage:
        """Those that are gone only when asked for."""
        after = _uuid(resume_after(page_token, "agents")) if page_token else None
        found = await queries.agents(db, pool=pool, status=status, after=after, limit=page_size + 1)
        page = found[:page_size]
        token = encode_page_token("agents", str(page[-1].id)) if len(found) > page_size else None
        return wire.AgentPage(items=[_agent_out(agent) for agent in page], next_page_token=token)

    @api.get("/{agent_id}", responses=problems(401, 403, 404, 422, 503), summary="Read an agent")
    async def get_agent(agent_id: AgentId, caller: Caller = edge.require("tasks:read")) -> wire.AgentOut:
        """One that is gone can be read for a day."""
        record = await queries.agent(db, agent_id)
        if record is None:
            raise AgentNotFound("There is no agent with this id.")
        return _agent_out(record)

    async def plain_heartbeat(request: Request, value: Any) -> dict[str, Any] | None:
        body = validated(wire.HeartbeatIn, value)
        try:
            agent_id = UUID(request.path_params["agent_id"])
        except ValueError:
            return None
        if body is None or str(agent_id) != request.path_params["agent_id"].lower():
            return None
        caller = await edge.check(request, "agents:register", or_agent=True)
        return {"agent_id": agent_id, "body": body, "caller": caller}

    @api.post(
        "/{agent_id}/heartbeat",
        response_model=wire.HeartbeatOut,
        responses=problems(400, 401, 403, 404, 413, 422, 503),
        summary="Report",
    )
    @quick(plain_heartbeat)
    async def heartbeat(
        agent_id: AgentId, body: wire.HeartbeatIn, caller: Caller = edge.require_agent_or("agents:register")
    ) -> Response:
        """Every `heartbeat_interval_s`. 404 after removal: register again. The answer says what to do."""
        _own(caller, agent_id)
        record = view.agents.get(agent_id) or await registry.living(agent_id)
        heartbeats.record(agent_id, body.running)
        await _follow(registry, record, body)
        drain = record.status == "draining" and body.status != "draining"
        return JsonResponse({"directives": [{"type": "drain"}] if drain else []})

    @api.post("/{agent_id}/drain", responses=problems(401, 403, 404, 422, 503), summary="Drain an agent")
    async def drain(agent_id: AgentId, caller: Caller = edge.require_agent_or("pools:admin")) -> wire.AgentOut:
        """It gets no new tasks; once it runs none, it is gone."""
        _own(caller, agent_id)
        record = await registry.drain(agent_id)
        await view.refresh()  # from here on this manager sends it nothing
        return _agent_out(record)

    @api.delete("/{agent_id}", status_code=204, responses=problems(401, 403, 404, 422, 503), summary="Remove an agent")
    async def remove(agent_id: AgentId, caller: Caller = edge.require_agent_or("pools:admin")) -> None:
        """At once. Attempts that it still works on may end as they will."""
        _own(caller, agent_id)
        await registry.remove(agent_id)
        await view.refresh()  # its next heartbeat here must learn of it

    return api


async def _follow(registry: Registry, record: AgentRecord, body: wire.HeartbeatIn) -> None:
    """Write a change of status that the agent reports at once; a plain sign of life waits for the flush."""
    if record.status in ("starting", "failed") and body.status in (None, "idle", "busy"):
        await registry.seen([record.id])
    elif body.status == "maintenance" and record.status in ("idle", "busy"):
        await registry.set_status([record.id], "maintenance", "reported", only_from=("idle", "busy"), seen=True)
    elif body.status in ("idle", "busy") and record.status == "maintenance":
        await registry.set_status([record.id], "idle", "reported", only_from=("maintenance",), seen=True)
    elif body.status == "draining" and record.status != "draining":
        await registry.drain(record.id)


def _own(caller: Caller, agent_id: UUID) -> None:
    if caller.agent_id is not None and caller.agent_id != agent_id:
        raise Forbidden("An agent's token is good for that agent only.")


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise BadPageToken("The page token does not belong to this list.") from None
