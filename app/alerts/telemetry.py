"""Metrics of what people are told. Every label is bounded."""

from __future__ import annotations

from prometheus_client import Counter

NOTICES = Counter("yard_approval_notices", "Messages about approvals, by how sending them went.", ["outcome"])
"""outcome: sent, updated, retried, failed"""

CLICKS = Counter("yard_slack_clicks", "Clicks in Slack, by what became of them.", ["outcome"])
"""outcome: decided, refused, unmapped, failed"""

ACTIONS = Counter("yard_alert_actions", "Automatic answers to alerts, by what became of them.", ["action", "outcome"])
"""outcome: running, done, skipped, dry_run, retrying, failed, ended"""
