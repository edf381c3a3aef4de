"""`/v1/alert-rules`, `/v1/alerts`, `/v1/signals`. Rules and alerts are of the installation and show numbers of every
tenant: they need `admin`."""

from __future__ import annotations

from math import isfinite
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from app.alerts import rule_queries
from app.alerts import rule_wire as wire
from app.alerts.explanation import Explained
from app.alerts.reading import Reading, Sample
from app.alerts.rule_queries import AlertRecord
from app.alerts.rule_service import Rules
from app.alerts.rule_spec import FIELDS, filled
from app.alerts.state_rows import StoredRule, reading_json
from app.auth.callers import Caller
from app.auth.edge import Edge
from app.core.errors import BadPageToken
from app.core.http import PageSize, PageToken, StrictRoute, created, encode_page_token, problems, resume_after

SCOPE = "admin"
LAST_TRANSITIONS = 50

Name = Annotated[str, Path(pattern=wire.RULE_NAME, examples=["high_error_rate"])]
PhaseFilter = Annotated[wire.Phase | None, Query(description="Only these; none: all but ok.", examples=["firing"])]
RuleFilter = Annotated[str | None, Query(max_length=100, description="Of this rule.", examples=["high_error_rate"])]


def router(rules: Rules, edge: Edge) -> APIRouter:
    """The routes of rules, alerts and signals."""
    api = APIRouter(prefix="/v1", tags=["alerts"], route_class=StrictRoute)
    _add_rules(api, rules, edge)
    _add_alerts(api, rules, edge)
    return api


def _add_rules(api: APIRouter, rules: Rules, edge: Edge) -> None:
    async def shown(found: list[StoredRule]) -> list[wire.RuleOut]:
        counts = await rule_queries.counts(rules.db, [item.name for item in found])
        return [_rule(item, counts.get(item.name, {})) for item in found]

    @api.get("/alert-rules", responses=problems(400, 401, 403, 422, 503), summary="List alert rules")
    async def list_rules(
        page_size: PageSize = 50, page_token: PageToken = None, caller: Caller = edge.require(SCOPE)
    ) -> wire.RulePage:
        """By name, those that are there by default too."""
        after = resume_after(page_token, "alert-rules") if page_token else ""
        found = await rules.page(after, page_size + 1)
        page = found[:page_size]
        token = encode_page_token("alert-rules", page[-1].name) if len(found) > page_size else None
        return wire.RulePage(items=await shown(page), next_page_token=token)

    @api.put(
        "/alert-rules/{name}",
        responses={**created(wire.RuleOut), **problems(400, 401, 403, 409, 413, 422, 503)},
        summary="Set an alert rule",
    )
    async def put_rule(
        name: Name, body: wire.RuleIn, response: Response, caller: Caller = edge.require(SCOPE)
    ) -> wire.RuleOut:
        """Replaces the rule as a whole; 201 where it is new. What fires goes on, unless the alert's labels change:
        then the old one is resolved. 422 `invalid_alert_rule` names every mistake, 422 `unknown_signal` the signals
        there are. Disabled, its alerts are resolved."""
        put, made = await rules.put(name, body.spec(), enabled=body.enabled, by=caller)
        if made:
            response.status_code = 201
        return (await shown([put]))[0]

    @api.get("/alert-rules/{name}", responses=problems(401, 403, 404, 422, 503), summary="Read an alert rule")
    async def get_rule(name: Name, caller: Caller = edge.require(SCOPE)) -> wire.RuleOut:
        """With how its last evaluation went."""
        return (await shown([await rules.get(name)]))[0]

    @api.delete("/alert-rules/{name}", responses=problems(401, 403, 404, 422, 503), summary="Delete an alert rule")
    async def delete_rule(name: Name, caller: Caller = edge.require(SCOPE)) -> wire.RuleOut:
        """The answer is the rule as it was. Its alerts are resolved, and people are told."""
        return _rule(await rules.delete(name, caller), {})

    @api.get("/alert-rules/{name}/explain", responses=problems(401, 403, 404, 422, 503), summary="Explain an alert")
    async def explain_rule(name: Name, caller: Caller = edge.require(SCOPE)) -> wire.ExplainOut:
        """Reads the signal now: for every series, what is measured, what that is worth, since when it is pending, when
        it fires, or why it does not. Nothing is changed."""
        found = await rules.explain(name)
        moved = await rule_queries.transitions(rules.db, name, LAST_TRANSITIONS)
        return wire.ExplainOut(
            rule=(await shown([found.rule]))[0],
            instances=[_instance(item) for item in found.instances],
            transitions=[wire.TransitionOut(**item) for item in moved],
        )


