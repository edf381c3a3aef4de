"""Pauses: two kinds side by side, over when both are. In virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from app.dispatch.pauses import Pauses, Why
from tests.core.virtual_time import now, run

type Story = Callable[[Pauses], Awaitable[None]]


def over_during(story: Story, until_s: float = 1000.0) -> list[tuple[float, str]]:
    """When which agent's pauses were over, in a story that begins at 0 and is watched for `until_s`."""
    over: list[tuple[float, str]] = []

    async def main() -> None:
        pauses = Pauses(lambda agent_id: over.append((now(), agent_id)))
        await story(pauses)
        await asyncio.sleep(until_s)

    run(main())
    return over


@pytest.mark.parametrize("why", ["busy", "unreachable", "ejected"])
def test_a_pause_ends_after_its_time(why: Why) -> None:
    async def story(pauses: Pauses) -> None:
        pauses.begin("a", why, 5.0)
        await asyncio.sleep(4.9)
        assert "a" in pauses and "b" not in pauses
        assert pauses.why("a") == (None if why == "ejected" else why)
        await asyncio.sleep(0.2)
        assert "a" not in pauses and pauses.why("a") is None

    assert over_during(story) == [(5.0, "a")]


@pytest.mark.parametrize(("refused_s", "ejected_s"), [(5.0, 30.0), (30.0, 5.0)])
def test_with_two_reasons_it_is_over_once_after_the_longer(refused_s: float, ejected_s: float) -> None:
    async def story(pauses: Pauses) -> None:
        pauses.begin("a", "busy", refused_s)
        pauses.begin("a", "ejected", ejected_s)
        await asyncio.sleep(6.0)
        assert "a" in pauses
        assert pauses.why("a") == ("busy" if refused_s > 6.0 else None)

    assert over_during(story) == [(30.0, "a")]


@pytest.mark.parametrize("seconds", [1.0, 20.0])
def test_a_pause_takes_the_place_of_one_of_its_kind(seconds: float) -> None:
    async def story(pauses: Pauses) -> None:
        pauses.begin("a", "busy", 10.0)
        pauses.begin("a", "unreachable", seconds)
        assert pauses.why("a") == "unreachable"

    assert over_during(story) == [(seconds, "a")]


def test_an_agent_that_takes_calls_again_need_not_wait() -> None:
    async def story(pauses: Pauses) -> None:
        pauses.begin("a", "unreachable", 10.0)
        await asyncio.sleep(3.0)
        pauses.end_refusal("a")
        assert "a" not in pauses
        pauses.end_refusal("a")

    assert over_during(story) == [(3.0, "a")]


def test_an_ejected_agent_that_takes_calls_again_stays_ejected() -> None:
    async def story(pauses: Pauses) -> None:
        pauses.begin("a", "unreachable", 10.0)
        pauses.begin("a", "ejected", 20.0)
        pauses.end_refusal("a")
        assert "a" in pauses and pauses.why("a") is None

    assert over_during(story) == [(20.0, "a")]


def test_an_ejection_that_ends_early_leaves_the_refusal() -> None:
    async def story(pauses: Pauses) -> None:
        for agent_id in ("a", "b"):
            pauses.begin(agent_id, "ejected", 20.0)
        pauses.begin("b", "busy", 10.0)
        await asyncio.sleep(1.0)
        for agent_id in ("a", "b", "nobody"):
            pauses.end_ejection(agent_id)
        assert "a" not in pauses and "b" in pauses

    assert over_during(story) == [(1.0, "a"), (10.0, "b")]


def test_what_is_forgotten_is_never_over() -> None:
    async def story(pauses: Pauses) -> None:
        for agent_id in ("gone", "stays"):
            pauses.begin(agent_id, "busy", 5.0)
            pauses.begin(agent_id, "ejected", 6.0)
        pauses.forget("gone")
        pauses.forget("never seen")
        assert "gone" not in pauses and "stays" in pauses

    assert over_during(story) == [(6.0, "stays")]


def test_closed_nothing_is_over_any_more() -> None:
    async def story(pauses: Pauses) -> None:
        pauses.begin("a", "busy", 5.0)
        pauses.begin("b", "ejected", 5.0)
        pauses.close()
        assert "a" not in pauses and "b" not in pauses

    assert over_during(story) == []


def test_whoever_is_told_may_pause_again() -> None:
    over: list[float] = []

    async def main() -> None:
        def again(agent_id: str) -> None:
            over.append(now())
            if len(over) < 3:
                pauses.begin(agent_id, "busy", 2.0)

        pauses = Pauses(again)
        pauses.begin("a", "ejected", 1.0)
        await asyncio.sleep(100.0)
        assert "a" not in pauses

    run(main())
    assert over == [1.0, 3.0, 5.0]
