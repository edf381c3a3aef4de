"""The context of an async handler, with durable steps.

On every call of the task the handler runs from the top; a step that finished returns what it returned. A wait
(`approve`, `call`, `gather`, `wait_event`, `sleep`) ends the execution: the handler is left by an `Unwind`, the task
holds nothing while it waits, and when it is called again the wait returns its answer. See `journal` for the rules.
"""

import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, overload

from yardmaster import waiting
from yardmaster.call import Call
from yardmaster.context import Facts
from yardmaster.eventlog import EventLog
from yardmaster.journal import Journal, inside
from yardmaster.siblings import Siblings
from yardmaster.threads import is_async, run_in_thread
from yardmaster.waits import Child, Decision


class Context(Facts):
    """What an async handler is given. Steps may run side by side (`asyncio.gather`); name them if they repeat."""

    def __init__(self, call: Call, log: EventLog, journal: Journal, siblings: Siblings) -> None:
        super().__init__(call, log, journal)
        self._siblings = siblings

    @overload
    async def step[**P, T](
        self, name: str, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...

    @overload
    async def step[**P, T](self, name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...

    async def step(self, name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run `function(*args, **kwargs)` once in the task's life; returns its result, as JSON gives it back.

        An async function runs in the loop, a plain one in a thread. What it raises is the handler's: the step
        isn't stored and runs again in the next attempt. A handler that catches that and makes other steps can't
        be repeated; catch it inside of the function. PermanentError: "bad_result" (not JSON), "step_too_large".
        """
        numbered = self._ask(name)
        if self._journal.knows(numbered):
            return self._journal.result(numbered)
        await self._siblings.let_start(numbered)
        if not callable(function):
            _drop(function)
            self._journal.fail("bad_step", f"the step {numbered!r} needs a function, not what calling it gave")
        with self._siblings.running(numbered):
            return self._journal.store(numbered, await _run(numbered, function, args, kwargs))

    async def approve(
        self,
        action: str,
        args: Any,
        risk: str | None = None,
        expires_s: float | None = None,
        *,
        step: str | None = None,
    ) -> Decision:
        """Ask people about exactly this action; returns what they approved: act with its `args`.

        `risk` is shown to them; `expires_s` may shorten what the pool allows. ApprovalRejected, ApprovalExpired.
        """
        return await self._wait(waiting.approval(action, args, risk, expires_s, step))

    async def call(
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
        """Run one child task and return its result; ChildFailed. See `Child` for the options."""
        child = Child(pool, payload, type, priority, max_attempts, deadline_s)
        return await self._wait(waiting.call(child, step))

    async def gather(self, *children: Child, return_errors: bool = False, step: str | None = None) -> list[Any]:
        """Run several child tasks at once; returns their results in order when all are final.

        Raises the first ChildFailed, or leaves each in its place with `return_errors`.
        """
        return await self._wait(waiting.gather(children, step, return_errors=return_errors))

    async def wait_event(
        self, name: str, match: dict[str, Any] | None = None, timeout_s: float | None = None, *, step: str | None = None
    ) -> Any:
        """Wait for an event sent to `POST /v1/events` whose data contains `match`; its data, None after `timeout_s`."""
        return await self._wait(waiting.event(name, match, timeout_s, step))

    async def sleep(self, seconds: float, *, step: str | None = None) -> None:
        """Wait for so long without holding anything. Nothing or less is over at once."""
        await self._wait(waiting.timer(seconds, step))

    def _ask(self, name: str, *, waits: bool = False) -> str:
        numbered = self._journal.ask(name, waits=waits)
        self._siblings.notify()
        return numbered

    async def _wait[T](self, asked: waiting.Waiting[T]) -> T:
        journal, numbered = self._journal, self._ask(asked.step, waits=True)
        if not journal.knows(numbered):
            await self._siblings.let_start(numbered)
            if journal.wait(numbered, asked.question):
                await self._siblings.finish()
                journal.leave()
        return journal.answer(numbered, asked.answer)


async def _run(name: str, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    token = inside.set(name)
    try:
        if is_async(function):
            return await function(*args, **kwargs)
        value = await run_in_thread(partial(function, *args, **kwargs))
        return await value if inspect.isawaitable(value) else value
    finally:
        inside.reset(token)


def _drop(value: Any) -> None:
    if inspect.iscoroutine(value):
        value.close()
