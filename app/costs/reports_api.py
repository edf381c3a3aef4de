"""`GET /v1/costs` and `GET /v1/costs/analysis`: what work cost, by what, and what would cost less."""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from starlette.responses import Response

from app.auth.api import NAME as TENANT_NAME
from app.auth.callers import Caller
from app.auth.edge import Edge
from app.auth.service import Forbidden
from app.core.clock import Clock
from app.core.db import Database
from app.core.errors import BadPageToken
from app.core.http import JsonResponse, StrictRoute, decode_page_token, encode_page_token, problems
from app.costs import export, focus
from app.costs import reports_wire as wire
from app.costs.analyst import Analyst
from app.costs.focus import VendorOf
from app.costs.report import Ask, BadReport, Synthetic, figures, groups_of, label_filters, period, shown
from app.costs.report_queries import day_position, days, position, state, sums

CHUNK = 5_000
CSV = "text/csv; charset=utf-8"
_FIGURES = tuple(wire.CostFigures.model_fields)

type Format = Literal["json", "csv", "focus"]
Pool = Annotated[str | None, Query(min_length=1, max_length=200, examples=["research"])]
Model = Annotated[str | None, Query(min_length=1, max_length=200, examples=["gpt-4o"])]
Type = Annotated[str | None, Query(min_length=1, max_length=200, examples=["work"])]
Groups = Annotated[
    list[str],
    Query(
        max_length=10,
        description="day, hour, model, pool, tenant, type, outcome, label:KEY; several by commas. Days are UTC.",
        examples=[["day", "label:team"]],
    ),
]
Labels = Annotated[
    list[str],
    Query(max_length=10, description="KEY=VALUE of the tasks' labels; all must fit.", examples=[["team=search"]]),
]
Tenant = Annotated[
    str | None, Query(pattern=TENANT_NAME, description="Another tenant's, for admins.", examples=["default"])
]
_DOCUMENTED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The report. CSV with `format=csv` or `Accept: text/csv`.",
        "content": {
            "text/csv": {
                "schema": {"type": "string"},
                "example": f"day,{','.join(_FIGURES)}\r\n2026-11-20,1200,1130,2400000,610000,12.1,0.84,0,0,0.0107\r\n",
            }
        },
    }
}


class Reports:
    """Reads reports. `vendor_of` names who offers a model, for FOCUS."""

    def __init__(self, db: Database, clock: Clock, vendor_of: VendorOf) -> None:
        self._db, self.clock, self._vendor_of = db, clock, vendor_of

    async def page(self, ask: Ask, size: int, after: list[str] | None) -> dict[str, Any]:
        """A page as it is answered."""
        async with self._db.read() as connection:
            found = await sums(connection, ask, size + 1, after)
        listed = found.rows[:size]
        more = len(found.rows) > size
        return {
            "from": ask.begin,
            "to": ask.end,
            "group_by": list(ask.groups),
            "items": [shown(row, ask.groups) for row in listed],
            "totals": figures(found.totals),
            "synthetic": figures(found.synthetic),
            "as_of": found.as_of,
            "next_page_token": _token(ask, position(listed[-1], ask.groups)) if more else None,
        }

    async def check(self, ask: Ask) -> None:
        """BadReport, before a stream begins."""
        async with self._db.read() as connection:
            await state(connection, ask)

    async def csv(self, ask: Ask) -> AsyncIterator[str]:
        """The report as CSV, a chunk of rows at a time: no connection is held while a slow reader takes one. Without
        groups it is the totals."""
        yield export.lines([[*ask.groups, *_FIGURES]])
        after: list[str] | None = None
        while True:
            async with self._db.read() as connection:
                found = await sums(connection, ask, CHUNK, after)
            rows: list[Mapping[str, Any]] = [shown(row, ask.groups) for row in found.rows]
            yield export.table(rows if ask.groups else [figures(found.totals)], [*ask.groups, *_FIGURES])
            if len(rows) < CHUNK:
                return
            after = position(found.rows[-1], ask.groups)

    async def focus(self, ask: Ask) -> AsyncIterator[str]:
        """Whole days in FOCUS 1.3."""
        yield export.lines([focus.COLUMNS])
        after: list[Any] | None = None
        while True:
            async with self._db.read() as connection:
                rows = await days(connection, ask, CHUNK, after)
            # In a thread: the list of vendors takes seconds to load.
            yield await to_thread(self._charges, rows)
            if len(rows) < CHUNK:
                return
            after = day_position(rows[-1])

    def _charges(self, rows: Sequence[Mapping[str, Any]]) -> str:
        return export.table((focus.charge(row, self._vendor_of) for row in rows), focus.COLUMNS)


