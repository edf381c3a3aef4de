"""Numbers as people read them."""

from __future__ import annotations


def number(value: float) -> str:
    """Three digits of it, without needless zeros: 0.08, 9.6, 1200."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"


def seconds(value: float | None) -> str:
    """30 s, 0.5 s, 2 h."""
    if value is None:
        return "? s"
    if value >= 7200:
        return f"{number(value / 3600)} h"
    return f"{number(value)} s" if value < 600 else f"{number(value / 60)} min"


def percent(share: float) -> str:
    return f"{number(share * 100)} %"


def counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
