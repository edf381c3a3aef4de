"""What becomes of ticks while a task of the same schedule has not ended. Pure.

`allow` submits every tick. The other policies let one task of the schedule be open at a time: `skip` makes none of a
tick that finds one open, `queue` lets the tick wait in line, `cancel_previous` cancels what is open. Ticks of a
backfill wait in line under all of these: to skip them, or to have each cancel the one before, would make it pointless.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

type Verdict = Literal["submitted", "skipped", "waiting"]

OPEN = "The task of an earlier tick has not ended."
LATER = "A later tick was due at the same time."
FULL = "Too many ticks wait already."


@dataclass(frozen=True, slots=True)
class Planned:
    """What becomes of one tick; `submitted`: its task is to be made."""

    tick_at: datetime
    verdict: Verdict
    reason: str = ""


@dataclass(slots=True)
class Plan:
    """What becomes of each tick. `cancel`: what is open is cancelled before anything is submitted."""

    ticks: list[Planned] = field(default_factory=list)
    cancel: bool = False


def plan(
    policy: str,
    due: Sequence[datetime],
    *,
    past: Sequence[datetime],
    waiting: Sequence[datetime],
    is_open: bool,
    max_waiting: int,
) -> Plan:
    """`due` ticks of now and `past` ones of a backfill, both oldest first; `waiting` ones are in line already.
    `is_open`: a task of the schedule has not ended. Ticks that go on waiting are left out."""
    if policy == "allow":
        return Plan([Planned(tick, "submitted") for tick in (*waiting, *past, *due)])
    if policy == "cancel_previous" and due:
        earlier = [Planned(tick, "skipped", LATER) for tick in due[:-1]]
        later = [Planned(tick, "waiting", OPEN) for tick in past]
        return Plan([*earlier, *later, Planned(due[-1], "submitted")], cancel=is_open)
    found = Plan()
    if policy == "skip" and due:
        found.ticks += _skipping(due, is_open=is_open)
        is_open = True
    if waiting and not is_open:
        found.ticks.append(Planned(waiting[0], "submitted"))
        waiting, is_open = waiting[1:], True
    in_line = list(past) if policy == "skip" else [*past, *due]
    found.ticks += _queueing(in_line, len(waiting), is_open=is_open, room=max(max_waiting, len(waiting) + len(past)))
    return found


def _skipping(due: Sequence[datetime], *, is_open: bool) -> list[Planned]:
    first = 0 if is_open else 1
    made = [Planned(tick, "submitted") for tick in due[:first]]
    return [*made, *(Planned(tick, "skipped", OPEN) for tick in due[first:])]


def _queueing(ticks: Sequence[datetime], waiting: int, *, is_open: bool, room: int) -> list[Planned]:
    planned = []
    for tick in ticks:
        if not is_open and not waiting:
            planned.append(Planned(tick, "submitted"))
            is_open = True
        elif waiting < room:
            planned.append(Planned(tick, "waiting", OPEN))
            waiting += 1
        else:
            planned.append(Planned(tick, "skipped", FULL))
    return planned
