"""A notice as an event of PagerDuty's Events API v2, and a change as a change event. Pure.

https://developer.pagerduty.com/docs/events-api-v2/trigger-events and .../send-change-events: `dedup_key` has at most
255 characters, `summary` 1,024, the whole body 512 KB. The dedup key is made of the group's key, so that every event of
a group meets the same alert at PagerDuty, whichever manager sends it and however often.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import urlsplit

from app.alerts.notifiers import wording
from app.alerts.notifiers.alerts import Notice
from app.alerts.notifiers.http import encode
from app.alerts.records import Alert

MAX_BODY, MAX_SUMMARY, MAX_FIELD, MAX_URL, MAX_TEXT = 512_000, 1024, 255, 2000, 500
CLIENT = "Yardmaster"

type Action = Literal["trigger", "acknowledge", "resolve"]


@dataclass(frozen=True, slots=True)
class Change:
    """A deploy, a rotation of a secret: something that was changed and may explain what comes after."""

    summary: str
    at: datetime
    source: str = ""
    details: Mapping[str, str] = field(default_factory=dict)
    links: tuple[tuple[str, str], ...] = ()
    """URL and text of each."""


def dedup_key(group_key: str, source: str) -> str:
    """75 characters. `source` keeps two installations apart that send to one service."""
    text = f"{source}\0{group_key}".encode("utf-8", "surrogatepass")
    return "yardmaster-" + hashlib.sha256(text).hexdigest()


def action_of(notice: Notice) -> Action:
    if not notice.firing:
        return "resolve"
    return "acknowledge" if notice.reason == "acknowledged" else "trigger"


def event(notice: Notice, *, routing_key: str, key: str, source: str) -> tuple[bytes, str]:
    """The body, and what had to be left out. Only a trigger has a payload: the two others need none."""
    action = action_of(notice)
    body: dict[str, Any] = {"routing_key": routing_key, "event_action": action, "dedup_key": key}
    if action != "trigger":
        return encode(body), ""
    payload = _payload(notice, source)
    body |= {"client": CLIENT, "payload": payload}
    if url := _url(notice.url):
        body |= {"client_url": url, "links": [{"href": url, "text": "The alerts of this group"}]}
    links = [(_url(alert.url), wording.line(alert)) for alert in notice.firing[:10]]
    body.setdefault("links", []).extend({"href": at, "text": wording.cut(text, MAX_TEXT)} for at, text in links if at)
    return _fitted(body, payload, notice)


def change_event(change: Change, *, routing_key: str, source: str) -> tuple[bytes, str]:
    """The body, and what had to be left out."""
    summary = wording.cut(wording.one_line(change.summary), MAX_SUMMARY) or "A change"
    payload = {
        "summary": summary,
        "timestamp": _time(change.at),
        "source": wording.cut(wording.one_line(change.source or source), MAX_FIELD),
        "custom_details": dict(change.details),
    }
    links = [{"href": _url(at), "text": wording.cut(text, MAX_TEXT)} for at, text in change.links if _url(at)][:20]
    body = {"routing_key": routing_key, "payload": payload, "links": links}
    if len(made := encode(body)) <= MAX_BODY:
        return made, ""
    note = "The details of this change were too large and are left out."
    payload["custom_details"] = {"note": note}
    return encode(body), note


def _payload(notice: Notice, source: str) -> dict[str, Any]:
    common = notice.common_labels
    said = wording.sentence(notice)
    summary = wording.title(notice) + (f": {wording.one_line(said)}" if said else "")
    optional = {
        "component": common.get("component") or common.get("pool") or common.get("agent_type") or "",
        "group": wording.pairs(notice.group_labels),
        "class": common.get("alertname", ""),
    }
    short = {name: wording.cut(wording.one_line(value), MAX_FIELD) for name, value in optional.items()}
    return {
        "summary": wording.cut(summary, MAX_SUMMARY),
        "severity": notice.severity,
        "source": wording.cut(wording.one_line(common.get("instance") or source), MAX_FIELD) or CLIENT,
        "timestamp": _time(min(alert.starts_at for alert in notice.firing)),
        **{name: value for name, value in short.items() if value},
    }


def _fitted(body: dict[str, Any], payload: dict[str, Any], notice: Notice) -> tuple[bytes, str]:
    """The body with as many alerts in its details as fit; it says how many are missing."""
    alerts = wording.ordered(notice)
    shown, note = len(alerts), ""
    while True:
        payload["custom_details"] = _details(notice, alerts[:shown], note)
        made = encode(body)
        if len(made) <= MAX_BODY:
            return made, note
        if not shown:
            break
        shown //= 2
        note = f"Only {shown} of {len(alerts)} alerts are shown: all of them would be too large."
    note = "The details are left out: they are too large."
    payload["custom_details"] = {"note": note}
    return encode(body), note


def _details(notice: Notice, alerts: tuple[Alert, ...], note: str) -> dict[str, Any]:
    counts = {"num_firing": len(notice.firing), "num_resolved": len(notice.resolved)}
    told = [_detail(alert) for alert in alerts]
    common = {
        "group_labels": dict(notice.group_labels),
        "common_labels": notice.common_labels,
        "common_annotations": notice.common_annotations,
    }
    return {**({"note": note} if note else {}), **counts, **(common if alerts else {}), "alerts": told}


def _detail(alert: Alert) -> dict[str, Any]:
    found = {
        "status": "firing" if alert.firing else "resolved",
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "started": _time(alert.starts_at),
        "ended": None if alert.ends_at is None else _time(alert.ends_at),
        "value": None if alert.value is None else wording.number(alert.value),
        "url": alert.url,
    }
    return {name: value for name, value in found.items() if value is not None}


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _url(text: str) -> str:
    """The text where it is an http(s) URL of a usable length; empty else."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return ""
    return text if usable and len(text) <= MAX_URL and text.isascii() and text.isprintable() and " " not in text else ""
