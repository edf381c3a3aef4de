"""A PagerDuty of a test's own, over real HTTP: its Events API v2, as strict as its documents, and its incidents."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from urllib.parse import urlsplit

from aiohttp import web

from tests.fakes.faults import Provider

MAX_BODY = 512_000
EVENT_KEYS = {"routing_key", "event_action", "dedup_key", "payload", "client", "client_url", "links", "images"}
PAYLOAD_KEYS = {"summary", "severity", "source", "timestamp", "component", "group", "class", "custom_details"}
CHANGE_KEYS = {"routing_key", "payload", "links", "images"}
CHANGE_PAYLOAD_KEYS = {"summary", "source", "timestamp", "custom_details"}
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:?\d{2})")

type State = Literal["open", "acked", "resolved"]


@dataclass
class Incident:
    """One alert at PagerDuty. `opened` counts how often it was opened; `events` are all that came for it."""

    state: State
    summary: str = ""
    severity: str = ""
    opened: int = 1
    events: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class PagerDuty(Provider):
    """`keys` are the integrations there are; `accepted` counts events, `refused` has the reasons of each 400."""

    keys: set[str] = field(default_factory=set)
    incidents: dict[tuple[str, str], Incident] = field(default_factory=dict)
    changes: list[dict[str, Any]] = field(default_factory=list)
    accepted: int = 0
    refused: list[list[str]] = field(default_factory=list)

    def routes(self, app: web.Application) -> None:
        app.router.add_post("/v2/enqueue", self._enqueue)
        app.router.add_post("/v2/change/enqueue", self._change)

    async def _enqueue(self, request: web.Request) -> web.StreamResponse:
        body, problems = await self._read(request)
        problems = problems or event_problems(body) or self._unknown(body)
        if problems:
            return self._refuse(problems)
        key = body.get("dedup_key") or f"made-{len(self.incidents)}"
        self._take(body, body["routing_key"], key)
        return web.json_response({"status": "success", "message": "Event processed", "dedup_key": key}, status=202)

    async def _change(self, request: web.Request) -> web.StreamResponse:
        body, problems = await self._read(request)
        problems = problems or change_problems(body) or self._unknown(body)
        if problems:
            return self._refuse(problems)
        self.changes.append(body)
        return web.json_response({"status": "success", "message": "Change event processed"}, status=202)

    async def _read(self, request: web.Request) -> tuple[dict[str, Any], list[str]]:
        raw = await request.read()
        if len(raw) > MAX_BODY:
            return {}, [f"the body has {len(raw)} bytes"]
        if request.content_type != "application/json":
            return {}, [f"the content type is {request.content_type}"]
        try:
            body = json.loads(raw.decode("utf-8"))
        except ValueError:
            return {}, ["JSON parse error"]
        return (body, []) if isinstance(body, dict) else ({}, ["not an object"])

    def _unknown(self, body: dict[str, Any]) -> list[str]:
        return [] if body["routing_key"] in self.keys else ["Invalid routing key"]

    def _refuse(self, problems: list[str]) -> web.StreamResponse:
        self.refused.append(problems)
        body = {"status": "invalid event", "message": "Event object is invalid", "errors": problems}
        return web.json_response(body, status=400)

    def _take(self, body: dict[str, Any], routing_key: str, key: str) -> None:
        self.accepted += 1
        found = self.incidents.get((routing_key, key))
        match body["event_action"]:
            case "trigger" if found is None:
                found = self.incidents[routing_key, key] = Incident("open")
            case "trigger" if found is not None and found.state == "resolved":
                found.state, found.opened = "open", found.opened + 1
            case "acknowledge" if found is not None and found.state == "open":
                found.state = "acked"
            case "resolve" if found is not None:
                found.state = "resolved"
        if found is None:
            return  # accepted and dropped, as PagerDuty does with what it does not know
        found.events.append(body)
        if body["event_action"] == "trigger":
            found.summary, found.severity = body["payload"]["summary"], body["payload"]["severity"]


def event_problems(body: dict[str, Any]) -> list[str]:
    found = [f"unknown field {name}" for name in body.keys() - EVENT_KEYS]
    found += _routing_key(body)
    action = body.get("event_action")
    if action not in ("trigger", "acknowledge", "resolve"):
        found.append("'event_action' is missing or invalid")
    key = body.get("dedup_key")
    if key is None and action != "trigger":
        found.append("'dedup_key' is missing or blank")
    if key is not None and (not isinstance(key, str) or not 1 <= len(key) <= 255):
        found.append("'dedup_key' is invalid")
    if action == "trigger":
        found += _payload(body.get("payload"), PAYLOAD_KEYS, ("summary", "source", "severity"))
        if isinstance(body.get("payload"), dict) and body["payload"].get("severity") not in (
            "critical", "error", "warning", "info",
        ):  # fmt: skip
            found.append("'payload.severity' is invalid")
    found += [] if isinstance(body.get("client", ""), str) else ["'client' is invalid"]
    found += [] if "client_url" not in body or _is_url(body["client_url"]) else ["'client_url' is invalid"]
    return found + _links(body)


def change_problems(body: dict[str, Any]) -> list[str]:
    found = [f"unknown field {name}" for name in body.keys() - CHANGE_KEYS]
    return found + _routing_key(body) + _payload(body.get("payload"), CHANGE_PAYLOAD_KEYS, ("summary",)) + _links(body)


def _routing_key(body: dict[str, Any]) -> list[str]:
    key = body.get("routing_key")
    right = isinstance(key, str) and len(key) == 32
    return [] if right else [f"Length of 'routing_key' is incorrect (should be 32 characters): {key}"]


def _payload(payload: Any, known: set[str], needed: tuple[str, ...]) -> list[str]:
    if not isinstance(payload, dict):
        return ["'payload' is missing or invalid"]
    found = [f"unknown field payload.{name}" for name in payload.keys() - known]
    found += [f"'payload.{name}' is missing or blank" for name in needed if not payload.get(name)]
    texts = known - {"custom_details"}
    found += [f"'payload.{name}' is no text" for name in texts & payload.keys() if not isinstance(payload[name], str)]
    if len(str(payload.get("summary", ""))) > 1024:
        found.append("'payload.summary' is too long")
    if "timestamp" in payload and not _is_time(payload["timestamp"]):
        found.append("'payload.timestamp' is invalid")
    if not isinstance(payload.get("custom_details", {}), dict):
        found.append("'payload.custom_details' is invalid")
    return found


def _links(body: dict[str, Any]) -> list[str]:
    links = body.get("links", [])
    if not isinstance(links, list):
        return ["'links' is invalid"]
    right = [
        isinstance(link, dict)
        and link.keys() <= {"href", "text"}
        and _is_url(link.get("href"))
        and isinstance(link.get("text", ""), str)
        for link in links
    ]
    return [] if all(right) else ["'links' is invalid"]


def _is_url(value: Any) -> bool:
    try:
        return isinstance(value, str) and urlsplit(value).scheme in ("http", "https") and bool(urlsplit(value).hostname)
    except ValueError:
        return False


def _is_time(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(_TIME.fullmatch(value)) and bool(datetime.fromisoformat(value))
    except ValueError:
        return False
