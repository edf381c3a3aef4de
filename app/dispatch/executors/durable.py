"""Reading what makes a task durable: finished steps, and wishes to wait. Pure; whatever comes in, an answer comes out.

Names of steps are unique in a task. A run that is joined after a hand-over tells its steps again: the same name with
the same result says nothing new, with another result the agent broke the contract.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import orjson

from app.core.jsonbody import dump_json
from app.dispatch.executors.base import Failed
from app.tasks.asking import Ask, AskApproval, AskCalls, AskEvent, AskTimer, Called

MAX_NAME = 200
MAX_RISK, MAX_WAIT_S = 2000, 31_536_000.0
EVENT_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.:/-]{0,199}")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_CALL_FIELDS = {"pool", "type", "payload", "priority", "max_attempts", "deadline_s"}


@dataclass(frozen=True, slots=True)
class StepBounds:
    """Most steps of a task, the largest result of one, and of all together, in bytes of JSON."""

    count: int = 1000
    step_bytes: int = 262_144
    total_bytes: int = 8_388_608


DEFAULT_BOUNDS = StepBounds()


@dataclass(slots=True)
class Steps:
    """The steps of one task: those it had before, and those of this attempt; each result is JSON text."""

    bounds: StepBounds = DEFAULT_BOUNDS
    known: dict[str, str] = field(default_factory=dict)
    size: int = 0

    def __post_init__(self) -> None:
        self.size = sum(map(len, self.known.values()))

    def add(self, value: dict[str, object]) -> tuple[str, str] | Failed | None:
        """The new step's name and result; None for one that is known; Failed for one that cannot be."""
        name = bad_name(value.get("name"), "name")
        if isinstance(name, Failed):
            return name
        if "result" not in value:
            return Failed("bad_step", f'The step {name!r} has no "result".', retry=False)
        result = dump_json(value["result"])
        if name in self.known:
            same = orjson.loads(self.known[name]) == orjson.loads(result)
            return None if same else Failed("step_conflict", f"The step {name!r} has another result already.", False)
        wrong = self._too_much(name, result)
        if wrong is not None:
            return wrong
        self.known[name] = result
        self.size += len(result)
        return name, result

    def _too_much(self, name: str, result: str) -> Failed | None:
        bounds = self.bounds
        if len(result.encode()) > bounds.step_bytes:
            return Failed("step_too_large", f"The result of {name!r} is larger than {bounds.step_bytes} bytes.", False)
        if len(self.known) >= bounds.count:
            return Failed("too_many_steps", f"A task has {bounds.count} steps at most.", retry=False)
        if self.size + len(result) > bounds.total_bytes:
            return Failed(
                "steps_too_large", f"The results of all steps are larger than {bounds.total_bytes} bytes.", False
            )
        return None


def bad_name(value: object, what: str) -> str | Failed:
    """The value, if it can name a step."""
    wrong = _name_problem(value, what)
    if wrong is not None:
        return Failed("bad_step", wrong, retry=False)
    assert isinstance(value, str)
    return value


def _name_problem(value: object, what: str) -> str | None:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME or _UNPRINTABLE.search(value):
        return f"{what!r} is text of 1 to {MAX_NAME} characters."
    return None


def read_ask(value: dict[str, object]) -> Ask | str:
    """What a `suspend` event asks for, or what is wrong with it."""
    step, reason = value.get("step"), value.get("reason")
    wrong = _name_problem(step, "step")
    if wrong is not None:
        return f"A suspend without a step: {wrong}"
    assert isinstance(step, str)
    if reason is None:
        return 'A suspend has a "reason": approval, call, event or timer.'
    read = {"approval": _approval, "call": _calls, "event": _event, "timer": _timer}.get(str(reason))
    if read is None:
        return f"{str(reason)[:50]!r} is no reason to suspend: approval, call, event or timer."
    return read(step, value)


def _timer(step: str, value: dict[str, object]) -> Ask | str:
    seconds = _seconds(value.get("seconds"))
    return AskTimer(step, seconds) if seconds is not None else _range("seconds")


def _range(name: str) -> str:
    return f"{name!r} is a number of seconds from 0 to {MAX_WAIT_S:.0f}."


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_WAIT_S:
        return None
    return float(value)


def _optional_seconds(value: dict[str, object], name: str) -> float | str | None:
    if value.get(name) is None:
        return None
    seconds = _seconds(value[name])
    return _range(name) if seconds is None else seconds


def _approval(step: str, value: dict[str, object]) -> Ask | str:
    action, risk = value.get("action"), value.get("risk")
    wrong = _name_problem(action, "action")
    if wrong is not None:
        return wrong
    if risk is not None and (not isinstance(risk, str) or len(risk) > MAX_RISK):
        return f'"risk" is text of at most {MAX_RISK} characters.'
    expires_s = _optional_seconds(value, "expires_s")
    if isinstance(expires_s, str):
        return expires_s
    return AskApproval(step, str(action), dump_json(value.get("args")), risk, expires_s)


def _event(step: str, value: dict[str, object]) -> Ask | str:
    name, match = value.get("name"), value.get("match")
    if not isinstance(name, str) or not EVENT_NAME.fullmatch(name):
        return '"name" is the name of an event: letters, digits and _.:/- , at most 200.'
    if match is not None and not isinstance(match, dict):
        return '"match" is an object.'
    timeout_s = _optional_seconds(value, "timeout_s")
    if isinstance(timeout_s, str):
        return timeout_s
    return AskEvent(step, name, match or None, timeout_s)


def _calls(step: str, value: dict[str, object]) -> Ask | str:
    given = value.get("calls")
    if not isinstance(given, list) or not given:
        return '"calls" is a list of at least one call.'
    calls: list[Called] = []
    for index, item in enumerate(given):
        called = _call(item)
        if isinstance(called, str):
            return f"calls.{index}: {called}"
        calls.append(called)
    return AskCalls(step, tuple(calls))


def _call(item: object) -> Called | str:
    if not isinstance(item, dict):
        return "is not an object."
    unknown = item.keys() - _CALL_FIELDS
    if unknown:
        return f"{sorted(unknown)[0]!r} is not known."
    pool, kind = item.get("pool"), item.get("type")
    if not all(name is None or (isinstance(name, str) and 0 < len(name) <= 100) for name in (pool, kind)):
        return '"pool" and "type" are names.'
    if pool is None and kind is None:
        return "names a pool or a type."
    wrong = _numbers_problem(item)
    if wrong is not None:
        return wrong
    return Called(
        pool, kind, item.get("payload"), item.get("priority"), item.get("max_attempts"), item.get("deadline_s")
    )


def _numbers_problem(item: dict[str, Any]) -> str | None:
    for name, low, high in (("priority", -1000, 1000), ("max_attempts", 1, 100)):
        value = item.get(name)
        if value is not None and (type(value) is not int or not low <= value <= high):
            return f"{name!r} is a whole number from {low} to {high}."
    deadline_s = item.get("deadline_s")
    if deadline_s is not None and not _seconds(deadline_s):
        return '"deadline_s" is a number of seconds above 0.'
    return None
