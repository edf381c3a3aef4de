"""`/v1/webhooks` on a running manager: from a task's end to a verified delivery, and what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from app.settings import ScalingSettings, WebhookSettings
from app.wiring import Yard
from tests.api.verbs import bearer, new_key, put_pool, refused, register, run, until
from tests.conftest import running_app, settings_for
from tests.support.service import Backing
from tests.support.webhook_receiver import WebhookReceiver, answering, receiver

__all__ = ["receiver"]


@pytest.fixture
async def app(backing: Backing) -> AsyncIterator[tuple[httpx.AsyncClient, Yard]]:
    """A manager whose webhooks may point to this machine."""
    webhooks = WebhookSettings(interval_s=0.05, allowed_networks=["127.0.0.0/8", "::1/128"], max_per_tenant=4)
    async with running_app(settings_for(backing, webhooks=webhooks), backing.admin_key) as running:
        yield running


async def make(client: httpx.AsyncClient, url: str, **fields: Any) -> dict[str, Any]:
    answer = await client.post("/v1/webhooks", json={"url": url, **fields})
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/v1/webhooks/{answer.json()['id']}"
    return dict(answer.json())


async def test_a_tasks_end_is_delivered_signed(
    client: httpx.AsyncClient, agents: Any, receiver: WebhookReceiver
) -> None:
    agent = await agents()
    await put_pool(client)
    await register(client, agent.url)
    made = await make(client, receiver.url, types=["task.succeeded"], pool="echo")
    task = await run(client, "work")
    (got,) = await receiver.until(1)
    body = got.verified(made["secret"])
    assert (body["type"], body["task_id"], body["pool"]) == ("task.succeeded", task["id"], "echo")

    async def delivered() -> Any:
        items = (await client.get(f"/v1/webhooks/{made['id']}/deliveries")).json()["items"]
        return items if items and items[0]["status"] == "delivered" else None

    (item,) = await until(delivered)
    assert (item["id"], item["answer_status"], item["answer"], item["tries"]) == (got.id, 200, "thanks", 1)
    whole = (await client.get(f"/v1/webhooks/{made['id']}/deliveries/{item['id']}")).json()
    assert whole["body"] == got.json
    assert {**item, "body": whole["body"]} == whole


async def test_a_ping_and_its_redelivery(client: httpx.AsyncClient, receiver: WebhookReceiver) -> None:
    made = await make(client, receiver.url, enabled=False)
    answer = await client.post(f"/v1/webhooks/{made['id']}/test")
    assert answer.status_code == 202
    ping = answer.json()
    assert (ping["type"], ping["task_id"], ping["seq"]) == ("webhook.ping", None, None)
    (got,) = await receiver.until(1)
    assert got.verified(made["secret"])["type"] == "webhook.ping"
    again = f"/v1/webhooks/{made['id']}/deliveries/{ping['id']}/redeliver"
    refused(await client.post(again), 409, "webhook_disabled")
    refused(await client.post(f"/v1/webhooks/{made['id']}/redeliver"), 409, "webhook_disabled")
    assert (await client.patch(f"/v1/webhooks/{made['id']}", json={"enabled": True})).json()["enabled"] is True
    assert (await client.post(again)).status_code == 202
    got_both = await receiver.until(2)
    assert got_both[0].id == got_both[1].id == ping["id"]


async def test_failed_ones_are_sent_again_together(
    app: tuple[httpx.AsyncClient, Yard], receiver: WebhookReceiver
) -> None:
    client, yard = app
    made = await make(client, receiver.url)
    receiver.handler = answering(500)
    for _ in range(3):
        await client.post(f"/v1/webhooks/{made['id']}/test")
    await receiver.until(3)
    async with yard.db.hot() as connection:
        await connection.execute("UPDATE webhook_deliveries SET status = 'failed'")
    receiver.handler = answering(204)
    path = f"/v1/webhooks/{made['id']}/redeliver"
    assert (await client.post(path, json={"since": "2100-01-01T00:00:00Z"})).json() == {"redelivered": 0, "left": 0}
    assert (await client.post(path)).json() == {"redelivered": 3, "left": 0}

    async def through() -> bool:
        listed = await client.get(f"/v1/webhooks/{made['id']}/deliveries", params={"status": "delivered"})
        return len(listed.json()["items"]) == 3

    await until(through)


async def test_making_reading_changing_rotating_and_removing(
    client: httpx.AsyncClient, receiver: WebhookReceiver
) -> None:
    made = await make(client, receiver.url, description="mine", types=["task."])
    secret = made.pop("secret")
    path = f"/v1/webhooks/{made['id']}"
    assert secret.startswith("whsec_")
    assert (await client.get(path)).json() == made
    assert made["enabled"] is True
    assert made["generation"] == 1
    changed = (await client.patch(path, json={"pool": "echo", "types": []})).json()
    assert changed == {**made, "pool": "echo", "types": []}
    assert (await client.patch(path, json={"pool": None})).json() == {**made, "types": []}
    rotated = (await client.post(f"{path}/rotate")).json()
    assert rotated["secret"] not in (secret, "")
    assert rotated["generation"] == 2
    await client.post(f"{path}/test")
    (got,) = await receiver.until(1)
    got.verified(rotated["secret"])
    got.verified(secret)
    listed = await client.get("/v1/webhooks")
    assert [item["id"] for item in listed.json()["items"]] == [made["id"]]
    assert "secret" not in listed.text
    assert (await client.delete(path)).status_code == 204
    refused(await client.get(path), 404, "webhook_not_found")
    refused(await client.delete(path), 404, "webhook_not_found")


async def test_lists_are_paged(client: httpx.AsyncClient, receiver: WebhookReceiver) -> None:
    ids = [(await make(client, receiver.url))["id"] for _ in range(3)]
    first = (await client.get("/v1/webhooks", params={"page_size": 2})).json()
    rest = (await client.get("/v1/webhooks", params={"page_token": first["next_page_token"]})).json()
    assert [item["id"] for item in first["items"] + rest["items"]] == ids
    assert rest["next_page_token"] is None
    pings = [(await client.post(f"/v1/webhooks/{ids[0]}/test")).json()["id"] for _ in range(3)]
    path = f"/v1/webhooks/{ids[0]}/deliveries"
    first = (await client.get(path, params={"page_size": 2})).json()
    rest = (await client.get(path, params={"page_size": 2, "page_token": first["next_page_token"]})).json()
    assert [item["id"] for item in first["items"] + rest["items"]] == pings[::-1]
    wrong = await client.get("/v1/webhooks", params={"page_token": first["next_page_token"]})
    refused(wrong, 400, "bad_page_token")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"url": "ftp://example.com"}, "bad_webhook_url"),
        ({"url": "http://user:secret@127.0.0.1/"}, "bad_webhook_url"),
        ({"url": "http://169.254.169.254/latest/meta-data/"}, "address_not_allowed"),
        ({"url": "http://10.0.0.1/"}, "address_not_allowed"),
        ({"url": "http://[::ffff:169.254.169.254]/"}, "address_not_allowed"),
        ({"url": "http://0x7f000001/"}, "address_not_allowed"),
        ({"url": "http://does-not-exist.invalid/"}, "bad_webhook_url"),
        ({"url": ""}, "validation_error"),
        ({}, "validation_error"),
        ({"url": "http://127.0.0.1/", "types": ["Task"]}, "validation_error"),
        ({"url": "http://127.0.0.1/", "pool": "no pool"}, "validation_error"),
        ({"url": "http://127.0.0.1/", "secret": "mine"}, "validation_error"),
    ],
)
async def test_what_is_refused(client: httpx.AsyncClient, body: dict[str, Any], code: str) -> None:
    refused(await client.post("/v1/webhooks", json=body), 422, code)
    assert (await client.get("/v1/webhooks")).json()["items"] == []


async def test_a_changed_url_is_checked_too(client: httpx.AsyncClient, receiver: WebhookReceiver) -> None:
    made = await make(client, receiver.url)
    path = f"/v1/webhooks/{made['id']}"
    refused(await client.patch(path, json={"url": "http://10.0.0.1/"}), 422, "address_not_allowed")
    refused(await client.patch(path, json={"url": None}), 422, "validation_error")
    refused(await client.patch(path, json={"tenant": "other"}), 422, "validation_error")
    assert (await client.get(path)).json()["url"] == receiver.url


async def test_loopback_is_allowed_where_processes_may_be_launched(backing: Backing, tmp_path: Any) -> None:
    for launches, status in ((False, 422), (True, 201)):
        settings = settings_for(backing, scaling=ScalingSettings(allow_process=launches), data_dir=tmp_path)
        async with running_app(settings, backing.admin_key) as (client, _):
            assert (await client.post("/v1/webhooks", json={"url": "http://127.0.0.1:9/"})).status_code == status


async def test_a_tenant_has_so_many(client: httpx.AsyncClient, receiver: WebhookReceiver) -> None:
    for _ in range(4):
        await make(client, receiver.url)
    refused(await client.post("/v1/webhooks", json={"url": receiver.url}), 409, "too_many_webhooks")
    other = bearer(await new_key(client, "admin", tenant="other"))
    assert (await client.post("/v1/webhooks", json={"url": receiver.url}, headers=other)).status_code == 201


async def test_another_tenants_webhook_is_not_there(client: httpx.AsyncClient, receiver: WebhookReceiver) -> None:
    made = await make(client, receiver.url)
    ping = (await client.post(f"/v1/webhooks/{made['id']}/test")).json()["id"]
    other = bearer(await new_key(client, "admin", tenant="other"))
    one, all_ = f"/v1/webhooks/{made['id']}", f"/v1/webhooks/{made['id']}/deliveries"
    for method, path in (
        ("GET", one), ("PATCH", one), ("DELETE", one), ("POST", f"{one}/rotate"), ("POST", f"{one}/test"),
        ("GET", all_), ("GET", f"{all_}/{ping}"), ("POST", f"{all_}/{ping}/redeliver"), ("POST", f"{one}/redeliver"),
    ):  # fmt: skip
        answer = await client.request(method, path, headers=other, json={} if method == "PATCH" else None)
        refused(answer, 404, "webhook_not_found")
    assert (await client.get("/v1/webhooks", headers=other)).json()["items"] == []
    refused(await client.get(f"{all_}/{uuid4()}"), 404, "delivery_not_found")
    refused(await client.post(f"{all_}/{uuid4()}/redeliver"), 404, "delivery_not_found")
