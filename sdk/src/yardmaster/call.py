"""One call of `POST /execute`, checked.

Shape: {"task_id": str, "attempt": int >= 1, "fence": int >= 0, "type": str, "payload": any JSON,
"deadline": ISO 8601 with offset or null, "thread_id": str or null}. Unknown members are ignored, so that a
newer manager can talk to an older agent.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

MAX_TASK_ID = 200


class BadCallError(ValueError):
    """The body breaks the contract; the text names the member."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a manager asks for. `attempt` counts tries; `fence` rises with every hand-over of the task."""

    task_id: str
    attempt: int
    fence: int
    type: str
    payload: Any
    deadline: datetime | None = None
    thread_id: str | None = None
    traceparent: str | None = None


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
