"""Reads of the roll-ups: sums by group with their totals, and single days for an export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from app.core.db import HotConnection
from app.costs.ledger_sql import NO_MODEL
from app.costs.report import Ask, BadReport, parts
from app.costs.rollup_sql import KEYS, SUMS

type Row = dict[str, Any]

_CONDITIONS = {"exclude": "NOT synthetic", "only": "synthetic", "include": "true"}
_FIGURES = (
    "attempts",
    "succeeded",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "unpriced",
    "unpriced_tokens",
    "waste_usd",
)
_ONCE = ("attempts", "succeeded")
"""Also counted once an attempt, however many models it used: `all_attempts`."""
_ALL = tuple(f"all_{name}" for name in _ONCE)
STATE = "SELECT until, hours_from FROM usage_rolled WHERE id = 1"


@dataclass(frozen=True, slots=True)
class Found:
    """Rows of a page with `k0`, `k1`, … for the groups; the sums of all; those of synthetic traffic alone."""

    rows: list[Row]
    totals: Row
    synthetic: Row
    as_of: datetime | None


class _Values:
    """Parameters of a statement, numbered as they come."""

    def __init__(self) -> None:
        self.listed: list[Any] = []

    def __call__(self, value: Any, kind: str) -> str:
        self.listed.append(value)
        return f"${len(self.listed)}::{kind}"


async def state(connection: HotConnection, ask: Ask) -> datetime | None:
    """How far usage is rolled up, None before the first roll-up; BadReport where it needs hours that are gone."""
    row = await connection.fetchrow(STATE)
    if row is None:
        return None
    ragged = [(ask.begin, ask.end)] if "hour" in ask.groups else parts(ask.begin, ask.end).hours
    if any(span[0] < row["hours_from"] for span in ragged):
        raise BadReport(
            f"Hours are kept since {row['hours_from'].astimezone(UTC):%Y-%m-%d}; before it ask for whole UTC days."
        )
    return row["until"]  # type: ignore[no-any-return]


async def sums(connection: HotConnection, ask: Ask, limit: int, after: Sequence[Any] | None = None) -> Found:
    """A page of sums in the order of their groups, from behind `after` (the groups' values as text)."""
    as_of = await state(connection, ask)
    values = _Values()
    names = [f"k{place}" for place in range(len(ask.groups))]
    keys = "".join(f"{_group(name, values)} AS k{place}, " for place, name in enumerate(ask.groups))
    listed_keys = "".join(f"{name}, " for name in names)
    grouped = f"""
summed AS (
  SELECT {keys}synthetic, {_summed(ask)} FROM rolled GROUP BY {listed_keys}synthetic
), grouped AS (
  SELECT {listed_keys}{_chosen(_CONDITIONS[ask.synthetic], "")}, {_chosen("synthetic", "s_")},
    count(*) FILTER (WHERE {_CONDITIONS[ask.synthetic]}) AS present
  FROM summed{f" GROUP BY {', '.join(names)}" if names else ""}
)"""  # noqa: S608 - names are ours, values are parameters
    rolled = _rolled(ask, values)
    columns = [f"{prefix}{name}" for prefix in ("", "s_") for name in (*_FIGURES, *_ALL)]
    totals = ", ".join(f"coalesce(sum({name}), 0) AS t_{name}" for name in columns)
    order = ", ".join(_text(name, place) for place, name in enumerate(ask.groups))
    page = "WHERE present > 0"
    if "model" in ask.groups:
        page += f" AND {names[ask.groups.index('model')]} <> {values(NO_MODEL, 'text')}"
    if after is not None:
        page += f" AND ({order}) > ({', '.join(values(value, 'text') for value in after)})"
    if names:
        page += f" ORDER BY {order} LIMIT {values(limit, 'int')}"
    statement = f"""
WITH rolled AS ({rolled}), {grouped}, listed AS (SELECT * FROM grouped {page})
SELECT * FROM (SELECT {totals} FROM grouped) whole LEFT JOIN listed ON true{f" ORDER BY {order}" if names else ""}
"""  # noqa: S608 - names are ours, values are parameters
    found = [dict(row) for row in await connection.fetch(statement, *values.listed)]
    total = {name.removeprefix("t_"): value for name, value in found[0].items() if name.startswith("t_")}
    synthetic = {name.removeprefix("s_"): value for name, value in total.items() if name.startswith("s_")}
    if ask.model is None:
        total |= {name: total[f"all_{name}"] for name in _ONCE}
        synthetic |= {name: synthetic[f"all_{name}"] for name in _ONCE}
    rows = [row for row in found if row["present"] is not None] if names else []
    return Found(rows, total, synthetic, as_of)


def position(row: Row, groups: Sequence[str]) -> list[str]:
    """Where a row stands in the order, for `after`."""
    return [_as_text(row[f"k{place}"]) for place in range(len(groups))]


async def days(connection: HotConnection, ask: Ask, limit: int, after: Sequence[Any] | None = None) -> list[Row]:
    """Rows of the daily roll-up as they are, in the order of their key, from behind `after`."""
    values = _Values()
    first, last = parts(ask.begin, ask.end).days
    where = f"day >= {values(first, 'date')} AND day < {values(last, 'date')}{_filters(ask, values)}"
    where += f" AND {_CONDITIONS[ask.synthetic]} AND model <> {values(NO_MODEL, 'text')}"
    if after is not None:
        kinds = ("date", "text", "text", "text", "text", "boolean", "text", "text")
        bounds = ", ".join(values(value, kind) for value, kind in zip(after, kinds, strict=True))
        where += f" AND (day, {KEYS}) > ({bounds})"
    statement = f"""
SELECT day, {KEYS}, {SUMS} FROM usage_days WHERE {where} ORDER BY day, {KEYS} LIMIT {values(limit, "int")}
"""  # noqa: S608 - names are ours, values are parameters
    return [dict(row) for row in await connection.fetch(statement, *values.listed)]


def day_position(row: Row) -> list[Any]:
    """Where a row of `days` stands, for `after`."""
    return [row["day"], *(row[name] for name in KEYS.split(", "))]


def _rolled(ask: Ask, values: _Values) -> str:
    """The rows of both tables that the period is made of."""
    columns = f"{KEYS}, {SUMS}"
    found = parts(ask.begin, ask.end)
    chosen: list[str] = []
    if "hour" in ask.groups:
        found_hours: tuple[tuple[datetime, datetime], ...] = ((ask.begin, ask.end),)
    else:
        found_hours = found.hours
        if found.days[0] < found.days[1]:
            first, last = (values(day, "date") for day in found.days)
            source = f"day, NULL::timestamptz AS hour, {columns} FROM usage_days WHERE day >= {first} AND day < {last}"
            chosen.append(f"SELECT {source}{_filters(ask, values)}")
    for span in found_hours:
        begin, end = (values(moment, "timestamptz") for moment in span)
        source = f"(hour AT TIME ZONE 'UTC')::date AS day, hour, {columns} FROM usage_hours"
        chosen.append(f"SELECT {source} WHERE hour >= {begin} AND hour < {end}{_filters(ask, values)}")
    return " UNION ALL ".join(chosen)


def _filters(ask: Ask, values: _Values) -> str:
    named = {"tenant": ask.tenant, "pool": ask.pool, "model": ask.model, "type": ask.type}
    chosen = [f"{name} = {values(value, 'text')}" for name, value in named.items() if value is not None]
    if ask.labels:
        chosen.append(f"labels::jsonb @> {values(orjson.dumps(dict(ask.labels)).decode(), 'text')}::jsonb")
    return "".join(f" AND {condition}" for condition in chosen)


def _group(name: str, values: _Values) -> str:
    """The group as an expression; a task without the label is in the group ''."""
    if name.startswith("label:"):
        return f"coalesce(labels::jsonb ->> {values(name.removeprefix('label:'), 'text')}, '')"
    return name


def _summed(ask: Ask) -> str:
    """Every figure of a group, synthetic traffic apart."""
    of = {name: f"model_{name}" for name in ("attempts", "succeeded")} if ask.by_model else {}
    plain = [f"sum({of.get(name, name)}) AS {name}" for name in _FIGURES[:-1]]
    plain += [f"sum({name}) AS all_{name}" for name in _ONCE]
    return ", ".join((*plain, "coalesce(sum(cost_usd) FILTER (WHERE outcome <> ''), 0) AS waste_usd"))


def _chosen(condition: str, prefix: str) -> str:
    return ", ".join(
        f"coalesce(sum({name}) FILTER (WHERE {condition}), 0) AS {prefix}{name}" for name in (*_FIGURES, *_ALL)
    )


def _text(name: str, place: int) -> str:
    """A group as text that sorts as it does, the same in every database."""
    column = f"k{place}"
    if name == "hour":
        column = f"""to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS')"""
    return f'{column}::text COLLATE "C"'


def _as_text(value: Any) -> str:
    return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%S}" if isinstance(value, datetime) else str(value)
