"""Numbers drawn in text: bars of eighths of a character, and a line of them."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_HEIGHTS = "▁▂▃▄▅▆▇█"
NONE = "·"


def bar(value: Decimal, most: Decimal, width: int) -> str:
    """`value` as a bar, `width` characters for `most`; something is never nothing."""
    if most <= 0 or value <= 0:
        return ""
    eighths = max(1, round(8 * width * value / most))
    whole, rest = divmod(eighths, 8)
    return "█" * whole + (_EIGHTHS[rest] if rest else "")


def sparkline(values: Sequence[Decimal]) -> str:
    """A character a value, by its share of the largest; a dot for nothing."""
    most = max(values, default=Decimal(0))
    return "".join(NONE if value <= 0 else _HEIGHTS[min(7, int(8 * value / most))] for value in values)
