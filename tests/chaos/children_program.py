"""A program: an agent of the story with 50 children. AGENT_POOL says which part it plays: "parent", else a child's.

A child squares its number in two steps. Each run appends `{"task","event"}` to the file AGENT_JOURNAL: "start", the
names of the steps that were run, "end".
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

from yardmaster import Agent, Child, Context

agent = Agent("parent", slots=4)
_journal = os.open(os.environ["AGENT_JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


def note(task: str, event: str) -> None:
    """One short O_APPEND write, so that several agents may share a journal."""
    os.write(_journal, json.dumps({"task": task, "event": event, "running": 0}).encode() + b"\n")


@agent.task
async def work(ctx: Context, payload: dict[str, Any]) -> Any:
    note(ctx.task_id, "start")
    result: Any
    if "pools" in payload:
        result = await _parent(ctx, payload["pools"], payload["children"])
    else:
        number = await ctx.step("think", _think, ctx, payload)
        result = await ctx.step("square", _square, ctx, number)
    note(ctx.task_id, "end")
    return result


async def _parent(ctx: Context, pools: list[str], children: int) -> dict[str, Any]:
    shared = await ctx.step("share", _share, children)
    calls = (Child(pools[n % len(pools)], {"n": n, "seconds": 1.0 + n % 5}) for n in shared)
    squares = await ctx.gather(*calls)
    return {"squares": squares, "sum": sum(squares)}


async def _share(children: int) -> list[int]:
    return list(range(children))


async def _think(ctx: Context, payload: dict[str, Any]) -> int:
    await asyncio.sleep(payload["seconds"])
    note(ctx.task_id, "think")
    return int(payload["n"])


async def _square(ctx: Context, n: int) -> int:
    note(ctx.task_id, "square")
    return n * n


if __name__ == "__main__":
    agent.run()
