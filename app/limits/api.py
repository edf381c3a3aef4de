"""`/v1/limits`: what tenants, API keys and pools may do."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.auth.api import NAME
from app.auth.callers import Caller
from app.auth.edge import Edge
from app.core.errors import BadPageToken
from app.core.http import PageSize, PageToken, StrictRoute, encode_page_token, problems, resume_after
from app.limits.service import Limits
from app.limits.view import LimitRecord

type Kind = Literal["tenant", "key", "pool"]
type Policy = Literal["queue", "reject", "cancel_older"]

_LIMIT: dict[str, Any] = {
    "kind": "tenant",
    "name": "default",
    "rate_per_s": 50.0,
    "burst": 200,
    "concurrency": 4,
    "policy": "queue",
    "weight": 2.0,
    "updated_at": "2026-11-20T20:25:00Z",
}

KindPath = Annotated[Kind, Path(description="Whose limit: a tenant's, an API key's or a pool's.", examples=["tenant"])]
NamePath = Annotated[
    str, Path(pattern=NAME, description="The tenant, the key's id, or the pool.", examples=["default"])
]


class LimitIn(BaseModel):
    """A limit as a whole: what is left out is not limited."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"rate_per_s": 50, "burst": 200}, {"concurrency": 1}]}
    )
    rate_per_s: float | None = Field(
        None, ge=0.0001, le=1_000_000, allow_inf_nan=False, description="Tasks submitted a second."
    )
    burst: int | None = Field(None, ge=1, le=1_000_000, description="So many at once; null: a second's worth.")
    concurrency: int | None = Field(None, ge=1, le=1_000_000, description="Tasks at once under one concurrency key.")
    policy: Policy = Field("queue", description="What happens to one more under a key that is full.")
    weight: float | None = Field(
        None, ge=0.01, le=100, allow_inf_nan=False, description="A tenant's turns inside one priority; others have 1."
    )

    @model_validator(mode="after")
    def _whole(self) -> LimitIn:
        if self.rate_per_s is None and self.concurrency is None and self.weight is None:
            raise ValueError("limits nothing: set rate_per_s, concurrency or weight, or delete the limit")
        if self.burst is not None and self.rate_per_s is None:
            raise ValueError("a burst is of a rate: set rate_per_s too")
        if self.policy != "queue" and self.concurrency is None:
            raise ValueError("a policy is of a concurrency: set concurrency too")
        return self


class LimitOut(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [_LIMIT]})
    kind: str
    name: str
    rate_per_s: float | None
    burst: int | None
    concurrency: int | None
    policy: str
    weight: float | None
    updated_at: datetime


class LimitPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [_LIMIT], "next_page_token": None}]})
    items: list[LimitOut]
    next_page_token: str | None


def _out(limit: LimitRecord) -> LimitOut:
    return LimitOut.model_validate(limit, from_attributes=True)


def router(limits: Limits, edge: Edge) -> APIRouter:
    api = APIRouter(prefix="/v1/limits", tags=["limits"], route_class=StrictRoute)

    @api.get("", responses=problems(400, 401, 403, 422, 503), summary="List limits")
    async def list_limits(
        kind: Annotated[Kind | None, Query(description="Of this kind only.", examples=["tenant"])] = None,
        page_size: PageSize = 50,
        page_token: PageToken = None,
        caller: Caller = edge.require("admin"),
    ) -> LimitPage:
        """By kind and name."""
        after = _position(resume_after(page_token, "limits")) if page_token else None
        found = await limits.page(kind, after, page_size + 1)
        page = found[:page_size]
        token = encode_page_token("limits", f"{page[-1].kind} {page[-1].name}") if len(found) > page_size else None
        return LimitPage(items=[_out(item) for item in page], next_page_token=token)

    @api.put("/{kind}/{name}", responses=problems(400, 401, 403, 413, 422, 503), summary="Set a limit")
    async def put_limit(
        kind: KindPath, name: NamePath, body: LimitIn, caller: Caller = edge.require("admin")
    ) -> LimitOut:
        """Replaces the limit as a whole; every manager uses it within moments. A weight is a tenant's only, and an API
        key has no concurrency."""
        return _out(await limits.put(kind, name, body.model_dump()))

    @api.get("/{kind}/{name}", responses=problems(401, 403, 404, 422, 503), summary="Read a limit")
    async def get_limit(kind: KindPath, name: NamePath, caller: Caller = edge.require("admin")) -> LimitOut:
        """404 where nothing is limited."""
        return _out(await limits.get(kind, name))

    @api.delete("/{kind}/{name}", responses=problems(401, 403, 404, 422, 503), summary="Lift a limit")
    async def delete_limit(kind: KindPath, name: NamePath, caller: Caller = edge.require("admin")) -> LimitOut:
        """The answer is the limit as it was."""
        return _out(await limits.delete(kind, name))

    return api


def _position(text: str) -> tuple[str, str]:
    kind, _, name = text.partition(" ")
    if not name:
        raise BadPageToken("The page token is damaged.")
    return kind, name
