"""`/v1/silences`, `/v1/inhibit-rules`, `/v1/mute-times`: what keeps people from being told. `admin` sets them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response

from app.alerts import silence_wire as wire
from app.alerts.holding_service import Holding, MuteTimeRecord
from app.alerts.inhibition import InhibitRule
from app.alerts.matching import text_of
from app.alerts.receiver_wire import NAME
from app.alerts.silence_service import Silences
from app.alerts.silences import Silence
from app.auth.callers import Caller
from app.auth.edge import Edge
from app.core.errors import BadPageToken
from app.core.http import PageSize, PageToken, StrictRoute, created, encode_page_token, problems, resume_after

SilenceId = Annotated[UUID, Path(examples=[wire.SILENCE["id"]])]
RuleName = Annotated[str, Path(pattern=NAME, examples=["critical-over-warning"])]
MuteName = Annotated[str, Path(pattern=NAME, examples=["nights"])]
State = Annotated[Literal["pending", "active", "expired"] | None, Query(examples=["active"])]


def routers(silences: Silences, holding: Holding, edge: Edge) -> list[APIRouter]:
    """The routes of all three."""
    made = [
        APIRouter(prefix=f"/v1/{name}", tags=["notifications"], route_class=StrictRoute)
        for name in ("silences", "inhibit-rules", "mute-times")
    ]
    _add_silences(made[0], silences, edge)
    _add_inhibit_rules(made[1], holding, edge)
    _add_mute_times(made[2], holding, edge)
    return made


def _add_silences(api: APIRouter, silences: Silences, edge: Edge) -> None:
    @api.post("", status_code=201, responses=problems(400, 401, 403, 409, 413, 422, 503), summary="Silence alerts")
    async def create_silence(
        body: wire.SilenceIn, response: Response, caller: Caller = edge.require("admin")
    ) -> wire.SilenceOut:
        """Of everybody's: alerts belong to the installation. One without matchers is refused."""
        made = silence_out(*await silences.create(body.spec(), caller.id))
        response.headers["Location"] = f"/v1/silences/{made.id}"
        return made

    @api.get("", responses=problems(400, 401, 403, 422, 503), summary="List silences")
    async def list_silences(
        state: State = None,
        page_size: PageSize = 50,
        page_token: PageToken = None,
        caller: Caller = edge.require("admin"),
    ) -> wire.SilencePage:
        """Newest first; expired ones for five days."""
        before = uuid_of(resume_after(page_token, "silences")) if page_token else None
        found, now = await silences.page(state, before, page_size + 1)
        page = found[:page_size]
        token = encode_page_token("silences", str(page[-1].id)) if len(found) > page_size else None
        return wire.SilencePage(items=[silence_out(item, now) for item in page], next_page_token=token)

    @api.get("/{silence_id}", responses=problems(401, 403, 404, 422, 503), summary="Read a silence")
    async def get_silence(silence_id: SilenceId, caller: Caller = edge.require("admin")) -> wire.SilenceOut:
        """Also an expired one, for five days."""
        return silence_out(*await silences.get(silence_id))

    @api.put("/{silence_id}", responses=problems(400, 401, 403, 404, 409, 413, 422, 503), summary="Change a silence")
    async def put_silence(
        silence_id: SilenceId, body: wire.SilenceIn, caller: Caller = edge.require("admin")
    ) -> wire.SilenceOut:
        """As in Alertmanager: with other matchers, or expired, it is ended and a new one takes its place, under an id
        of its own: look at the answer's `id`."""
        return silence_out(*await silences.change(silence_id, body.spec(), caller.id))

    @api.delete("/{silence_id}", responses=problems(401, 403, 404, 422, 503), summary="Expire a silence")
    async def expire_silence(silence_id: SilenceId, caller: Caller = edge.require("admin")) -> wire.SilenceOut:
        """It ends now, and stays readable for five days."""
        return silence_out(*await silences.end(silence_id))


