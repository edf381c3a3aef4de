"""`/v1/slack`: channels, users, and the clicks that Slack sends."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from app.alerts import alert_clicks, wire
from app.alerts.alert_clicks import AlertClicks
from app.alerts.clicks import USER, Clicks, interaction, read
from app.alerts.directory import EVERY_POOL, Channel, Directory
from app.alerts.signature import Verifier
from app.auth.callers import Caller
from app.auth.edge import Edge
from app.core.http import BodyTooLarge, PageSize, PageToken, StrictRoute, encode_page_token, problems, resume_after

MAX_INTERACTION_BYTES = 262_144

PoolOrAll = Annotated[
    str,
    Path(
        pattern=r"^([a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}|\*)$",
        description="A pool, or `*` for every pool without a channel of its own.",
        examples=["log_analyzer"],
    ),
]
UserId = Annotated[str, Path(pattern=USER, description="Slack's id of the user.", examples=["U2147483697"])]


def router(directory: Directory, edge: Edge) -> APIRouter:
    """The management routes, all for the caller's own tenant."""
    api = APIRouter(prefix="/v1/slack", tags=["slack"], route_class=StrictRoute)
    _add_channels(api, directory, edge)
    _add_users(api, directory, edge)
    return api


def _add_channels(api: APIRouter, directory: Directory, edge: Edge) -> None:
    @api.put(
        "/channels/{pool}", responses=problems(400, 401, 403, 404, 413, 422, 503), summary="Set the channel of a pool"
    )
    async def put_channel(
        pool: PoolOrAll, body: wire.SlackChannelIn, caller: Caller = edge.require("admin")
    ) -> wire.SlackChannelOut:
        """New approvals of the pool are posted there. What could not be posted there before is tried again."""
        return _channel_out(await directory.put_channel(caller.tenant, _stored(pool), body.channel))

    @api.get("/channels", responses=problems(400, 401, 403, 422, 503), summary="List channels")
    async def list_channels(
        page_size: PageSize = 50, page_token: PageToken = None, caller: Caller = edge.require("admin")
    ) -> wire.SlackChannelPage:
        """Those of the tenant, by pool. Pools without one use `*`, then the service's YARD_SLACK_CHANNEL."""
        after = resume_after(page_token, "slack-channels") if page_token else None
        found = await directory.channels(caller.tenant, after, page_size + 1)
        page = found[:page_size]
        token = encode_page_token("slack-channels", page[-1].pool) if len(found) > page_size else None
        return wire.SlackChannelPage(items=[_channel_out(item) for item in page], next_page_token=token)

    @api.get("/channels/{pool}", responses=problems(401, 403, 404, 422, 503), summary="Get the channel of a pool")
    async def get_channel(pool: PoolOrAll, caller: Caller = edge.require("admin")) -> wire.SlackChannelOut:
        """Only one that was set for exactly this pool."""
        return _channel_out(await directory.channel(caller.tenant, _stored(pool)))

    @api.delete(
        "/channels/{pool}",
        status_code=204,
        responses=problems(401, 403, 404, 422, 503),
        summary="Remove the channel of a pool",
    )
    async def remove_channel(pool: PoolOrAll, caller: Caller = edge.require("admin")) -> None:
        """Messages that are already there keep working."""
        await directory.remove_channel(caller.tenant, _stored(pool))


def _add_users(api: APIRouter, directory: Directory, edge: Edge) -> None:
    @api.put("/users/{user_id}", responses=problems(400, 401, 403, 413, 422, 503), summary="Map a Slack user to a key")
    async def put_user(
        user_id: UserId, body: wire.SlackUserIn, caller: Caller = edge.require("admin")
    ) -> wire.SlackUserOut:
        """From then on the user's clicks count as that key's: its scopes, its groups, its four eyes."""
        user = await directory.put_user(caller.tenant, user_id, body.key_id)
        return wire.SlackUserOut.model_validate(user, from_attributes=True)

    @api.get("/users", responses=problems(400, 401, 403, 422, 503), summary="List mapped Slack users")
    async def list_users(
        page_size: PageSize = 50, page_token: PageToken = None, caller: Caller = edge.require("admin")
    ) -> wire.SlackUserPage:
        """Those of the tenant, by Slack's id."""
        after = resume_after(page_token, "slack-users") if page_token else None
        found = await directory.users(caller.tenant, after, page_size + 1)
        page = found[:page_size]
        token = encode_page_token("slack-users", page[-1].user_id) if len(found) > page_size else None
        items = [wire.SlackUserOut.model_validate(user, from_attributes=True) for user in page]
        return wire.SlackUserPage(items=items, next_page_token=token)

    @api.get("/users/{user_id}", responses=problems(401, 403, 404, 422, 503), summary="Get a mapped Slack user")
    async def get_user(user_id: UserId, caller: Caller = edge.require("admin")) -> wire.SlackUserOut:
        """The key that the user acts with."""
        return wire.SlackUserOut.model_validate(await directory.user(caller.tenant, user_id), from_attributes=True)

    @api.delete(
        "/users/{user_id}", status_code=204, responses=problems(401, 403, 404, 422, 503), summary="Unmap a Slack user"
    )
    async def remove_user(user_id: UserId, caller: Caller = edge.require("admin")) -> None:
        """At once: the user's next click does not count."""
        await directory.remove_user(caller.tenant, user_id)


def interactions_router(verifier: Verifier, clicks: Clicks, on_alerts: AlertClicks | None = None) -> APIRouter:
    """Slack's callback. It is not part of the API that clients see: its contract is Slack's, its key the signature."""
    api = APIRouter(prefix="/v1/slack", tags=["slack"], route_class=StrictRoute, include_in_schema=False)

    @api.post("/interactions", responses=problems(400, 401, 404, 413, 503), summary="Take a click from Slack")
    async def interactions(request: Request) -> Response:
        """Set as the Request URL of the Slack app's interactivity. 200 within 3 s, whatever the click leads to."""
        body = await _bounded(request)
        verifier.check(body, request.headers)
        found = interaction(body)
        if found is None:
            return Response()
        for click in read(found):
            await clicks.take(click)
        for press in alert_clicks.read(found):
            if on_alerts is not None:
                await on_alerts.take(press)
        return Response()

    return api


async def _bounded(request: Request) -> bytes:
    parts, size = list[bytes](), 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_INTERACTION_BYTES:
            raise BodyTooLarge(
                f"The body is larger than {MAX_INTERACTION_BYTES} bytes.", headers={"Connection": "close"}
            )
        parts.append(chunk)
    return b"".join(parts)


def _stored(pool: str) -> str:
    return EVERY_POOL if pool == wire.EVERY_POOL else pool


def _channel_out(channel: Channel) -> wire.SlackChannelOut:
    return wire.SlackChannelOut(pool=channel.pool or wire.EVERY_POOL, channel=channel.channel)
