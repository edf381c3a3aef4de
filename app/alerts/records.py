"""Plain values of alerting: labels, matchers, an alert as it is handed on to people.

Names and semantics are those of Prometheus and Alertmanager, where they have them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

type Labels = Mapping[str, str]
type Severity = Literal["critical", "error", "warning", "info"]
type MatchOp = Literal["=", "!=", "=~", "!~"]

SEVERITIES: tuple[Severity, ...] = ("critical", "error", "warning", "info")


def fingerprint(labels: Labels) -> str:
    """The identity of an alert instance: 32 hex digits of the SHA-256 of its sorted labels."""
    text = json.dumps(sorted(labels.items()), ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Matcher:
    """A condition on one label. A missing label counts as empty; patterns are RE2's and match the whole value."""

    name: str
    op: MatchOp
    value: str


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert instance as the pipeline and the notifiers see it: firing, or ended and to be told as resolved.

    `labels` include `alertname` and `severity`. `starts_at` is when it began to fire; `ends_at` when it was resolved,
    None while it fires. `value` is what its signal said last; `url` is where a person reads more.
    """

    labels: Labels
    starts_at: datetime
    ends_at: datetime | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    value: float | None = None
    url: str = ""

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.labels)

    @property
    def name(self) -> str:
        return self.labels.get("alertname", "")

    @property
    def severity(self) -> Severity:
        """Anything that is no severity of ours counts as a warning."""
        found = self.labels.get("severity", "")
        return next((item for item in SEVERITIES if item == found), "warning")

    @property
    def firing(self) -> bool:
        return self.ends_at is None
