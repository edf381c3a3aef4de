"""From an alert's state to PagerDuty, Slack and webhooks, over real HTTP and a real database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from aiohttp import web

from app.alerts.notification_sweep import sweep
from app.alerts.signals.base import By
from app.alerts.signals.registry import SIGNALS
from tests.alerts.desk import HOOK_SECRET, Desk, desk_of
from tests.fakes.alertmanager import Alertmanager
from tests.fakes.faults import too_many
from tests.fakes.smtp import MailServer
from tests.support.service import Backing
from tests.support.waiting import until_async


@pytest.fixture
async def desk(backing: Backing) -> AsyncIterator[Desk]:
    async with desk_of(backing) as made:
        yield made


async def test_an_alert_is_told_once_when_it_fires_and_once_when_it_ends(desk: Desk) -> None:
    await desk.receiver("on-call")
    await desk.receiver("chat", "slack")
    await desk.receiver("hook", "webhook")
    await desk.watcher.fire("errors")
    for name in ("on-call", "chat", "hook"):
        await desk.noted(name, "delivered", "first")
    await desk.watcher.resolve("errors")
    for name in ("on-call", "chat", "hook"):
        await desk.noted(name, "delivered", "resolved")
    assert desk.actions() == ["trigger", "resolve"]
    (incident,) = desk.pagerduty.incidents.values()
    assert incident.state == "resolved"
    (message,) = desk.slack.posted
    assert message.versions == 2, "the same message says that it is over"
    assert "RESOLVED" in message.text
    statuses = [got.verified(HOOK_SECRET)["status"] for got in desk.hook.got]
    assert statuses == ["firing", "resolved"]
    assert len({got.id for got in desk.hook.got}) == 2


async def test_a_failed_receiver_is_named_tried_no_more_with_the_same_and_works_again_after_a_change(
    desk: Desk,
) -> None:
    await desk.receiver("on-call", config={"routing_key": "f" * 32})
    await desk.watcher.fire("errors")
    refused = await desk.noted("on-call", "permanent", "first")
    assert "Invalid routing key" in refused["detail"]
    held = await desk.noted("on-call", "held", "refused")
    whole = await desk.get(f"/v1/notifications/{held['id']}")
    assert [(item["sent"], item["reason"]) for item in whole["alerts"]] == [(False, "refused")]
    assert len(desk.pagerduty.refused) == 1, "never the same 400 twice"
    shown = await desk.get("/v1/receivers/on-call")
    assert (shown["status"], shown["config"]["routing_key"]) == ("failing", "**********")
    assert "Invalid routing key" in shown["failed_reason"]
    async with desk.yard.db.read() as connection:
        now = await connection.fetchval("SELECT now()")
        readings = await SIGNALS["receivers_failing"].read(connection, By(), now)
    assert [(reading.labels, getattr(reading, "value", None)) for reading in readings] == [
        ({"receiver": "on-call"}, 1.0)
    ]
    await desk.receiver("on-call")
    sent = await desk.noted("on-call", "delivered", "first")
    assert sent["id"] == refused["id"], "the same notice, still under its id"
    assert (await desk.get("/v1/receivers/on-call"))["status"] == "ok"


async def test_an_alert_about_a_failing_receiver_is_told_to_the_others(desk: Desk) -> None:
    await desk.receiver("broken", config={"routing_key": "f" * 32})
    await desk.receiver("chat", "slack")
    await desk.watcher.rule("receiver_failing", signal="receivers_failing", receivers=["broken"])
    await desk.watcher.fire("receiver_failing", receiver="broken")
    await desk.noted("chat", "delivered", "first")
    assert await desk.notifications("broken") == []


async def test_a_throttled_receiver_is_left_alone_until_then_and_told_everything_after(desk: Desk) -> None:
    await desk.receiver("on-call", group_by=["..."])
    desk.pagerduty.faults.always = too_many(2)
    for number in range(12):
        await desk.watcher.fire("errors", instance=str(number))
    await desk.noted("on-call", "throttled")
    await desk.until(lambda: desk.pagerduty.faults.played >= 1, "the storm")
    assert (await desk.get("/v1/receivers/on-call"))["status"] == "throttled"
    assert desk.pagerduty.faults.played <= 8, "not every group knocks at the door"
    desk.pagerduty.faults.always = None
    await desk.until(lambda: len(desk.pagerduty.incidents) == 12, "all are told", 40)
    assert desk.actions() == ["trigger"] * 12


async def test_a_hanging_receiver_holds_up_no_other_and_tries_under_one_id(desk: Desk) -> None:
    hanging = asyncio.Event()
    ids = list[str]()

    async def hang(request: web.Request) -> web.StreamResponse:
        ids.append(request.headers["webhook-id"])
        if not hanging.is_set():
            await asyncio.wait_for(hanging.wait(), 30)
        return web.Response(text="ok")

    desk.hook.handler = hang
    await desk.receiver("hook", "webhook", group_by=["..."])
    await desk.receiver("on-call", group_by=["..."])
    for number in range(10):
        await desk.watcher.fire("errors", instance=str(number))
    await desk.until(lambda: len(desk.pagerduty.incidents) == 10, "the others are told", 20)
    await desk.until(lambda: len(ids) > len(set(ids)), "a second try", 30)
    assert (await desk.noted("hook", "retrying"))["tries"] >= 1
    hanging.set()
    await desk.noted("hook", "delivered")

    async def all_delivered() -> bool:
        found = await desk.notifications("hook")
        return bool(sum(item["outcome"] == "delivered" for item in found) == 10)

    await until_async(all_delivered, "every group is told", 60)
    assert len(set(ids)) == 10, "one id for each notice, whatever it took"
    assert len(ids) > 10


async def test_slack_that_says_no_with_a_200_has_not_been_told(desk: Desk) -> None:
    desk.slack.faults.append((200, {"ok": False, "error": "internal_error"}, {}))
    await desk.receiver("chat", "slack")
    await desk.receiver("lost", "slack", config={"channel": "C0NOBODY"})
    await desk.watcher.fire("errors")
    await desk.noted("chat", "delivered", "first")
    refused = await desk.noted("lost", "permanent", "first")
    assert "channel_not_found" in refused["detail"]
    assert [message.channel for message in desk.slack.posted] == ["C0OPS"]


async def test_a_silence_holds_back_and_says_so_once_and_its_end_tells(desk: Desk) -> None:
    body = {"matchers": ["pool=ops"], "ends_at": "2999-01-01T00:00:00Z", "comment": "a deploy"}
    silence = (await desk.client.post("/v1/silences", json=body)).json()
    await desk.receiver("on-call")
    await desk.watcher.fire("errors")
    held = await desk.noted("on-call", "held", "silenced")
    whole = await desk.get(f"/v1/notifications/{held['id']}")
    assert [item["by"] for item in whole["alerts"]] == [silence["id"]]
    assert "looked at again" in whole["next"]

    async def counted() -> bool:
        (only,) = await desk.notifications("on-call")
        return int(only["count"]) >= 2

    await until_async(counted, "the same again is counted, not stored again", 20)
    await desk.client.delete(f"/v1/silences/{silence['id']}")
    await desk.noted("on-call", "delivered", "first")
    assert desk.actions() == ["trigger"]


async def test_who_takes_a_group_takes_it_everywhere_and_it_neither_repeats_nor_escalates(desk: Desk) -> None:
    await desk.receiver("managers", "webhook", routed=False)
    await desk.receiver("on-call", escalate_to="managers", escalate_after_s=3, repeat_interval_s=1)
    await desk.receiver("chat", "slack")
    await desk.watcher.fire("errors")
    await desk.noted("on-call", "delivered", "first")
    await desk.noted("chat", "delivered", "first")
    key = (await desk.group("chat"))["key"]
    taken = await desk.client.post(f"/v1/alert-groups/{key}/ack", json={"for_s": 600, "comment": "mine"})
    assert (taken.json()["status"], taken.json()["acked_by"]) == ("acknowledged", "tests")
    for name in ("on-call", "chat"):
        await desk.noted(name, "delivered", "acknowledged")
    (incident,) = desk.pagerduty.incidents.values()
    assert incident.state == "acked"
    assert "Acknowledged by" in desk.slack.posted[0].seen()
    await desk.noted("on-call", "held", "acknowledged")
    assert (await desk.group("on-call"))["escalated_at"] is None
    assert desk.hook.got == []
    await desk.client.post(f"/v1/alert-groups/{(await desk.group('on-call'))['key']}/unack")
    await desk.until(lambda: desk.hook.got, "it escalates now", 20)
    assert (await desk.group("on-call"))["escalated_at"] is not None
    await desk.watcher.resolve("errors")
    await desk.noted("managers", "delivered", "resolved")


async def test_a_heartbeat_beats_only_while_rules_are_evaluated(desk: Desk) -> None:
    await desk.watcher.rule("errors")
    await desk.watcher.rows("UPDATE alert_rules SET evaluated_at = NULL")
    await desk.receiver("switch", "webhook", routed=False, heartbeat_s=1)
    await desk.yard.notifying.notifications.tick()
    await desk.yard.notifying.notifications.idle()
    assert desk.hook.got == []
    await desk.watcher.rows("UPDATE alert_rules SET evaluated_at = now()")
    await desk.until(lambda: len(desk.hook.got) >= 2, "it beats")
    body = desk.hook.got[0].json
    assert body["alerts"][0]["labels"]["alertname"] == "Watchdog"

    async def counted() -> bool:
        (only,) = await desk.notifications("switch")
        return only["reason"] == "heartbeat" and int(only["count"]) >= 2

    await until_async(counted, "beats are counted in one row", 20)


async def test_a_clock_that_jumped_back_leaves_nobody_untold(desk: Desk) -> None:
    await desk.receiver("on-call")
    await desk.watcher.fire("errors")
    await desk.noted("on-call", "delivered", "first")
    await desk.watcher.rows(
        "UPDATE alert_groups SET due_at = now() + interval '1 day', next_flush_at = now() + interval '1 day',"
        " leased_until = now() + interval '1 day', retry_at = now() + interval '1 day', lease = gen_random_uuid()"
    )
    await desk.watcher.resolve("errors")
    await sweep(desk.yard.db, retention_s=1e6, lease_s=60)
    await desk.noted("on-call", "delivered", "resolved")


async def test_an_alert_whose_state_is_gone_counts_as_ended_and_its_group_is_swept(desk: Desk) -> None:
    await desk.receiver("on-call")
    await desk.watcher.fire("errors")
    await desk.noted("on-call", "delivered", "first")
    await desk.watcher.forget("errors")
    await desk.noted("on-call", "delivered", "resolved")

    async def swept() -> bool:
        await sweep(desk.yard.db, retention_s=1e6, lease_s=60)
        return not (await desk.get("/v1/alert-groups"))["items"]

    await until_async(swept, "the empty group is gone", 20)


async def test_a_deleted_receiver_names_what_it_was_not_told(desk: Desk) -> None:
    await desk.receiver("on-call", group_wait_s=3600, group_by=["alertname"])
    await desk.watcher.fire("errors", at=datetime.now(UTC))

    async def grouped() -> bool:
        return bool((await desk.get("/v1/alert-groups?receiver=on-call"))["items"])

    await until_async(grouped, "a group", 20)
    assert (await desk.client.delete("/v1/receivers/on-call")).status_code == 204
    (dropped,) = await desk.notifications("on-call")
    assert (dropped["outcome"], dropped["reason"], dropped["sent"]) == ("held", "receiver_deleted", False)
    whole = await desk.get(f"/v1/notifications/{dropped['id']}")
    assert whole["alerts"][0]["labels"]["alertname"] == "errors"
    assert whole["next"] == "Nothing: the receiver was deleted."


async def test_an_alertmanager_is_told_again_before_it_forgets(desk: Desk) -> None:
    theirs = Alertmanager()
    await theirs.start()
    try:
        await desk.receiver("theirs", "alertmanager", config={"urls": [theirs.url]})
        await desk.watcher.fire("errors")
        await desk.noted("theirs", "delivered", "first")
        await desk.watcher.rows("UPDATE alert_groups SET resend_at = now(), due_at = now()")
        await desk.noted("theirs", "delivered", "repeat")
        assert theirs.pushes == 2
        await desk.watcher.resolve("errors")
        await desk.noted("theirs", "delivered", "resolved")
        assert theirs.firing(datetime.now(UTC)) == []
    finally:
        await theirs.stop()


async def test_a_mail_goes_through_the_mail_server_of_the_settings(backing: Backing) -> None:
    server = MailServer(security="none")
    await server.start()
    mail = {
        "smtp_host": "127.0.0.1",
        "smtp_port": server.port,
        "smtp_security": "none",
        "smtp_sender": "yard@x.example",
    }
    try:
        async with desk_of(backing, **mail) as desk:
            await desk.receiver("mail", "email", config={"to": ["a@example.com"]})
            await desk.watcher.fire("errors")
            await desk.noted("mail", "delivered", "first")
    finally:
        await server.stop()
    (sent,) = server.got
    assert "errors is wrong." in sent.text()
