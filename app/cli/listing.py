"""Tables of things that are alike, fitted to the terminal: ids stay whole, the rest folds or gives way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from app.cli.cells import clean
from app.cli.output import console, facts, plain_table

GAP = 2
FOLDED_WIDTH = 12  # narrower than this, folded text is unreadable


@dataclass(frozen=True, slots=True)
class Column:
    """One column: `whole` never folds (ids), `right` aligns numbers, `spare` is left out where there is no room."""

    title: str
    whole: bool = False
    right: bool = False
    spare: bool = False


type Row = Sequence[str | Text]


def listing(columns: Sequence[Column], rows: Iterable[Row], width: int | None = None) -> RenderableType:
    """A table, `width` (the terminal) wide, without empty columns; blocks of lines where no table fits."""
    cells = [[cell if isinstance(cell, Text) else Text(clean(cell)) for cell in row] for row in rows]
    filled = [place for place in range(len(columns)) if not cells or any(row[place] for row in cells)]
    least = [_least(column, [row[place] for row in cells]) for place, column in enumerate(columns)]
    places = _fitted(columns, filled, least, width or console().width)
    if places is None:
        return _blocks([columns[place] for place in filled], [[row[place] for place in filled] for row in cells])
    return _table([columns[place] for place in places], [[row[place] for place in places] for row in cells])


def _least(column: Column, cells: list[Text]) -> int:
    longest = max((cell.cell_len for cell in cells), default=0)
    return max(len(column.title), longest if column.whole else min(longest, FOLDED_WIDTH))


def _fitted(columns: Sequence[Column], places: list[int], least: list[int], width: int) -> list[int] | None:
    """The columns for which there is room, spare ones given up from the right; None when even the rest is too wide."""
    kept = list(places)
    for place in reversed(places):
        if _needed(kept, least) <= width:
            break
        if columns[place].spare:
            kept.remove(place)
    return kept if _needed(kept, least) <= width else None


def _needed(places: list[int], least: list[int]) -> int:
    return sum(least[place] for place in places) + GAP * (len(places) - 1)


def _table(columns: Sequence[Column], rows: list[list[Text]]) -> Table:
    table = plain_table()
    for column in columns:
        table.add_column(
            column.title, no_wrap=column.whole, justify="right" if column.right else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*row)
    return table


def _blocks(columns: Sequence[Column], rows: list[list[Text]]) -> Group:
    parts: list[RenderableType] = []
    for row in rows:
        parts += [facts((column.title, cell) for column, cell in zip(columns, row, strict=True) if cell), Text("")]
    return Group(*parts[:-1])
