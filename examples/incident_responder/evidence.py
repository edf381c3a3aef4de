"""What a log points at: its commonest templates, and lines that name a known kind of trouble."""

import re
from collections.abc import Callable
from typing import Any

from examples.log_analyzer.analysis import analyze

KINDS: dict[str, re.Pattern[str]] = {
    "disk": re.compile(r"no space left on device|disk (?:is )?full|\bENOSPC\b|quota exceeded", re.IGNORECASE),
    "memory": re.compile(r"out of memory|oom-?kill|cannot allocate memory|\bMemoryError\b", re.IGNORECASE),
    "descriptors": re.compile(r"too many open files|\bEMFILE\b|\bENFILE\b", re.IGNORECASE),
    "network": re.compile(
        r"connection (?:refused|reset|timed out)|no route to host|name resolution|\bECONNREFUSED\b", re.IGNORECASE
    ),
}
TROUBLE = frozenset({"error", "critical", "fatal", "emergency", "alert", "panic"})
TOP = 5
LONGEST_LINE = 300


def mine(
    lines: list[str], progress: Callable[[float | None, str], None], stopped: Callable[[], bool]
) -> dict[str, Any]:
    """The findings of a log of at least one line.

    Shape: {"lines","levels": {level: lines},"templates": [{"template","count","share","example"}] (commonest 5),
    "suspicions": [{"kind","lines","example"}], the one with most lines first; kind "unknown" for errors of no kind.
    """
    analysis = analyze(lines, progress=progress, stopped=stopped)
    suspicions = [found for kind, pattern in KINDS.items() if (found := _suspicion(kind, pattern, lines))]
    suspicions.sort(key=lambda found: -found["lines"])
    errors = sum(count for level, count in analysis["levels"].items() if level.lower() in TROUBLE)
    if errors and not suspicions:
        suspicions = [{"kind": "unknown", "lines": errors, "example": ""}]
    return {
        "lines": analysis["lines"],
        "levels": analysis["levels"],
        "templates": analysis["templates"][:TOP],
        "suspicions": suspicions,
    }


def _suspicion(kind: str, pattern: re.Pattern[str], lines: list[str]) -> dict[str, Any] | None:
    found = [line for line in lines if pattern.search(line)]
    return {"kind": kind, "lines": len(found), "example": found[0][:LONGEST_LINE]} if found else None