def _add_alerts(api: APIRouter, rules: Rules, edge: Edge) -> None:
    @api.get("/alerts", responses=problems(400, 401, 403, 422, 503), summary="List alerts")
    async def list_alerts(
        phase: PhaseFilter = None,
        rule: RuleFilter = None,
        page_size: PageSize = 50,
        page_token: PageToken = None,
        caller: Caller = edge.require(SCOPE),
    ) -> wire.AlertPage:
        """Instances of rules: pending, firing, recovering (they still count as firing), and resolved for a quarter of
        an hour."""
        after = _position(resume_after(page_token, "alerts")) if page_token else None
        found = await rule_queries.alerts(rules.db, phase=phase, rule=rule, after=after, limit=page_size + 1)
        page = found[:page_size]
        last = page[-1] if page else None
        more = len(found) > page_size and last is not None
        token = encode_page_token("alerts", f"{last.rule} {last.state.fingerprint}") if more and last else None
        return wire.AlertPage(items=[_alert(item) for item in page], next_page_token=token)

    @api.get("/signals", responses=problems(401, 403, 422, 503), summary="List signals")
    async def list_signals(caller: Caller = edge.require("tasks:read")) -> wire.SignalPage:
        """What rules can be about."""
        items = [
            wire.SignalOut(name=item.name, unit=item.unit, text=item.text, by=sorted(item.by))
            for _, item in sorted(rules.signals.items())
        ]
        return wire.SignalPage(items=items, next_page_token=None)


def _position(text: str) -> tuple[str, str]:
    rule, space, fingerprint = text.partition(" ")
    if not space:
        raise BadPageToken("The page token is damaged.")
    return rule, fingerprint


def _rule(found: StoredRule, counts: dict[str, int]) -> wire.RuleOut:
    spec = filled(found.spec)
    return wire.RuleOut(
        name=found.name,
        **{name: spec[name] for name in FIELDS},
        enabled=found.enabled,
        created_by=found.created_by,
        created_at=found.created_at,
        updated_at=found.updated_at,
        evaluated_at=found.evaluated_at,
        evaluation_error=found.error,
        instances=counts,
    )


def _alert(found: AlertRecord) -> wire.AlertOut:
    state = found.state
    return wire.AlertOut(
        rule=found.rule,
        fingerprint=state.fingerprint,
        phase=state.phase,
        severity=state.labels.get("severity", ""),
        labels=dict(state.labels),
        annotations=dict(state.annotations),
        value=_number(state.value),
        reason=state.reason,
        since=found.changed_at,
        active_at=state.active_at,
        fired_at=state.fired_at,
        keep_since=state.keep_since,
        resolved_at=state.resolved_at,
        judged_at=state.judged_at,
        reading=_reading_out(found.reading),
    )


def _instance(item: Explained) -> wire.InstanceOut:
    state = item.state
    return wire.InstanceOut(
        fingerprint=item.fingerprint,
        labels=dict(item.labels),
        phase=item.phase,
        text=item.text,
        finding=item.finding,
        reading=None if item.reading is None else _reading(item.reading),
        interval=None if item.interval is None else list(item.interval),
        active_at=state.active_at if state else None,
        fired_at=state.fired_at if state else None,
        keep_since=state.keep_since if state else None,
        resolved_at=state.resolved_at if state else None,
        fires_at=item.fires_at,
        resolves_at=item.resolves_at,
    )


def _reading(reading: Reading) -> wire.ReadingOut:
    if isinstance(reading, Sample):
        return wire.ReadingOut(value=_number(reading.value), total=reading.total, good=reading.good)
    return _reading_out(reading_json(reading))


def _reading_out(found: dict[str, Any]) -> wire.ReadingOut:
    """What JSON has no number for (NaN, inf) is stored as text, and shown as none."""
    value = found.get("value")
    return wire.ReadingOut(**{**found, "value": None if isinstance(value, str) else value})


def _number(value: float | None) -> float | None:
    return value if value is None or isfinite(value) else None
