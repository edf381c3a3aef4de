"""What a task can wait for: how the question is put to the manager, and how the answer is read.

Pure. A question is the data of a `suspend` event without its step; an answer is what the manager stored as
that step's result. ValueError, with a text for the author, when either isn't what it should be.
"""

import math
import re
from dataclasses import dataclass
from typing import Any, Literal

from yardmaster.errors import ApprovalExpired, ApprovalRejected, ChildFailed

type Wait = dict[str, Any]

LONGEST_NAME = 200
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_EVENT_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.:/-]{0,199}")


@dataclass(frozen=True, slots=True)
class Decision:
    """What people decided about one exact action: `args` are those to act with, edited or not.

    `payload_hash` is the hex SHA-256 of the canonical {"action","args"} that was decided about.
    """

    status: Literal["approved", "edited", "rejected", "expired"]
    args: Any
    reason: str
    decided_by: str | None
    payload_hash: str | None


@dataclass(frozen=True, slots=True)
class Child:
    """A task for another pool: `pool`, or None and the `type` whose best pool is taken.

    `payload` is JSON. `deadline_s` counts from the child's submission.
    """

    pool: str | None
    payload: Any = None
    type: str | None = None
    priority: int | None = None
    max_attempts: int | None = None
    deadline_s: float | None = None

    @property
    def target(self) -> str:
        """The pool, or the type: part of the step's usual name."""
        return self.pool or self.type or ""

    def wire(self) -> dict[str, Any]:
        """The child as one of a call's `calls`."""
        if not self.target:
            raise ValueError("a child needs a pool or a type")
        options = {
            "pool": self.pool,
            "type": self.type,
            "priority": self.priority,
            "max_attempts": self.max_attempts,
            "deadline_s": self.deadline_s,
        }
        return {"payload": self.payload} | {name: value for name, value in options.items() if value is not None}


def is_name(value: Any) -> bool:
    """Whether the manager takes it as the name of a step or an action."""
    return isinstance(value, str) and 1 <= len(value) <= LONGEST_NAME and not _UNPRINTABLE.search(value)


def approval_wait(action: str, args: Any, risk: str | None, expires_s: float | None) -> Wait:
    """{"reason":"approval","action","args","risk"?,"expires_s"?}"""
    if not is_name(action):
        raise ValueError(f"an action's name is a text of 1 to {LONGEST_NAME} characters")
    more = {"risk": risk, "expires_s": None if expires_s is None else _seconds("expires_s", expires_s)}
    return {"reason": "approval", "action": action, "args": args} | _given(more)


def call_wait(children: tuple[Child, ...]) -> Wait:
    """{"reason":"call","calls":[…]}"""
    return {"reason": "call", "calls": [child.wire() for child in children]}


def event_wait(name: str, match: dict[str, Any] | None, timeout_s: float | None) -> Wait:
    """{"reason":"event","name","match"?,"timeout_s"?}"""
    if not _EVENT_NAME.fullmatch(name):
        raise ValueError("an event's name has letters, digits and _.:/- , at most 200")
    more = {"match": match, "timeout_s": None if timeout_s is None else _seconds("timeout_s", timeout_s)}
    return {"reason": "event", "name": name} | _given(more)


def timer_wait(seconds: float) -> Wait:
    """{"reason":"timer","seconds"}"""
    return {"reason": "timer", "seconds": _seconds("seconds", seconds)}


def decided(action: str, result: Any) -> Decision:
    """The decision to go on with. Raises ApprovalRejected, ApprovalExpired."""
    if not isinstance(result, dict) or result.get("status") not in ("approved", "edited", "rejected", "expired"):
        raise ValueError("no decision")
    if result.get("action") not in (None, action):  # a manager of before didn't say it
        raise ValueError(f"a decision about {result['action']!r}")
    by, digest = result.get("decided_by"), result.get("payload_hash")
    decision = Decision(result["status"], result.get("args"), str(result.get("reason") or ""), by, digest)
    if decision.status == "rejected":
        raise ApprovalRejected(action, decision)
    if decision.status == "expired":
        raise ApprovalExpired(action, decision)
    return decision


def finished(children: tuple[Child, ...], result: Any) -> list[Any]:
    """Each child's result in order, a ChildFailed in the place of one that failed."""
    if not isinstance(result, list) or len(result) != len(children):
        raise ValueError(f"no results of {len(children)} children")
    return [_read(child, item) for child, item in zip(children, result, strict=True)]


def _read(child: Child, item: Any) -> Any:
    if not isinstance(item, dict) or "status" not in item:
        raise ValueError("no result of a child")
    if child.pool and item.get("pool") not in (None, child.pool):
        raise ValueError(f"a result of the pool {item['pool']!r}, not {child.pool!r}")
    error = item.get("error")
    if item["status"] == "succeeded" and error is None:
        return item.get("result")
    return ChildFailed(str(item.get("task_id")), str(item["status"]), error if isinstance(error, dict) else None)


def _seconds(what: str, value: float) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise ValueError(f"{what} must be a positive number of seconds, not {value!r}")
    return value


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
