"""One attempt: call the agent, settle the outcome. No transaction is open while the agent works."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import asyncpg
import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app.core.clock import Clock
from app.core.jsonbody import dump_json
from app.dispatch import decide
from app.dispatch.balancers.base import Outcome, TaskView
from app.dispatch.decide import Tried
from app.dispatch.executors.base import Ending, Executor, Failed, Refused, Request, Succeeded
from app.dispatch.placer import Placer, task_view
from app.dispatch.settler import Settler
from app.dispatch.telemetry import (
    DURATION,
    TOKENS,
    Meters,
    Models,
)
from app.events.hub import Hub
from app.registry.records import AgentRecord, PoolRecord
from app.settings import DispatchSettings
from app.tasks.queue import Ready, Settled, Started

log = structlog.get_logger()

MAX_NOTES_WAITING = 5_000

_STATUS: dict[type, str] = {Succeeded: "succeeded", Failed: "failed", Refused: "refused"}
_tracer = trace.get_tracer("yardmaster.dispatch")
_propagator = TraceContextTextMapPropagator()


@dataclass(slots=True, eq=False)
class Held:
    """An attempt that this manager is making.

    `revoked` says why it must stop: `timeout`, `cancelled`, `superseded`, `shutdown`, or `lost` (its agent went
    silent).
    """

    task: Ready
    pool: PoolRecord
    agent: AgentRecord
    fence: int
    attempt: int
    payload: str
    started: float
    seen: TaskView
    run: asyncio.Task[None] | None = None
    calling: bool = False
    revoked: str | None = None
    notes: list[asyncio.Future[bool]] = field(default_factory=list)

    @property
    def tried(self) -> Tried:
        return Tried(self.task.id, self.fence, self.attempt, self.task.max_attempts)

    def revoke(self, why: str) -> None:
        """Stop the call; the first reason counts. An outcome that is known already is still settled."""
        if self.revoked is None:
            self.revoked = why
            if self.run is not None and self.calling:
                self.run.cancel()


class Attempts:
    """Runs attempts to their end. `on_freed(pool)` is called when a slot is free again, `on_returned(pool)` when a task
    is back in the queue and may be claimed at once."""

    def __init__(
        self,
        executor: Executor,
        placer: Placer,
        settler: Settler,
        hub: Hub,
        clock: Clock,
        settings: DispatchSettings,
        on_freed: Callable[[str], None],
        on_returned: Callable[[str], None] = lambda _pool: None,
        *,
        tracing: bool = False,
    ) -> None:
        self._executor, self._placer, self._settler, self._hub = executor, placer, settler, hub
        self._clock, self._settings = clock, settings
        self._on_freed, self._on_returned = on_freed, on_returned
        self._tracing = tracing
        self._rng = random.Random()  # noqa: S311 - jitter, not a secret
        self._models, self._meters = Models(), Meters()
        self._side_work: set[asyncio.Task[None]] = set()
        self.held: dict[UUID, Held] = {}

    def begin(self, task: Ready, pool: PoolRecord, agent: AgentRecord, begun: Started) -> None:
        """Start an attempt that is committed as running. Its slot is taken already."""
        former = self.held.get(task.id)
        if former is not None:
            former.revoke("superseded")
        held = Held(
            task, pool, agent, begun.fence, begun.attempt, begun.payload, self._clock.monotonic(), task_view(task)
        )
        self.held[task.id] = held
        self._placer.started(pool.name, agent, held.seen)
        self._meters.of(pool.name).start_wait.observe(max(0.0, task.waited_s))
        held.run = asyncio.get_running_loop().create_task(self._run(held))

    async def _run(self, held: Held) -> None:
        ending: Ending | None = None
        held.calling = True
        limit = asyncio.get_running_loop().call_later(held.pool.timeout_s, held.revoke, "timeout")
        try:
            if held.revoked is None:  # else it was revoked before its first step
                ending = await self._call(held)
        except asyncio.CancelledError:
            if held.revoked is None or held.run is None:
                raise
            held.run.uncancel()
            if held.revoked == "timeout":
                ending = _timed_out(held)
        finally:
            limit.cancel()
            held.calling = False
            self._placer.release(held.agent)
            self._on_freed(held.pool.name)
        try:
            await self._settle(held, ending)
        finally:
            if self.held.get(held.task.id) is held:
                del self.held[held.task.id]

    async def _call(self, held: Held) -> Ending:
        """The agent's ending, checked against the pool's contract; a bug of ours is a failed attempt too."""
        if not self._tracing:
            return await self._execute(held)
        with _tracer.start_as_current_span(
            f"attempt {held.pool.name}", context=_context(held.task), kind=SpanKind.CLIENT
        ) as span:
            span.set_attributes(
                {
                    "yardmaster.task_id": str(held.task.id),
                    "yardmaster.attempt": held.attempt,
                    "yardmaster.agent_id": held.agent.key,
                }
            )
            try:
                ending = await self._execute(held)
            except asyncio.CancelledError:
                span.set_status(Status(StatusCode.ERROR, held.revoked or "cancelled"))
                raise
            if isinstance(ending, Failed):
                span.set_status(Status(StatusCode.ERROR, ending.code))
        return ending

    async def _execute(self, held: Held) -> Ending:
        try:
            ending = await self._executor.execute(held.agent.url, self._request(held), _Sink(self, held))
        except Exception as exc:
            log.error("attempt_crashed", task_id=str(held.task.id), exc_info=exc)
            return Failed("internal_error", f"The call failed inside the manager: {type(exc).__name__}.", retry=True)
        return self._checked(held, ending)

    def _request(self, held: Held) -> Request:
        task = held.task
        deadline = self._clock.now() + timedelta(seconds=held.pool.timeout_s)
        return Request(
            task.id,
            held.attempt,
            held.fence,
            task.type,
            held.payload,
            deadline.isoformat(),
            task.thread_id,
            _traceparent(task) if self._tracing else task.traceparent,
        )

    @staticmethod
    def _checked(held: Held, ending: Ending) -> Ending:
        if not isinstance(ending, Succeeded):
            return ending
        errors = held.pool.output_contract.errors(ending.value)
        if not errors:
            return ending
        where = "; ".join(f"result{error['path']}: {error['message']}" for error in errors[:3])
        return Failed("output_contract", f"The result does not fit the pool's contract: {where}", True, ending.usage)

    async def _settle(self, held: Held, ending: Ending | None) -> None:
        self._report(held, ending)
        if held.revoked in ("cancelled", "lost", "timeout"):
            self._tell_to_stop(held)
        settled = self._settled(held, ending)
        if settled is None:
            return
        if held.notes:
            await asyncio.gather(*held.notes, return_exceptions=True)  # events keep their order
        try:
            ours = await self._settler.settle(settled)
        except asyncpg.PostgresError as exc:  # not an outage: PostgreSQL will not have this row
            log.error("result_unstorable", task_id=str(held.task.id), error=repr(exc))
            failed = Failed("result_unstorable", f"The result cannot be stored: {type(exc).__name__}.", retry=False)
            ours = await self._settler.settle(
                decide.settle(held.tried, failed, held.pool.retry_policy, self._rng.random())
            )
        if not ours:
            log.info("result_refused", task_id=str(held.task.id), fence=held.fence, outcome=settled.outcome)
        elif settled.status == "queued":
            if not settled.delay_s:
                self._on_returned(held.pool.name)
        else:
            DURATION.observe(held.task.waited_s + self._clock.monotonic() - held.started)

    def _settled(self, held: Held, ending: Ending | None) -> Settled | None:
        if ending is not None:
            return decide.settle(held.tried, ending, held.pool.retry_policy, self._rng.random())
        if held.revoked == "lost":
            lost = Failed("executor_lost", "The agent went silent while it ran the task.", retry=True)
            return decide.settle(held.tried, lost, held.pool.retry_policy, self._rng.random())
        if held.revoked == "shutdown":
            return decide.returned(held.tried, "returned", "shutdown", "The manager is shutting down.", rejoin=True)
        return None  # cancelled or superseded: the row has moved on without us

    def _report(self, held: Held, ending: Ending | None) -> None:
        seconds = self._clock.monotonic() - held.started
        counted = ending is not None and not isinstance(ending, Refused)
        ok = isinstance(ending, Succeeded)
        outcome = Outcome(ok, seconds, counted, not isinstance(ending, Failed) or ending.retry)
        self._placer.finished(held.pool.name, held.agent, held.seen, outcome)
        if isinstance(ending, Refused):
            self._placer.refused(held.agent, ending)
        elif ending is not None:
            self._placer.reached(held.agent)
        meters = self._meters.of(held.pool.name)
        meters.ended(_STATUS.get(type(ending)) or held.revoked or "lost")
        if not counted:
            return
        meters.result(ok, held.task.complexity, seconds)
        for row in getattr(ending, "usage", ()):
            TOKENS.labels(held.pool.name, self._models.label(row.model)).inc(row.input_tokens + row.output_tokens)

    def _tell_to_stop(self, held: Held) -> None:
        work = asyncio.get_running_loop().create_task(self._executor.cancel(held.agent.url, held.task.id))
        self._side_work.add(work)
        work.add_done_callback(self._side_work.discard)

    def progress(self, held: Held, data: dict[str, object]) -> None:
        """Store a progress event. When far more arrive than can be written, the newest are dropped."""
        if self._settler.notes_waiting < MAX_NOTES_WAITING:
            held.notes = [note for note in held.notes if not note.done()]
            held.notes.append(self._settler.note((held.task.id, held.fence, "task.progress", dump_json(data))))

    def token(self, held: Held, data: dict[str, object]) -> None:
        """Pass a token on to those who watch."""
        self._hub.token(held.task.id, data)

    async def finish(self, grace_s: float) -> None:
        """Let running attempts end within `grace_s`, then return the rest to the queue, uncounted."""
        runs = [held.run for held in self.held.values() if held.run is not None]
        if runs:
            log.info("shutdown_waits_for_attempts", running=len(runs), grace_s=grace_s)
            await asyncio.wait(runs, timeout=grace_s)
        left = [held for held in self.held.values() if held.run is not None]
        for held in left:
            held.revoke("shutdown")
        if left:
            await asyncio.wait([held.run for held in left if held.run is not None], timeout=10.0)
            log.info("shutdown_returned_attempts", returned=len(left))
        await asyncio.gather(*self._side_work, return_exceptions=True)


class _Sink:
    """What an executor reports during one attempt."""

    def __init__(self, attempts: Attempts, held: Held) -> None:
        self._attempts, self._held = attempts, held

    def progress(self, data: dict[str, object]) -> None:
        self._attempts.progress(self._held, data)

    def token(self, data: dict[str, object]) -> None:
        self._attempts.token(self._held, data)


def _timed_out(held: Held) -> Failed:
    return Failed("timeout", f"The agent did not finish within {held.pool.timeout_s:g} s.", retry=True)


def _context(task: Ready) -> Context | None:
    return _propagator.extract({"traceparent": task.traceparent}) if task.traceparent else None


def _traceparent(task: Ready) -> str | None:
    """The attempt's own span when traces are recorded, else the caller's, so that a trace never breaks here."""
    if not trace.get_current_span().is_recording():
        return task.traceparent
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get("traceparent")
