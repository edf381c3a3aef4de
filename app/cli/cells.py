"""Single values as text: clean, short, and aligned to be read."""

from __future__ import annotations

import json
import re
from typing import Any

from rich.text import Text

# Control characters (a log line may hold escape sequences that would drive the terminal) and the marks that
# reverse the direction of text, which can make one thing look like another.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")

STATUS_STYLES = {
    "succeeded": "green",
    "failed": "red",
    "cancelled": "magenta",
    "expired": "magenta",
    "running": "cyan",
    "waiting": "blue",
    "queued": "yellow",
    "held": "yellow",
    "idle": "green",
    "busy": "cyan",
    "starting": "yellow",
    "draining": "yellow",
    "maintenance": "magenta",
    "ejected": "red",
    "gone": "dim",
}

NOTHING = "–"
GROUPED_FROM = 10_000


def clean(text: str) -> str:
    """The text without what a terminal would obey; each such character is shown as an escape."""
    return _UNSAFE.sub(_shown, text.replace("\r\n", "\n"))


def clean_json(text: str) -> str:
    """JSON with what `clean` would show escaped as JSON does it: the same value, safe for terminals and by lines."""
    return _UNSAFE.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def _shown(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def clip(text: str, limit: int) -> str:
    """At most `limit` characters, with an ellipsis where it was cut."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def one_line(text: str) -> str:
    """The text with every run of white space as one space."""
    return " ".join(clean(text).split())


def is_number(value: object) -> bool:
    """A JSON number (booleans are not)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_scalar(value: object) -> bool:
    """Neither a list nor an object."""
    return not isinstance(value, list | dict)


def number(value: float) -> str:
    """Thousands grouped from 10,000 on (shorter ones are often years, ports, lines); floats with six digits."""
    if isinstance(value, float) and not value.is_integer():
        return format(value, ".6g")
    if abs(value) >= 1e15:
        return format(value, "g") if isinstance(value, float) else str(value)
    return f"{int(value):,}" if abs(value) >= GROUPED_FROM else str(int(value))


def plain(value: Any) -> str:
    """Any JSON value as text; lists and objects as compact JSON."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return number(value)
    if isinstance(value, str):
        return clean(value)
    return clean(json.dumps(value, ensure_ascii=False))


def scalar(value: Any) -> Text:
    """A value for a cell, coloured by its kind."""
    style = "dim" if value is None else "cyan" if is_number(value) or isinstance(value, bool) else ""
    return Text(plain(value), style=style)


def status(word: str) -> Text:
    """A status in its colour."""
    return Text(clean(word), style=STATUS_STYLES.get(word, "red" if word == "error" else ""))
