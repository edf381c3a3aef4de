"""Any JSON result for people, within the width at hand: names and values, small tables, lists, wrapped text.

What an object holds is shown in its own order, single values first. Long lists and texts are cut, and say so;
`--json` has everything.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from app.cli.cells import clean, clip, is_number, is_scalar, one_line, plain, scalar
from app.cli.output import plain_table

MAX_ROWS = 20
MAX_LINES = 40
MAX_DEPTH = 4
CELL = 240
# Up to so many rows are wrapped to be read in full; of more, each is one line to be compared.
WRAPPED_ROWS = 8
MIN_TEXT_WIDTH = 16
INDENT = 2


def result(value: Any, width: int) -> RenderableType:
    """The whole of a result, at most `width` columns wide."""
    return Group(*_parts(value, width, 0))


def _parts(value: Any, width: int, depth: int) -> Iterator[RenderableType]:
    if isinstance(value, dict) and value and depth < MAX_DEPTH:
        yield from _object(value, width, depth)
    elif isinstance(value, list) and value and depth < MAX_DEPTH:
        yield _list(value, width, depth)
    else:
        yield _text(value)


def _object(value: Mapping[str, Any], width: int, depth: int) -> Iterator[RenderableType]:
    short = {name: item for name, item in value.items() if _fits_a_line(item)}
    if short:
        yield _pairs(short)
    for position, (name, item) in enumerate((n, i) for n, i in value.items() if n not in short):
        if short or position:
            yield Text("")
        yield _title(name, item)
        yield Padding(Group(*_parts(item, width - INDENT, depth + 1)), (0, 0, 0, INDENT), expand=False)


def _fits_a_line(item: Any) -> bool:
    if isinstance(item, str):
        return len(item) <= CELL and "\n" not in item.strip()
    return is_scalar(item) or not item


def _title(name: str, item: Any) -> Text:
    counted = f" ({len(item)})" if isinstance(item, list) else ""
    return Text.assemble((one_line(name), "bold"), (counted, "dim"))


def _pairs(values: Mapping[str, Any]) -> Table:
    """Names and values; numbers on the right when there is nothing else."""
    table = Table.grid(padding=(0, 2), pad_edge=False)
    table.add_column(style="bold", overflow="fold")
    numeric = all(is_number(item) for item in values.values())
    table.add_column(justify="right" if numeric else "left", overflow="fold")
    shown = list(values.items())[:MAX_LINES]
    for name, item in shown:
        table.add_row(Text(one_line(name)), _nothing() if item in ([], {}, "") else scalar(item))
    if len(values) > len(shown):
        table.add_row(Text("…", style="dim"), _more(len(values) - len(shown)))
    return table


def _nothing() -> Text:
    return Text("none", style="dim")


def _more(count: int) -> Text:
    return Text(f"… {count} more (use --json)", style="dim")


def _text(value: Any) -> Text:
    """A single value, or something too deep to unfold, of at most MAX_LINES lines."""
    if not isinstance(value, str):
        return scalar(value) if is_scalar(value) else Text(clip(plain(value), CELL))
    lines = clean(value).strip("\n").split("\n")
    shown = Text("\n".join(lines[:MAX_LINES]))
    return shown if len(lines) <= MAX_LINES else Text("\n").join([shown, _more(len(lines) - MAX_LINES)])


def _list(items: list[Any], width: int, depth: int) -> RenderableType:
    shown = items[:MAX_ROWS]
    rest = [_more(len(items) - MAX_ROWS)] if len(items) > MAX_ROWS else []
    if all(isinstance(item, dict) and item for item in items):
        return Group(_records(shown, width, depth), *rest)
    if all(is_number(item) for item in items):
        return Group(Text(", ".join(plain(item) for item in shown)), *rest)
    return Group(*(_bullet(item, width, depth) for item in shown), *rest)


def _bullet(item: Any, width: int, depth: int) -> RenderableType:
    grid = Table.grid(padding=(0, 1), pad_edge=False)
    grid.add_column(style="dim", width=1)
    grid.add_column(overflow="fold")
    body = Group(*_parts(item, width - INDENT, depth + 1)) if not is_scalar(item) else Text(clip(_flat(item), CELL))
    grid.add_row("•", body)
    return grid


def _flat(item: Any) -> str:
    return one_line(item) if isinstance(item, str) else plain(item)


def _records(rows: list[dict[str, Any]], width: int, depth: int) -> RenderableType:
    """Objects as a table, or one below the other where a table has no room or cells hold tables themselves."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    deep = any(not is_scalar(item) and len(json.dumps(item)) > 60 for row in rows for item in row.values())
    least = sum(_least_width(rows, name) + INDENT for name in columns)
    if deep or least > width:
        return Group(*_spaced(Group(*_object(row, width - INDENT, depth + 1)) for row in rows))
    return _table(rows, columns)


def _least_width(rows: list[dict[str, Any]], name: str) -> int:
    """What a column needs: a number or short text whole, a long text room for a few words."""
    longest = max((len(_flat(row.get(name))) for row in rows), default=0)
    return max(len(name), longest if _is_numeric(rows, name) else min(longest, MIN_TEXT_WIDTH))


def _is_numeric(rows: list[dict[str, Any]], name: str) -> bool:
    return all(row.get(name) is None or is_number(row[name]) for row in rows)


def _spaced(parts: Iterable[RenderableType]) -> Iterator[RenderableType]:
    for position, part in enumerate(parts):
        if position:
            yield Text("")
        yield part


def _table(rows: list[dict[str, Any]], columns: list[str]) -> Table:
    table = plain_table()
    for name in columns:
        numeric = _is_numeric(rows, name)
        table.add_column(one_line(name), justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row.get(name), one_row=len(rows) > WRAPPED_ROWS) for name in columns))
    return table


def _cell(value: Any, *, one_row: bool) -> Text:
    cell = scalar(value) if not isinstance(value, str) else Text(clip(one_line(value), CELL))
    if one_row:
        cell.no_wrap, cell.overflow = True, "ellipsis"
    return cell
