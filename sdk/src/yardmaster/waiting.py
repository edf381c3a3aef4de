"""The waits a handler asks for, each with its step's usual name, its question and the reading of its answer."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from yardmaster.errors import ChildFailed
from yardmaster.waits import Child, Decision, Wait, approval_wait, call_wait, decided, event_wait, finished, timer_wait

LONGEST_USUAL = 180  # leaves room for a number in LONGEST_NAME


@dataclass(frozen=True, slots=True)
class Waiting[T]:
    """`question` gives what to suspend with, None when there is nothing to wait for; ValueError when it makes no
    sense. `answer` reads the stored result: ValueError when it is of another kind."""

    step: str
    question: Callable[[], Wait | None]
    answer: Callable[[Any], T]


def approval(action: str, args: Any, risk: str | None, expires_s: float | None, step: str | None) -> Waiting[Decision]:
    question = partial(approval_wait, action, args, risk, expires_s)
    return Waiting(step or _usual("approve", action), question, partial(decided, action))


def call(child: Child, step: str | None) -> Waiting[Any]:
    def answer(result: Any) -> Any:
        return _all_or_raise(finished((child,), result))[0]

    return Waiting(step or _usual("call", child.target), partial(call_wait, (child,)), answer)


def gather(children: tuple[Child, ...], step: str | None, *, return_errors: bool) -> Waiting[list[Any]]:
    def question() -> Wait | None:
        return call_wait(_only_children(children)) if children else None

    def answer(result: Any) -> list[Any]:
        # Of no children nothing was asked: then the step is stored without a list.
        results = finished(_only_children(children), result if children else result or [])
        return results if return_errors else _all_or_raise(results)

    for child in children:
        if inspect.iscoroutine(child):
            child.close()  # ctx.gather(ctx.call(…)): refused in `question`, without a second complaint
    return Waiting(step or "gather", question, answer)


def event(name: str, match: dict[str, Any] | None, timeout_s: float | None, step: str | None) -> Waiting[Any]:
    return Waiting(step or _usual("event", name), partial(event_wait, name, match, timeout_s), _as_is)


def timer(seconds: float, step: str | None) -> Waiting[None]:
    def question() -> Wait | None:
        # Nothing left to wait for is a step all the same: on resume there may be more, or less.
        return None if seconds <= 0 else timer_wait(seconds)

    return Waiting(step or "sleep", question, _nothing)


def _only_children(children: tuple[Child, ...]) -> tuple[Child, ...]:
    if not all(isinstance(child, Child) for child in children):
        raise ValueError("ctx.gather takes children: Child(pool, payload), …")
    return children


def _usual(kind: str, subject: str) -> str:
    return f"{kind}:{subject}"[:LONGEST_USUAL]


def _as_is(result: Any) -> Any:
    return result


def _nothing(result: Any) -> None:
    if result is not None:
        raise ValueError("it is not a timer's")


def _all_or_raise(results: list[Any]) -> list[Any]:
    for result in results:
        if isinstance(result, ChildFailed):
            raise result
    return results
