"""Whether an answer to an alert is over, and when one that did not work is tried again. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from app.alerts.actions.base import Ask
from app.alerts.confidence import Finding
from app.alerts.reading import Missing
from app.alerts.records import Labels

type Why = Literal["expired", "rule_changed", "resolved"]

NO_EVIDENCE: tuple[Finding | Missing, ...] = ("too_few_events", "not_confident", "no_data", "error", "vanished")
"""Where an alert is resolved for one of these, nobody knows that all is well: what answers it may be why nothing ends.
"""

INVESTIGATION = "performance_investigation"
MAX_TRIES = 6
FIRST_RETRY_S, MAX_RETRY_S = 2.0, 60.0
END_RETRY_S = 30.0
"""An effect that could not be ended is tried again after this long, as often as it takes."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An account that is open: what was asked, and how it stands. `facts` are what the action left for its end."""

    id: UUID
    rule: str
    fingerprint: str
    fired_at: datetime
    action: str
    labels: Labels
    status: str
    until_resolved: bool
    expires_at: datetime
    value: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def ask(self) -> Ask:
        """As the action was asked."""
        return Ask(self.id, self.rule, self.fingerprint, self.fired_at, self.labels, self.expires_at, self.value)


def over(answer: Answer, *, firing: bool, cleared: bool, rule_action: str | None, now: datetime) -> Why | None:
    """Why it is over; None: it goes on.

    `firing`: the very instance that it answers still fires; `cleared`: it does not, and that is known by numbers, or it
    fires anew. Between the two the answer stands until its bound. `rule_action`: what its rule asks for now; None:
    nothing, or the rule is gone.
    """
    if answer.expires_at <= now:
        return "expired"
    if rule_action != answer.action:
        return "rule_changed"
    if (cleared and answer.until_resolved) or (not firing and answer.status == "retrying"):
        return "resolved"
    return None


def retry_s(tries: int) -> float | None:
    """Seconds from the failed try of this number to the next; None: it was the last."""
    return None if tries >= MAX_TRIES else min(MAX_RETRY_S, FIRST_RETRY_S * 2.0 ** (tries - 1))
