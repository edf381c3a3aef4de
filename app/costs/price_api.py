"""`/v1/prices`: what models cost. Everybody may read what is in force; operators' own prices are an admin's."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from app.auth.callers import Caller
from app.auth.edge import Edge
from app.core.clock import Clock
from app.core.http import PageSize, PageToken, StrictRoute, encode_page_token, problems, resume_after
from app.costs.price_service import Prices
from app.costs.price_wire import InForceOut, ModelName, PriceIn, PriceOut, PricePage, PriceTime

ModelPath = Annotated[
    ModelName, Path(description="A model as agents name it; it may contain `/`.", examples=["house/llama-70b"])
]


def router(prices: Prices, edge: Edge, clock: Clock) -> APIRouter:
    api = APIRouter(prefix="/v1/prices", tags=["costs"], route_class=StrictRoute)

    @api.get("", responses=problems(400, 401, 403, 422, 503), summary="List your own prices")
    async def list_prices(
        model: Annotated[ModelName | None, Query(description="Of this model only.", examples=["gpt-4o"])] = None,
        page_size: PageSize = 50,
        page_token: PageToken = None,
        caller: Caller = edge.require("admin"),
    ) -> PricePage:
        """All that were ever set, by model and moment; the later one of a moment counts."""
        after = resume_after(page_token, "prices") if page_token else None
        found = await prices.page(model, after, page_size + 1)
        page = found[:page_size]
        token = encode_page_token("prices", str(page[-1].id)) if len(found) > page_size else None
        return PricePage(items=[PriceOut.of(row) for row in page], next_page_token=token)

    @api.put("/{model:path}", responses=problems(400, 401, 403, 404, 413, 422, 503), summary="Set a model's price")
    async def put_price(model: ModelPath, body: PriceIn, caller: Caller = edge.require("admin")) -> PriceOut:
        """From `effective_from` on the model costs this, for every tenant, instead of the built-in price. What was used
        since then is priced again within moments: as new rows of usage, never by changing old ones. What budgets have
        booked stays."""
        return PriceOut.of(await prices.put(model, body.listed(), body.effective_from, body.note, caller.id))

    @api.get("/{model:path}", responses=problems(401, 403, 404, 422, 503), summary="What a model costs")
    async def get_price(
        model: ModelPath,
        at: Annotated[
            PriceTime | None, Query(description="At this moment; default: now.", examples=["2026-11-20T20:25:00Z"])
        ] = None,
        caller: Caller = edge.require("tasks:read"),
    ) -> InForceOut:
        """Your own price if one is in force, else that of `genai-prices`. 404 `unpriced_model` where nobody knows:
        usage of the model is counted as unpriced, not as free."""
        moment = at or clock.now()
        return InForceOut.of(model, moment, await prices.in_force(model, moment))

    @api.delete("/{model:path}", responses=problems(401, 403, 404, 422, 503), summary="End a model's price")
    async def delete_price(
        model: ModelPath,
        at: Annotated[
            PriceTime | None, Query(description="Ends then; default: now.", examples=["2026-11-20T20:25:00Z"])
        ] = None,
        caller: Caller = edge.require("admin"),
    ) -> PriceOut:
        """From then on the built-in price counts again, if there is one. A price set for later stays."""
        return PriceOut.of(await prices.end(model, at, caller.id))

    return api
