"""A notice as Alertmanager's webhook payload, version 4, so that receivers made for it work. Pure.

https://prometheus.io/docs/alerting/latest/configuration/#webhook_config. As there: the receiver's name is quoted for a
regular expression, an alert that fires ends at the zero time, times are RFC 3339 without trailing zeros, and a
fingerprint is the one that Prometheus computes.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from app.alerts.notifiers.alerts import Notice
from app.alerts.notifiers.http import mended
from app.alerts.notifiers.wording import ordered
from app.alerts.records import Alert, Labels

VERSION = "4"
NEVER = "0001-01-01T00:00:00Z"
_FNV_OFFSET, _FNV_PRIME = 0xCBF29CE484222325, 0x100000001B3
_META = re.compile(r"[\\.+*?()|\[\]{}^$]")


def payload(notice: Notice, max_alerts: int) -> dict[str, Any]:
    """`max_alerts` 0: all; else those that fire go first. What is common is common to the alerts that are sent."""
    kept = ordered(notice)[:max_alerts] if max_alerts else ordered(notice)
    sent = Notice(notice.id, notice.group_key, notice.receiver, notice.reason, kept, notice.group_labels)
    return {
        "receiver": _META.sub(lambda found: "\\" + found[0], notice.receiver),
        "status": "firing" if sent.firing else "resolved",
        "alerts": [alert_of(alert) for alert in kept],
        "groupLabels": dict(notice.group_labels),
        "commonLabels": dict(sent.common_labels),
        "commonAnnotations": dict(sent.common_annotations),
        "externalURL": notice.url,
        "version": VERSION,
        "groupKey": notice.group_key,
        "truncatedAlerts": len(notice.alerts) - len(kept),
    }


def alert_of(alert: Alert) -> dict[str, Any]:
    return {
        "status": "firing" if alert.firing else "resolved",
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "startsAt": rfc3339(alert.starts_at),
        "endsAt": NEVER if alert.ends_at is None else rfc3339(alert.ends_at),
        "generatorURL": alert.url,
        "fingerprint": fingerprint(alert.labels),
    }


def fingerprint(labels: Labels) -> str:
    """Prometheus' own name of a label set: FNV-1a in 64 bits, 0xFF after each name and value, without empty values."""
    mixed = _FNV_OFFSET
    for name, value in sorted(mended(dict(labels)).items()):
        for byte in b"".join((name.encode(), b"\xff", value.encode(), b"\xff")) if value else b"":
            mixed = (mixed ^ byte) * _FNV_PRIME & 0xFFFFFFFFFFFFFFFF
    return f"{mixed:016x}"


def rfc3339(at: datetime) -> str:
    """As Go writes it: UTC, the fraction as short as it is exact."""
    text = at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
    return text.rstrip("0").rstrip(".") + "Z"
