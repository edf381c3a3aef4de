"""Sending: signed, retried, at least once, and one bad receiver is no other's trouble."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from aiohttp import web

from app.core.db import Database
from app.registry.addresses import AllowList
from app.webhooks.addresses import networks
from app.webhooks.records import DeliveryRecord, WebhookRecord
from app.webhooks.service import WebhookDisabled
from tests.support.webhook_receiver import WebhookReceiver, answering
from tests.webhooks.desk import CALLER, Desk, add_event


async def sent_once(desk: Desk, url: str) -> tuple[WebhookRecord, DeliveryRecord]:
    """A webhook with one event, after one try."""
    webhook = await desk.webhook(url)
    await add_event(desk.db, "task.succeeded", seq=3, attempt=1, text="ü")
    await desk.spread()
    await desk.send()
    return webhook, await desk.one(webhook)


async def test_a_delivery_arrives_signed(db: Database, receiver: WebhookReceiver) -> None:
    async with Desk(db) as desk:
        webhook, done = await sent_once(desk, f"{receiver.url}/hook?token=1")
        (got,) = receiver.got
        assert got.path == "/hook?token=1"
        assert got.headers["content-type"] == "application/json"
        assert got.id == str(done.id)
        body = got.verified(desk.webhooks.secret(webhook))
        assert body == {
            "type": "task.succeeded", "timestamp": body["timestamp"], "tenant": "t", "task_id": str(done.task_id),
            "seq": 3, "pool": "p", "data": {"attempt": 1, "text": "ü"},
        }  # fmt: skip
        assert (done.status, done.tries, done.answer_status, done.answer) == ("delivered", 1, 200, "thanks")
        assert done.delivered_at is not None
        await desk.due_now()
        await desk.send()
        assert len(receiver.got) == 1


async def test_a_failure_is_tried_again_under_the_same_id_until_it_is_given_up(
    db: Database, receiver: WebhookReceiver
) -> None:
    receiver.handler = answering(500, "no\x00 luck " + "x" * 10_000)
    async with Desk(db, max_tries=3) as desk:
        webhook, first = await sent_once(desk, receiver.url)
        assert (first.status, first.tries, first.answer_status) == ("pending", 1, 500)
        assert len(first.answer) == 500
        assert first.answer.startswith("no\ufffd luck")
        waits = await desk.sql("SELECT extract(epoch FROM due_at - now()) AS s FROM webhook_deliveries")
        assert 1 < waits[0]["s"] <= 5
        await desk.send()
        assert len(receiver.got) == 1, "not before it is due"
        for _ in range(2):
            await desk.due_now()
            await desk.send()
        last = await desk.one(webhook)
        assert (last.status, last.tries) == ("failed", 3)
        assert {got.id for got in receiver.got} == {str(first.id)}
        assert (await desk.webhooks.get(CALLER, webhook.id)).enabled, "one lost delivery is no reason"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirects_are_not_followed(db: Database, receiver: WebhookReceiver, status: int) -> None:
    receiver.handler = answering(status, location="/elsewhere")
    async with Desk(db) as desk:
        _, tried = await sent_once(desk, receiver.url)
        assert (tried.status, tried.answer_status) == ("pending", status)
        assert "not followed" in tried.answer
        assert len(receiver.got) == 1


async def test_retry_after_is_waited_for(db: Database, receiver: WebhookReceiver) -> None:
    receiver.handler = answering(503, "later", retry_after="3600")
    async with Desk(db) as desk:
        await sent_once(desk, receiver.url)
        (left,) = await desk.sql("SELECT extract(epoch FROM due_at - now()) AS s FROM webhook_deliveries")
        assert 3500 < left["s"] <= 3600


async def test_gone_disables_the_webhook(db: Database, receiver: WebhookReceiver) -> None:
    receiver.handler = answering(410)
    async with Desk(db, max_in_flight=1) as desk:
        webhook = await desk.webhook(receiver.url)
        for _ in range(3):
            await add_event(db)
        await desk.spread()
        await desk.send()
        assert not (await desk.webhooks.get(CALLER, webhook.id)).enabled
        assert {item.status for item in await desk.all(webhook)} == {"failed"}
        await desk.send()
        assert len(receiver.got) == 1
        with pytest.raises(WebhookDisabled):
            await desk.webhooks.redeliver_failed(CALLER, webhook.id, None)


async def test_a_receiver_that_is_down_for_days_disables_it(db: Database, receiver: WebhookReceiver) -> None:
    receiver.handler = answering(500)
    async with Desk(db, max_tries=1, disable_after_s=1000) as desk:
        webhook, _ = await sent_once(desk, receiver.url)
        assert (await desk.webhooks.get(CALLER, webhook.id)).enabled
        await desk.sql("UPDATE webhook_deliveries SET created_at = now() - interval '1001 seconds'")
        await add_event(db)
        await desk.spread()
        await desk.send()
        assert not (await desk.webhooks.get(CALLER, webhook.id)).enabled
        receiver.handler = answering(200)
        await desk.webhooks.change(CALLER, webhook.id, {"enabled": True})
        assert await desk.webhooks.redeliver_failed(CALLER, webhook.id, None) == (2, 0)
        await desk.send()
        assert {item.status for item in await desk.all(webhook)} == {"delivered"}


async def test_one_that_got_through_keeps_it(db: Database, receiver: WebhookReceiver) -> None:
    async with Desk(db, max_tries=1, disable_after_s=1000) as desk:
        webhook, _ = await sent_once(desk, receiver.url)
        await desk.sql("UPDATE webhook_deliveries SET created_at = now() - interval '1001 seconds'")
        receiver.handler = answering(500)
        await add_event(db)
        await desk.spread()
        await desk.send()
        assert (await desk.webhooks.get(CALLER, webhook.id)).enabled


async def test_nobody_listens(db: Database) -> None:
    async with Desk(db) as desk:
        _, tried = await sent_once(desk, "http://127.0.0.1:9/")
        assert (tried.status, tried.answer_status) == ("pending", None)
        assert tried.answer.startswith("Cannot connect")


async def test_a_slow_answer_is_a_failure(db: Database, receiver: WebhookReceiver) -> None:
    never = asyncio.Event()

    async def hang(_: web.Request) -> web.StreamResponse:
        await never.wait()
        return web.Response()

    receiver.handler = hang
    async with Desk(db, timeout_s=0.1) as desk:
        _, tried = await sent_once(desk, receiver.url)
        assert (tried.status, tried.answer) == ("pending", "No answer within 0.1 s.")
    never.set()


async def test_an_address_is_checked_at_every_connection(db: Database, receiver: WebhookReceiver) -> None:
    everything = True
    public = AllowList(networks([], loopback=False)).allows_text
    async with Desk(db, allows=lambda text: everything or public(text)) as desk:
        named = await desk.webhook(receiver.url.replace("127.0.0.1", "localhost"))
        literal = await desk.webhook(receiver.url)
        await add_event(db)
        await desk.spread()
        everything = False
        await desk.send()
        for webhook in (named, literal):
            tried = await desk.one(webhook)
            assert (tried.status, tried.answer_status) == ("pending", None)
            assert "outside the networks" in tried.answer
        assert receiver.got == []


async def test_a_slow_receiver_does_not_hold_up_another(db: Database, receiver: WebhookReceiver) -> None:
    slow, release = await WebhookReceiver().start(), asyncio.Event()

    async def hang(_: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.Response()

    slow.handler = hang
    async with Desk(db, max_in_flight=10, max_in_flight_per_webhook=3) as desk:
        await desk.webhook(slow.url)
        for _ in range(50):
            await add_event(db)
        await desk.spread()  # the slow one has fifty due before the other has any
        quick = await desk.webhook(receiver.url)
        for _ in range(4):
            await add_event(db)
        await desk.spread()
        async with asyncio.timeout(15):
            while {item.status for item in await desk.all(quick)} != {"delivered"}:
                await desk.deliveries.tick()
                await asyncio.sleep(0.01)
        assert len(slow.got) == 3
        release.set()
        await desk.deliveries.idle()
    await slow.stop()


async def test_two_managers_send_each_delivery_once(db: Database, receiver: WebhookReceiver) -> None:
    async with Desk(db) as one, Desk(db) as two:
        await one.webhook(receiver.url)
        for _ in range(60):
            await add_event(db)
        await one.spread()
        async with asyncio.timeout(20):
            while await one.sql("SELECT 1 FROM webhook_deliveries WHERE status = 'pending' LIMIT 1"):
                await asyncio.gather(one.send(), two.send())
        assert (len(receiver.got), len({got.id for got in receiver.got})) == (60, 60)


async def test_a_crash_between_the_answer_and_the_row_sends_again_under_the_same_id(
    db: Database, receiver: WebhookReceiver
) -> None:
    async with Desk(db) as survivor:
        webhook = await survivor.webhook(receiver.url)
        await add_event(db)
        await survivor.spread()
        crashed, stuck = Desk(db), asyncio.Event()

        async def never_stored(_: object) -> list[None]:
            stuck.set()
            await asyncio.Event().wait()
            return []

        crashed.deliveries._store._write = never_stored  # the manager dies here: answered, not written
        await crashed.sender.open()
        await crashed.deliveries.tick()
        await stuck.wait()
        for task in set(crashed.deliveries._running):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        for task in set(crashed.deliveries._store._active):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await crashed.sender.close()
        await survivor.send()
        assert len(receiver.got) == 1, "the lease still runs"
        await survivor.due_now()
        await survivor.send()
        assert (await survivor.one(webhook)).status == "delivered"
        assert len({got.id for got in receiver.got}) == 1
        assert len(receiver.got) == 2


async def test_a_late_failure_does_not_undo_a_success(db: Database, receiver: WebhookReceiver) -> None:
    first, release = asyncio.Event(), asyncio.Event()

    async def late(_: web.Request) -> web.StreamResponse:
        first.set()
        await release.wait()
        return web.Response(status=500)

    receiver.handler = late
    async with Desk(db) as one, Desk(db) as two:
        webhook = await one.webhook(receiver.url)
        await add_event(db)
        await one.spread()
        await one.deliveries.tick()
        await first.wait()
        receiver.handler = answering(200)
        await two.due_now()  # its lease ran out
        await two.send()
        release.set()
        await one.deliveries.idle()
        assert (await one.one(webhook)).status == "delivered"


async def test_redelivery_sends_the_same_again(db: Database, receiver: WebhookReceiver) -> None:
    async with Desk(db) as desk:
        webhook, done = await sent_once(desk, receiver.url)
        again = await desk.webhooks.redeliver(CALLER, webhook.id, done.id)
        assert (again.status, again.tries) == ("pending", 0)
        await desk.send()
        assert [got.id for got in receiver.got] == [str(done.id)] * 2
        assert receiver.got[0].body == receiver.got[1].body


async def test_a_redelivery_asked_for_before_the_first_answer_is_stored_is_sent(
    db: Database, receiver: WebhookReceiver
) -> None:
    came, release = asyncio.Event(), asyncio.Event()

    async def slow(_: web.Request) -> web.StreamResponse:
        came.set()
        await release.wait()
        return web.Response()

    receiver.handler = slow
    async with Desk(db) as desk:
        webhook = await desk.webhook(receiver.url)
        await add_event(db)
        await desk.spread()
        await desk.deliveries.tick()
        await came.wait()
        await desk.webhooks.redeliver(CALLER, webhook.id, (await desk.one(webhook)).id)
        release.set()
        await desk.deliveries.idle()
        assert (await desk.one(webhook)).status == "pending"
        await desk.send()
        assert ((await desk.one(webhook)).status, len(receiver.got)) == ("delivered", 2)
