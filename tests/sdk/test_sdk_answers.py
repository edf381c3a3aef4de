"""Answers to waits that are no results, or that answer another question than the one asked now."""

from typing import Any

import pytest

from tests.sdk.durable_calls import Task, approved, child
from yardmaster import Child, ChildFailed, Context, PlainContext


async def test_a_result_too_large_for_its_caller_is_a_failure(served: Any) -> None:
    async def handle(ctx: Context, payload: Any) -> Any:
        if payload == "in place":
            found = await ctx.gather(Child("a"), Child("b"), return_errors=True)
            return [item.error if isinstance(item, ChildFailed) else item for item in found]
        return await ctx.call("a") if payload == "call" else await ctx.gather(Child("a"), Child("b"))

    large, agent = child("succeeded", code="result_too_large"), await served(handle)
    for payload, answer in (("call", [large]), ("gather", [child("succeeded", 1), large])):
        last = await Task(await served(handle), payload).run(answer)
        assert (last.type, last.data["code"], last.data["retry"]) == ("error", "child_failed", False)
        assert "succeeded, but without a result: result_too_large" in last.data["message"]
    in_place = await Task(agent, "in place").run([child("succeeded", 1), large])
    assert in_place.data == {"result": [1, large["error"]]}


@pytest.mark.parametrize(
    ("answer", "matches"),
    [
        (approved({}) | {"action": "shell"}, True),
        (approved({}) | {"action": "mail"}, False),
        (approved({}, "rejected") | {"action": "mail"}, False),
        ([child("succeeded", 1) | {"pool": "a"}, child("succeeded", 2) | {"pool": "anything"}], True),
        ([child("succeeded", 1) | {"pool": "b"}, child("succeeded", 2) | {"pool": "b"}], False),
        ([child("failed", code="bad") | {"pool": "b"}, child("succeeded", 2)], False),
        ([child("succeeded", 1), child("succeeded", 2)], True),
        ([child("succeeded", 1)], False),
        ([child("succeeded", n) for n in range(3)], False),
    ],
)
async def test_an_answer_to_another_question_is_a_mismatch(served: Any, answer: Any, matches: bool) -> None:
    def handle(ctx: PlainContext, payload: Any) -> Any:
        if isinstance(answer, dict):
            return ctx.approve("shell", {}).status
        return ctx.gather(Child("a"), Child(None, type="any"))

    last = await Task(await served(handle)).run(answer)
    assert last.type == ("result" if matches else "error")
    assert last.data.get("code") == (None if matches else "steps_mismatch")


@pytest.mark.parametrize(("children", "matches"), [((), False), ((5,), False), ((Child("a"),), True)])
async def test_stored_children_of_a_changed_gather_are_a_mismatch(
    served: Any, children: tuple[Any, ...], matches: bool
) -> None:
    async def handle(ctx: Context, payload: Any) -> Any:
        return await ctx.gather(*children)

    last = (await Task(await served(handle)).call(steps={"gather": [child("succeeded", 1)]}))[-1]
    assert last.data == {"result": [1]} if matches else last.data["code"] == "steps_mismatch"