def router(reports: Reports, analyst: Analyst, edge: Edge) -> APIRouter:
    api = APIRouter(prefix="/v1/costs", tags=["costs"], route_class=StrictRoute)

    @api.get(
        "",
        response_model=wire.CostReport,
        responses={**_DOCUMENTED, **problems(400, 401, 403, 422, 503)},
        summary="Report costs",
    )
    async def report_costs(
        request: Request,
        group_by: Groups = [],  # noqa: B006 - FastAPI copies it
        label: Labels = [],  # noqa: B006
        pool: Pool = None,
        model: Model = None,
        type: Type = None,
        tenant: Tenant = None,
        synthetic: Annotated[Synthetic, Query(examples=["exclude"])] = "exclude",
        begin: Annotated[
            datetime | None,
            Query(alias="from", description="Default: 30 days, today included.", examples=["2026-11-01T00:00:00Z"]),
        ] = None,
        to: Annotated[
            datetime | None, Query(description="Before this moment.", examples=["2026-11-29T00:00:00Z"])
        ] = None,
        format: Annotated[Format | None, Query(examples=["json"])] = None,
        page_size: Annotated[int, Query(ge=1, le=1000, examples=[500])] = 500,
        page_token: Annotated[
            str | None,
            Query(
                max_length=2000,
                description="`next_page_token` of the page before.",
                examples=[encode_page_token("costs", "day", "2026-11-20")],
            ),
        ] = None,
        caller: Caller = edge.require("tasks:read"),
    ) -> Response:
        """Sums from the roll-ups, in the order of their groups. Times are rounded outwards to whole hours; whole UTC
        days can be had for ever, hours for `YARD_COSTS_HOURS_RETENTION_S`. One's own tenant; all tenants for admins.
        Synthetic traffic is left out unless asked for. `format=focus` is the days as FOCUS 1.3."""
        first, last = period(begin, to, reports.clock.now())
        ask = Ask(
            groups_of(group_by),
            first,
            last,
            _tenant(caller, tenant),
            pool,
            model,
            type,
            label_filters(label),
            synthetic,
        )
        chosen = format or ("csv" if "text/csv" in request.headers.get("accept", "") else "json")
        if chosen == "focus" and (ask.groups or first.hour or last.hour):
            raise BadReport("FOCUS has its own columns and whole UTC days: leave out `group_by`, and hours of the day.")
        if chosen == "json":
            return JsonResponse(await reports.page(ask, page_size, _after(ask, page_token)))
        await reports.check(ask)
        headers = {"Content-Disposition": f'attachment; filename="costs-{first:%Y%m%d}-{last:%Y%m%d}.csv"'}
        stream = reports.focus(ask) if chosen == "focus" else reports.csv(ask)
        return StreamingResponse(stream, media_type=CSV, headers=headers)

    @api.get("/analysis", responses=problems(401, 403, 422, 503), summary="Analyse spending")
    async def analyse_costs(
        count: Annotated[int, Query(alias="days", ge=1, le=366, examples=[30])] = 30,
        tenant: Tenant = None,
        caller: Caller = edge.require("tasks:read"),
    ) -> wire.CostAnalysis:
        """Average, weekly trend, where the month ends, days that stand out, models, waste, how fast budgets burn, and
        what would cost less. What there is too little data for is null and listed in `missing`."""
        return wire.analysis_out(await analyst.analyse(_tenant(caller, tenant), count))

    return api


def _tenant(caller: Caller, asked: str | None) -> str | None:
    """Whose costs are shown; None: all tenants'."""
    if caller.may("admin"):
        return asked
    if asked not in (None, caller.tenant):
        raise Forbidden("Another tenant's costs need the scope `admin`.", extra={"needs": "admin"})
    return caller.tenant


def _token(ask: Ask, after: list[str]) -> str:
    return encode_page_token("costs", ",".join(ask.groups), *after)


def _after(ask: Ask, token: str | None) -> list[str] | None:
    if token is None:
        return None
    name, groups, *after = decode_page_token(token, 2 + len(ask.groups))
    if (name, groups) != ("costs", ",".join(ask.groups)) or not ask.groups:
        raise BadPageToken("The page token does not belong to this report.")
    return after
