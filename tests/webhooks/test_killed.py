"""kill -9 of a manager at its worst moments: no event is lost, and what comes twice has the same id."""

from __future__ import annotations

import asyncio

import httpx

from tests.api.verbs import put_pool, submit, until
from tests.support.service import Fleet, Manager
from tests.support.webhook_receiver import WebhookReceiver

LOCAL = {"YARD_WEBHOOKS_ALLOWED_NETWORKS": '["127.0.0.0/8"]', "YARD_WEBHOOKS_INTERVAL_S": "0.1"}


def client_of(manager: Manager) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {manager.backing.admin_key}"}
    return httpx.AsyncClient(base_url=manager.url, headers=headers, timeout=30, trust_env=False)


async def start(managers: Fleet, **environment: str) -> Manager:
    return await asyncio.to_thread(lambda: managers.manager(**LOCAL, **environment))


async def dead(manager: Manager) -> bool:
    return manager.process.poll() is not None


async def test_killed_between_the_deliveries_and_their_commit(managers: Fleet, receiver: WebhookReceiver) -> None:
    doomed = await start(managers, YARD_FAILPOINTS="webhooks.fanned_out")
    async with client_of(doomed) as client:
        await put_pool(client)
        await client.post("/v1/webhooks", json={"url": receiver.url, "types": ["task.queued"]})
        task = await submit(client)
        await until(lambda: dead(doomed))
    await start(managers)
    (got,) = await receiver.until(1)
    assert got.json["task_id"] == task


async def test_killed_between_the_answer_and_its_row(managers: Fleet, receiver: WebhookReceiver) -> None:
    doomed = await start(managers, YARD_FAILPOINTS="webhooks.answered")
    async with client_of(doomed) as client:
        await put_pool(client)
        made = (await client.post("/v1/webhooks", json={"url": receiver.url, "types": ["task.queued"]})).json()
        task = await submit(client)
        await until(lambda: dead(doomed))
    survivor = await start(managers)
    async with client_of(survivor) as client:
        (item,) = (await client.get(f"/v1/webhooks/{made['id']}/deliveries")).json()["items"]
        assert (item["status"], item["tries"]) == ("pending", 1)
        # Its lease runs for the length of a try and half a minute; nobody waits for that here.
        await client.post(f"/v1/webhooks/{made['id']}/deliveries/{item['id']}/redeliver")
        got = await receiver.until(2)
    assert [one.verified(made["secret"])["task_id"] for one in got] == [task, task]
    assert got[0].id == got[1].id == item["id"]
