"""What was found wrong with a pool, when it is defined anew."""

from __future__ import annotations

import pytest

from app.core.db import Database
from app.registry import sizes
from tests.registry.desk import POOL, Desk

KUBERNETES = {"kind": "kubernetes", "image": "agents:1"}
PROCESS = {"kind": "process", "command": ["agent"], "env": {}}


@pytest.mark.parametrize(
    ("launch", "left"),
    [({**KUBERNETES, "image": "agents:2"}, ["backend_error"]), (PROCESS, []), ({"kind": "external"}, [])],
)
async def test_only_what_the_launch_kinds_own_backend_found_stays(
    db: Database, launch: dict[str, object], left: list[str]
) -> None:
    desk = Desk(db)
    await desk.pool(launch=KUBERNETES)
    async with db.hot() as connection:
        await sizes.set_conditions(connection, "p", "kubernetes", [("backend_error", "It is away.")])
    found = await desk.registry.put_pool("p", {**POOL, "launch": launch})
    assert [item["code"] for item in found.conditions] == left
