"""Time intervals as people write them, in the form of Alertmanager's configuration. Pure.

{"times": [{"start_time": "09:00", "end_time": "17:00"}], "weekdays": ["monday:friday"],
 "days_of_month": ["1:5", "-3:-1"], "months": ["december", "1:3"], "years": ["2026"], "location": "Europe/Berlin"}
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from app.alerts.mute_times import BadInterval, Range, TimeInterval, check_interval

MAX_RANGES = 100
"""Of each part."""

WEEKDAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
MONTHS = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
PARTS = ("times", "weekdays", "days_of_month", "months", "years", "location")

_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|24:00")
_NUMBER = re.compile(r"-?[0-9]{1,4}")


def parse_interval(written: Mapping[str, Any]) -> TimeInterval:
    """The interval that is written so; parts may be left out. Raises BadInterval."""
    unknown = sorted(str(part) for part in written if part not in PARTS)
    if unknown:
        raise BadInterval(f"an interval has the parts {', '.join(PARTS)}, not {unknown[0][:80]!r}")
    zone = written.get("location", "UTC")
    if not isinstance(zone, str):
        raise BadInterval("location is the IANA name of a time zone")
    return check_interval(
        TimeInterval(
            times=tuple(_time_range(item) for item in _items(written, "times")),
            weekdays=_ranges(written, "weekdays", _weekday),
            days_of_month=_ranges(written, "days_of_month", _number),
            months=_ranges(written, "months", _month),
            years=_ranges(written, "years", _number),
            zone=zone,
        )
    )


def _items(written: Mapping[str, Any], part: str) -> list[Any]:
    found = written.get(part) or []
    if not isinstance(found, list) or len(found) > MAX_RANGES:
        raise BadInterval(f"{part} is a list of at most {MAX_RANGES} ranges")
    return found


def _ranges(written: Mapping[str, Any], part: str, read: Callable[[str], int]) -> tuple[Range, ...]:
    return tuple(_range(part, str(item).lower(), read) for item in _items(written, part))


def _range(part: str, text: str, read: Callable[[str], int]) -> Range:
    members = text.split(":")
    if len(members) > 2:
        raise BadInterval(f"a range of {part} is written first:last, not {text[:80]!r}")
    return read(members[0]), read(members[-1])


def _time_range(item: Any) -> Range:
    if not isinstance(item, dict) or set(item) != {"start_time", "end_time"}:
        raise BadInterval("a range of times has a start_time and an end_time, and nothing else")
    return _minute(item["start_time"]), _minute(item["end_time"])


def _minute(text: Any) -> int:
    found = _TIME.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise BadInterval(f"a time is written HH:MM, at most 24:00, not {str(text)[:80]!r}")
    return int(found[1]) * 60 + int(found[2]) if found[1] else 24 * 60


def _weekday(text: str) -> int:
    if text not in WEEKDAYS:
        raise BadInterval(f"there is no weekday {text[:80]!r}")
    return WEEKDAYS.index(text)


def _month(text: str) -> int:
    return MONTHS.index(text) + 1 if text in MONTHS else _number(text)


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise BadInterval(f"a number is needed, not {text[:80]!r}")
    return int(text)
