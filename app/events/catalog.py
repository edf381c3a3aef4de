"""Every type of event, and what its data holds."""

from __future__ import annotations

TYPES: dict[str, str] = {
    "task.queued": "accepted: pool, priority",
    "task.running": "an agent was called: attempt, fence, agent_id",
    "task.progress": "the agent reported: percent (0..100 or null), message",
    "task.retrying": "an attempt failed and another follows: attempt, code, message, delay_s",
    "task.returned": "back in the queue without counting the attempt: code, message, delay_s",
    "task.rescued": "its manager died; another takes it over: manager_id, agent_id",
    "task.replayed": "a failed task was queued again on request",
    "task.succeeded": "final",
    "task.failed": "final, can be replayed: attempt, code, message",
    "task.cancelled": "final: reason, was (the status it had)",
    "task.expired": "final: it did not start by its deadline",
}

FINAL = frozenset({"task.succeeded", "task.failed", "task.cancelled", "task.expired"})
"""Events after which a task has no more (a replayed task has: its stream starts anew)."""
