"""A program: an agent that does every kind of task of a crash run. AGENT_POOL, AGENT_SLOTS and AGENT_PORT say where.

The payload is `{"kind","n"}`; `right_result` says what must come of it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from yardmaster import Agent, ApprovalRejected, Child, Context, PermanentError

CHILDREN = 3
EVENT = "go"
agent = Agent("work", slots=8)


def right_result(kind: str, n: int) -> Any:
    """What a task that succeeded must have as its result."""
    match kind:
        case "steps" | "timer":
            return [n, n + 1, n + 2]
        case "call":
            return sum(n + index for index in range(CHILDREN))
        case "event":
            return {"n": n}
        case "approval":
            return "no" if n % 5 == 0 else {"n": n}
        case _:
            return {"n": n}


@agent.task
async def work(ctx: Context, payload: dict[str, Any]) -> Any:
    """One task of any kind."""
    kind, n = payload["kind"], payload["n"]
    match kind:
        case "flaky":
            if ctx.attempt < 3:
                raise RuntimeError("not yet")
        case "fatal":
            raise PermanentError("no_good", "it cannot be done")
        case "slow":
            await asyncio.sleep(60.0)
        case "keyed" | "child":
            await asyncio.sleep(0.05)
        case "steps" | "timer":
            return await _steps(ctx, kind, n)
        case "call":
            calls = (Child("children", {"kind": "child", "n": n + index}) for index in range(CHILDREN))
            return sum(answer["n"] for answer in await ctx.gather(*calls))
        case "event":
            return await ctx.wait_event(EVENT, {"n": n})
        case "approval":
            return await _approved(ctx, n)
    return {"n": n}


async def _steps(ctx: Context, kind: str, n: int) -> list[int]:
    made = []
    for index in range(3):
        made.append(await ctx.step("count", _later, n + index))
        ctx.progress(30.0 * index, "counted")
        if kind == "timer":
            await ctx.sleep(0.2)
    return made


async def _later(value: int) -> int:
    await asyncio.sleep(0.02)
    return value


async def _approved(ctx: Context, n: int) -> Any:
    first = await ctx.step("prepare", _later, n)
    try:
        decision = await ctx.approve("act", {"n": first})
    except ApprovalRejected:
        return "no"
    return decision.args


if __name__ == "__main__":
    agent.run()
