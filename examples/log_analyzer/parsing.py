"""A log's lines as records: moment, level, and the message whose template is wanted."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from examples.log_analyzer.moments import Clock

MAX_CHARS = 2000  # of a line: a longer one is data, not a message

_LEVELS = {
    "trace": "trace",
    "debug": "debug",
    "info": "info",
    "information": "info",
    "notice": "notice",
    "warn": "warning",
    "warning": "warning",
    "err": "error",
    "error": "error",
    "crit": "critical",
    "critical": "critical",
    "fatal": "critical",
    "alert": "critical",
    "emerg": "critical",
    "panic": "critical",
}
_WORDS = "|".join(sorted(_LEVELS, key=len, reverse=True))
# In capitals a level stands for itself; in small letters it needs its marks, else "0 errors" would count.
_LEVEL = re.compile(
    rf"\b({_WORDS.upper()})\b"
    rf"|[\[<(](?i:({_WORDS}))[\]>)]"
    rf"|\b(?i:level|severity|lvl)[\"']?\s*[=:]\s*[\"']?(?i:({_WORDS}))\b"
    rf"|(?:^|\s)(?i:({_WORDS})):(?=\s)"
)
_SYSLOG_HEAD = re.compile(r"^(?:[\w.-]+ )(?=[\w./@()-]+(?:\[\d+\])?: )")
_ACCESS = re.compile(
    r'^(?P<client>\S+) \S+ \S+ ?"(?P<method>[A-Z]+) (?P<path>\S+)(?: (?P<protocol>HTTP/[\d.]+))?" '
    r"(?P<status>\d{3}) (?:\d+|-)(?P<rest>.*)$"
)


@dataclass(frozen=True, slots=True)
class Access:
    """The parts of an access-log line that tell one request's kind from another's."""

    method: str
    path: str
    status: int


@dataclass(frozen=True, slots=True)
class Record:
    """One line: `moment` and `level` are None where it has none; `access` is set for a request."""

    line: str
    message: str
    moment: datetime | None
    level: str | None
    access: Access | None = None


def parse(lines: list[str], clock: Clock | None = None) -> Iterator[Record]:
    """The records of a log, in its order."""
    clock = clock or Clock()
    for line in lines:
        text = line[:MAX_CHARS].strip()
        yield _json_record(text, clock) or _text_record(text, clock)


def _text_record(line: str, clock: Clock) -> Record:
    moment, rest = clock.split(line)
    request = _ACCESS.match(rest)
    if request:
        access = Access(request["method"], request["path"], int(request["status"]))
        return Record(line, rest, moment, _status_level(access.status), access)
    message = _SYSLOG_HEAD.sub("", rest)
    return Record(line, message or rest, moment, level_of(message))


def _json_record(line: str, clock: Clock) -> Record | None:
    """A structured line: its message, level and time under their usual names."""
    if not line.startswith("{"):
        return None
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return None
    message = _first(fields, "message", "msg", "event", "log") if isinstance(fields, dict) else None
    if message is None:
        return None
    moment, _ = clock.split(str(_first(fields, "timestamp", "time", "ts", "@timestamp", "asctime") or ""))
    level = str(_first(fields, "level", "severity", "levelname", "lvl") or "").lower()
    return Record(line, str(message), moment, _LEVELS.get(level))


def level_of(message: str) -> str | None:
    """The level a message names ("error", "warning", …), or None."""
    match = _LEVEL.search(message[:300])
    return _LEVELS[next(group for group in match.groups() if group).lower()] if match else None


def _status_level(status: int) -> str:
    if status >= 500:
        return "error"
    return "warning" if status >= 400 else "info"


def _first(fields: dict[str, Any], *names: str) -> Any:
    return next((fields[name] for name in names if fields.get(name) not in (None, "")), None)
