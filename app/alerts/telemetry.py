"""Metrics of what people are told. Every label is bounded."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

NOTICES = Counter("yard_approval_notices", "Messages about approvals, by how sending them went.", ["outcome"])
"""outcome: sent, updated, retried, failed"""

CLICKS = Counter("yard_slack_clicks", "Clicks in Slack, by what became of them.", ["outcome"])
"""outcome: decided, refused, unmapped, failed"""

ALERTS = Gauge("yard_alerts", "Instances of alert rules by phase.", ["rule", "phase"], multiprocess_mode="mostrecent")
"""phase: pending, firing, recovering, resolved. Shown by the manager that evaluates."""

EVALUATED = Histogram(
    "yard_alert_evaluation_seconds",
    "How long it took to evaluate all rules.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
EVALUATION_ERRORS = Counter("yard_alert_evaluation_errors", "Evaluations of rules that went wrong.", ["reason"])
"""reason: signal (it could not be read), series (there are too many), rule (it is not valid, or a fault of ours)"""

NOTIFICATIONS = Counter("yard_notifications", "Notices about alerts, by how sending them went.", ["kind", "outcome"])
"""kind: of the receiver; outcome: delivered, retrying, throttled, permanent"""
ACTIONS = Counter("yard_alert_actions", "Automatic answers to alerts, by what became of them.", ["action", "outcome"])
"""outcome: running, done, skipped, dry_run, retrying, failed, ended"""
