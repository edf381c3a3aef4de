"""`/v1/keys`: make, list and revoke API keys."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from app.auth.callers import Caller, Scope
from app.auth.edge import Edge
from app.auth.service import KeyInfo, Keys
from app.core.http import StrictRoute, encode_page_token, problems, resume_after

NAME = r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$"
GroupName = Annotated[str, Field(pattern=NAME)]

_KEY: dict[str, Any] = {
    "id": "3f9c21ab07",
    "tenant": "default",
    "name": "ci",
    "prefix": "yk_3f9c21ab07",
    "scopes": ["tasks:write", "tasks:read"],
    "groups": [],
    "created_at": "2026-11-20T20:25:00Z",
    "expires_at": None,
    "revoked_at": None,
}


class KeyIn(BaseModel):
    """A key to make."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"name": "ci", "tenant": "default", "scopes": ["tasks:write", "tasks:read"]}]},
    )
    name: str = Field(min_length=1, max_length=100, description="For people: what uses this key.")
    tenant: str = Field("default", pattern=NAME)
    scopes: list[Scope] = Field(min_length=1, max_length=6)
    groups: list[GroupName] = Field(
        default_factory=list, max_length=20, description="Groups of people whose approvals it may decide."
    )
    expires_s: float | None = Field(None, gt=0, le=315_360_000, description="Seconds until it expires; null: never.")


class KeyOut(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [_KEY]})
    id: str
    tenant: str
    name: str
    prefix: str
    scopes: list[str]
    groups: list[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class NewKeyOut(KeyOut):
    """`key` is shown in this answer only."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**_KEY, "key": "yk_3f9c21ab07_8d0f…"}]})
    key: str


class KeyPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [_KEY], "next_page_token": None}]})
    items: list[KeyOut]
    next_page_token: str | None


def _out(info: KeyInfo) -> KeyOut:
    return KeyOut.model_validate(info, from_attributes=True)


def router(keys: Keys, edge: Edge) -> APIRouter:
    api = APIRouter(prefix="/v1/keys", tags=["keys"], route_class=StrictRoute)

    @api.post("", status_code=201, responses=problems(400, 401, 403, 413, 422, 503), summary="Make a key")
    async def create(body: KeyIn, caller: Caller = edge.require("admin")) -> NewKeyOut:
        """The answer is the only place where the key is shown."""
        scopes: list[str] = list(dict.fromkeys(body.scopes))
        groups = sorted(set(body.groups))
        info, key = await keys.create(body.name, body.tenant, scopes, body.expires_s, groups)
        return NewKeyOut(**_out(info).model_dump(), key=key)

    @api.get("", responses=problems(400, 401, 403, 422, 503), summary="List keys")
    async def list_keys(
        page_size: int = Query(50, ge=1, le=500, examples=[50]),
        page_token: str | None = Query(
            None,
            max_length=500,
            description="`next_page_token` of the page before.",
            examples=[encode_page_token("…", "…")],
        ),
        caller: Caller = edge.require("admin"),
    ) -> KeyPage:
        """Without their secrets; revoked and expired ones too."""
        after = resume_after(page_token, "keys") if page_token else None
        found = await keys.list(after, page_size + 1)
        page = found[:page_size]
        token = encode_page_token("keys", page[-1].id) if len(found) > page_size else None
        return KeyPage(items=[_out(info) for info in page], next_page_token=token)

    @api.delete("/{key_id}", responses=problems(401, 403, 404, 409, 422, 503), summary="Revoke a key")
    async def revoke(
        key_id: Annotated[str, Path(max_length=40, examples=["3f9c21ab07"])], caller: Caller = edge.require("admin")
    ) -> KeyOut:
        """Takes effect on every manager at once; the row stays, so that old records keep their owner."""
        return _out(await keys.revoke(key_id, by=caller))

    return api
