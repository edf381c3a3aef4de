"""What a golden task must answer, and when a probe has failed. Pure.

A probe is a task whose right answer is known. `declared_checks.py` reads its checks from JSON.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeGuard

import jsonschema_rs

from app.slo.json_path import Path

type Op = Literal["exists", "absent", "equals", "not_equals", "contains", "lt", "lte", "gt", "gte"]
type Judgement = Literal["passing", "failing", "undecided"]

MAX_TEXT, MAX_WHY = 1_048_576, 300
COMPARED: Mapping[str, Callable[[float, float], bool]] = {
    "lt": lambda found, value: found < value,
    "lte": lambda found, value: found <= value,
    "gt": lambda found, value: found > value,
    "gte": lambda found, value: found >= value,
}
"""Comparisons of numbers."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How the probe's task ended: its final status, its result (parsed JSON) and the seconds from submission."""

    status: str
    result: object
    seconds: float


@dataclass(frozen=True, slots=True)
class Checked:
    """Whether a check passed; `why` is a sentence for people where it did not."""

    check: str
    passed: bool
    why: str = ""


class Check(Protocol):
    """One declared check."""

    @property
    def title(self) -> str: ...

    def fault(self, answer: Answer) -> str:
        """What is wrong with the answer; '' where nothing is."""
        ...


@dataclass(frozen=True, slots=True)
class JsonCheck:
    """What a path leads to. With more than one node, one that fits is enough; `absent` and `not_equals`: none may."""

    path: Path
    op: Op
    value: object = None

    @property
    def title(self) -> str:
        return f"json {self.path.text} {self.op}"

    def fault(self, answer: Answer) -> str:
        nodes = self.path.find(answer.result)
        if self.op == "absent":
            return "" if not nodes else f"it is there: {_shown(nodes[0])}"
        if not nodes:
            return "there is nothing at this path"
        if self.op == "exists":
            return ""
        if self.op == "not_equals":
            return f"it is {_shown(self.value)}" if any(_same(node, self.value) for node in nodes) else ""
        if any(_fits(self.op, node, self.value) for node in nodes):
            return ""
        return f"{_shown(nodes[0])} is found, not {self.op} {_shown(self.value)}"


@dataclass(frozen=True, slots=True)
class RegexCheck:
    """A text that the pattern is found in (anchor it with ^ and $ for all of it); one node that fits is enough."""

    path: Path
    pattern: str
    matcher: jsonschema_rs.Validator

    @property
    def title(self) -> str:
        return f"regex {self.path.text}"

    def fault(self, answer: Answer) -> str:
        texts = [node for node in self.path.find(answer.result) if isinstance(node, str)]
        if not texts:
            return "there is no text at this path"
        if any(self.matcher.is_valid(text[:MAX_TEXT]) for text in texts):
            return ""
        return f"{_shown(texts[0])} does not match {self.pattern}"


@dataclass(frozen=True, slots=True)
class SchemaCheck:
    """A JSON Schema of the whole result."""

    validator: jsonschema_rs.Validator
    title: str = "schema"

    def fault(self, answer: Answer) -> str:
        error = next(iter(self.validator.iter_errors(answer.result)), None)
        if error is None:
            return ""
        return f"{'/'.join(map(str, error.instance_path)) or 'the result'}: {error.message}"


@dataclass(frozen=True, slots=True)
class LatencyCheck:
    """At most so many seconds from submission to the end."""

    max_s: float
    title: str = "latency"

    def fault(self, answer: Answer) -> str:
        return "" if answer.seconds <= self.max_s else f"it took {answer.seconds:.3f} s, more than {self.max_s:g} s"


def run(checks: Sequence[Check], answer: Answer) -> list[Checked]:
    """Every check in its order, after the one that is always made: that the task succeeded. The probe passed if all
    did; of a task that did not succeed there is no result to check."""
    if answer.status != "succeeded":
        return [Checked("status", False, f"the task {answer.status}")]
    found = [Checked("status", True)]
    for check in checks:
        why = check.fault(answer)
        found.append(Checked(check.title, not why, why[:MAX_WHY]))
    return found


def judge(history: Sequence[bool | None], k: int, n: int) -> Judgement:
    """Whether the probe is failing: `k` of its last `n` runs did. `history`: newest first, True for passed, None for a
    run that could not be made, which says neither and takes a place.

    `passing` needs runs enough: that it would not be failing even if those that are missing had failed. Else it is
    `undecided`, which is not the same as well.
    """
    if not 1 <= k <= n:
        raise ValueError("k of n: from 1 up to n")
    seen = list(history[:n])
    failed = sum(passed is False for passed in seen)
    unknown = n - len(seen) + sum(passed is None for passed in seen)
    if failed >= k:
        return "failing"
    return "passing" if failed + unknown < k else "undecided"


def _fits(op: str, found: object, value: object) -> bool:
    if op == "equals":
        return _same(found, value)
    if op == "contains":
        if isinstance(found, str):
            return isinstance(value, str) and value in found
        return isinstance(found, list) and any(_same(item, value) for item in found)
    return is_number(found) and is_number(value) and COMPARED[op](found, value)


def _same(one: object, other: object) -> bool:
    """Equality of JSON: 1 is 1.0, and true is not 1, at any depth."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return one == other


def is_number(value: object) -> TypeGuard[int | float]:
    """A finite number of JSON: true is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
