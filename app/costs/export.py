"""Reports as CSV (RFC 4180), safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def cell(value: Any) -> str:
    """A value as a cell. A text that a spreadsheet would run as a formula gets an apostrophe in front (OWASP, CSV
    injection); numbers, also negative ones, stay numbers."""
    if value is None:
        return ""
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA) and not _is_number(text) else text


def lines(rows: Iterable[Sequence[Any]]) -> str:
    """Rows as CSV text."""
    written = io.StringIO()
    csv.writer(written, lineterminator="\r\n").writerows([cell(value) for value in row] for row in rows)
    return written.getvalue()


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """These columns of rows as CSV text, without a header."""
    return lines([row[name] for name in columns] for row in rows)


def _is_number(text: str) -> bool:
    digits = text[1:].replace(".", "", 1)
    return text[0] in "+-" and digits.isascii() and digits.isdigit()
