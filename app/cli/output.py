"""Where things are printed: data to stdout, the rest to stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, TextIO

import typer
from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from app.cli.cells import clean, clean_json, scalar

# Where no terminal sets the width, lines are for `grep` and files: wide enough that rows stay whole.
UNBOUNDED_WIDTH = 200

Json = Annotated[bool, typer.Option("--json", help="Print the service's JSON instead.")]


def console(stream: TextIO | None = None) -> Console:
    """A console on `stream` (stdout), as wide as its terminal."""
    target = stream or sys.stdout
    width = None if target.isatty() or os.environ.get("COLUMNS") else UNBOUNDED_WIDTH
    return Console(file=target, width=width, highlight=False, markup=False, emoji=False)


def print_json(value: Any, *, indent: int | None = 2) -> None:
    """The value and nothing else on stdout."""
    typer.echo(clean_json(json.dumps(value, indent=indent, ensure_ascii=False)))


def note(text: str) -> None:
    """A remark for people, on stderr."""
    console(sys.stderr).print(Text(clean(text)), soft_wrap=True)


def show(*parts: RenderableType) -> None:
    """Data for people, on stdout."""
    out = console()
    if out.is_terminal:
        out.print(Group(*parts))
        return
    with out.capture() as captured:
        out.print(Group(*parts))
    # Tables are padded to their full width; in a file or a pipe that is noise.
    typer.echo("\n".join(line.rstrip() for line in captured.get().rstrip("\n").split("\n")))


def plain_table() -> Table:
    """A table with a line below its header and two spaces between its columns."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.header_style, table.border_style = "bold", "dim"
    return table


def facts(pairs: Iterable[tuple[str, Any]]) -> Table:
    """Names and values, one pair a line; pairs without a value are left out."""
    table = Table.grid(padding=(0, 2), pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs:
        if value not in (None, "", [], {}):
            table.add_row(Text(clean(name)), value if isinstance(value, Text) else scalar(value))
    return table


def now() -> datetime:
    """The present, for relative times."""
    return datetime.now(UTC)
