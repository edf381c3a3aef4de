"""Times for people: `30d` in, `12 s ago` out. Pure: the present is an argument."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw]?)")
_STEPS = ((86_400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))


def seconds(text: str) -> float:
    """`45`, `45s`, `15m`, `12h`, `30d`, `2w` in seconds; ValueError for anything else, and for zero."""
    match = _DURATION.fullmatch(text.strip())
    value = float(match[1]) * _UNITS_S[match[2] or "s"] if match else 0.0
    if not 0 < value < 1e10:
        raise ValueError(f"{text!r} is not a duration like 45, 45s, 15m, 12h, 30d or 2w")
    return value


def moment(text: str, now: datetime) -> datetime:
    """An aware time from `+10m` (counted from `now`) or ISO 8601; one without a zone is local time."""
    if text.startswith("+"):
        return now + timedelta(seconds=seconds(text[1:]))
    try:
        parsed = datetime.fromisoformat(text)
        return parsed if parsed.tzinfo else parsed.astimezone()
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is not a time like 2026-11-20T20:25:00Z or +10m") from None


def parsed(text: str) -> datetime:
    """A time of the API; ValueError where it is none."""
    value = datetime.fromisoformat(text)
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def span(value_s: float) -> str:
    """A length of time in its largest fitting unit: `0.93 s`, `12 s`, `5 min`, `3 h`, `2 d`."""
    if value_s < 10:
        return f"{max(value_s, 0.0):.2g} s"
    for unit_s, name in _STEPS:
        if value_s >= unit_s * (2 if unit_s > 1 else 1):
            return f"{value_s / unit_s:.0f} {name}"
    return f"{value_s:.0f} s"


def relative(text: str | None, now: datetime) -> str:
    """A time of the API seen from `now`: `12 s ago`, `in 3 h`, `now`; `–` without one."""
    if not text:
        return "–"
    away_s = (now - parsed(text)).total_seconds()
    if abs(away_s) < 1:
        return "now"
    length = span(float(round(abs(away_s))))
    return f"{length} ago" if away_s > 0 else f"in {length}"


def between(start: str | None, end: str | None, now: datetime) -> str:
    """How long it took from `start` to `end`, or to `now` while there is no end; `–` before the start."""
    if not start:
        return "–"
    return span(((parsed(end) if end else now) - parsed(start)).total_seconds())
