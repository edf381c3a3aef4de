"""What a report of costs is asked for, and which roll-ups answer it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any, Literal

from app.core.errors import Invalid

type Synthetic = Literal["exclude", "include", "only"]

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
PLAIN = ("day", "hour", "model", "pool", "tenant", "type", "outcome")
MAX_GROUPS = 5
MAX_RANGE = timedelta(days=3660)
DEFAULT_DAYS = 30
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
_LABEL = re.compile(r"label:(.{1,100})", re.DOTALL)
_CENT = Decimal("1e-10")
_WIDE = Context(prec=100)


class BadReport(Invalid):
    """A report that cannot be given as it was asked for."""

    code, title = "report_invalid", "No such report"


@dataclass(frozen=True, slots=True)
class Ask:
    """A report: sums by `groups` over [begin, end), whole UTC hours. `labels` must all fit; None: any.

    `by_model`: the report is about models, so an attempt counts with each that it used.
    """

    groups: tuple[str, ...]
    begin: datetime
    end: datetime
    tenant: str | None = None
    pool: str | None = None
    model: str | None = None
    type: str | None = None
    labels: Mapping[str, str] | None = None
    synthetic: Synthetic = "exclude"

    @property
    def by_model(self) -> bool:
        return "model" in self.groups or self.model is not None


@dataclass(frozen=True, slots=True)
class Parts:
    """Whole days, and the ragged ends before and after them; empty where begin is end."""

    days: tuple[date, date]
    hours: tuple[tuple[datetime, datetime], ...]


def groups_of(asked: Sequence[str]) -> tuple[str, ...]:
    """The groups of `group_by`: repeated, joined by commas, or both; BadReport for an unknown one, or too many."""
    found = [name.strip() for item in asked for name in item.split(",") if name.strip()]
    for name in found:
        if name not in PLAIN and not _LABEL.fullmatch(name):
            raise BadReport(f"group_by: {name[:80]!r} is none of {', '.join(PLAIN)}, label:KEY.")
    if len(found) > MAX_GROUPS or len(set(found)) < len(found):
        raise BadReport(f"group_by: at most {MAX_GROUPS} groups, each once.")
    if "day" in found and "hour" in found:
        raise BadReport("group_by: an hour has its day; ask for one of them.")
    return tuple(found)


def label_filters(asked: Sequence[str]) -> dict[str, str]:
    """`label=team=search` as {"team": "search"}; BadReport for what is no such pair."""
    found: dict[str, str] = {}
    for item in asked:
        key, equals, value = item.partition("=")
        if not key or not equals:
            raise BadReport(f"label: {item[:80]!r} is not KEY=VALUE.")
        if found.setdefault(key, value) != value:
            raise BadReport(f"label: {key[:80]!r} cannot have two values.")
    return found


def period(begin: datetime | None, end: datetime | None, now: datetime) -> tuple[datetime, datetime]:
    """[begin, end) on whole hours, rounded outwards; without zones they are UTC. By default the last 30 days, today
    included. BadReport where it is empty or too long."""
    tomorrow = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + DAY
    last = _in_range(end, "to") if end else tomorrow
    first = (
        _in_range(begin, "from") if begin else _midnight(last - timedelta(microseconds=1)) - (DEFAULT_DAYS - 1) * DAY
    )
    first, ended = _hour(first), _hour(last)
    last = ended if ended == last else ended + HOUR
    if not first < last:
        raise BadReport("`from` must be before `to`.")
    if last - first > MAX_RANGE:
        raise BadReport(f"At most {MAX_RANGE.days} days at once.")
    return first, last


def parts(begin: datetime, end: datetime) -> Parts:
    """How [begin, end) is read: whole days from the days, the rest from the hours."""
    first = _midnight(begin) if begin == _midnight(begin) else _midnight(begin) + DAY
    last = _midnight(end)
    if first >= last:
        return Parts((begin.date(), begin.date()), ((begin, end),))
    ends = tuple(span for span in ((begin, first), (last, end)) if span[0] < span[1])
    return Parts((first.date(), last.date()), ends)


def money(amount: Decimal) -> str:
    """An amount as plain decimal digits, rounded to ten places (half to even), without zeros at the end."""
    return plain(amount.quantize(_CENT, ROUND_HALF_EVEN, _WIDE)) if amount.as_tuple().exponent < -10 else plain(amount)  # type: ignore[operator]


def plain(amount: Decimal) -> str:
    """All its digits, never with an exponent."""
    return format(amount.normalize(_WIDE), "f") if amount else "0"


def per_success(cost: Decimal, succeeded: int) -> str | None:
    """What a success cost, with all that was spent beside it; None where nothing succeeded."""
    return money(cost / succeeded) if succeeded else None


def shown(row: Mapping[str, Any], groups: Sequence[str]) -> dict[str, Any]:
    """A row of sums as it is answered: its groups, then the figures."""
    keys = {name: _key(name, row[f"k{place}"]) for place, name in enumerate(groups)}
    return keys | figures(row)


def figures(row: Mapping[str, Any]) -> dict[str, Any]:
    """The sums of a row, and what follows from them. Where nothing has a price nobody knows what a success cost."""
    unknown = row["unpriced"] and not row["cost_usd"]
    counts = ("attempts", "succeeded", "input_tokens", "output_tokens", "unpriced", "unpriced_tokens")
    return {
        **{name: int(row[name]) for name in counts},
        "cost_usd": money(row["cost_usd"]),
        "waste_usd": money(row["waste_usd"]),
        "cost_per_success_usd": None if unknown else per_success(row["cost_usd"], int(row["succeeded"])),
    }


def _key(name: str, value: Any) -> str | None:
    if name == "hour":
        return str(value.astimezone(UTC).isoformat().replace("+00:00", "Z"))
    if name == "day":
        return str(value.isoformat())
    return str(value) if value or name in ("model", "pool", "tenant") else None


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def _midnight(moment: datetime) -> datetime:
    return _hour(moment).replace(hour=0)


def _in_range(moment: datetime, name: str) -> datetime:
    try:
        known = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError:
        known = EARLIEST - DAY
    if not EARLIEST <= known <= LATEST:
        raise BadReport(f"`{name}` must be between {EARLIEST.year} and {LATEST.year}.")
    return known
