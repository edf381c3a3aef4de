"""Judgement over an ended attempt: where its task goes, and when it may run again. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from app.core.jsonbody import dump_json
from app.dispatch.executors.base import Ending, Failed, Refused, Succeeded, Suspended
from app.registry.records import RetryPolicy
from app.tasks.queue import Settled, UsageRow

MAX_REFUSAL_S, LEAST_REFUSAL_S, UNREACHABLE_CAP_S = 60.0, 0.1, 30.0


@dataclass(slots=True)
class Tried:
    """The attempt that ended."""

    task_id: UUID
    fence: int
    attempt: int
    max_attempts: int


def backoff_s(policy: RetryPolicy, attempt: int, random01: float) -> float:
    """Seconds between try `attempt` (from 1) and the next: min(max_s, initial_s · factor^(attempt−1)) · (1 ± jitter).

    `random01` in [0, 1) picks the point within the jitter.
    """
    # factor ≤ 10 and the exponent is cut, so that this cannot overflow however often a task was tried.
    base = min(policy.max_s, policy.initial_s * policy.factor ** min(attempt - 1, 100))
    return max(0.0, base * (1.0 + policy.jitter * (2.0 * random01 - 1.0)))


def cooling_s(refused: Refused, failures: int, busy_retry_s: float, random01: float) -> float:
    """Seconds for which an agent that refused gets nothing more from this manager.

    A busy one: what it asked for, at most 60 s. One that cannot be reached: 1, 2, 4 … 30 s by `failures` in a row.
    """
    if refused.unreachable:
        base, most = 2.0 ** min(failures - 1, 10), UNREACHABLE_CAP_S
    else:
        base, most = busy_retry_s if refused.retry_after_s is None else refused.retry_after_s, MAX_REFUSAL_S
    return max(LEAST_REFUSAL_S, min(most, base * (0.75 + 0.5 * random01)))


def settle(tried: Tried, ending: Ending, policy: RetryPolicy, random01: float) -> Settled:
    """What to write for an attempt that ended by itself.

    A refusal returns the task at once: it is the agent that gets a pause (`cooling_s`), not the task.
    """
    match ending:
        case Succeeded(result=result, usage=usage):
            return Settled(
                tried.task_id, tried.fence, "succeeded", "succeeded", "task.succeeded", "{}", result=result, usage=usage
            )
        case Refused(code=code, message=message, usage=usage):
            return returned(tried, "refused", code, message, usage=usage)
        case Failed() as failed if failed.retry and tried.attempt < tried.max_attempts:
            return _retry(tried, failed, backoff_s(policy, tried.attempt, random01))
        case Failed() as failed:
            return _failed(tried, failed)
        case Suspended():
            raise ValueError("a suspended attempt is settled with what it waits for")


def returned(
    tried: Tried,
    outcome: str,
    code: str,
    message: str,
    *,
    delay_s: float = 0.0,
    rejoin: bool = False,
    usage: tuple[UsageRow, ...] = (),
) -> Settled:
    """The task goes back to the queue and the attempt does not count."""
    data = {"attempt": tried.attempt, "code": code, "message": message, "delay_s": round(delay_s, 3)}
    return Settled(
        tried.task_id,
        tried.fence,
        "queued",
        outcome,
        "task.returned",
        dump_json(data),
        delay_s=delay_s,
        counted=False,
        rejoin=rejoin,
        usage=usage,
    )


def _retry(tried: Tried, failed: Failed, delay_s: float) -> Settled:
    data = {"attempt": tried.attempt, "code": failed.code, "message": failed.message, "delay_s": round(delay_s, 3)}
    return Settled(
        tried.task_id,
        tried.fence,
        "queued",
        "failed",
        "task.retrying",
        dump_json(data),
        error_code=failed.code,
        error_message=failed.message,
        delay_s=delay_s,
        usage=failed.usage,
    )


def _failed(tried: Tried, failed: Failed) -> Settled:
    data = {"attempt": tried.attempt, "code": failed.code, "message": failed.message}
    return Settled(
        tried.task_id,
        tried.fence,
        "failed",
        "failed",
        "task.failed",
        dump_json(data),
        error_code=failed.code,
        error_message=failed.message,
        usage=failed.usage,
    )
