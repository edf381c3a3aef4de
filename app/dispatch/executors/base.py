"""The executor seam: how an agent is reached.

An executor is one object a manager, shared by all attempts and called concurrently.

    execute(url, request, sink)  calls the agent and returns how it ended. It raises nothing but CancelledError: a
                                 fault of the agent or the network is a `Failed` that says whether trying again can
                                 help; the core decides when. There is no time limit inside: the caller cancels.
                                 Cancelling closes the connection and nothing else: the agent may work on.
    cancel(url, task_id)         asks the agent to stop; best effort, does not raise, takes a few seconds at most.
    stop(url, task_id)           the same, and says whether the agent answered.
    healthy(url)                 whether the agent answers; does not raise.

`sink` is called from `execute` while it runs, never after.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from app.tasks.asking import Ask
from app.tasks.queue import UsageRow


@dataclass(slots=True)
class Request:
    """One call. `payload` is JSON text; `deadline` ISO 8601; `fence` rises with every call for the same task.

    `steps`: the task's finished steps in order, each result JSON text. `resume`: JSON text, what it goes on from.
    `model_hint`: from models to cheaper ones that the agent should use instead.
    `replay`: how often it was replayed after it had failed for good; `attempt` counts from 1 in each.
    """

    task_id: UUID
    attempt: int
    fence: int
    type: str
    payload: str
    deadline: str
    thread_id: str | None = None
    traceparent: str | None = None
    steps: Mapping[str, str] = field(default_factory=dict)
    resume: str | None = None
    replay: int = 0
    model_hint: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Succeeded:
    """The agent's result, as JSON text, and its value."""

    result: str
    value: object
    usage: tuple[UsageRow, ...] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """No result. `code` is stable, `retry` says whether another try may go better."""

    code: str
    message: str
    retry: bool
    usage: tuple[UsageRow, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was tried: the agent is full or leaving, or (`unreachable`) it did not accept the connection."""

    message: str
    retry_after_s: float | None = None
    unreachable: bool = False
    usage: tuple[UsageRow, ...] = ()

    @property
    def code(self) -> str:
        return "executor_unreachable" if self.unreachable else "agent_busy"


@dataclass(frozen=True, slots=True)
class Suspended:
    """The task waits for something; its finished steps were reported before."""

    ask: Ask
    usage: tuple[UsageRow, ...] = ()


type Ending = Succeeded | Failed | Refused | Suspended


class Sink(Protocol):
    """Where an execution reports while it runs. `data` is a JSON object, already bounded in size."""

    def progress(self, data: dict[str, object]) -> None: ...

    def token(self, data: dict[str, object]) -> None: ...

    def step(self, name: str, result: str) -> None:
        """A step that was not known before; `result` is JSON text."""

    def usage(self, row: UsageRow) -> None:
        """Tokens were used; told again in the ending, unless there is none because the call was cancelled."""


class Executor(Protocol):
    """See the module's text."""

    async def execute(self, url: str, request: Request, sink: Sink) -> Ending: ...

    async def cancel(self, url: str, task_id: UUID) -> None: ...

    async def stop(self, url: str, task_id: UUID) -> bool: ...

    async def healthy(self, url: str) -> bool: ...
