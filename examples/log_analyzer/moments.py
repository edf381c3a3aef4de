"""When a line was written: the common timestamp forms at the start of a log line.

Forms: ISO 8601 ("2026-10-16T23:04:00.123Z", also with a blank, a comma, slashes), syslog ("Oct 16 23:04:00",
which has no year), the access log's "[16/Oct/2026:23:04:00 +0000]", epoch seconds or milliseconds, the
kernel's "[   12.345]" (seconds since boot: stripped, but no moment).
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

MONTHS = {name: number for number, name in enumerate(
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], start=1
)}  # fmt: skip
_ISO = re.compile(
    r"[\[(]?(\d{4})[-/](\d\d)[-/](\d\d)[T ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?"
    r"\s?(Z|[+-]\d\d:?\d\d)?[\])]?[,:]?(?=\s|$)"
)
_SYSLOG = re.compile(r"(?:<\d{1,3}>)?([A-Z][a-z]{2})\s+(\d{1,2}) (\d\d):(\d\d):(\d\d)(?=\s)")
_ACCESS = re.compile(r"\[(\d\d)/([A-Z][a-z]{2})/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-]\d{4})\]")
_EPOCH = re.compile(r"[\[(]?(1\d{9}|2\d{9})(\d{3})?(?:\.(\d{1,9}))?[\])]?:?(?=\s|$)")
_KERNEL = re.compile(r"\[\s*\d+\.\d+\](?=\s|$)")


class Clock:
    """Reads the moments of one log. `now` (with offset) settles the year that syslog leaves out."""

    def __init__(self, now: datetime | None = None) -> None:
        self._now = now or datetime.now(UTC)
        # A log keeps to one form: the one that matched last is tried first.
        self._forms: list[tuple[re.Pattern[str], Callable[[re.Match[str]], datetime]]] = [
            (_ISO, _iso),
            (_SYSLOG, self._syslog),
            (_EPOCH, _epoch),
        ]

    def split(self, line: str) -> tuple[datetime | None, str]:
        """The line's moment, and the line without it. A moment without offset stays without."""
        for index, (pattern, read) in enumerate(self._forms):
            match = pattern.match(line)
            moment = _valid(read, match) if match else None
            if match and moment:
                self._forms.insert(0, self._forms.pop(index))
                return moment, line[match.end() :].lstrip()
        return self._inside(line)

    def _inside(self, line: str) -> tuple[datetime | None, str]:
        """A moment that something else stands before: a client's address, a program's name."""
        for pattern, read, within in ((_ACCESS, _access, 300), (_ISO, _iso, 60)):
            match = pattern.search(line[:within])
            moment = _valid(read, match) if match else None
            if match and moment:
                return moment, f"{line[: match.start()]}{line[match.end() :].lstrip()}"
        kernel = _KERNEL.match(line)
        return None, line[kernel.end() :].lstrip() if kernel else line

    def _syslog(self, match: re.Match[str]) -> datetime:
        month, day, hour, minute, second = match.groups()
        fields = (MONTHS[month.lower()], int(day), int(hour), int(minute), int(second))
        moment = datetime(self._now.year, *fields, tzinfo=UTC)
        if moment > self._now + timedelta(days=1):  # December's lines, read in January
            moment = datetime(self._now.year - 1, *fields, tzinfo=UTC)
        return moment.replace(tzinfo=None)


def comparable(moment: datetime) -> float:
    """Seconds since the epoch; a moment without offset counts as UTC."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _valid(read: Callable[[re.Match[str]], datetime], match: re.Match[str]) -> datetime | None:
    try:
        return read(match)
    except (ValueError, KeyError, OverflowError):  # "2026-13-45 …" only looks like one
        return None


def _iso(match: re.Match[str]) -> datetime:
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    micro = int(((fraction or "") + "000000")[:6])
    zone = _zone(offset) if offset else None
    return datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), micro, tzinfo=zone)


def _access(match: re.Match[str]) -> datetime:
    day, month, year, hour, minute, second, offset = match.groups()
    number = MONTHS[month.lower()]
    return datetime(int(year), number, int(day), int(hour), int(minute), int(second), tzinfo=_zone(offset))


def _epoch(match: re.Match[str]) -> datetime:
    seconds, millis, fraction = match.groups()
    return datetime.fromtimestamp(float(f"{seconds}.{fraction or millis or 0}"), UTC)


def _zone(offset: str) -> timezone:
    if offset == "Z":
        return UTC
    minutes = int(offset[1:3]) * 60 + int(offset[-2:])
    return timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))
