"""The seam for actions: what one is told, what it may do, and what follows from that.

An action answers one alert instance: a rule, a fingerprint, and when it began to fire. Whoever calls
(`alerts.responses`) keeps the account of it in `alert_actions`, in the same transaction as the action's effect, and
undoes it when the alert is resolved, when its time is over, or when a person says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Protocol
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.alerts.records import Labels
from app.core.db import HotConnection

MAX_DURATION_S = 86_400.0


class ActionParams(BaseModel):
    """What every action takes. `duration_s` is its bound: however long the alert fires, the effect ends by then."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    dry_run: bool = Field(False, description="Only note what it would do.")
    duration_s: float = Field(1800.0, ge=10, le=MAX_DURATION_S, description="It is over after this long at the latest.")
    until_resolved: bool = Field(True, description="It is over as soon as the alert is resolved.")


@dataclass(frozen=True, slots=True)
class Ask:
    """What is answered. `id` is the action's: whatever it makes has this id, so that it is there once. `labels` are the
    alert's; `expires_at` is when its effect must be over. `threshold` is the rule's, `value` what broke it."""

    id: UUID
    rule: str
    fingerprint: str
    fired_at: datetime
    labels: Labels
    expires_at: datetime
    value: float | None = None
    signal: str = ""
    threshold: float = 0.0

    @property
    def by(self) -> str:
        """Who did it, wherever that is written down."""
        return f"alert:{self.rule}"

    @property
    def pool(self) -> str:
        return self.labels.get("pool", "")


@dataclass(frozen=True, slots=True)
class Begun:
    """What was done, in a sentence. `scope`: on what, as labels. `lasts` False: there is nothing to end. `facts`: what
    `end` needs, as JSON."""

    detail: str
    scope: Mapping[str, str] = field(default_factory=dict)
    lasts: bool = True
    facts: Mapping[str, Any] = field(default_factory=dict)


class NothingToDo(Exception):
    """It does not apply here: it is noted with this reason, and not tried again."""


class Action[Params: ActionParams](Protocol):
    """One way to answer.

    `begin` and `end` are called by one manager at a time, though perhaps by two that both believe to lead; each inside
    a transaction that is theirs and the account's together. They write through the verbs of the domain whose rows they
    change and do nothing else: no call to the outside, no sleep, no state of their own. So all of it counts or nothing
    does, and what a dry run does is undone.

    `begin` may be called again for an id for which it has succeeded: that changes nothing. It raises NothingToDo where
    there is nothing it could act on; anything else it raises is tried again, a few times. `end` is called for what
    lasts, perhaps twice, perhaps long after the effect has expired by itself: then it changes nothing. Every effect
    must end by itself at `expires_at`, though no manager lives to end it, or be safe to leave.
    """

    params_type: ClassVar[type[ActionParams]]

    async def begin(self, connection: HotConnection, ask: Ask, params: Params) -> Begun: ...

    async def end(self, connection: HotConnection, ask: Ask, facts: Mapping[str, Any], why: str) -> None: ...
