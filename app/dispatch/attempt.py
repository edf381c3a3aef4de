"""One attempt: call the agent, settle the outcome. No transaction is open while the agent works."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app.core.clock import Clock
from app.core.failpoints import reach
from app.costs import genai
from app.dispatch import decide
from app.dispatch.balancers.base import Outcome, TaskView
from app.dispatch.decide import Tried
from app.dispatch.executors.base import Ending, Executor, Failed, Refused, Request, Succeeded, Suspended
from app.dispatch.placer import Placer, task_view
from app.dispatch.reporting import Report
from app.dispatch.settler import Settler
from app.dispatch.suspending import Suspender
from app.dispatch.telemetry import COST, DURATION, TOKENS, UNPRICED, Meters, Models
from app.events.hub import Hub
from app.registry.records import AgentRecord, PoolRecord
from app.settings import DispatchSettings
from app.tasks import spending, waits
from app.tasks.queue import Ready, Settled, Started, UsageRow
from app.tasks.spending import Spent
from app.tasks.suspension import Declined, Suspending

log = structlog.get_logger()

_STATUS: dict[type, str] = {
    Succeeded: "succeeded",
    Failed: "failed",
    Refused: "refused",
    Suspended: "suspended",
}
_tracer = trace.get_tracer("yardmaster.dispatch")
_propagator = TraceContextTextMapPropagator()


@dataclass(slots=True, eq=False)
class Held:
    """An attempt that this manager is making.

    `revoked` says why it must stop: `timeout`, `cancelled`, `superseded`, `stopped`, `shutdown`, or `lost` (its agent
    went silent). `report` is what the agent said so far.
    """

    task: Ready
    pool: PoolRecord
    agent: AgentRecord
    fence: int
    attempt: int
    begun: Started
    started: float
    seen: TaskView
    report: Report
    run: asyncio.Task[None] | None = None
    calling: bool = False
    revoked: str | None = None

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
        price: Callable[[UsageRow, datetime], UsageRow],
        on_booked: Callable[[Collection[UUID]], None] = lambda _accounts: None,
        suspender: Suspender | None = None,
        tracing: bool = False,
    ) -> None:
        self._suspender, self._price, self._on_booked = suspender, price, on_booked
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
        report = Report(self._settler, self._hub, task.id, begun.fence)
        now = self._clock.monotonic()
        held = Held(task, pool, agent, begun.fence, begun.attempt, begun, now, task_view(task), report)
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
            span.set_attributes(genai.attributes(ending.usage))
            if isinstance(ending, Failed):
                span.set_status(Status(StatusCode.ERROR, ending.code))
        return ending

    async def _execute(self, held: Held) -> Ending:
        try:
            steps = await self._steps(held)
            ending = await self._executor.execute(held.agent.url, self._request(held, steps), held.report)
        except Exception as exc:
            log.error("attempt_crashed", task_id=str(held.task.id), exc_info=exc)
            return Failed("internal_error", f"The call failed inside the manager: {type(exc).__name__}.", retry=True)
        return self._checked(held, ending)

    async def _steps(self, held: Held) -> dict[str, str]:
        if not held.begun.stepped:
            return {}
        return await self._settler.insist(lambda connection: waits.steps_of(connection, held.task.id), "steps")

    def _request(self, held: Held, steps: dict[str, str]) -> Request:
        task = held.task
        deadline = self._clock.now() + timedelta(seconds=held.pool.timeout_s)
        return Request(
            task.id,
            held.attempt,
            held.fence,
            task.type,
            held.begun.payload,
            deadline.isoformat(),
            task.thread_id,
            _traceparent(task) if self._tracing else task.traceparent,
            steps,
            held.begun.resume,
            held.begun.replays,
            held.begun.models,
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
        if ending is not None and ending.usage:
            ending = replace(ending, usage=self._priced(ending.usage))
        self._report(held, ending)
        if held.revoked in ("cancelled", "lost", "timeout"):
            self._tell_to_stop(held)
        try:
            await held.report.written()  # events keep their order, and no end goes before the steps it stands on
        except asyncpg.PostgresError as exc:
            log.error("step_unstorable", task_id=str(held.task.id), error=repr(exc))
            spent = self._priced(held.report.spent)
            ending = Failed("step_unstorable", f"A step cannot be stored: {type(exc).__name__}.", False, spent)
        if isinstance(ending, Suspended) and (refused := await self._suspend(held, ending)) is not None:
            ending = refused
        if isinstance(ending, Suspended):
            return
        settled = self._settled(held, ending)
        if settled is None:
            await self._note_spent(held)
        else:
            settled.event_data = held.report.ending(settled.event_data)
            await self._write(held, settled)

    async def _suspend(self, held: Held, ending: Suspended) -> Failed | None:
        """Let the task wait, or say why it cannot."""
        if self._suspender is None:
            return Failed("unsupported_event", "Durable suspend events are not supported.", retry=False)
        task = held.task
        item = Suspending(
            task.id, task.tenant, task.pool, held.fence, held.attempt, ending.ask, held.report.told, ending.usage
        )
        try:
            ours = await self._suspender.suspend(item)
        except Declined as exc:
            return Failed(exc.code, exc.message, retry=False, usage=ending.usage)
        if not ours:
            log.info("result_refused", task_id=str(task.id), fence=held.fence, outcome="suspended")
            await self._note_spent(held)
        return None

    async def _note_spent(self, held: Held) -> None:
        """The attempt is no longer ours, but what it spent was spent, and what it holds is given back."""
        usage = self._priced(held.report.spent)
        if usage or held.begun.accounts:
            task, ended = held.task, held.revoked in ("cancelled", "stopped")
            outcome = held.revoked or "superseded"
            spent = Spent(task.id, held.fence, task.tenant, task.pool, usage, outcome, ended, held.begun.accounts)
            await self._settler.insist(lambda connection: spending.spend(connection, spent), "usage")
            self._on_booked(held.begun.accounts)

    def _priced(self, usage: Sequence[UsageRow]) -> tuple[UsageRow, ...]:
        now = self._clock.now()
        return tuple(self._price(row, now) for row in usage)

    async def _write(self, held: Held, settled: Settled) -> None:
        reach("settle.before")
        try:
            ours = await self._settler.settle(settled)
        except asyncpg.PostgresError as exc:  # not an outage: PostgreSQL will not have this row
            log.error("result_unstorable", task_id=str(held.task.id), error=repr(exc))
            failed = Failed("result_unstorable", f"The result cannot be stored: {type(exc).__name__}.", retry=False)
            ours = await self._settler.settle(
                decide.settle(held.tried, failed, held.pool.retry_policy, self._rng.random())
            )
        reach("settle.after")
        if not ours:
            log.info("result_refused", task_id=str(held.task.id), fence=held.fence, outcome=settled.outcome)
            await self._note_spent(held)
            return
        if held.begun.accounts:
            self._on_booked(held.begun.accounts)
        if settled.status == "queued":
            if not settled.delay_s:
                self._on_returned(held.pool.name)
        else:
            DURATION.observe(held.task.waited_s + self._clock.monotonic() - held.started)

    def _settled(self, held: Held, ending: Ending | None) -> Settled | None:
        if ending is not None:
            return decide.settle(held.tried, ending, held.pool.retry_policy, self._rng.random())
        if held.revoked == "lost":
            spent = self._priced(held.report.spent)
            lost = Failed("executor_lost", "The agent went silent while it ran the task.", True, spent)
            return decide.settle(held.tried, lost, held.pool.retry_policy, self._rng.random())
        if held.revoked == "shutdown":
            # What was spent is told by the run that joins it, which goes on.
            return decide.returned(held.tried, "returned", "shutdown", "The manager is shutting down.", rejoin=True)
        return None  # cancelled, stopped or superseded: the row has moved on without us

    def _report(self, held: Held, ending: Ending | None) -> None:
        seconds = self._clock.monotonic() - held.started
        counted = ending is not None and not isinstance(ending, Refused)
        ok = isinstance(ending, Succeeded | Suspended)
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
            labels = (held.pool.name, self._models.label(row.model))
            TOKENS.labels(*labels).inc(row.input_tokens + row.output_tokens)
            if row.cost_usd is None:
                UNPRICED.labels(*labels).inc()
            else:
                COST.labels(*labels).inc(float(row.cost_usd))

    def _tell_to_stop(self, held: Held) -> None:
        work = asyncio.get_running_loop().create_task(self._executor.cancel(held.agent.url, held.task.id))
        self._side_work.add(work)
        work.add_done_callback(self._side_work.discard)

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


def _timed_out(held: Held) -> Failed:
    spent = tuple(held.report.spent)
    return Failed("timeout", f"The agent did not finish within {held.pool.timeout_s:g} s.", True, spent)


def _context(task: Ready) -> Context | None:
    return _propagator.extract({"traceparent": task.traceparent}) if task.traceparent else None


def _traceparent(task: Ready) -> str | None:
    """The attempt's own span when traces are recorded, else the caller's, so that a trace never breaks here."""
    if not trace.get_current_span().is_recording():
        return task.traceparent
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get("traceparent")
