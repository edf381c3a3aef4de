"""Pools as processes, ticked by hand over real processes and rows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from app.core.clock import Clock
from app.core.db import Database
from app.core.leader import Leader
from app.registry.view import RegistryView
from app.scaling.backends.process import ProcessBackend
from app.scaling.converge import KILL_AFTER_TERM_S
from app.scaling.loop import FleetLoop
from app.settings import ScalingSettings
from tests.core.database import HandClock
from tests.registry.desk import Desk
from tests.scaling.test_launcher import ASLEEP, Yardhand, lives, with_child


class Host(Desk):
    """A host with one pool and the loop that keeps its replicas."""

    def __init__(self, db: Database, folder: Path) -> None:
        super().__init__(db)
        self.view = RegistryView(db)
        self.launcher = Yardhand(folder, "http://127.0.0.1:1", "key")
        clock = Clock()
        self.frozen = set[str]()
        self.backend = ProcessBackend(
            db, clock, self.registry, self.view, self.launcher, ScalingSettings(), frozen=self.frozen.__contains__
        )
        self.loop = FleetLoop(db, clock, Leader(db, clock, "processes", "me"), self.view, self.backend)

    async def wish(self, replicas: int, *command: str, **env: str) -> None:
        launch = {"kind": "process", "command": list(command), "env": env}
        await self.pool("p", launch=launch, scale={"min": 0, "max": 9})
        await self.registry.scale("p", replicas)

    async def tick(self) -> list[dict[str, Any]]:
        """One pass; the rows after it."""
        await self.view.refresh()
        await self.loop.tick()
        return await self.rows()

    async def rows(self) -> list[dict[str, Any]]:
        async with self.db.hot() as connection:
            return [dict(row) for row in await connection.fetch("SELECT * FROM replicas ORDER BY id")]

    def alive(self, row: dict[str, Any]) -> bool:
        return self.launcher.alive(row["pid"], row["pid_started"])

    async def until(self, true: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(60):
            while not await true():
                await asyncio.sleep(0.01)

    async def registered(self, row: dict[str, Any], port: int) -> Any:
        """The agent of a replica, registered as the process itself would do it."""
        return await self.agent(port, labels={"replica": str(row["id"])})


@pytest.fixture
async def host(db: Database, tmp_path: Path) -> AsyncIterator[Host]:
    made = Host(db, tmp_path)
    yield made
    made.launcher.end_all()


async def test_it_keeps_as_many_as_are_wanted_and_a_second_pass_does_nothing(host: Host) -> None:
    await host.wish(3, *ASLEEP)
    rows = await host.tick()
    assert len(rows) == 3 and all(host.alive(row) for row in rows)
    assert await host.tick() == rows


async def test_a_crashed_one_waits_longer_each_time(host: Host) -> None:
    await host.wish(1, "sh", "-c", "exit 7")
    for crashes, wait_s in ((1, 1), (2, 2), (3, 4)):
        (row,) = await host.tick()

        async def dead(row: dict[str, Any] = row) -> bool:
            return not host.alive(row)

        await host.until(dead)
        (row,) = await host.tick()
        assert (row["state"], row["crashes"], row["last_exit"]) == ("backoff", crashes, "exited with 7")
        assert (row["start_after"] - row["state_since"]).total_seconds() == pytest.approx(wait_s, abs=0.1)
        assert await host.tick() == [row], "not before its time"
        await host.sql("UPDATE replicas SET start_after = now()")


async def test_what_cannot_be_launched_backs_off_and_names_the_reason(host: Host) -> None:
    await host.wish(1, "no-such-program-anywhere")
    (row,) = await host.tick()
    assert row["state"] == "backoff" and "no-such-program-anywhere" in row["last_exit"]


async def test_down_drains_the_idle_and_ends_them_only_when_they_run_nothing(host: Host) -> None:
    await host.wish(2, *ASLEEP)
    rows = await host.tick()
    agents = [await host.registered(row, n + 1) for n, row in enumerate(rows)]
    busy = agents[0]
    await host.sql(
        """INSERT INTO tasks (id, tenant, submitted_by, pool, type, payload, priority, tag, status, max_attempts,
        agent_id) VALUES (gen_random_uuid(), 't', 'k', 'p', 'w', '{}', 0, 0, 'running', 3, $1)""",
        busy.id,
    )
    await host.registry.scale("p", 1)
    after = {row["id"]: row["state"] for row in await host.tick()}
    assert after == {rows[0]["id"]: "running", rows[1]["id"]: "draining"}
    assert await host.status(agents[1].id) == "draining"
    await host.registry.scale("p", 0)
    await host.tick()

    async def idle_one_gone() -> bool:
        return [row["id"] for row in await host.tick()] == [rows[0]["id"]]

    await host.until(idle_one_gone)
    assert host.alive(rows[0]), "it still works"
    assert await host.status(agents[1].id) == "gone"
    await host.sql("DELETE FROM tasks")

    async def all_gone() -> bool:
        return await host.tick() == []

    await host.until(all_gone)
    assert not host.alive(rows[0])


async def test_a_launch_that_was_never_noted_is_found_and_not_doubled(host: Host) -> None:
    await host.wish(1, *ASLEEP)
    (row,) = await host.tick()
    await host.sql("UPDATE replicas SET pid = 0, pid_started = 0")  # we died between the launch and the note of it
    (again,) = await host.tick()
    assert (again["id"], again["pid"], again["crashes"]) == (row["id"], row["pid"], 0)


async def test_the_end_of_the_service_ends_them_all(host: Host) -> None:
    await host.wish(2, *ASLEEP)
    rows = await host.tick()
    await host.backend.end_all()
    assert await host.rows() == [] and not any(host.alive(row) for row in rows)


async def test_an_idle_one_that_ignores_sigterm_is_asked_once_and_killed_soon(host: Host, tmp_path: Path) -> None:
    clock, up, asked = HandClock(), tmp_path / "up", tmp_path / "asked"
    host.backend._clock = clock
    await host.wish(1, "sh", "-c", f"trap 'echo >> {asked}' TERM; : > {up}; while :; do sleep 0.05; done")
    (row,) = await host.tick()
    await until_true(host, up.exists)
    await host.registry.scale("p", 0)
    await host.tick()
    await host.tick()
    await until_true(host, asked.exists)
    for _ in range(3):
        clock.forward(KILL_AFTER_TERM_S / 4)
        await host.tick()
    assert host.alive(row)
    clock.forward(KILL_AFTER_TERM_S / 2)
    await host.tick()
    await until_true(host, lambda: not host.alive(row))
    assert asked.read_text() == "\n"
    await host.tick()
    assert await host.rows() == [] and host.backend._asked.keys() == {row["id"]}
    await host.tick()
    assert not host.backend._asked


async def until_true(host: Host, true: Callable[[], bool]) -> None:
    async def is_true() -> bool:
        return true()

    await host.until(is_true)


async def test_cold_starts_are_measured_in_every_pool(host: Host) -> None:
    await host.wish(1, *ASLEEP)
    await host.pool("q", launch={"kind": "process", "command": ASLEEP, "env": {}}, scale={"min": 1, "max": 1})
    rows = await host.tick()
    await host.tick()
    for port, row in enumerate(rows):
        await host.agent(port + 1, row["pool"], {"replica": str(row["id"])})
    await host.tick()
    async with host.db.hot() as connection:
        found = await connection.fetch("SELECT pool FROM pool_scaling WHERE cold_start_s IS NOT NULL ORDER BY pool")
    assert [item["pool"] for item in found] == ["p", "q"]


async def test_what_was_found_wrong_is_not_shown_of_a_pool_that_others_launch(host: Host) -> None:
    await host.wish(1, "no-such-program-anywhere")
    await host.tick()
    await host.tick()
    labels = {"pool": "p", "code": "cannot_launch"}
    assert REGISTRY.get_sample_value("yard_pool_conditions", labels) == 1
    await host.sql("DELETE FROM replicas")
    await host.pool("p", launch={"kind": "external"})
    await host.tick()
    assert REGISTRY.get_sample_value("yard_pool_conditions", labels) is None


async def until_noted(host: Host, note: Path) -> int:
    """The pid in `note`."""

    async def there() -> bool:
        return note.exists()

    await host.until(there)
    return int(note.read_text())


async def test_what_a_crashed_replica_left_behind_ends_with_it(host: Host, tmp_path: Path) -> None:
    note = tmp_path / "child"
    await host.wish(1, *with_child(note, "exit 1"))
    await host.tick()
    child = await until_noted(host, note)

    async def noticed() -> bool:
        (row,) = await host.tick()
        return bool(row["state"] == "backoff")

    async def ended() -> bool:
        return not lives(child)

    await host.until(noticed)
    await host.until(ended)


async def test_what_is_left_from_before_ends_before_a_restart(host: Host, tmp_path: Path) -> None:
    note = tmp_path / "child"
    await host.wish(1, *with_child(note, "exit 1"))
    (row,) = await host.tick()
    child = await until_noted(host, note)

    async def dead() -> bool:
        return not host.alive(row)

    await host.until(dead)
    await host.sql("UPDATE replicas SET state = 'backoff', start_after = now()")  # noted by one who then died
    note.unlink()
    await host.tick()

    async def ended() -> bool:
        return not lives(child)

    await host.until(ended)
    await host.wish(0, *ASLEEP)


async def test_the_end_of_the_service_reaches_what_replicas_left_behind(host: Host, tmp_path: Path) -> None:
    note = tmp_path / "child"
    await host.wish(1, *with_child(note, "exit 1"))
    (row,) = await host.tick()
    child = await until_noted(host, note)
    assert lives(child)
    await host.backend.end_all()
    assert await host.rows() == [] and not host.alive(row)

    async def gone() -> bool:
        return not lives(child)

    await host.until(gone)


async def test_what_ignores_sigterm_is_killed_when_the_service_ends(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.scaling.backends.process.END_S", 0.3)
    note = tmp_path / "child"
    await host.wish(1, *with_child(note, "trap '' TERM; while :; do wait; sleep 600; done"))
    (row,) = await host.tick()
    child = await until_noted(host, note)
    await host.backend.end_all()

    async def gone() -> bool:
        return not host.alive(row) and not lives(child)

    await host.until(gone)


async def test_a_changed_launch_replaces_the_replicas_one_by_one(host: Host) -> None:
    await host.wish(3, *ASLEEP)
    old = await host.tick()
    for port, row in enumerate(old):
        await host.registered(row, port + 1)
    assert await host.tick() == old
    await host.wish(3, *ASLEEP, MODEL="new")
    fewest = 3

    async def settled() -> bool:
        nonlocal fewest
        rows = await host.tick()
        fewest = min(fewest, sum(row["state"] == "running" and host.alive(row) for row in rows))
        states = [row["state"] for row in rows]
        assert states.count("draining") <= 1
        for row in rows:
            if row["state"] == "running" and row["id"] not in {old_row["id"] for old_row in old}:
                await host.registered(row, 1000 + row["pid"] % 60_000)
        return states == ["running"] * 3 and not {row["id"] for row in rows} & {row["id"] for row in old}

    await host.until(settled)
    assert fewest == 2 and not any(host.alive(row) for row in old)
    rows = await host.tick()
    assert len({row["launch_hash"] for row in rows}) == 1 and rows[0]["launch_hash"] != old[0]["launch_hash"]
    assert await host.tick() == rows


async def test_a_changed_launch_that_never_registers_stops_the_replacement(host: Host) -> None:
    await host.wish(2, *ASLEEP)
    old = {row["id"]: row for row in await host.tick()}
    for port, row in enumerate(old.values()):
        await host.registered(row, port + 1)
    await host.wish(2, *ASLEEP, MODEL="broken")

    async def one_replaced() -> bool:
        rows = await host.tick()
        return [row["state"] for row in rows] == ["running"] * 2 and len({row["id"] for row in rows} & set(old)) == 1

    await host.until(one_replaced)
    before = await host.rows()
    for _ in range(3):
        assert await host.tick() == before


async def test_a_changed_launch_starts_one_in_backoff_at_once(host: Host) -> None:
    await host.wish(1, "no-such-program-anywhere")
    (row,) = await host.tick()
    assert await host.tick() == [row]
    await host.wish(1, *ASLEEP)
    (now,) = await host.tick()
    assert now["id"] == row["id"] and now["state"] == "running" and host.alive(now)
    assert now["launch_hash"] != row["launch_hash"]
    assert await host.tick() == [now], "it has the new launch, so that there is nothing to replace"


async def test_while_rollouts_are_frozen_a_changed_launch_replaces_nothing(host: Host) -> None:
    await host.wish(2, *ASLEEP)
    old = await host.tick()
    for port, row in enumerate(old):
        await host.registered(row, port + 1)
    host.frozen.add("p")
    await host.wish(2, *ASLEEP, MODEL="new")
    assert await host.tick() == old == await host.tick()
    async with host.db.hot() as connection:
        conditions = await connection.fetchval("SELECT conditions::text FROM pools WHERE name = 'p'")
    assert "rollout_frozen" in conditions
    await host.wish(3, *ASLEEP, MODEL="new")
    rows = await host.tick()
    assert {row["id"] for row in old} < {row["id"] for row in rows}, "it is scaled all the same"
    new = next(row for row in rows if row["id"] not in {row["id"] for row in old})
    await host.registered(new, 100)
    host.frozen.clear()
    assert "draining" in [row["state"] for row in await host.tick()]


async def test_while_rollouts_are_frozen_one_in_backoff_has_its_time(host: Host) -> None:
    await host.wish(1, "no-such-program-anywhere")
    (row,) = await host.tick()
    host.frozen.add("p")
    await host.wish(1, *ASLEEP)
    assert await host.tick() == [row]


async def test_other_changes_of_a_pool_replace_nothing(host: Host) -> None:
    await host.wish(2, *ASLEEP, A="1", B="2")
    rows = await host.tick()
    for port, row in enumerate(rows):
        await host.registered(row, port + 1)
    await host.wish(2, *ASLEEP, B="2", A="1")
    await host.registry.scale("p", 2)
    assert await host.tick() == rows


async def test_logs_of_forgotten_replicas_are_pruned(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.scaling.backends.launcher.KEPT_LOGS", 0)
    await host.wish(2, "sh", "-c", "echo here; exec sleep 600")
    await host.tick()

    async def logs(count: int) -> bool:
        await host.tick()
        return len(list(host.launcher._logs.glob("*"))) == count

    await host.until(lambda: logs(2))
    await host.registry.scale("p", 1)
    await host.until(lambda: logs(1))


async def test_who_does_not_lead_starts_nothing(host: Host, db: Database) -> None:
    assert await Leader(db, Clock(), "processes", "another").leads()
    await host.wish(2, *ASLEEP)
    assert await host.tick() == []
