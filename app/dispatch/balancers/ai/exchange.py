"""What managers tell each other: written from plain sums, read with distrust.

    {"v": 1,
     "seq": rises with every result; begins anywhere, so that no two managers have the same,
     "agents": {id: [spent, answers, excess, attempts, trips, open seconds left]},
     "types": {type: {class: [seconds, answers, failures, attempts]}}}

A reader takes what it understands and ignores the rest: another release, or a broken one, may have written it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app.dispatch.balancers.ai.record import MOST_SPENT

FORMAT = 1

MAX_AGENTS = 500
"""Agents in a summary: those with most to tell."""

MOST = 1e9
"""No sum is larger than this; a number beyond is not one."""

SLACK = 1.001
"""Sums that should be equal may differ by so much after decay and rounding."""

Numbers = tuple[float, ...]


def number(value: object, least: float = 0.0) -> float | None:
    """`value` as a finite number from `least` to MOST; None for anything else, truth values included."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if not least <= value <= MOST or math.isnan(value):
        return None
    return float(value)


def numbers(value: object, count: int, least: Sequence[float]) -> Numbers | None:
    """`value` as so many numbers, each from its `least`; None for anything else."""
    if not isinstance(value, (list, tuple)) or len(value) != count:
        return None
    read = tuple(number(one, low) for one, low in zip(value, least))  # noqa: B905
    return None if None in read else read  # type: ignore[return-value]


def seqs(summaries: Sequence[object]) -> tuple[int, ...] | None:
    """The sequence numbers of all summaries; None if one has none."""
    read = [summary.get("seq") if isinstance(summary, Mapping) else None for summary in summaries]
    known = tuple(one for one in read if isinstance(one, int) and not isinstance(one, bool))
    return known if len(known) == len(read) else None


def agents(summary: object) -> Iterator[tuple[str, Numbers]]:
    """The agents of a summary: id and its six numbers."""
    for agent_id, value in _items(summary, "agents"):
        read = numbers(value, 6, (0.0, 0.0, -MOST, 0.0, 0.0, 0.0))
        if read is not None and _plausible(*read[:4]):
            yield agent_id, read


def _plausible(spent: float, answers: float, excess: float, attempts: float) -> bool:
    """Whether these can be the sums of a record."""
    return spent <= MOST_SPENT * answers * SLACK and abs(excess) <= attempts * SLACK


def cells(summary: object) -> Iterator[tuple[str, str, Numbers]]:
    """The cells of a summary: type, class and its four numbers."""
    for task_type, row in _items(summary, "types"):
        if not isinstance(row, Mapping):
            continue
        for cls, value in row.items():
            read = numbers(value, 4, (0.0, 0.0, 0.0, 0.0))
            if isinstance(cls, str) and read is not None and read[1] + read[2] <= read[3] * SLACK:
                yield task_type, cls, read


def _items(summary: object, name: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(summary, Mapping) or summary.get("v") != FORMAT:
        return
    part = summary.get(name)
    if isinstance(part, Mapping):
        for key, value in part.items():
            if isinstance(key, str):
                yield key, value
