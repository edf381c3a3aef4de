"""Recorded attempts: read from lines of JSON, or from the attempts the service lists."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

MAX_TEXT = 200
LONGEST_S = 1e7
ENDINGS = ("succeeded", "failed")
"""Other outcomes (refused, lost) say nothing of how long a task takes or how good an agent is."""


class BadTrace(ValueError):
    """The record cannot be used; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One attempt. `at_s`: when its task was queued, in seconds of any clock; `started_s`: when the attempt began, by
    the same clock, None: not recorded. `task`: attempts with the same belong to one task, None: it was its task's only
    one."""

    at_s: float
    type: str
    seconds: float
    ok: bool = True
    complexity: float = 0.5
    thread_id: str | None = None
    agent: str = ""
    version: str = ""
    task: str | None = None
    started_s: float | None = None

    @property
    def begin_s(self) -> float:
        """When the attempt began; where that is not recorded, as if its task had not waited."""
        return self.at_s if self.started_s is None else self.started_s

    @property
    def end_s(self) -> float:
        return self.begin_s + self.seconds


def read(lines: Iterable[str]) -> list[Recorded]:
    """The attempts in lines like {"at":12.5,"type":"code","seconds":3.1,"ok":true}; empty lines are skipped.

    `at` is in seconds or ISO 8601, the same in all lines. `started` (in the form of `at`: when the attempt began, after
    the task waited), `complexity` 0..1, `thread_id`, `agent`, `version` and `task_id` may be there. Raises BadTrace
    with the number of the first line that cannot be used, or for none at all.
    """
    found: list[Recorded] = []
    kinds: set[type] = set()
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                found.append(_line(line, kinds))
            except BadTrace as error:
                raise BadTrace(f"line {number} {error}") from None
    if not found:
        raise BadTrace("there is no attempt in it")
    return found


def _line(line: str, kinds: set[type]) -> Recorded:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        raise BadTrace("is not JSON") from None
    if not isinstance(fields, dict):
        raise BadTrace("is not a JSON object")
    recorded = _recorded(fields)
    times = [fields[name] for name in ("at", "started") if fields.get(name) is not None]
    kinds.update(str if isinstance(time, str) else float for time in times)
    if len(kinds) > 1:
        raise BadTrace("has a time of another kind than those before")
    return recorded


def listed(items: Iterable[Mapping[str, Any]]) -> list[Recorded]:
    """The attempts as the service lists them; those that are running or say nothing are left out. Raises BadTrace."""
    found = []
    for item in items:
        if item.get("seconds") is None or item.get("outcome") not in ENDINGS or item.get("counted") is False:
            continue
        began = item.get("started_at")
        fields = {"at": item.get("queued_at") or began, "started": began, "ok": item.get("outcome") == "succeeded"}
        renamed = {"agent": item.get("agent_id"), "task_id": item.get("task_id")}
        try:
            found.append(_recorded({**item, **fields, **renamed}))
        except BadTrace as error:
            raise BadTrace(f"attempt of task {str(item.get('task_id'))[:MAX_TEXT]} {error}") from None
    if not found:
        raise BadTrace("no attempt ended in that time")
    return found


def _recorded(fields: Mapping[str, Any]) -> Recorded:
    ok = fields.get("ok", True)
    if not isinstance(ok, bool):
        raise BadTrace('has an "ok" that is neither true nor false')
    return Recorded(
        at_s=_time(fields.get("at"), "at"),
        type=_text(fields, "type") or "task",
        seconds=_number(fields.get("seconds"), "seconds", LONGEST_S),
        ok=ok,
        complexity=0.5 if fields.get("complexity") is None else _number(fields["complexity"], "complexity", 1.0),
        thread_id=_text(fields, "thread_id") or None,
        agent=_text(fields, "agent"),
        version=_text(fields, "version"),
        task=_text(fields, "task_id") or None,
        started_s=None if fields.get("started") is None else _time(fields["started"], "started"),
    )


def _time(value: object, name: str) -> float:
    if isinstance(value, str):
        try:
            parsed = datetime.fromisoformat(value)
        except ValueError:
            raise BadTrace(f'has {"an" if name == "at" else "a"} "{name}" that is no time') from None
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    return _number(value, name, math.inf)


def _number(value: object, name: str, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadTrace(f'has no number as "{name}"')
    if not (0 <= value <= most and value < math.inf):
        raise BadTrace(f'has a "{name}" that is out of range')
    return float(value)


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadTrace(f'has a "{name}" that is no text')
    return value[:MAX_TEXT]