def _add_inhibit_rules(api: APIRouter, holding: Holding, edge: Edge) -> None:
    @api.get("", responses=problems(400, 401, 403, 422, 503), summary="List inhibitions")
    async def list_inhibit_rules(
        page_size: PageSize = 50, page_token: PageToken = None, caller: Caller = edge.require("admin")
    ) -> wire.InhibitRulePage:
        """By name."""
        after = resume_after(page_token, "inhibit-rules") if page_token else None
        found = await holding.rules(after, page_size + 1)
        page = found[:page_size]
        token = encode_page_token("inhibit-rules", page[-1].name) if len(found) > page_size else None
        return wire.InhibitRulePage(items=list(map(rule_out, page)), next_page_token=token)

    @api.put(
        "/{name}",
        responses={**created(wire.InhibitRuleOut), **problems(400, 401, 403, 409, 413, 422, 503)},
        summary="Set an inhibition",
    )
    async def put_inhibit_rule(
        name: RuleName, body: wire.InhibitRuleIn, response: Response, caller: Caller = edge.require("admin")
    ) -> wire.InhibitRuleOut:
        """Replaces it as a whole; 201 where it is new."""
        made, new = await holding.put_rule(name, body.source, body.target, body.equal)
        response.status_code = 201 if new else 200
        return rule_out(made)

    @api.get("/{name}", responses=problems(401, 403, 404, 422, 503), summary="Read an inhibition")
    async def get_inhibit_rule(name: RuleName, caller: Caller = edge.require("admin")) -> wire.InhibitRuleOut:
        """As it was set."""
        return rule_out(await holding.rule(name))

    @api.delete("/{name}", status_code=204, responses=problems(401, 403, 404, 422, 503), summary="Delete an inhibition")
    async def delete_inhibit_rule(name: RuleName, caller: Caller = edge.require("admin")) -> None:
        """What it held back is told with the next flush."""
        await holding.delete_rule(name)


def _add_mute_times(api: APIRouter, holding: Holding, edge: Edge) -> None:
    @api.get("", responses=problems(400, 401, 403, 422, 503), summary="List mute times")
    async def list_mute_times(
        page_size: PageSize = 50, page_token: PageToken = None, caller: Caller = edge.require("admin")
    ) -> wire.MuteTimePage:
        """By name."""
        after = resume_after(page_token, "mute-times") if page_token else None
        found = await holding.mute_times(after, page_size + 1)
        page = found[:page_size]
        token = encode_page_token("mute-times", page[-1].name) if len(found) > page_size else None
        return wire.MuteTimePage(items=list(map(mute_time_out, page)), next_page_token=token)

    @api.put(
        "/{name}",
        responses={**created(wire.MuteTimeOut), **problems(400, 401, 403, 409, 413, 422, 503)},
        summary="Set a mute time",
    )
    async def put_mute_time(
        name: MuteName, body: wire.MuteTimeIn, response: Response, caller: Caller = edge.require("admin")
    ) -> wire.MuteTimeOut:
        """Replaces it as a whole; 201 where it is new. Receivers name it in `mute_times` or `active_times`."""
        made, new = await holding.put_mute_time(name, body.intervals)
        response.status_code = 201 if new else 200
        return mute_time_out(made)

    @api.get("/{name}", responses=problems(401, 403, 404, 422, 503), summary="Read a mute time")
    async def get_mute_time(name: MuteName, caller: Caller = edge.require("admin")) -> wire.MuteTimeOut:
        """As it was set."""
        return mute_time_out(await holding.mute_time(name))

    @api.delete(
        "/{name}", status_code=204, responses=problems(401, 403, 404, 409, 422, 503), summary="Delete a mute time"
    )
    async def delete_mute_time(name: MuteName, caller: Caller = edge.require("admin")) -> None:
        """409 `mute_time_in_use` where a receiver names it."""
        await holding.delete_mute_time(name)


def silence_out(silence: Silence, now: datetime) -> wire.SilenceOut:
    return wire.SilenceOut(
        id=silence.id,
        matchers=list(map(text_of, silence.matchers)),
        starts_at=silence.starts_at,
        ends_at=silence.ends_at,
        created_by=silence.created_by,
        comment=silence.comment,
        state=silence.state(now),
    )


def rule_out(rule: InhibitRule) -> wire.InhibitRuleOut:
    source, target = (list(map(text_of, matchers)) for matchers in (rule.source, rule.target))
    return wire.InhibitRuleOut(name=rule.name, source=source, target=target, equal=list(rule.equal))


def mute_time_out(found: MuteTimeRecord) -> wire.MuteTimeOut:
    return wire.MuteTimeOut(name=found.name, intervals=found.intervals)


def uuid_of(text: str) -> UUID:
    """Of a page token; raises BadPageToken."""
    try:
        return UUID(text)
    except ValueError:
        raise BadPageToken("The page token does not belong to this list.") from None
