"""What has happened to a task so far, one sentence a moment. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

QUIET = frozenset({"task.progress", "task.step", "task.children"})
"""Many of these in a row are one moment."""
MAX_NAMES = 8
"""So many steps in a row are told by name."""


@dataclass(frozen=True, slots=True)
class EventFacts:
    """One event, its data parsed."""

    seq: int
    type: str
    at: datetime
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Moment:
    """`count` events of one type in a row, from `seq` on; `at` is when the last was."""

    seq: int
    type: str
    at: datetime
    text: str
    count: int = 1


def timeline(events: Sequence[EventFacts]) -> list[Moment]:
    """The moments in order."""
    moments: list[Moment] = []
    for event in events:
        last = moments[-1] if moments else None
        if last is not None and event.type in QUIET and last.type == event.type:
            moments[-1] = replace(last, at=event.at, text=_together(last, event), count=last.count + 1)
        else:
            moments.append(Moment(event.seq, event.type, event.at, _said(event)))
    return [_counted(moment) for moment in moments]


def _together(last: Moment, event: EventFacts) -> str:
    """One more of the same: of steps all names while they are few, of the rest the last."""
    if event.type != "task.step" or last.count >= MAX_NAMES:
        return _said(event)
    names = last.text.removeprefix("steps ").removeprefix("step ").removesuffix(" finished")
    return f"steps {names}, {event.data.get('name', '')} finished"


def _counted(moment: Moment) -> Moment:
    if moment.count == 1 or (moment.type == "task.step" and moment.count <= MAX_NAMES):
        return moment
    return replace(moment, text=f"{moment.text} ({moment.count} in a row, this is the last)")


def _said(event: EventFacts) -> str:
    say = _SENTENCES.get(event.type)
    return say(_Given(event.data)) if say is not None else event.type


class _Given(dict[str, Any]):
    """An event's data; what it lacks is an empty text."""

    def __missing__(self, key: str) -> str:
        return ""

    def reason(self) -> str:
        """Why, as it was given: the code and the message, or whichever there is."""
        parts = [str(self[name]) for name in ("code", "message", "reason") if self[name] not in ("", None)]
        return f": {' – '.join(dict.fromkeys(parts))}" if parts else ""


def _queued(data: _Given) -> str:
    parent = f", called by {data['parent_id']}" if data["parent_id"] else ""
    return f"accepted for pool {data['pool']} with priority {data['priority']}{parent}"


def _waiting(data: _Given) -> str:
    waits = {"approval": "an approval", "call": "sub-tasks", "event": "an event", "timer": "a timer"}
    return f"step {data['step']} waits for {waits.get(str(data['reason']), data['reason'])}"


def _progress(data: _Given) -> str:
    percent = f"{data['percent']:g} % " if isinstance(data["percent"], int | float) else ""
    return f"progress: {percent}{data['message'] or ''}".rstrip()


def _retrying(data: _Given) -> str:
    delay = f"; tried again after {data['delay_s']:.3g} s" if isinstance(data["delay_s"], int | float) else ""
    return f"try {data['attempt']} failed{data.reason()}{delay}"


def _decided(data: _Given) -> str:
    by = f" by {data['decided_by']}" if data["decided_by"] else ""
    reason = f": {data['reason']}" if data["reason"] else ""
    return f"the approval of step {data['step']} is {data['status']}{by}{reason}"


def _text(text: str) -> Callable[[_Given], str]:
    return text.format_map


def _because(text: str) -> Callable[[_Given], str]:
    return lambda data: text.format_map(data) + data.reason()


_SENTENCES: dict[str, Callable[[_Given], str]] = {
    "task.queued": _queued,
    "task.held": _text("held until its start is approved"),
    "task.released": _text("its start was approved; queued"),
    "task.running": _text("try {attempt} began on agent {agent_id}"),
    "task.progress": _progress,
    "task.step": _text("step {name} finished"),
    "task.waiting": _waiting,
    "task.children": _text("{ended} of {calls} sub-tasks have ended, {failed} of them badly"),
    "task.resumed": _text("step {step} has its answer; queued again"),
    "approval.requested": _text("people are asked to approve {action}"),
    "approval.voted": _text("{caller} approved, {votes} of {quorum} have"),
    "approval.decided": _decided,
    "approval.escalated": _text("nobody answered; others are asked"),
    "approval.superseded": _because("the question is withdrawn"),
    "task.retrying": _retrying,
    "task.parked": _text("the budget {budget} has no room: {needed} {unit} needed, {left} left"),
    "task.returned": _because("back in the queue, the try not counted"),
    "task.stopped": _text("taken from agent {agent_id}, the try not counted: {message}"),
    "task.rescued": _text("its manager died; queued for another"),
    "task.replayed": _text("queued again on request, tries counted from zero"),
    "task.succeeded": _text("succeeded"),
    "task.failed": _because("failed"),
    "task.cancelled": _because("cancelled"),
    "task.expired": _because("expired"),
}
