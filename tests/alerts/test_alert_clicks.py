"""The buttons of alerts in Slack: who may, and what late and doubled clicks do."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from app.alerts.directory import Directory
from app.alerts.notifiers.slack_alert_message import ACKNOWLEDGE, SILENCE
from tests.alerts.desk import Desk, desk_of
from tests.support.service import Backing
from tests.support.slack_server import Posted, signed


@pytest.fixture
async def desk(backing: Backing) -> AsyncIterator[Desk]:
    async with desk_of(backing) as made:
        yield made


async def person(desk: Desk, user: str, *scopes: str) -> None:
    info, _ = await desk.yard.keys.create(user.lower(), "default", list(scopes))
    await Directory(desk.yard.db).put_user("default", user, info.id)


async def press(desk: Desk, message: Posted, action: str, user: str) -> str:
    """What the one who clicked is told."""
    before = len(desk.slack.replies)
    value = message.buttons().get(action, {}).get("value") or (await desk.group("chat"))["key"]
    body, headers = signed(desk.slack.interaction(message, action, value, user))
    answer: httpx.Response = await desk.client.post("/v1/slack/interactions", content=body, headers=headers)
    assert answer.status_code == 200
    await desk.until(lambda: len(desk.slack.replies) > before, "an answer")
    return str(desk.slack.replies[-1]["text"])


async def test_a_mapped_administrator_takes_a_group_once(desk: Desk) -> None:
    await person(desk, "U1ANN", "admin")
    await person(desk, "U1BOB", "admin")
    await person(desk, "U1EVE", "tasks:read")
    await desk.receiver("chat", "slack")
    await desk.watcher.fire("errors")
    await desk.noted("chat", "delivered", "first")
    (message,) = desk.slack.posted
    assert "not mapped" in await press(desk, message, ACKNOWLEDGE, "U1NOBODY")
    assert "does not hold the scope" in await press(desk, message, ACKNOWLEDGE, "U1EVE")
    assert (await desk.group("chat"))["acked_by"] == ""
    assert (await press(desk, message, ACKNOWLEDGE, "U1ANN")).startswith("You have taken pool=ops")
    assert (await desk.group("chat"))["acked_by"] == "u1ann"
    await desk.noted("chat", "delivered", "acknowledged")
    assert ACKNOWLEDGE not in message.buttons()
    assert await press(desk, message, ACKNOWLEDGE, "U1ANN") == "You have taken this already."
    assert await press(desk, message, ACKNOWLEDGE, "U1BOB") == "u1ann has taken this already."
    await desk.watcher.resolve("errors")
    await desk.noted("chat", "delivered", "resolved")
    late = await press(desk, message, ACKNOWLEDGE, "U1BOB")
    assert late.startswith("Not counted: "), late


async def test_a_group_is_silenced_for_an_hour_and_once(desk: Desk) -> None:
    await person(desk, "U1ANN", "admin")
    await desk.receiver("chat", "slack")
    await desk.watcher.fire("errors")
    await desk.noted("chat", "delivered", "first")
    (message,) = desk.slack.posted
    assert "is silenced until" in await press(desk, message, SILENCE, "U1ANN")
    (silence,) = (await desk.get("/v1/silences"))["items"]
    assert (silence["matchers"], silence["state"]) == (['pool="ops"'], "active")
    assert "U1ANN" in silence["comment"]
    assert "is silenced already" in await press(desk, message, SILENCE, "U1ANN")
    assert len((await desk.get("/v1/silences"))["items"]) == 1
    await desk.watcher.fire("latency")
    assert (await desk.noted("chat", "held"))["reason"] == "silenced"


async def test_a_group_that_lacks_a_label_is_silenced_without_those_that_have_it(desk: Desk) -> None:
    await person(desk, "U1ANN", "admin")
    await desk.receiver("chat", "slack", group_by=["alertname", "pool", "tenant"])
    await desk.watcher.fire("errors")
    await desk.noted("chat", "delivered", "first")
    (message,) = desk.slack.posted
    assert "is silenced until" in await press(desk, message, SILENCE, "U1ANN")
    (silence,) = (await desk.get("/v1/silences"))["items"]
    assert silence["matchers"] == ['alertname="errors"', 'pool="ops"', 'tenant=""']
    assert "is silenced already" in await press(desk, message, SILENCE, "U1ANN")
    await desk.watcher.fire("errors", tenant="a")
    await desk.until(lambda: len(desk.slack.posted) == 2, "another group is told")


async def test_a_group_without_labels_is_not_silenced_with_everything(desk: Desk) -> None:
    await person(desk, "U1ANN", "admin")
    await desk.receiver("chat", "slack", group_by=[])
    await desk.watcher.fire("errors")
    await desk.noted("chat", "delivered", "first")
    (message,) = desk.slack.posted
    assert "no labels" in await press(desk, message, SILENCE, "U1ANN")
    assert (await desk.get("/v1/silences"))["items"] == []
