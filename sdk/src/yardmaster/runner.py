"""Which calls run: slots, joins, fences and kept results.

Rules, in this order, for a call of a task:
1. A lower fence than one seen before for the task is refused: its sender no longer owns the task.
2. The task is running here: the call joins it. No slot, no second run. Unless the call is of another
   replay or brings a step that this run made otherwise: then the task went on elsewhere, this run is stopped, and
   the rules go on.
3. The same attempt of the same replay succeeded here lately and knew every step the call brings: the call gets
   that result. (A rescue keeps the attempt and raises the fence; a retry raises the attempt and runs again; a
   resume keeps the attempt and brings the step waited for, which an earlier run can't have known.)
4. Draining or full: refused, with a hint when to come back.
5. Otherwise a slot is taken and the handler starts. The slot comes back when the handler has really ended.
   Steps that the same attempt of the same replay finished here lately and the call doesn't bring are not run
   again but told again: whoever asked then died before it stored them. Past its bounds this memory ends, and such
   a step runs again.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from yardmaster.call import Call
from yardmaster.durable import Context
from yardmaster.execution import Execution
from yardmaster.keeping import Fences, KeptResults
from yardmaster.limits import Limits
from yardmaster.outcome import CANCELLED, INTERRUPTED, LEFT, SHUTDOWN, Kept, Outcome, failed, succeeded
from yardmaster.plain import PlainContext
from yardmaster.telemetry import execution_span
from yardmaster.threads import is_async, run_in_thread
from yardmaster.unwinding import Unwind

log = logging.getLogger("yardmaster.agent")

type Handler = Callable[[Context, Any], Any] | Callable[[PlainContext, Any], Any]


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
        self._handler: Callable[..., Any] = handler
        self._is_async = is_async(handler)
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
        if execution is not None and execution.outcome is None and execution.join(call):
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
        recalled = self._kept.steps(call, self._clock())
        execution = Execution(call, self.limits, recalled, plain=not self._is_async)
        self._running[call.task_id] = execution
        self._occupied.add(execution)
        self._idle.clear()
        execution.work = asyncio.create_task(self._run(execution), name=f"execute {call.task_id}")
        # A callback rather than a finally: a task cancelled before its first step never enters its body.
        execution.work.add_done_callback(lambda _: self._release(execution))
        return execution

    async def _run(self, execution: Execution) -> None:
        try:
            execution.siblings.own()
            outcome, error = await self._attempt(execution)
            outcome = await execution.conclude(outcome)
            if execution.settle(outcome) and error is not None and outcome.retry:
                log.warning("handler failed task_id=%s", execution.call.task_id, exc_info=error)
        except asyncio.CancelledError:
            execution.settle(execution.journal.verdict(INTERRUPTED))

    async def _attempt(self, execution: Execution) -> tuple[Outcome, BaseException | None]:
        """How the handler did, and what it raised."""
        try:
            with execution_span(execution.call):
                result = await self._handle(execution)
        except Unwind:
            return LEFT, None
        except (Exception, SystemExit, BaseExceptionGroup) as error:  # it is this task's failure only
            return failed(error, self.limits.error_chars), error
        return succeeded(result), None

    async def _handle(self, execution: Execution) -> Any:
        context, payload = execution.context, execution.call.payload
        if isinstance(context, PlainContext):
            return await run_in_thread(context.run, self._handler, payload)
        return await self._handler(context, payload)

    def _release(self, execution: Execution) -> None:
        task_id = execution.call.task_id
        execution.settle(SHUTDOWN)
        self._occupied.discard(execution)
        if not self._occupied:
            self._idle.set()
        if self._running.get(task_id) is execution:
            del self._running[task_id]
        execution.siblings.cancel()
        kept = execution.kept(self._clock())
        if kept is not None:
            self._kept.keep(task_id, kept)
