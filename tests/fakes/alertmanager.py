"""An Alertmanager over real HTTP, and what a receiver of Alertmanager's webhooks would say; both strict."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from tests.fakes.faults import Provider

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})")
PUSHED_KEYS = {"labels", "annotations", "startsAt", "endsAt", "generatorURL"}
WEBHOOK_KEYS = {
    "version", "groupKey", "truncatedAlerts", "status", "receiver", "groupLabels", "commonLabels", "commonAnnotations",
    "externalURL", "alerts",
}  # fmt: skip
WEBHOOK_ALERT_KEYS = {"status", "labels", "annotations", "startsAt", "endsAt", "generatorURL", "fingerprint"}


@dataclass
class Alertmanager(Provider):
    """`alerts` are those it knows, by their labels; one is resolved once its end has passed."""

    alerts: dict[frozenset[tuple[str, str]], dict[str, Any]] = field(default_factory=dict)
    pushes: int = 0
    headers: list[dict[str, str]] = field(default_factory=list)
    refused: list[list[str]] = field(default_factory=list)

    def routes(self, app: web.Application) -> None:
        app.router.add_post("/api/v2/alerts", self._post)

    def firing(self, now: datetime) -> list[dict[str, Any]]:
        return [alert for alert in self.alerts.values() if time_of(alert["endsAt"]) > now]

    async def _post(self, request: web.Request) -> web.StreamResponse:
        try:
            body = json.loads((await request.read()).decode("utf-8"))
            problems = push_problems(body)
        except ValueError:
            problems = ["JSON parse error"]
        if request.content_type != "application/json":
            problems.append(f"the content type is {request.content_type}")
        if problems:
            self.refused.append(problems)
            return web.json_response("; ".join(problems), status=400)
        self.pushes += 1
        self.headers.append(dict(request.headers))
        for alert in body:
            self.alerts[frozenset(alert["labels"].items())] = alert
        return web.Response(status=200)


def push_problems(body: Any) -> list[str]:
    if not isinstance(body, list):
        return ["not a list"]
    return [problem for alert in body for problem in _pushed(alert)]


def _pushed(alert: Any) -> list[str]:
    if not isinstance(alert, dict):
        return ["an alert is no object"]
    found = [f"unknown {name}" for name in alert.keys() - PUSHED_KEYS]
    found += _label_set(alert.get("labels"), "labels") + _label_set(alert.get("annotations", {}), "annotations")
    if not {name: value for name, value in (alert.get("labels") or {}).items() if value}:
        found.append("at least one label pair required")
    times = [alert.get("startsAt"), alert.get("endsAt")]
    if not all(isinstance(at, str) and _TIME.fullmatch(at) for at in times):
        return [*found, f"times: {times}"]
    if time_of(times[0]) > time_of(times[1]):
        found.append("start time must be before end time")
    url = alert.get("generatorURL", "http://x")
    if not isinstance(url, str) or not urlsplit(url).scheme or re.search(r"[^!-~]|%(?![0-9A-Fa-f]{2})", url):
        found.append(f"generatorURL must be of type uri: {url!r}")
    return found


def _label_set(labels: Any, what: str) -> list[str]:
    if not isinstance(labels, dict):
        return [f"{what} are no object"]
    wrong = [name for name, value in labels.items() if not _NAME.fullmatch(name) or not isinstance(value, str)]
    return [f"{what}: invalid {name!r}" for name in wrong]


def time_of(text: str) -> datetime:
    """RFC 3339; the zero time of Go too."""
    return (
        datetime.fromisoformat(text).astimezone(UTC)
        if not text.startswith("0001-")
        else datetime.min.replace(tzinfo=UTC)
    )


def webhook_problems(body: Any) -> list[str]:
    """What a receiver that reads version 4 strictly would say against it."""
    if not isinstance(body, dict) or body.keys() != WEBHOOK_KEYS:
        return [f"fields: {sorted(body) if isinstance(body, dict) else body}"]
    found = [] if body["version"] == "4" else ["version"]
    found += [] if isinstance(body["truncatedAlerts"], int) and body["truncatedAlerts"] >= 0 else ["truncatedAlerts"]
    texts = ("groupKey", "receiver", "externalURL")
    found += [name for name in texts if not isinstance(body[name], str)]
    for name in ("groupLabels", "commonLabels", "commonAnnotations"):
        found += [] if _is_strings(body[name]) else [name]
    alerts = body["alerts"]
    if not isinstance(alerts, list) or not alerts:
        return [*found, "alerts"]
    found += [problem for alert in alerts for problem in _told(alert)]
    fires = any(alert.get("status") == "firing" for alert in alerts)
    found += [] if body["status"] == ("firing" if fires else "resolved") else ["status"]
    for common, own in (("commonLabels", "labels"), ("commonAnnotations", "annotations")):
        shared = set.intersection(*(set(alert[own].items()) for alert in alerts))
        found += [] if set(body[common].items()) == shared else [common]
    return found


def _told(alert: Any) -> list[str]:
    if not isinstance(alert, dict) or alert.keys() != WEBHOOK_ALERT_KEYS:
        return ["an alert's fields"]
    found = [name for name in ("labels", "annotations") if not _is_strings(alert[name])]
    found += [] if isinstance(alert["generatorURL"], str) else ["generatorURL"]
    found += [] if re.fullmatch(r"[0-9a-f]{16}", str(alert["fingerprint"])) else ["fingerprint"]
    found += [name for name in ("startsAt", "endsAt") if not _TIME.fullmatch(str(alert[name]))]
    never = alert["endsAt"] == "0001-01-01T00:00:00Z"
    return found if alert["status"] == ("firing" if never else "resolved") else [*found, "an alert's status"]


def _is_strings(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) for pair in value.items() for item in pair)
