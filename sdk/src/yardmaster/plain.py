"""The context of a plain handler, which runs in a thread: the same durable steps, without `await`."""

import threading
from collections.abc import Callable
from typing import Any

from yardmaster import waiting
from yardmaster.call import Call
from yardmaster.context import Facts
from yardmaster.eventlog import EventLog
from yardmaster.journal import Journal, inside
from yardmaster.threads import is_async
from yardmaster.waits import Child, Decision


class PlainContext(Facts):
    """What a plain handler is given. It makes its steps in its own thread, one at a time.

    The methods are those of `Context`, with the same results and errors.
    """

    def __init__(self, call: Call, log: EventLog, journal: Journal) -> None:
        super().__init__(call, log, journal)
        self._thread = 0

    def step[**P, T](self, name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a plain function once in the task's life; returns its result, as JSON gives it back."""
        journal, numbered = self._journal, self._ask(name)
        if journal.knows(numbered):
            known: T = journal.result(numbered)
            return known
        journal.check_match(numbered)
        if not callable(function) or is_async(function):
            journal.fail("bad_step", f"the step {numbered!r} of a plain handler needs a plain function")
        token = inside.set(numbered)
        try:
            result = function(*args, **kwargs)
        finally:
            inside.reset(token)
        stored: T = journal.store(numbered, result)
        return stored

    def approve(
        self,
        action: str,
        args: Any,
        risk: str | None = None,
        expires_s: float | None = None,
        *,
        step: str | None = None,
    ) -> Decision:
        """Ask people about exactly this action; ApprovalRejected, ApprovalExpired."""
        return self._wait(waiting.approval(action, args, risk, expires_s, step))

    def call(
        self,
        pool: str | None,
        payload: Any = None,
        *,
        type: str | None = None,
        priority: int | None = None,
        max_attempts: int | None = None,
        deadline_s: float | None = None,
        step: str | None = None,
    ) -> Any:
        """Run one child task and return its result; ChildFailed."""
        child = Child(pool, payload, type, priority, max_attempts, deadline_s)
        return self._wait(waiting.call(child, step))

    def gather(self, *children: Child, return_errors: bool = False, step: str | None = None) -> list[Any]:
        """Run several child tasks at once; returns their results in order when all are final."""
        return self._wait(waiting.gather(children, step, return_errors=return_errors))

    def wait_event(
        self, name: str, match: dict[str, Any] | None = None, timeout_s: float | None = None, *, step: str | None = None
    ) -> Any:
        """Wait for an event whose data contains `match`; returns its data, None after `timeout_s`."""
        return self._wait(waiting.event(name, match, timeout_s, step))

    def sleep(self, seconds: float, *, step: str | None = None) -> None:
        """Wait for so long without holding anything."""
        self._wait(waiting.timer(seconds, step))

    def run(self, handler: Callable[..., Any], payload: Any) -> Any:
        """Run the handler in the current thread, which is its own from now on."""
        self._thread = threading.get_ident()
        return handler(self, payload)

    def _ask(self, name: str, *, waits: bool = False) -> str:
        if threading.get_ident() != self._thread:
            self._journal.fail("bad_step", f"a plain handler makes its steps in its own thread, {name!r} too")
        return self._journal.ask(name, waits=waits)

    def _wait[T](self, asked: waiting.Waiting[T]) -> T:
        journal, numbered = self._journal, self._ask(asked.step, waits=True)
        if not journal.knows(numbered):
            journal.check_match(numbered)
            if journal.wait(numbered, asked.question):
                journal.leave()
        return journal.answer(numbered, asked.answer)
