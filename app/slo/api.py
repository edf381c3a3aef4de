"""`/v1/slos`: what was promised, and how it stands. An objective belongs to the tenant of whoever set it.

To set one needs `admin`: it may be about tasks of any tenant, and may hold a pool back. Callers with `tasks:read` see
those of their tenant that are about this tenant's tasks alone.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response

from app.auth.callers import Caller
from app.auth.edge import Edge
from app.core.errors import BadPageToken
from app.core.http import PageSize, PageToken, StrictRoute, created, encode_page_token, problems, resume_after
from app.slo import shown, standing_wire, wire
from app.slo.desk import Desk
from app.slo.service import Slos

Name = Annotated[str, Path(pattern=wire.NAME, examples=["checkout"])]
Step = Annotated[Literal["hour", "day"], Query(description="Days are those of the objective's zone.", examples=["day"])]
MAX_HISTORY = 366


def router(slos: Slos, desk: Desk, edge: Edge) -> APIRouter:
    """Set, list, read, delete objectives; read their history."""
    api = APIRouter(prefix="/v1/slos", tags=["slos"], route_class=StrictRoute)
    _add_changes(api, slos, desk, edge)
    _add_reads(api, slos, desk, edge)
    return api


def _add_changes(api: APIRouter, slos: Slos, desk: Desk, edge: Edge) -> None:
    @api.put(
        "/{name}",
        responses={
            **created(standing_wire.WholeSloOut, "There was none"),
            **problems(400, 401, 403, 409, 413, 422, 503),
        },
        summary="Set an objective",
    )
    async def put_slo(
        name: Name, body: wire.SloIn, response: Response, caller: Caller = edge.require("admin")
    ) -> standing_wire.WholeSloOut:
        """Replaces the objective as a whole; 201 where there was none. Its minutes are counted within seconds, the
        newest first, back to the tasks that are kept. With other events to count it begins anew under a new `id`.

        A burn rule that could never fire gets a longer window (`replanned`), or is refused: `burn_rule_never_fires`.
        """
        made, outcome = await slos.put(caller, body.wanted(name))
        assert made is not None
        if outcome == "created":
            response.status_code = 201
        return await desk.whole(made)

    @api.delete("/{name}", responses=problems(401, 403, 404, 422, 503), summary="Delete an objective")
    async def delete_slo(name: Name, caller: Caller = edge.require("admin")) -> standing_wire.SloOut:
        """With its counts; the answer is the objective as it was. What it tightened is lifted; tasks that are held
        stay so until people decide."""
        was = await desk.numbers_of(await slos.get(caller, name))
        await slos.delete(caller, name)
        return shown.slo_out(was)


def _add_reads(api: APIRouter, slos: Slos, desk: Desk, edge: Edge) -> None:
    @api.get("", responses=problems(400, 401, 403, 422, 503), summary="List objectives")
    async def list_slos(
        page_size: PageSize = 50, page_token: PageToken = None, caller: Caller = edge.require("tasks:read")
    ) -> standing_wire.SloPage:
        """By name, each with how it stands."""
        after = resume_after(page_token, "slos") if page_token else None
        found = await slos.page(caller, after, page_size + 1)
        page = found[:page_size]
        token = encode_page_token("slos", page[-1].name) if len(found) > page_size else None
        return standing_wire.SloPage(items=await desk.shown(page), next_page_token=token)

    @api.get("/{name}", responses=problems(401, 403, 404, 422, 503), summary="Read an objective")
    async def get_slo(name: Name, caller: Caller = edge.require("tasks:read")) -> standing_wire.WholeSloOut:
        """Its error budget, what is left of it, how fast it burns in each pair of windows, and what it tightens."""
        return await desk.whole(await slos.get(caller, name))

    @api.get("/{name}/history", responses=problems(400, 401, 403, 404, 422, 503), summary="Read an objective's history")
    async def history(
        name: Name,
        step: Step = "hour",
        page_size: Annotated[int, Query(ge=1, le=MAX_HISTORY, examples=[48])] = 48,
        page_token: PageToken = None,
        caller: Caller = edge.require("tasks:read"),
    ) -> standing_wire.SloHistoryPage:
        """By hour or day, the newest first, for as long as counts are kept: a window and a day. Hours and days in
        which nothing happened are left out."""
        before = _time(resume_after(page_token, f"slo_{step}s")) if page_token else None
        slo = await slos.get(caller, name)
        found = await desk.history(slo, step, before, page_size + 1)
        page = found[:page_size]
        token = encode_page_token(f"slo_{step}s", page[-1].start.isoformat()) if len(found) > page_size else None
        return standing_wire.SloHistoryPage(items=page, next_page_token=token)


def _time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise BadPageToken("The page token is damaged.") from None
    if found.tzinfo is None:
        raise BadPageToken("The page token is damaged.")
    return found.astimezone(UTC)
