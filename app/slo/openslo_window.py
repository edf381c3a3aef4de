"""The time window of an OpenSLO document."""

from __future__ import annotations

import re
from datetime import datetime

from app.slo.objective import DAY_S, WindowSpec
from app.slo.yaml_documents import Place

_DURATION = re.compile(r"([1-9][0-9]{0,5})([mhdwMQY])")
_SECONDS = {"m": 60, "h": 3_600, "d": DAY_S, "w": 7 * DAY_S}
START = "2024-01-01 00:00:00"
"""A Monday, and the first of a month."""


def read_window(spec: Place) -> WindowSpec:
    """`spec.timeWindow`: 30 days without one. Complains about what is not served, and gives the default then."""
    found = list(spec.items("timeWindow"))
    if not found:
        if "timeWindow" in spec:
            spec.fault("exactly one window is needed", "timeWindow")
        return WindowSpec()
    if len(found) > 1:
        spec.fault("exactly one window is needed", "timeWindow")
    place = found[0]
    place.only("duration", "isRolling", "calendar")
    text, rolling = place.text("duration", needed=True), place.flag("isRolling")
    duration = _DURATION.fullmatch(text or "")
    if duration is None:
        if text is not None:
            place.fault("a duration is a number and one of m, h, d, w, M, Q, Y, as 30d", "duration")
        return WindowSpec()
    if "calendar" in place:
        if rolling:
            place.fault("a calendar window does not roll", "isRolling")
        return _calendar(place, text or "")
    if not rolling:
        place.fault("true, or a calendar window has a calendar", "isRolling")
    if duration[2] not in _SECONDS:
        place.fault("a month has no fixed length: give days, or a calendar", "duration")
        return WindowSpec()
    return WindowSpec("rolling", int(duration[1]) * _SECONDS[duration[2]])


def duration_of(seconds: int) -> str:
    """Whole minutes as OpenSLO writes them, in the largest unit that fits."""
    for unit in ("d", "h", "m"):
        if seconds % _SECONDS[unit] == 0:
            return f"{seconds // _SECONDS[unit]}{unit}"
    raise ValueError(f"{seconds} s are no whole minutes")


def _calendar(place: Place, duration: str) -> WindowSpec:
    calendar = place.within("calendar")
    calendar.only("startTime", "timeZone")
    zone, start = calendar.text("timeZone", needed=True) or "UTC", _start(calendar)
    midnight = start is None or (start.hour, start.minute, start.second, start.microsecond) == (0, 0, 0, 0)
    if duration == "1M":
        if start is not None and not (midnight and start.day == 1):
            calendar.fault("a month begins on the first at 00:00:00", "startTime")
        return WindowSpec("month", None, zone)
    if duration == "1w":
        if start is not None and not (midnight and start.weekday() == 0):
            calendar.fault("a week begins on Monday at 00:00:00", "startTime")
        return WindowSpec("week", None, zone)
    place.fault("only 1M and 1w are served with a calendar", "duration")
    return WindowSpec()


def _start(calendar: Place) -> datetime | None:
    """YAML itself reads such a text as a date with a time, if it is not in quotes."""
    value = calendar.value.get("startTime")
    if isinstance(value, str):
        try:
            value = datetime.strptime(value, "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 - the format has no zone
        except ValueError:
            value = None
    if isinstance(value, datetime) and value.tzinfo is None:
        return value
    calendar.fault("a date with a time and without a zone is needed, as 2024-01-01 00:00:00", "startTime")
    return None
