"""The actions, by the name that a rule calls its action."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from app.alerts.actions.base import Action, ActionParams
from app.alerts.actions.drain_agent import DrainAgent, DrainAgentParams
from app.alerts.actions.immediate_intervention import ImmediateIntervention, InterventionParams
from app.alerts.actions.pause_pool import PausePool, PausePoolParams
from app.alerts.actions.performance_investigation import InvestigationParams, PerformanceInvestigation
from app.alerts.actions.rate_limiting import RateLimiting, RateLimitingParams
from app.alerts.actions.scale_up import ScaleUp, ScaleUpParams
from app.alerts.actions.webhook import Webhook, WebhookParams
from app.alerts.investigation import Live
from app.alerts.rule import BadRule, Mistake


@dataclass(frozen=True, slots=True)
class Kind:
    """`params_type` reads a rule's `action_params`; `make` builds the action, without I/O."""

    params_type: type[ActionParams]
    make: Callable[[Live], Action[Any]]


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "drain_agent": Kind(DrainAgentParams, lambda _: DrainAgent()),
        "immediate_intervention": Kind(InterventionParams, lambda _: ImmediateIntervention()),
        "pause_pool": Kind(PausePoolParams, lambda _: PausePool()),
        "performance_investigation": Kind(InvestigationParams, PerformanceInvestigation),
        "rate_limiting": Kind(RateLimitingParams, lambda _: RateLimiting()),
        "scale_up": Kind(ScaleUpParams, lambda _: ScaleUp()),
        "webhook": Kind(WebhookParams, lambda _: Webhook()),
    }
)


def build(live: Live) -> Mapping[str, Action[Any]]:
    """One of each."""
    return {name: kind.make(live) for name, kind in KINDS.items()}


def check_params(action: str | None, params: Mapping[str, Any]) -> None:
    """Raise BadRule, which names every mistake, unless these are parameters of this action. None takes none."""
    if action is None:
        if params:
            raise BadRule([Mistake("action_params", "are of an action, and there is none")])
        return
    if action not in KINDS:
        raise BadRule([Mistake("action", f"must be one of {' '.join(KINDS)}")])
    read_params(action, params)


def read_params(action: str, params: Mapping[str, Any]) -> ActionParams:
    """The parameters with their defaults; raises BadRule."""
    try:
        return KINDS[action].params_type.model_validate(params)
    except ValidationError as exc:
        raise BadRule([_mistake(error) for error in exc.errors(include_url=False, include_input=False)]) from None


def _mistake(error: Mapping[str, Any]) -> Mistake:
    where = ".".join(("action_params", *(str(part)[:100] for part in error["loc"])))
    return Mistake(where, str(error["msg"]).removeprefix("Value error, "))
