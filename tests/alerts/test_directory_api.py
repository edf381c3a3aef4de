"""`/v1/slack/channels` and `/v1/slack/users`: each tenant's own."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from app.alerts.question import APPROVE
from app.settings import SlackSettings
from app.wiring import Yard
from tests.api.verbs import bearer, new_key, put_pool, refused, until
from tests.conftest import running_app, settings_for
from tests.support.service import Backing
from tests.support.slack_server import SECRET, TOKEN, SlackServer, signed

App = tuple[httpx.AsyncClient, Yard]


async def test_channels_are_put_listed_got_and_removed(client: httpx.AsyncClient) -> None:
    await put_pool(client, "ops")
    for pool, channel in (("*", "#approvals"), ("ops", "C0OPS"), ("ops", "C1OPS")):
        answer = await client.put(f"/v1/slack/channels/{pool}", json={"channel": channel})
        assert (answer.status_code, answer.json()) == (200, {"pool": pool, "channel": channel})
    listed = (await client.get("/v1/slack/channels")).json()
    assert listed["items"] == [{"pool": "*", "channel": "#approvals"}, {"pool": "ops", "channel": "C1OPS"}]
    assert (await client.get("/v1/slack/channels/ops")).json()["channel"] == "C1OPS"
    assert (await client.delete("/v1/slack/channels/ops")).status_code == 204
    refused(await client.delete("/v1/slack/channels/ops"), 404, "slack_channel_not_found")
    refused(await client.get("/v1/slack/channels/ops"), 404, "slack_channel_not_found")
    refused(await client.put("/v1/slack/channels/nosuch", json={"channel": "C1"}), 404, "pool_not_found")


@pytest.mark.parametrize("channel", ["", "#", "two words", "<!channel>", "a\u0000", "x" * 82, 7, None])
async def test_a_channel_that_cannot_be_one_is_refused(client: httpx.AsyncClient, channel: Any) -> None:
    answer = await client.put("/v1/slack/channels/*", json={"channel": channel})
    assert answer.status_code == 422
    assert answer.json()["code"] in ("validation_error", "null_byte")


async def test_users_are_mapped_listed_and_unmapped(client: httpx.AsyncClient) -> None:
    key_id = (await new_key(client, "approvals:decide")).split("_")[1]
    mapped = {"user_id": "U1ANN", "key_id": key_id, "key_name": "test"}
    answer = await client.put("/v1/slack/users/U1ANN", json={"key_id": key_id})
    assert (answer.status_code, answer.json()) == (200, mapped)
    assert (await client.get("/v1/slack/users")).json() == {"items": [mapped], "next_page_token": None}
    assert (await client.get("/v1/slack/users/U1ANN")).json() == mapped
    assert (await client.delete("/v1/slack/users/U1ANN")).status_code == 204
    refused(await client.delete("/v1/slack/users/U1ANN"), 404, "slack_user_not_found")
    refused(await client.get("/v1/slack/users/U1ANN"), 404, "slack_user_not_found")


async def test_keys_that_cannot_be_acted_with_are_refused(client: httpx.AsyncClient) -> None:
    async def put(key_id: str) -> httpx.Response:
        return await client.put("/v1/slack/users/U1ANN", json={"key_id": key_id})

    other = (await new_key(client, "approvals:decide", tenant="elsewhere")).split("_")[1]
    revoked = (await new_key(client, "approvals:decide")).split("_")[1]
    await client.delete(f"/v1/keys/{revoked}")
    refused(await put("nosuchkey0"), 422, "unknown_key")
    refused(await put(other), 422, "key_of_another_tenant")
    refused(await put(revoked), 422, "key_ended")
    refused(await client.put("/v1/slack/users/ann", json={"key_id": revoked}), 422, "validation_error")
    assert (await client.get("/v1/slack/users")).json()["items"] == []


async def test_tenants_do_not_see_each_other(client: httpx.AsyncClient) -> None:
    theirs = bearer(await new_key(client, "admin", tenant="elsewhere"))
    key_id = (await new_key(client, "approvals:decide")).split("_")[1]
    await client.put("/v1/slack/channels/*", json={"channel": "C1"})
    await client.put("/v1/slack/users/U1ANN", json={"key_id": key_id})
    for path in ("channels", "users"):
        assert (await client.get(f"/v1/slack/{path}", headers=theirs)).json()["items"] == []
    refused(await client.delete("/v1/slack/channels/*", headers=theirs), 404, "slack_channel_not_found")
    refused(await client.get("/v1/slack/users/U1ANN", headers=theirs), 404, "slack_user_not_found")
    await client.put("/v1/slack/channels/*", json={"channel": "C2"}, headers=theirs)
    assert (await client.get("/v1/slack/channels/*")).json()["channel"] == "C1"


async def test_lists_are_paged(client: httpx.AsyncClient) -> None:
    key_id = (await new_key(client, "approvals:decide")).split("_")[1]
    users = sorted(f"U{n}X" for n in range(5))
    for user in users:
        await client.put(f"/v1/slack/users/{user}", json={"key_id": key_id})
    for pool in ("a", "b"):
        await put_pool(client, pool)
        await client.put(f"/v1/slack/channels/{pool}", json={"channel": "C1"})
    await client.put("/v1/slack/channels/*", json={"channel": "C1"})
    assert [item["user_id"] for item in await pages(client, "users")] == users
    assert [item["pool"] for item in await pages(client, "channels")] == ["*", "a", "b"]
    token = (await client.get("/v1/slack/users?page_size=2")).json()["next_page_token"]
    refused(await client.get(f"/v1/slack/channels?page_token={token}"), 400, "bad_page_token")


async def pages(client: httpx.AsyncClient, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    token = ""
    while token is not None:
        query = {"page_size": "2"} | ({"page_token": token} if token else {})
        answer = (await client.get(f"/v1/slack/{path}", params=query)).json()
        assert len(answer["items"]) <= 2
        found, token = found + answer["items"], answer["next_page_token"]
    return found


async def test_without_a_signing_secret_no_click_is_taken(client: httpx.AsyncClient) -> None:
    body, headers = signed({"type": "block_actions"})
    refused(await client.post("/v1/slack/interactions", content=body, headers=headers), 404, "slack_not_configured")


async def test_a_whole_manager_posts_takes_the_click_and_shows_the_end(backing: Backing, slack: SlackServer) -> None:
    """The parts as the composition root puts them together; the task itself is gone, so the approval is superseded."""
    settings = settings_for(
        backing,
        slack=SlackSettings(
            token=SecretStr(TOKEN), signing_secret=SecretStr(SECRET), channel="#approvals", api_url=slack.api_url
        ),
    )
    async with running_app(settings, backing.admin_key) as (client, yard):
        key_id = (await new_key(client, "approvals:decide")).split("_")[1]
        await client.put("/v1/slack/users/U1ANN", json={"key_id": key_id})
        async with yard.db.hot() as connection:
            await connection.execute(
                """INSERT INTO approvals (id, tenant, task_id, pool, kind, step, action, args, payload_hash,
                submitted_by, status, scope) VALUES (gen_random_uuid(), 'default', gen_random_uuid(), 'ops',
                'action', 's', 'shell', '{}', repeat('a', 64), 'x', 'pending', 'approvals:decide')"""
            )

        async def posted() -> bool:
            return len(slack.posted) == 1

        await until(posted)
        body, headers = slack.press(slack.posted[0], APPROVE, "U1ANN")
        answer = await client.post("/v1/slack/interactions", content=body, headers={**headers, "Authorization": ""})
        assert answer.status_code == 200

        async def ended() -> bool:
            return slack.posted[0].buttons() == {} and len(slack.replies) == 1

        await until(ended)
        assert "No longer needed" in slack.posted[0].seen()
