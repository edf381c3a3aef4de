"""Which calls run: slots, joins, fences and kept results.

Rules, in this order, for a call of a task:
1. A lower fence than one seen before for the task is refused: its sender no longer owns the task.
2. The task is running here: the call joins it. No slot, no second run.
3. The same attempt succeeded here lately: the call gets that result. (A rescue keeps the attempt and raises
   the fence; a retry raises the attempt and runs again.)
4. Draining or full: refused, with a hint when to come back.
5. Otherwise a slot is taken and the handler starts. The slot comes back when the handler has really ended.
"""

import asyncio
import inspect
import logging
import time
from collections.abc import Callable
from typing import Any

from yardmaster.call import Call
from yardmaster.context import Context
from yardmaster.execution import Execution
from yardmaster.keeping import Fences, KeptResults
from yardmaster.limits import Limits
from yardmaster.outcome import CANCELLED, INTERRUPTED, SHUTDOWN, Kept, Outcome, failed, succeeded
from yardmaster.telemetry import execution_span
from yardmaster.threads import run_in_thread

log = logging.getLogger("yardmaster.agent")

type Handler = Callable[[Context, Any], Any]


class RefusedError(Exception):
    """The call isn't taken: HTTP `status`, stable `code`, text, and seconds to come back after, if ever."""

    def __init__(self, status: int, code: str, message: str, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s


class Runner:
    """The executions of one agent. Lives in one event loop; not thread-safe."""

    def __init__(
        self, handler: Handler, slots: int, limits: Limits, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.slots = slots
        self.limits = limits
        self.draining = False
        self._handler = handler
        self._is_async = _is_async(handler)
        self._clock = clock
        self._running: dict[str, Execution] = {}
        self._occupied: set[Execution] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._kept = KeptResults(limits)
        self._fences = Fences(limits.kept_fences)

    @property
    def running(self) -> int:
        """Slots in use."""
        return len(self._occupied)

    @property
    def status(self) -> str:
        """One of "draining", "busy" (something runs) and "idle"."""
        if self.draining:
            return "draining"
        return "busy" if self.running else "idle"

    def admit(self, call: Call) -> Execution | Kept:
        """What answers this call: the running execution, a kept success or a new one. Raises RefusedError."""
        newer = self._fences.pass_or_newer(call)
        if newer is not None:
            raise RefusedError(409, "stale_fence", f"fence {call.fence} is older than {newer}")
        execution = self._running.get(call.task_id)
        if execution is not None and execution.outcome is None:
            execution.join(call)
            return execution
        return self._kept.find(call, self._clock()) or self._start(call)

    def cancel(self, task_id: str) -> bool:
        """Stop a running task; False when it isn't running here."""
        execution = self._running.get(task_id)
        return execution is not None and execution.stop(CANCELLED)

    async def idle(self) -> None:
        """Wait until no slot is in use."""
        await self._idle.wait()

    def stop_all(self) -> None:
        """End everything that still runs with the retryable code "shutdown"."""
        for execution in list(self._running.values()):
            execution.stop(SHUTDOWN)

    def _start(self, call: Call) -> Execution:
        if self.draining:
            raise RefusedError(503, "draining", "the agent is draining", 5)
        if self.running >= self.slots:
            raise RefusedError(429, "slots_full", f"all {self.slots} slots are in use", 1)
        execution = Execution(call, self.limits)
        self._running[call.task_id] = execution
        self._occupied.add(execution)
        self._idle.clear()
        execution.work = asyncio.create_task(self._run(execution), name=f"execute {call.task_id}")
        # A callback rather than a finally: a task cancelled before its first step never enters its body.
        execution.work.add_done_callback(lambda _: self._release(execution))
        return execution

    async def _run(self, execution: Execution) -> None:
        try:
            execution.settle(await self._attempt(execution))
        except asyncio.CancelledError:
            execution.settle(INTERRUPTED)

    async def _attempt(self, execution: Execution) -> Outcome:
        call, context = execution.call, execution.context
        try:
            with execution_span(call):
                if self._is_async:
                    return succeeded(await self._handler(context, call.payload))
                return succeeded(await run_in_thread(self._handler, context, call.payload))
        except (Exception, SystemExit) as error:  # whatever a handler raises is this task's failure only
            outcome = failed(error, self.limits.error_chars)
            if outcome.retry:
                log.warning("handler failed task_id=%s", call.task_id, exc_info=error)
            return outcome

    def _release(self, execution: Execution) -> None:
        task_id = execution.call.task_id
        execution.settle(SHUTDOWN)
        self._occupied.discard(execution)
        if not self._occupied:
            self._idle.set()
        if self._running.get(task_id) is execution:
            del self._running[task_id]
        outcome = execution.outcome
        if outcome is not None and outcome.ok:
            now = self._clock()
            self._kept.keep(task_id, Kept(execution.attempt, outcome, execution.log.usage(), now))


def _is_async(handler: Handler) -> bool:
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__)
