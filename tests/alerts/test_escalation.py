"""Escalation on a real database: a step is taken where there is somebody to tell, and something to tell of."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app.alerts.escalation import escalate
from app.alerts.group_sql import OPEN_GROUPS, PUT_MEMBERS
from app.alerts.looking import look
from app.alerts.receivers import FAILING_SIGNAL
from app.core.db import Database, HotConnection
from tests.alerts.watching import Watcher

_RECEIVER = """
INSERT INTO receivers (name, kind, config, routed, group_by, group_wait_s, group_interval_s, repeat_interval_s,
  escalate_to, escalate_after_s, created_by)
VALUES ($1, 'webhook', '{"url": "https://example.com"}', $2, '{pool}', 0, 1, 3600, $3, $4, 'tests')
"""
_ALARMED = """
UPDATE alert_groups g SET alarmed_at = now() - interval '1 hour', flushed = true,
  next_flush_at = now() + interval '1 day', due_at = now() + interval '1 day',
  alarmed = ARRAY(SELECT m.fingerprint FROM alert_group_members m WHERE m.group_key = g.key)
WHERE escalated_at IS NULL
"""
_TOLD = "SELECT alert -> 'labels' ->> 'alertname' FROM alert_group_members WHERE receiver = 'managers' ORDER BY 1"


@pytest.fixture
async def watcher(db: Database) -> Watcher:
    made = Watcher(db)
    await made.rows(_RECEIVER, "managers", False, None, None)
    await made.rows(_RECEIVER, "on-call", True, "managers", 60)
    return made


async def alarmed(db: Database, watcher: Watcher) -> None:
    """Everybody was told, an hour ago."""
    await look(db, "")
    await watcher.rows(_ALARMED)


async def told(watcher: Watcher) -> list[str]:
    """The alerts that the managers have."""
    return [name for (name,) in await watcher.rows(_TOLD)]


async def test_what_alarms_is_told_to_the_other_receiver_once_and_at_once(db: Database, watcher: Watcher) -> None:
    for name in ("errors", "latency"):
        await watcher.fire(name)
    await watcher.fire("errors", pool="web")
    await alarmed(db, watcher)
    assert await escalate(db) == 2
    assert await escalate(db) == 0
    assert await told(watcher) == ["errors", "errors", "latency"]
    query = "SELECT due_at <= now() FROM alert_groups WHERE receiver = 'managers'"
    assert await watcher.rows(query) == [(True,), (True,)]


async def test_a_step_waits_until_the_other_receiver_is_enabled(db: Database, watcher: Watcher) -> None:
    await watcher.rows("UPDATE receivers SET enabled = false WHERE name = 'managers'")
    await watcher.fire("errors")
    await alarmed(db, watcher)
    assert (await escalate(db), await told(watcher)) == (0, [])
    await watcher.rows("UPDATE receivers SET enabled = true")
    assert (await escalate(db), await told(watcher)) == (1, ["errors"])


async def test_a_step_is_not_taken_for_what_has_ended(db: Database, watcher: Watcher) -> None:
    await watcher.fire("errors")
    await alarmed(db, watcher)
    await watcher.resolve("errors")
    await look(db, "")
    assert (await escalate(db), await told(watcher)) == (0, [])
    assert await watcher.rows("SELECT escalated_at FROM alert_groups") == [(None,)]


async def test_a_receiver_is_not_told_about_itself(db: Database, watcher: Watcher) -> None:
    await watcher.rule("failing", signal=FAILING_SIGNAL)
    await watcher.fire("failing", receiver="managers")
    await alarmed(db, watcher)
    assert (await escalate(db), await told(watcher)) == (0, [])
    await watcher.fire("failing", receiver="another")
    await alarmed(db, watcher)
    assert (await escalate(db), await told(watcher)) == (1, ["failing"])


async def test_groups_are_read_once_however_many_alerts_are_escalated(
    db: Database, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        await watcher.fire("errors", instance=str(number))
    await alarmed(db, watcher)
    hot, statements = db.hot, list[str]()

    @asynccontextmanager
    async def logged() -> AsyncIterator[HotConnection]:
        async with hot() as connection:
            with connection.query_logger(lambda record: statements.append(record.query)):
                yield connection

    monkeypatch.setattr(db, "hot", logged)
    await escalate(db)
    assert (statements.count(OPEN_GROUPS), statements.count(PUT_MEMBERS)) == (1, 1)
    monkeypatch.undo()
    assert len(await told(watcher)) == 30
