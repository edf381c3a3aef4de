"""What an agent may say of steps and waits: whatever comes, an answer comes out, and never an exception."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dispatch.executors.base import Failed
from app.dispatch.executors.durable import StepBounds, Steps, read_ask
from app.tasks.asking import AskApproval, AskCalls, AskEvent, AskTimer, Called, reason_of

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ({"reason": "timer", "seconds": 5}, AskTimer("s", 5.0)),
        ({"reason": "event", "name": "a.b"}, AskEvent("s", "a.b")),
        ({"reason": "event", "name": "a", "match": {}, "timeout_s": 0}, AskEvent("s", "a", None, 0.0)),
        ({"reason": "event", "name": "a", "match": {"x": 1}}, AskEvent("s", "a", {"x": 1})),
        ({"reason": "approval", "action": "shell", "args": [1]}, AskApproval("s", "shell", "[1]")),
        (
            {"reason": "approval", "action": "shell", "risk": "low", "expires_s": 9},
            AskApproval("s", "shell", "null", "low", 9.0),
        ),
        (
            {"reason": "call", "calls": [{"pool": "p", "payload": 1, "priority": 3}]},
            AskCalls("s", (Called("p", None, 1, 3),)),
        ),
        ({"reason": "call", "calls": [{"type": "t"}]}, AskCalls("s", (Called(None, "t", None),))),
    ],
)
def test_wishes_that_can_be(said: dict[str, Any], asked: object) -> None:
    assert read_ask({"step": "s", **said}) == asked
    assert reason_of(asked) == said["reason"]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({}, "reason"),
        ({"reason": "coffee"}, "no reason"),
        ({"reason": "timer"}, "seconds"),
        ({"reason": "timer", "seconds": True}, "seconds"),
        ({"reason": "timer", "seconds": -1}, "seconds"),
        ({"reason": "timer", "seconds": float("inf")}, "seconds"),
        ({"reason": "event"}, "name"),
        ({"reason": "event", "name": "a b"}, "name"),
        ({"reason": "event", "name": "a", "match": [1]}, "match"),
        ({"reason": "event", "name": "a", "timeout_s": "1"}, "timeout_s"),
        ({"reason": "approval"}, "action"),
        ({"reason": "approval", "action": "a\nb"}, "action"),
        ({"reason": "approval", "action": "a", "risk": 5}, "risk"),
        ({"reason": "call"}, "calls"),
        ({"reason": "call", "calls": []}, "calls"),
        ({"reason": "call", "calls": [{"pool": "p"}, {}]}, "calls.1"),
        ({"reason": "call", "calls": [{"pool": "p", "color": 1}]}, "color"),
        ({"reason": "call", "calls": [{"pool": "p", "max_attempts": 0}]}, "max_attempts"),
        ({"reason": "call", "calls": [{"pool": "p", "deadline_s": 0}]}, "deadline_s"),
    ],
)
def test_wishes_that_cannot_be_say_why(said: dict[str, Any], says: str) -> None:
    answer = read_ask({"step": "s", **said})
    assert isinstance(answer, str) and says in answer


def test_a_wish_without_a_step() -> None:
    for step in (None, "", 5, "x" * 201, "a\x00b"):
        assert isinstance(read_ask({"step": step, "reason": "timer", "seconds": 1}), str)


@given(
    st.dictionaries(
        st.sampled_from(["step", "reason", "action", "args", "calls", "name", "match", "seconds"]), json_values
    )
)
def test_any_object_gets_an_answer(said: dict[str, Any]) -> None:
    answer = read_ask(said)
    assert isinstance(answer, str | AskApproval | AskCalls | AskEvent | AskTimer)


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(0, 2)), max_size=12))
def test_a_name_has_one_result_and_says_it_once(told: list[tuple[str, int]]) -> None:
    steps, known = Steps(), {}
    for name, result in told:
        answer = steps.add({"name": name, "result": result})
        if name not in known:
            assert answer == (name, str(result))
            known[name] = result
        elif known[name] == result:
            assert answer is None
        else:
            assert isinstance(answer, Failed) and answer.code == "step_conflict" and not answer.retry
    assert steps.known == {name: str(result) for name, result in known.items()}


def test_bounds_count_what_the_task_had_before() -> None:
    bounds = StepBounds(count=3, step_bytes=10, total_bytes=18)
    steps = Steps(bounds, {"had": '"12345678"'})
    for value, code in (
        ({"name": "x", "result": "123456789"}, "step_too_large"),
        ({"name": "x", "result": "1234567"}, "steps_too_large"),
        ({"name": "x"}, "bad_step"),
        ({"result": 1}, "bad_step"),
    ):
        answer = steps.add(value)
        assert isinstance(answer, Failed) and answer.code == code
    assert steps.add({"name": "had", "result": "12345678"}) is None, "told again by a run that was joined"
    assert steps.add({"name": "y", "result": 1}) and steps.add({"name": "z", "result": 2})
    answer = steps.add({"name": "w", "result": 3})
    assert isinstance(answer, Failed) and answer.code == "too_many_steps"
