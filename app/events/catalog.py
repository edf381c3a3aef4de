"""Every type of event, and what its data holds."""

from __future__ import annotations

TYPES: dict[str, str] = {
    "task.queued": "accepted: pool, priority; of a sub-task: parent_id",
    "task.held": "accepted, and waits for the approval of its start: pool, priority",
    "task.released": "the start was approved",
    "task.running": "an agent was called: attempt, fence, agent_id",
    "task.progress": "the agent reported: percent (0..100 or null), message",
    "task.step": "a step is finished and stored: name",
    "task.waiting": "its attempt ended, it waits: step, reason (approval, call, event, timer), attempt, and for what",
    "task.children": "some of the called tasks have ended: step, calls, ended, failed",
    "task.resumed": "what it waited for came; queued again: step, reason",
    "task.stopped": "a stop took it from its agent; queued again: code, message, stop_id, agent_id, fence",
    "task.retrying": "an attempt failed and another follows: attempt, code, message, delay_s",
    "task.returned": "back in the queue without counting the attempt: code, message, delay_s",
    "task.parked": "a budget has no room for it: budget, reason (exhausted, throttled), needed, left, unit, until",
    "task.rescued": "its manager died; another takes it over: manager_id, agent_id",
    "task.replayed": "a failed task was queued again on request",
    "approval.requested": "people are asked: approval_id, step, action, payload_hash, risk, expires_at, groups, quorum",
    "approval.voted": "one of several said yes: approval_id, step, caller, payload_hash, edited, votes, quorum, source",
    "approval.decided": "approval_id, step, status, decided_by, source, reason, payload_hash",
    "approval.escalated": "nobody answered, others are asked: approval_id, step, groups, expires_at",
    "approval.superseded": "the task goes on without an answer: approval_id, step, reason",
    "task.succeeded": "final",
    "task.failed": "final, can be replayed: attempt, code, message",
    "task.cancelled": "final: reason, was (the status it had)",
    "task.expired": "final: it did not start by its deadline",
    "budget.threshold": "so much of a budget is committed (task_id is its account's id): budget, scope, key, percent, "
    "action, unit, limit, spent, reserved, window_start, window_end",
}

FINAL = frozenset({"task.succeeded", "task.failed", "task.cancelled", "task.expired"})
"""Events after which a task has no more (a replayed task has: its stream starts anew)."""

START = "task.running"
"""An attempt begins."""

NOTES = frozenset({"task.progress", "task.step"})
"""What an agent says that is stored, numbered among its tokens (`numbering.py`)."""

ENDINGS = FINAL | {"task.retrying", "task.returned", "task.rescued", "task.stopped", "task.waiting"}
"""Events that end an attempt."""
