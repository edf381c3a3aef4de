"""`/v1/probes`: golden tasks, and whether they are answered well. Probes are of the installation, not of a
tenant; what they ask and what was answered is for its admins."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import orjson
from fastapi import APIRouter, Path, Response

from app.auth.api import NAME
from app.auth.callers import Caller
from app.auth.edge import Edge
from app.core.errors import BadPageToken
from app.core.http import PageSize, PageToken, StrictRoute, encode_page_token, problems, resume_after
from app.costs.budget_wire import plain
from app.slo import probe_queries
from app.slo import probe_wire as wire
from app.slo.probe_queries import Watched
from app.slo.probe_records import RunRecord
from app.slo.probe_service import Probes

LAST_RUNS = 10

Name = Annotated[str, Path(pattern=NAME, examples=[wire.PROBE_EXAMPLE["name"]])]


def router(probes: Probes, edge: Edge) -> APIRouter:
    """The routes of probes."""
    api = APIRouter(prefix="/v1/probes", tags=["probes"], route_class=StrictRoute)
    _add_definitions(api, probes, edge)
    _add_runs(api, probes, edge)
    return api


def _add_definitions(api: APIRouter, probes: Probes, edge: Edge) -> None:
    @api.put(
        "/{name}",
        responses={201: {"model": wire.WholeProbeOut}, **problems(400, 401, 403, 404, 409, 413, 422, 503)},
        summary="Set a probe",
    )
    async def put(
        name: Name, body: wire.ProbeIn, response: Response, caller: Caller = edge.require("admin")
    ) -> wire.WholeProbeOut:
        """Sets it as a whole; 201 where it is new.

        From then on its task goes the way of every task, once each `every_s` seconds: synthetic, so that neither
        objectives nor costs count it, and of the tenant `yardmaster-probes`, so that only budgets which name this
        tenant count it. A probe that asks something else than before is judged by runs from now on. 422
        `probe_check_invalid` lists what is wrong with its checks, by place.
        """
        daily = None if body.budget is None else body.budget.daily()
        found, new = await probes.put(caller, name, body.definition(), daily)
        response.status_code = 201 if new else 200
        return await _whole(probes, found)

    @api.get("", responses=problems(400, 401, 403, 422, 503), summary="List probes")
    async def list_probes(
        page_size: PageSize = 50, page_token: PageToken = None, caller: Caller = edge.require("admin")
    ) -> wire.ProbePage:
        """By name, with what their last runs say."""
        after = resume_after(page_token, "probes") if page_token else None
        found = await probe_queries.page(probes.db, after=after, limit=page_size + 1)
        page = found[:page_size]
        token = encode_page_token("probes", page[-1].probe.name) if len(found) > page_size else None
        return wire.ProbePage(items=[_out(item) for item in page], next_page_token=token)

    @api.get("/{name}", responses=problems(401, 403, 404, 422, 503), summary="Read a probe")
    async def read(name: Name, caller: Caller = edge.require("admin")) -> wire.WholeProbeOut:
        """With its task, its checks and its latest runs."""
        return await _whole(probes, await probes.get(name))

    @api.delete("/{name}", status_code=204, responses=problems(401, 403, 404, 422, 503), summary="Remove a probe")
    async def remove(name: Name, caller: Caller = edge.require("admin")) -> None:
        """With its runs and its budget. Its task, if one is open, is cancelled."""
        await probes.remove(caller, name)


def _add_runs(api: APIRouter, probes: Probes, edge: Edge) -> None:
    @api.post(
        "/{name}/run",
        status_code=202,
        responses=problems(401, 403, 404, 409, 422, 503),
        summary="Run a probe now",
    )
    async def run(name: Name, caller: Caller = edge.require("admin")) -> wire.ProbeRunOut:
        """Besides its times, enabled or not. The run counts as all do. 409 `pool_stopped` while a stop keeps its pool
        from working."""
        return _run(await probes.run(name))

    @api.get("/{name}/runs", responses=problems(400, 401, 403, 404, 422, 503), summary="List runs of a probe")
    async def runs(
        name: Name, page_size: PageSize = 50, page_token: PageToken = None, caller: Caller = edge.require("admin")
    ) -> wire.ProbeRunPage:
        """The latest first, with each check and what was wrong."""
        before = _moment(resume_after(page_token, "probe-runs")) if page_token else None
        probe = (await probes.get(name)).probe
        found = await probe_queries.runs(probes.db, probe.id, before=before, limit=page_size + 1)
        page = found[:page_size]
        token = encode_page_token("probe-runs", page[-1].planned_at.isoformat()) if len(found) > page_size else None
        return wire.ProbeRunPage(items=[_run(item) for item in page], next_page_token=token)


def _out(found: Watched) -> wire.ProbeOut:
    return wire.ProbeOut(**_values(found))


async def _whole(probes: Probes, found: Watched) -> wire.WholeProbeOut:
    latest = await probe_queries.runs(probes.db, found.probe.id, before=None, limit=LAST_RUNS)
    daily = await probes.budgets.of(found.probe.name)
    return wire.WholeProbeOut(
        **_values(found),
        budget=None if daily is None else wire.DailyOut(unit=daily.unit, limit=plain(daily.limit)),
        payload=orjson.loads(found.probe.payload),
        checks=orjson.loads(found.probe.checks),
        last_runs=[_run(run) for run in latest],
    )


def _values(found: Watched) -> dict[str, object]:
    probe, standing = found.probe, found.standing
    names = wire.ProbeOut.model_fields.keys() - {"state", "why", "latency_s", "next_at"}
    return {
        **{name: getattr(probe, name) for name in names},
        "state": standing.judgement if probe.enabled else "disabled",
        "why": standing.why if probe.enabled else "",
        "latency_s": found.runs[0].latency_s if found.runs else None,
        "next_at": probe.next_at if probe.enabled else None,
    }


def _run(found: RunRecord) -> wire.ProbeRunOut:
    return wire.ProbeRunOut.model_validate(found, from_attributes=True)


def _moment(text: str) -> datetime:
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise BadPageToken("The page token is damaged.") from None
    return value if value.tzinfo else value.replace(tzinfo=UTC)
