"""One call of `POST /execute`, checked.

Shape: {"task_id": str, "attempt": int >= 1, "fence": int >= 0, "type": str, "payload": any JSON, "replay": int >= 0,
"deadline": ISO 8601 with offset or null, "thread_id": str or null, "steps": {name: result}, "resume":
{"step","reason"} or null, "model_hint": {model: model} or null}. Unknown members are
ignored, so that a newer manager can talk to an older agent.
"""

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NoReturn

MAX_TASK_ID = 200


class BadCallError(ValueError):
    """The body breaks the contract; the text names the member."""


@dataclass(frozen=True, slots=True)
class Resume:
    """What a task waited for: the `step`, and why ("approval", "call", "event" or "timer")."""

    step: str
    reason: str


@dataclass(frozen=True, slots=True)
class Call:
    """What a manager asks for. `attempt` counts tries; `fence` rises with every hand-over of the task.

    `replay` rises when a failed task is begun anew; `attempt` then starts from 1 again.

    `steps` are the results of the finished ones, in the order in which they were stored. `model_hint` leads from
    models to those that the handler should use instead.
    """

    task_id: str
    attempt: int
    fence: int
    type: str
    payload: Any
    deadline: datetime | None = None
    thread_id: str | None = None
    traceparent: str | None = None
    steps: dict[str, Any] = field(default_factory=dict)
    resume: Resume | None = None
    replay: int = 0
    model_hint: dict[str, str] = field(default_factory=dict)


def decode_object(body: bytes) -> dict[str, Any]:
    """The body as a JSON object; BadCallError for anything else, NaN and endless nesting included."""
    try:
        value = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadCallError(f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadCallError("the body must be a JSON object")
    return value


def parse_call(body: bytes, traceparent: str | None = None) -> Call:
    """The call in a request body; BadCallError when it breaks the contract."""
    fields = decode_object(body)
    attempt = _integer(fields, "attempt", 1, minimum=1)
    return Call(
        task_id=task_id_of(fields),
        attempt=attempt,
        # A manager without hand-overs sends no fence: then the attempt is the fence.
        fence=_integer(fields, "fence", attempt, minimum=0),
        type=_text(fields, "type") or "",
        payload=fields.get("payload"),
        deadline=_deadline(fields),
        thread_id=_text(fields, "thread_id"),
        traceparent=traceparent,
        steps=_object(fields, "steps") or {},
        resume=_resume(fields),
        replay=_integer(fields, "replay", 0, minimum=0),
        model_hint=_model_hint(fields),
    )


def task_id_of(fields: dict[str, Any]) -> str:
    """The member `task_id`; BadCallError when it is missing, empty or too long."""
    value = _text(fields, "task_id")
    if not value or len(value) > MAX_TASK_ID:
        raise BadCallError(f"task_id must be a string of 1 to {MAX_TASK_ID} characters")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _text(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is None or isinstance(value, str):
        return value
    raise BadCallError(f"{name} must be a string")


def _object(fields: dict[str, Any], name: str) -> dict[str, Any] | None:
    value = fields.get(name)
    if value is None or isinstance(value, dict):
        return value
    raise BadCallError(f"{name} must be an object")


def _resume(fields: dict[str, Any]) -> Resume | None:
    value = _object(fields, "resume")
    if value is None:
        return None
    step, reason = _text(value, "step"), _text(value, "reason")
    if not step or not reason:
        raise BadCallError('resume must have "step" and "reason"')
    return Resume(step, reason)


def _model_hint(fields: dict[str, Any]) -> dict[str, str]:
    value = _object(fields, "model_hint") or {}
    if not all(isinstance(cheaper, str) for cheaper in value.values()):
        raise BadCallError("model_hint must lead from names of models to names of models")
    return value


def _integer(fields: dict[str, Any], name: str, default: int, *, minimum: int) -> int:
    value = fields.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise BadCallError(f"{name} must be an integer of at least {minimum}")
    return value


def _deadline(fields: dict[str, Any]) -> datetime | None:
    text = _text(fields, "deadline")
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadCallError("deadline must be an ISO 8601 date and time") from error
    if moment.tzinfo is None:
        raise BadCallError("deadline needs an offset from UTC")
    return moment
