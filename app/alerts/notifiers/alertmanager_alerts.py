"""A notice as the alerts that an Alertmanager takes. Pure.

https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml (`postableAlerts`). It refuses all alerts of a
push for one that breaks a rule: an alert ends after it starts and has a label; names match [a-zA-Z_][a-zA-Z0-9_]*; a
generatorURL is a URI.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from app.alerts.notifiers.alerts import Notice
from app.alerts.notifiers.webhook_payload import rfc3339
from app.alerts.records import Alert

RESEND_S = 60.0
HOLD = 4
"""A firing alert is said to end after so many re-sends: that many may be lost before it resolves by itself, as with
Prometheus."""
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_URI = re.compile(r"(?:[A-Za-z0-9\-._~:/?#@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+")


def alerts_of(notice: Notice, now: datetime) -> list[dict[str, Any]]:
    return [_alert(alert, now) for alert in notice.alerts]


def _alert(alert: Alert, now: datetime) -> dict[str, Any]:
    ends = now + timedelta(seconds=RESEND_S * HOLD) if alert.ends_at is None else alert.ends_at
    made: dict[str, Any] = {
        "labels": names(alert.labels) or {"alertname": "alert"},
        "annotations": names(alert.annotations),
        "startsAt": rfc3339(alert.starts_at),
        # a clock that was set back must not make an alert that ends before it starts
        "endsAt": rfc3339(max(ends, alert.starts_at)),
    }
    if _is_uri(alert.url):
        made["generatorURL"] = alert.url
    return made


def names(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels under names that every Alertmanager takes; one without a value is none. Two that become one name are
    told apart by a number, in the order of their own names."""
    found = dict[str, str]()
    usual = {name for name, value in labels.items() if value and _NAME.fullmatch(name)}
    for name, value in sorted(labels.items()):
        if value:
            found[name if name in usual else _free(name, usual | found.keys())] = value
    return found


def _free(name: str, taken: set[str]) -> str:
    made = re.sub(r"[^a-zA-Z0-9_]", "_", name)
    made = made if _NAME.fullmatch(made) else f"_{made}"
    tried, number = made, 2
    while tried in taken:
        tried, number = f"{made}_{number}", number + 1
    return tried


def _is_uri(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and bool(_URI.fullmatch(url))
    except ValueError:
        return False
