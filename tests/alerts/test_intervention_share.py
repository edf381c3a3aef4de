"""The share of a pool's slots that emergency mode leaves, when an alert switches it on."""

from __future__ import annotations

from typing import Any

import pytest

from app.alerts.actions.immediate_intervention import InterventionParams, counted
from tests.alerts.answers import fire, quiet_app, rule, tick
from tests.api.verbs import agent_status, put_pool, register, until
from tests.support.service import Backing


@pytest.mark.parametrize(
    ("share", "running", "slots", "expected"),
    [
        (0.5, None, 7, (None, 3)),
        (0.1, None, 3, (None, 1)),
        (0.5, 2, 8, (None, 2)),
        (0.5, 9, 8, (None, 4)),
        (None, 9, 8, (None, 9)),
        (0.5, None, 0, (0.5, None)),
    ],
)
def test_it_is_counted_once(
    share: float | None, running: int | None, slots: int, expected: tuple[float | None, int | None]
) -> None:
    found = counted(InterventionParams(max_share=share, max_running=running), slots)
    assert (found.max_share, found.max_running) == expected


async def test_agents_that_start_meanwhile_do_not_raise_it(backing: Backing, agents: Any) -> None:
    async with quiet_app(backing) as (client, yard):
        await put_pool(client, slots=4)
        agent = await register(client, (await agents()).url)

        async def works() -> bool:
            return await agent_status(client, agent["id"]) == "idle"

        await until(works)
        await rule(yard, "immediate_intervention", max_share=0.5)
        await fire(yard)
        await tick(yard)
        hold = yard.durable.restraints.of("echo")
        assert hold is not None
        assert (hold.cap(4), hold.cap(400)) == (2, 2)
