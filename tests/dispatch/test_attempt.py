"""One attempt from its begin to its settlement, with the executor and the settler played by the test."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest

from app.core.clock import Clock
from app.dispatch.attempt import Attempts, Held
from app.dispatch.balancers.base import Outcome, TaskView
from app.dispatch.executors.base import Ending, Failed, Refused, Request, Sink, Succeeded
from app.registry.records import AgentRecord, PoolRecord
from app.settings import DispatchSettings
from app.tasks.queue import Note, Settled, Started
from tests.dispatch.records import agent_record, pool_record, ready_task

type Act = Callable[[Request, Sink], Awaitable[Ending]]


class Bench:
    """Attempts over fakes that write down what they are told."""

    def __init__(self, act: Act) -> None:
        self.act = act
        self.calls: list[Request] = []
        self.cancelled: list[UUID] = []
        self.settled: list[Settled] = []
        self.notes: list[str] = []
        self.outcomes: list[Outcome] = []
        self.released: list[UUID] = []
        self.refusals: list[Refused] = []
        self.tokens: list[dict[str, object]] = []
        self.notes_waiting = 0
        me: Any = self
        self.attempts = Attempts(me, me, me, me, Clock(), DispatchSettings(), self.freed, price=lambda row, _at: row)
        self.agent = agent_record()

    async def execute(self, url: str, request: Request, sink: Sink) -> Ending:
        self.calls.append(request)
        return await self.act(request, sink)

    async def cancel(self, url: str, task_id: UUID) -> None:
        self.cancelled.append(task_id)

    def started(self, pool: str, agent: AgentRecord, task: TaskView) -> None: ...

    def finished(self, pool: str, agent: AgentRecord, task: TaskView, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def refused(self, agent: AgentRecord, refusal: Refused) -> None:
        self.refusals.append(refusal)

    def reached(self, agent: AgentRecord) -> None:
        pass

    def release(self, agent: AgentRecord) -> None:
        self.released.append(agent.id)

    async def settle(self, ended: Settled) -> bool:
        self.settled.append(ended)
        return True

    def note(self, note: Note) -> asyncio.Future[bool]:
        self.notes.append(note.data)
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        future.set_result(True)
        return future

    def token(self, task_id: UUID, fence: int, n: int, note: int, data: dict[str, object]) -> None:
        self.tokens.append(data)

    def freed(self, pool: str) -> None:
        assert self.released, "the slot is given back before the loop is told"

    def begin(self, pool: PoolRecord | None = None, **fields: Any) -> Held:
        task = ready_task(**fields)
        self.attempts.begin(task, pool or pool_record(), self.agent, Started(1, 1, "{}"))
        return self.attempts.held[task.id]

    async def end(self, held: Held) -> None:
        assert held.run is not None
        async with asyncio.timeout(10):
            await asyncio.wait({held.run})
        await self.attempts.finish(0)
        assert self.attempts.held == {}
        assert self.released == [self.agent.id], "exactly once"
        assert len(self.outcomes) == 1


def ending_with(ending: Ending) -> Act:
    async def act(request: Request, sink: Sink) -> Ending:
        return ending

    return act


async def hang(request: Request, sink: Sink) -> Ending:
    await asyncio.Event().wait()
    raise AssertionError


@pytest.mark.parametrize(
    ("ending", "status", "counted"),
    [
        (Succeeded("1", 1), "succeeded", True),
        (Failed("x", "m", retry=True), "queued", True),
        (Failed("x", "m", retry=False), "failed", True),
        (Refused("full"), "queued", False),
    ],
)
async def test_an_ending_is_settled_and_told_to_the_balancer(ending: Ending, status: str, counted: bool) -> None:
    bench = Bench(ending_with(ending))
    held = bench.begin()
    await bench.end(held)
    assert [(item.status, item.fence, item.counted) for item in bench.settled] == [(status, 1, counted)]
    assert (bench.outcomes[0].ok, bench.outcomes[0].counted) == (isinstance(ending, Succeeded), counted)
    assert bench.cancelled == []


async def test_a_timeout_tells_the_agent_to_stop_and_is_tried_again() -> None:
    bench = Bench(hang)
    held = bench.begin(pool_record(timeout_s=0.01))
    await bench.end(held)
    assert bench.cancelled == [held.task.id]
    assert (bench.settled[0].status, bench.settled[0].error_code) == ("queued", "timeout")


async def test_a_bug_in_an_executor_is_a_failed_attempt() -> None:
    async def raises(request: Request, sink: Sink) -> Ending:
        raise KeyError("bug")

    bench = Bench(raises)
    await bench.end(bench.begin())
    assert (bench.settled[0].status, bench.settled[0].error_code) == ("queued", "internal_error")


async def test_a_result_outside_the_contract_fails_and_names_the_path() -> None:
    pool = pool_record(output_schema={"properties": {"n": {"type": "integer"}}})
    bench = Bench(ending_with(Succeeded('{"n": "x"}', {"n": "x"})))
    await bench.end(bench.begin(pool))
    assert bench.settled[0].error_code == "output_contract"
    assert "result/n" in str(bench.settled[0].error_message)


async def test_revoked_before_its_first_step_it_never_calls_the_agent() -> None:
    bench = Bench(ending_with(Succeeded("1", 1)))
    held = bench.begin()
    held.revoke("cancelled")
    await bench.end(held)
    assert bench.calls == [] and bench.settled == []
    assert bench.cancelled == [held.task.id]


@pytest.mark.parametrize(("why", "told", "settled"), [("cancelled", 1, 0), ("superseded", 0, 0), ("shutdown", 0, 1)])
async def test_revoked_while_it_runs(why: str, told: int, settled: int) -> None:
    running = asyncio.Event()

    async def act(request: Request, sink: Sink) -> Ending:
        running.set()
        return await hang(request, sink)

    bench = Bench(act)
    held = bench.begin()
    await running.wait()
    held.revoke(why)
    held.revoke("a second reason")
    await bench.end(held)
    assert len(bench.cancelled) == told
    assert [(item.status, item.counted, item.rejoin) for item in bench.settled] == [("queued", False, True)] * settled
    assert bench.outcomes[0].counted is False


async def test_an_outcome_that_is_known_is_settled_though_it_is_revoked_then() -> None:
    bench = Bench(ending_with(Succeeded("1", 1)))
    entered, go = asyncio.Event(), asyncio.Event()
    settle = bench.settle

    async def slow(ended: Settled) -> bool:
        entered.set()
        await go.wait()
        return await settle(ended)

    bench.settle = slow  # type: ignore[method-assign]
    held = bench.begin()
    await entered.wait()
    held.revoke("shutdown")
    go.set()
    await bench.end(held)
    assert [item.status for item in bench.settled] == ["succeeded"]


async def test_progress_is_stored_in_order_and_tokens_pass() -> None:
    async def act(request: Request, sink: Sink) -> Ending:
        for n in range(5):
            sink.progress({"percent": n})
            sink.token({"text": str(n)})
        return Succeeded("1", 1)

    bench = Bench(act)
    await bench.end(bench.begin())
    assert bench.notes == [f'{{"percent":{n},"fence":1,"note":{n + 1},"tokens":{n}}}' for n in range(5)]
    assert [data["text"] for data in bench.tokens] == list("01234")


async def test_shutdown_lets_attempts_end_within_the_grace_and_returns_the_rest() -> None:
    go = asyncio.Event()

    async def act(request: Request, sink: Sink) -> Ending:
        if request.type == "quick":
            await go.wait()
            return Succeeded("1", 1)
        return await hang(request, sink)

    bench = Bench(act)
    bench.begin(type="quick")
    bench.begin(type="endless")
    asyncio.get_running_loop().call_soon(go.set)
    await bench.attempts.finish(0.05)
    assert sorted((item.status, item.counted) for item in bench.settled) == [("queued", False), ("succeeded", True)]
    assert bench.attempts.held == {} and len(bench.released) == 2
