"""Models that the manager would rather see used, and what is told of those that were."""

import asyncio
from typing import Any

import pytest

from tests.sdk.durable_calls import Task
from tests.sdk.test_execute import execute, until
from yardmaster import Context, Limits, PlainContext

HINT = {"gpt-5": "gpt-4o-mini"}


def told(ctx: Context | PlainContext) -> list[Any]:
    return [ctx.model("gpt-5"), ctx.model("other"), dict(ctx.model_hint)]


async def in_the_loop(ctx: Context, payload: Any) -> Any:
    return await ctx.step("ask", told, ctx)


def in_a_thread(ctx: PlainContext, payload: Any) -> Any:
    return ctx.step("ask", told, ctx)


@pytest.mark.parametrize("handle", [in_the_loop, in_a_thread])
@pytest.mark.parametrize(
    ("fields", "model", "hint"),
    [({"model_hint": HINT}, "gpt-4o-mini", HINT), ({"model_hint": None}, "gpt-5", {}), ({}, "gpt-5", {})],
)
async def test_a_hint_maps_models(served: Any, handle: Any, fields: Any, model: str, hint: dict[str, str]) -> None:
    assert (await Task(await served(handle)).call(**fields))[-1].data == {"result": [model, "other", hint]}


@pytest.mark.parametrize("hint", [["gpt-5"], {"gpt-5": 1}, {"gpt-5": None}, "gpt-5"])
async def test_what_is_no_hint_is_a_bad_call(served: Any, hint: Any) -> None:
    answer = await execute(await served(in_the_loop), model_hint=hint)
    assert answer.status_code == 400
    assert "model_hint" in answer.text


async def test_the_newest_call_says_which_models(served: Any) -> None:
    seen: list[str] = []

    async def handle(ctx: Context, payload: Any) -> list[str]:
        seen.append(ctx.model("gpt-5"))
        await until(lambda: ctx.model_hint)
        return [*seen, ctx.model("gpt-5")]

    agent = await served(handle)
    first = asyncio.create_task(execute(agent, fence=1))
    await until(lambda: seen)
    second = asyncio.create_task(execute(agent, fence=2, model_hint=HINT))
    assert (await first).json()["result"] == (await second).json()["result"] == ["gpt-5", "gpt-4o-mini"]


async def test_everything_with_a_price_is_told_and_added_up(served: Any) -> None:
    more = {"cached_input_tokens": 5, "cache_write_tokens": 2, "reasoning_tokens": 7, "requests": 1, "seconds": 0.5}

    async def handle(ctx: Context, payload: Any) -> int:
        for _ in range(8):
            ctx.usage("m", input_tokens=10, output_tokens=20, **more, images=2)
        return 1

    one = {"model": "m", "input_tokens": 10, "output_tokens": 20, **more, "images": 2}
    answer = await execute(await served(handle, limits=Limits(usage_events=2)))
    usage = answer.json()["usage"]
    assert usage[:2] == [one, one]
    assert usage[2:] == [{key: value if key == "model" else value * 6 for key, value in one.items()}]
