"""A program: an agent that works for as long as its payload says, and keeps a journal of what it ran.

Payload `{"seconds": float, …}`; the result is the payload. Each run appends `{"task","event","running","pid"}` to the
file AGENT_JOURNAL, with event "start" or "end" and the number of runs under way in this process.
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

from yardmaster import Agent, Context

agent = Agent("work", slots=4)
_journal = os.open(os.environ["AGENT_JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
_running: set[str] = set()


def note(task: str, event: str) -> None:
    """One short O_APPEND write, so that several agents may share a journal."""
    line = {"task": task, "event": event, "running": len(_running), "pid": os.getpid()}
    os.write(_journal, json.dumps(line).encode() + b"\n")


@agent.task
async def work(ctx: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Take the time asked for."""
    _running.add(ctx.task_id)
    note(ctx.task_id, "start")
    try:
        await asyncio.sleep(payload["seconds"])
        note(ctx.task_id, "end")
    finally:
        _running.discard(ctx.task_id)
    return payload


if __name__ == "__main__":
    agent.run()
