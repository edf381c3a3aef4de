"""`/v1/pools/{pool}/scaling`, `/v1/pools/{pool}/demand` and `/v1/pools/{pool}/load`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import asyncpg
import orjson
from fastapi import APIRouter, Query

from app.auth.callers import Caller
from app.auth.edge import Edge
from app.core.clock import Clock
from app.core.db import Database
from app.core.errors import BadPageToken, Invalid
from app.core.http import PageSize, PageToken, StrictRoute, encode_page_token, problems, resume_after
from app.limits import tightening
from app.registry import queries as registry_queries
from app.registry.api import PoolName
from app.registry.records import PoolRecord
from app.registry.service import PoolNotFound
from app.registry.view import RegistryView
from app.scaling import queries, wire
from app.scaling.decision import STALE_S
from app.scaling.demand import Counts
from app.scaling.state import State

DEFAULT_FROM = timedelta(hours=24)
UNJUDGED = ("manual", "frozen")
"""Codes of decisions that say nothing about the load."""
Since = Annotated[
    datetime | None,
    Query(alias="from", description="By default 24 hours ago.", examples=["2026-11-20T00:00:00Z"]),
]
Until = Annotated[
    datetime | None, Query(description="Before this time; by default now.", examples=["2026-11-20T20:00:00Z"])
]
MinuteCount = Annotated[int, Query(ge=1, le=5000, examples=[1440])]


class NaiveTime(Invalid):
    code, title = "time_without_offset", "Time without an offset"


class TimeOutOfRange(Invalid):
    code, title = "time_out_of_range", "Time out of range"


class Desk:
    """Reads what the routes show."""

    def __init__(self, db: Database, clock: Clock, view: RegistryView) -> None:
        self._db, self._clock, self._view = db, clock, view

    async def pool(self, name: str) -> PoolRecord:
        """Raises PoolNotFound."""
        if name not in self._view.pools:
            await self._view.refresh()  # another manager may have defined it a moment ago
        found = self._view.pools.get(name)
        if found is None:
            raise PoolNotFound(f"There is no pool {name!r}.")
        return found

    async def scaling(self, name: str) -> wire.ScalingOut:
        """The pool as it is in the table: what is wrong with it must not be told a moment late."""
        pool, row = await registry_queries.pool(self._db, name), await queries.shown(self._db, name)
        if pool is None:
            raise PoolNotFound(f"There is no pool {name!r}.")
        statuses = [agent.status for agent in self._view.agents_of(name).values()]
        ready = self._view.working(name)
        async with self._db.read() as connection:
            tightened = await tightening.of_pool(connection, name)
        external = pool.launch["kind"] == "external"
        decision = None if row is None or row["decision"] is None else orjson.loads(row["decision"])
        return wire.ScalingOut(
            pool=name,
            launch=pool.launch["kind"],
            scale=pool.scale,
            desired=pool.desired,
            ready=ready,
            starting=statuses.count("starting") if external else max(0, pool.desired - ready),
            draining=statuses.count("draining"),
            cold_start_s=None if row is None else row["cold_start_s"],
            conditions=pool.conditions,
            tightened=[wire.TightenedOut(what=item.what, slo=item.slo, since=item.since) for item in tightened],
            decision=decision,
        )

    async def demand(self, name: str) -> wire.DemandOut:
        """Counted now; rates and times as last measured, unless that was too long ago."""
        pool, row = await self.pool(name), await queries.shown(self._db, name)
        async with self._db.read() as connection:
            counts = (await queries.counts(connection, [name])).get(name, Counts())
        now = self._clock.now()
        state = State.from_json(None if row is None else orjson.loads(row["state"]))
        fresh = row is not None and (now - row["decided_at"]).total_seconds() <= STALE_S
        decision = orjson.loads(row["decision"]) if fresh and row is not None and row["decision"] else None
        replicas = _needed(pool, counts, decision)
        return wire.DemandOut(
            pool=name,
            at=now,
            queued=counts.queued,
            oldest_s=round(counts.oldest_s, 3),
            resuming=counts.resuming,
            running=counts.running,
            slots_needed=replicas * pool.slots,
            replicas_needed=replicas,
            arrivals_per_s=state.measured.arrivals_per_s() if fresh else 0.0,
            service_s=state.measured.service.mean_s or 0.0,
            slots_per_replica=pool.slots,
            replicas_ready=self._view.working(name),
            replicas_desired=pool.desired,
        )

    async def decisions(self, name: str, page_token: str | None, page_size: int) -> wire.DecisionPage:
        await self.pool(name)
        before = None if page_token is None else _uuid(resume_after(page_token, "scale_decisions"))
        rows = await queries.decisions(self._db, name, before=before, limit=page_size + 1)
        page = rows[:page_size]
        token = encode_page_token("scale_decisions", str(page[-1]["id"])) if len(rows) > page_size else None
        applied = self._view.pools[name].launch["kind"] != "external"
        items = [{**row, "inputs": orjson.loads(row["inputs"]), "applied": applied} for row in page]
        return wire.DecisionPage(items=items, next_page_token=token)

    async def load(
        self, name: str, since: datetime | None, until: datetime | None, page_token: str | None, page_size: int
    ) -> wire.LoadPage:
        await self.pool(name)
        now = self._clock.now()
        since, until = _aware(since or now - DEFAULT_FROM, "from"), _aware(until or now, "until")
        after = None if page_token is None else _time(resume_after(page_token, "load"))
        rows = await queries.load(self._db, name, since, until, after=after, limit=page_size + 1)
        page = rows[:page_size]
        token = encode_page_token("load", page[-1]["minute"].isoformat()) if len(rows) > page_size else None
        return wire.LoadPage(items=[_minute(row) for row in page], next_page_token=token)


def router(desk: Desk, edge: Edge) -> APIRouter:
    api = APIRouter(prefix="/v1/pools", tags=["scaling"], route_class=StrictRoute)

    @api.get("/{pool}/scaling", responses=problems(401, 403, 404, 422, 503), summary="How a pool is scaled, and why")
    async def scaling(pool: PoolName, caller: Caller = edge.require("tasks:read")) -> wire.ScalingOut:
        """The newest decision with the numbers it was made from, and what keeps replicas from running."""
        return await desk.scaling(pool)

    @api.get(
        "/{pool}/scaling/decisions", responses=problems(400, 401, 403, 404, 422, 503), summary="List scaling decisions"
    )
    async def decisions(
        pool: PoolName,
        page_size: PageSize = 50,
        page_token: PageToken = None,
        caller: Caller = edge.require("tasks:read"),
    ) -> wire.DecisionPage:
        """Those that changed the size, or whose rule was another than before; the newest first."""
        return await desk.decisions(pool, page_token, page_size)

    @api.get("/{pool}/demand", responses=problems(401, 403, 404, 422, 503), summary="What a pool has to do")
    async def demand(pool: PoolName, caller: Caller = edge.require("tasks:read")) -> wire.DemandOut:
        """For KEDA, a HorizontalPodAutoscaler or a script: plain numbers, zero where there is nothing."""
        return await desk.demand(pool)

    @api.get("/{pool}/load", responses=problems(400, 401, 403, 404, 422, 503), summary="List a pool's recorded load")
    async def load(
        pool: PoolName,
        since: Since = None,
        until: Until = None,
        page_size: MinuteCount = 1440,
        page_token: PageToken = None,
        caller: Caller = edge.require("tasks:read"),
    ) -> wire.LoadPage:
        """Minute by minute, the oldest first; minutes without work are left out."""
        return await desk.load(pool, since, until, page_token, page_size)

    return api


def _needed(pool: PoolRecord, counts: Counts, decision: Mapping[str, Any] | None) -> int:
    """Replicas for others to start; `wire.DemandOut` says which. `decision`: the newest, None where it is too old."""
    if decision is None or decision["code"] in UNJUDGED:
        wanted = math.ceil((counts.queued + counts.running) / pool.slots)
    else:
        wanted = max(int(decision["recommended"]), math.ceil(counts.running / pool.slots))
    return min(int(pool.scale["max"]), max(int(pool.scale["min"]), wanted))


def _minute(row: asyncpg.Record) -> wire.MinuteOut:
    count, mean, cv = row["finished"], None, None
    if count:
        mean = row["service_s"] / count
        cv = math.sqrt(max(0.0, row["service_sq"] / count - mean * mean)) / mean if mean > 0 else 0.0
    kept = {name: row[name] for name in ("minute", "arrivals", "finished", "queued", "running", "replicas")}
    return wire.MinuteOut(**kept, service_mean_s=mean, service_cv=cv)


def _aware(at: datetime, name: str) -> datetime:
    if at.tzinfo is None:
        raise NaiveTime(f"`{name}` needs an offset, such as {at.isoformat()}Z.")
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise TimeOutOfRange(f"`{name}` is no time of the years 1 to 9999 in UTC.") from None


def _uuid(text: Any) -> UUID:
    try:
        return UUID(text)
    except (TypeError, ValueError):
        raise BadPageToken("The page token is not one of this list.") from None


def _time(text: Any) -> datetime:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise BadPageToken("The page token is not one of this list.") from None
