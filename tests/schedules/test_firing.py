"""Ticks become tasks: one each, whoever looks, however often and wherever it is cut short."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from app.auth.callers import Caller
from app.core.db import HotConnection
from app.core.errors import Unavailable
from app.schedules.service import BackfillRunning, BadPeriod, TooManyTicks
from app.settings import ScheduleSettings
from app.tasks.submission import Accepted, Submission
from tests.api.verbs import put_pool
from tests.conftest import running_app, settings_for
from tests.schedules.desk import CALLER, START, Desk
from tests.support.service import Backing


@pytest.fixture
async def desk(backing: Backing) -> AsyncIterator[Desk]:
    """The manager's own loop sleeps: a test's desk has another idea of the time."""
    settings = settings_for(backing, schedules=ScheduleSettings(interval_s=3600))
    async with running_app(settings, backing.admin_key) as (client, yard):
        await put_pool(client)
        made = Desk(yard)
        await made.key()
        yield made


async def test_each_tick_makes_one_task(desk: Desk) -> None:
    made = await desk.put()
    assert made.next_at == START + timedelta(minutes=1)
    await desk.run()
    assert await desk.tasks() == []
    for _ in range(3):
        desk.forward(60)
        await desk.run()
        await desk.run()
    assert len(await desk.tasks()) == 3
    runs = await desk.runs()
    assert [run.tick_at for run in runs] == [START + timedelta(minutes=minute) for minute in (1, 2, 3)]
    assert [run.task_id for run in runs] == [task_id for task_id, _ in await desk.tasks()]
    (row,) = await desk.sql("SELECT tenant, submitted_by, pool, payload, idempotency_key FROM tasks LIMIT 1")
    assert (row["tenant"], row["submitted_by"], row["pool"], row["payload"]) == ("default", "key", "echo", '"s"')
    assert row["idempotency_key"].startswith(f"schedule:{made.id}:2026-01-05T00:0")
    assert len(await desk.sql("SELECT 1 FROM events WHERE type = 'task.queued'")) == 3


async def test_two_managers_and_many_ticks_make_one_task_each(desk: Desk) -> None:
    other = Desk(desk.yard, batch=7)
    for number in range(8):
        await desk.put(f"s{number}", interval_s=10.0)
    for _ in range(5):
        for one in (desk, other):
            one.now = desk.now + timedelta(seconds=100 if one is desk else 0)
        await asyncio.gather(desk.run(), other.run(), desk.run(), other.run())
    await asyncio.gather(desk.run(), other.run())
    for number in range(8):
        runs = await desk.runs(f"s{number}")
        assert [run.tick_at for run in runs] == [START + timedelta(seconds=10 * n) for n in range(1, 51)]
        assert len({run.task_id for run in runs}) == 50
    assert len(await desk.tasks()) == 400


async def test_cut_short_before_the_commit_nothing_is_half_done(desk: Desk) -> None:
    class Dies(Desk):
        """A manager that dies in the middle of every other transaction, after its tasks were inserted."""

        passes = 0

        async def submit(
            self, connection: HotConnection, caller: Caller, items: Sequence[Submission], keys: Sequence[str | None]
        ) -> tuple[list[Accepted], Any]:
            accepted = await self.yard.tasks.submit_within(connection, caller, items, keys)
            Dies.passes += 1
            if Dies.passes % 2:
                raise ConnectionResetError("killed")
            return accepted

    dying = Dies(desk.yard, batch=3)
    dying.firing._submit = dying.submit
    await desk.put()
    dying.now = desk.now + timedelta(minutes=20)
    for _ in range(20):
        try:
            await dying.run()
        except ConnectionResetError:
            continue
    runs = await desk.runs()
    assert [run.outcome for run in runs] == ["submitted"] * 20
    assert len(await desk.tasks()) == len({run.task_id for run in runs}) == 20
    assert Dies.passes > 10


async def test_a_tick_whose_task_is_there_already_finds_it(desk: Desk) -> None:
    made = await desk.put()
    desk.forward(60)
    await desk.run()
    await desk.sql("DELETE FROM schedule_runs")
    await desk.sql("UPDATE schedules SET next_at = $1", made.next_at)
    await desk.run()
    (run,) = await desk.runs()
    assert [(run.task_id, "queued")] == await desk.tasks()


@pytest.mark.parametrize(
    ("misfire", "made"), [("skip", [59, 60]), ("run_once", [58, 59, 60]), ("run_all", [*range(55, 61)])]
)
async def test_missed_ticks(desk: Desk, misfire: str, made: list[int]) -> None:
    await desk.put(misfire=misfire, misfire_grace_s=90.0, max_catch_up=4)
    desk.forward(3600)
    await desk.run()
    runs = await desk.runs()
    submitted = [run for run in runs if run.outcome == "submitted"]
    assert [run.tick_at for run in submitted] == [START + timedelta(minutes=minute) for minute in made]
    (skipped,) = [run for run in runs if run.outcome == "skipped"]
    assert skipped.tick_at == START + timedelta(minutes=1)
    assert skipped.reason.startswith("Missed")
    assert (await desk.schedules.get(CALLER, "s")).next_at == START + timedelta(minutes=61)


async def test_overlap_skip(desk: Desk) -> None:
    await desk.put(overlap="skip")
    for ends in (False, False, True, False):
        desk.forward(60)
        await desk.run()
        if ends:
            await desk.end((await desk.tasks())[0][0])
    assert await desk.outcomes() == ["submitted", "skipped", "skipped", "submitted"]


async def test_overlap_queue_makes_one_after_the_other(desk: Desk) -> None:
    await desk.put(overlap="queue")
    desk.forward(180)
    await desk.run()
    assert await desk.outcomes() == ["submitted", "waiting", "waiting"]
    for expected in (["submitted", "submitted", "waiting"], ["submitted"] * 3, ["submitted"] * 3):
        await desk.end(*[task_id for task_id, _ in await desk.tasks()])
        await desk.run()
        await desk.run()
        assert await desk.outcomes() == expected
    assert len(await desk.tasks()) == 3


async def test_overlap_queue_has_an_end(desk: Desk) -> None:
    short = Desk(desk.yard, max_waiting=2)
    await short.put(overlap="queue")
    short.forward(300)
    await short.run()
    assert await short.outcomes() == ["submitted", "waiting", "waiting", "skipped", "skipped"]


async def test_overlap_cancel_previous(desk: Desk) -> None:
    await desk.put(overlap="cancel_previous")
    for _ in range(3):
        desk.forward(60)
        await desk.run()
    assert [status for _, status in await desk.tasks()] == ["cancelled", "cancelled", "queued"]
    desk.forward(120)
    await desk.run()
    assert await desk.outcomes() == ["submitted"] * 3 + ["skipped", "submitted"]


async def test_a_pool_that_is_gone_fails_the_run_and_the_schedule_goes_on(desk: Desk) -> None:
    await desk.put()
    await desk.sql("DELETE FROM pools WHERE name = 'echo'")
    desk.yard.view.pools.pop("echo")
    desk.forward(60)
    await desk.run()
    (run,) = await desk.runs()
    assert (run.outcome, run.task_id) == ("failed", None)
    assert run.reason.startswith("pool_not_found: ")
    desk.forward(60)
    await desk.run()
    assert await desk.outcomes() == ["failed", "failed"]
    assert await desk.tasks() == []


async def test_one_that_cannot_be_fired_holds_up_no_other_and_is_tried_again(desk: Desk) -> None:
    await desk.put("a", pool="echo")
    await desk.put("b", pool="echo")
    real = desk.firing._submit

    async def broken(connection: HotConnection, caller: Caller, items: Sequence[Submission], keys: Any) -> Any:
        if items[0].payload == "a":
            raise Unavailable("not now")
        return await real(connection, caller, items, keys)

    desk.firing._submit = broken
    desk.forward(60)
    await desk.run()
    assert (await desk.outcomes("a"), await desk.outcomes("b")) == ([], ["submitted"])
    desk.firing._submit = real
    await desk.run()
    assert await desk.outcomes("a") == ["submitted"]


async def test_a_pause_makes_nothing_and_leaves_nothing_to_catch_up(desk: Desk) -> None:
    await desk.put()
    await desk.schedules.pause(CALLER, "s")
    desk.forward(600)
    await desk.run()
    assert await desk.runs() == []
    resumed = await desk.schedules.resume(CALLER, "s")
    assert resumed.next_at == START + timedelta(minutes=11)
    await desk.run()
    assert await desk.runs() == []
    desk.forward(60)
    await desk.run()
    assert await desk.outcomes() == ["submitted"]
    assert (await desk.schedules.resume(CALLER, "s")).next_at == START + timedelta(minutes=12)


async def test_a_backfill_makes_what_was_not_made(desk: Desk) -> None:
    small = Desk(desk.yard, batch=4)
    await small.put(misfire="skip", misfire_grace_s=0.0)
    small.forward(600)
    await small.run()
    assert await small.outcomes() == ["skipped", "submitted"]
    _, count = await small.schedules.backfill(CALLER, "s", START, small.now)
    assert count == 11  # the anchor is a tick too
    with pytest.raises(BackfillRunning):
        await small.schedules.backfill(CALLER, "s", START, small.now)
    await small.run()
    assert await small.outcomes() == ["submitted"] * 11
    assert len(await small.tasks()) == 11
    await small.schedules.backfill(CALLER, "s", START, small.now)
    await small.run()
    assert len(await small.tasks()) == 11
    done = await small.schedules.get(CALLER, "s")
    assert (done.backfill_from, done.backfill_until) == (None, None)


async def test_a_backfill_of_what_may_not_overlap_goes_one_by_one(desk: Desk) -> None:
    await desk.put(overlap="skip", misfire="skip", misfire_grace_s=0.0)
    desk.forward(180)
    await desk.run()
    await desk.end(*[task_id for task_id, _ in await desk.tasks()])
    await desk.schedules.backfill(CALLER, "s", START, START + timedelta(seconds=150))
    for _ in range(4):
        await desk.run()
        statuses = [status for _, status in await desk.tasks()]
        assert statuses.count("queued") <= 1
        await desk.end(*[task_id for task_id, _ in await desk.tasks()])
    assert await desk.outcomes() == ["submitted"] * 4


async def test_a_backfill_is_bounded(desk: Desk) -> None:
    few = Desk(desk.yard, max_backfill=5)
    await few.put()
    few.forward(3600)
    with pytest.raises(TooManyTicks):
        await few.schedules.backfill(CALLER, "s", START, few.now)
    for start, end in ((few.now, START), (START, few.now + timedelta(seconds=1))):
        with pytest.raises(BadPeriod):
            await few.schedules.backfill(CALLER, "s", start, end)


async def test_a_trigger_is_besides_all_that(desk: Desk) -> None:
    made = await desk.put(overlap="skip")
    await desk.schedules.pause(CALLER, "s")
    first = await desk.schedules.trigger(CALLER, "s")
    desk.forward(1)
    second = await desk.schedules.trigger(CALLER, "s")
    assert [first[1], second[1]] == [task_id for task_id, _ in await desk.tasks()]
    assert (await desk.schedules.get(CALLER, "s")).next_at == made.next_at


async def test_a_replaced_schedule_keeps_its_ticks_unless_they_change(desk: Desk) -> None:
    made = await desk.put()
    desk.forward(30)
    same = await desk.put(overlap="skip")
    assert (same.id, same.next_at, same.anchor_at) == (made.id, made.next_at, made.anchor_at)
    other = await desk.put(interval_s=10.0)
    assert other.next_at == desk.now + timedelta(seconds=10)
    nightly = await desk.put(cron="0 3 * * *")
    assert nightly.next_at == START + timedelta(hours=3)


async def test_once_is_once(desk: Desk) -> None:
    at = START + timedelta(minutes=5)
    await desk.put(at=at)
    desk.forward(600)
    await desk.run()
    done = await desk.schedules.get(CALLER, "s")
    assert (await desk.outcomes(), done.next_at) == (["submitted"], None)
    assert (await desk.put(at=at)).next_at is None, "the same again changes nothing"


async def test_old_runs_are_forgotten(desk: Desk) -> None:
    short = Desk(desk.yard, keep_runs=10, batch=5)
    await short.put()
    for _ in range(4):
        short.forward(300)
        await short.run()
        await short.end(*[task_id for task_id, _ in await short.tasks()])
    runs = await short.runs()
    assert [run.tick_at for run in runs] == [START + timedelta(minutes=minute) for minute in range(11, 21)]
    assert len(await short.tasks()) == 20


async def test_a_run_whose_task_is_open_is_not_forgotten(desk: Desk) -> None:
    short = Desk(desk.yard, keep_runs=10)
    await short.put(overlap="skip")
    for _ in range(14):
        short.forward(60)
        await short.run()
    assert await short.outcomes() == ["submitted", *["skipped"] * 10], "the first task is open still"
    (task,) = await short.tasks()
    await short.end(task[0])
    short.forward(60)
    await short.run()
    assert await short.outcomes() == [*["skipped"] * 9, "submitted"]


@pytest.mark.parametrize("ended", ["SET revoked_at = now()", "SET expires_at = now()", None])
@pytest.mark.parametrize("overlap", ["allow", "cancel_previous"])
async def test_a_key_that_has_ended_submits_nothing_more(desk: Desk, ended: str | None, overlap: str) -> None:
    await desk.put(overlap=overlap)
    desk.forward(60)
    await desk.run()
    where = "WHERE id = $1"
    await desk.sql(f"UPDATE api_keys {ended} {where}" if ended else f"DELETE FROM api_keys {where}", CALLER.id)
    for _ in range(2):
        desk.forward(60)
        await desk.run()
    assert await desk.outcomes() == ["submitted", "failed", "failed"]
    assert (await desk.runs())[-1].reason.startswith("key_ended: ")
    assert [status for _, status in await desk.tasks()] == ["queued"], "nor does it cancel any"
    await desk.key("another", expires_at="now() + interval '1 day'")
    await desk.sql("UPDATE schedules SET created_by = 'another'")
    desk.forward(60)
    await desk.run()
    assert (await desk.outcomes())[-1] == "submitted"


async def test_a_trigger_submits_as_whoever_triggers(desk: Desk) -> None:
    await desk.put()
    _, task_id = await desk.schedules.trigger(replace(CALLER, id="somebody"), "s")
    (row,) = await desk.sql("SELECT id, submitted_by FROM tasks")
    assert (row["id"], row["submitted_by"]) == (task_id, "somebody")
    desk.forward(60)
    await desk.run()
    assert [row["submitted_by"] for row in await desk.sql("SELECT submitted_by FROM tasks ORDER BY id")] == [
        "somebody",
        "key",
    ]


async def test_the_loop_rests_until_the_next_tick(desk: Desk) -> None:
    assert await desk.loop.tick() is None
    await desk.put()
    assert await desk.loop.tick() is None
    desk.forward(59.75)
    assert await desk.loop.tick() == pytest.approx(0.25)
    desk.forward(0.25)
    assert await desk.loop.tick() is None
