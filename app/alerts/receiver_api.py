"""`/v1/receivers`: whom alerts are told to, and how. All of it needs `admin`: they are of the installation."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Response

from app.alerts import receiver_config
from app.alerts import receiver_wire as wire
from app.alerts.matching import text_of
from app.alerts.notifiers.alerts import Delivered, Outcome, Permanent, Retryable, Throttled
from app.alerts.receiver_service import Receivers
from app.alerts.receivers import ReceiverRecord
from app.auth.callers import Caller
from app.auth.edge import Edge
from app.core.clock import Clock
from app.core.http import PageSize, PageToken, StrictRoute, created, encode_page_token, problems, resume_after

SCOPE = "admin"
Name = Annotated[str, Path(pattern=wire.NAME, examples=["on-call"])]


def router(receivers: Receivers, edge: Edge, clock: Clock) -> APIRouter:
    """The routes of receivers."""
    api = APIRouter(prefix="/v1/receivers", tags=["notifications"], route_class=StrictRoute)

    def out(receiver: ReceiverRecord) -> wire.ReceiverOut:
        return receiver_out(receiver, clock.now())

    @api.get("", responses=problems(400, 401, 403, 422, 503), summary="List receivers")
    async def list_receivers(
        page_size: PageSize = 50, page_token: PageToken = None, caller: Caller = edge.require(SCOPE)
    ) -> wire.ReceiverPage:
        """By name, without their secrets."""
        after = resume_after(page_token, "receivers") if page_token else None
        found = await receivers.page(after, page_size + 1)
        page = found[:page_size]
        token = encode_page_token("receivers", page[-1].name) if len(found) > page_size else None
        return wire.ReceiverPage(items=list(map(out, page)), next_page_token=token)

    @api.put(
        "/{name}",
        responses={**created(wire.ReceiverOut), **problems(400, 401, 403, 409, 413, 422, 503)},
        summary="Set a receiver",
    )
    async def put_receiver(
        name: Name, body: wire.ReceiverIn, response: Response, caller: Caller = edge.require(SCOPE)
    ) -> wire.ReceiverOut:
        """Replaces it as a whole; 201 where it is new. A secret that comes in masked, as it is shown, stays as it is.
        What could not be told before is tried at once."""
        made, new = await receivers.put(name, body.spec(), caller)
        response.status_code = 201 if new else 200
        return out(made)

    @api.get("/{name}", responses=problems(401, 403, 404, 422, 503), summary="Read a receiver")
    async def get_receiver(name: Name, caller: Caller = edge.require(SCOPE)) -> wire.ReceiverOut:
        """Without its secrets, and how it does."""
        return out(await receivers.get(name))

    @api.delete(
        "/{name}", status_code=204, responses=problems(401, 403, 404, 409, 422, 503), summary="Delete a receiver"
    )
    async def delete_receiver(name: Name, caller: Caller = edge.require(SCOPE)) -> None:
        """What it was still to be told is dropped, and named in the notifications. What is open at its provider stays
        open there. 409 `receiver_in_use` where another escalates to it."""
        await receivers.delete(name, caller)

    @api.post("/{name}/test", responses=problems(401, 403, 404, 422, 503), summary="Test a receiver")
    async def test_receiver(name: Name, caller: Caller = edge.require(SCOPE)) -> wire.TestOut:
        """Sends a test alert now, and answers how that went. A success clears an earlier failure."""
        return test_out(await receivers.test(name, caller), clock.now())

    return api


def receiver_out(receiver: ReceiverRecord, now: datetime) -> wire.ReceiverOut:
    values = {name: getattr(receiver, name) for name in wire.ReceiverOut.model_fields if name != "status"}
    values["config"] = receiver_config.shown(receiver.kind, receiver.config)
    values["matchers"] = list(map(text_of, receiver.matchers))
    status = "ok"
    if receiver.throttled_until is not None and receiver.throttled_until > now:
        status = "throttled"
    if receiver.failed_at is not None:
        status = "failing"
    return wire.ReceiverOut.model_validate({**values, "status": status if receiver.enabled else "disabled"})


def test_out(outcome: Outcome, now: datetime) -> wire.TestOut:
    match outcome:
        case Delivered():
            return wire.TestOut(outcome="delivered", reason=outcome.note, until=None)
        case Throttled():
            return wire.TestOut(outcome="throttled", reason=outcome.reason, until=now + outcome.pause)
        case Retryable():
            return wire.TestOut(outcome="retryable", reason=outcome.reason, until=None)
        case Permanent():
            return wire.TestOut(outcome="permanent", reason=outcome.reason, until=None)
