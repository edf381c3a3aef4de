"""Metrics of approvals."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

PENDING = Gauge("yard_approvals_pending", "Approvals that wait for people.", multiprocess_mode="mostrecent")
OUTCOMES = Counter(
    "yard_approvals_outcomes", "Approvals by how they ended (and those that were handed on).", ["outcome"]
)
