"""Who may do what: scopes, keys that are no good, and tenants that do not see each other."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest

from app.auth.callers import SCOPES
from app.wiring import Yard
from tests.api.verbs import bearer, new_key, put_pool, read, refused, register, rows, run, submit, until
from tests.conftest import running_app, settings_for
from tests.support.service import Backing, new_pepper

App = tuple[httpx.AsyncClient, Yard]
SOME = "01939f2e-6f1c-7c3a-8a57-0d5c4e6b7a10"

OPERATIONS: list[tuple[str, str, str, Any]] = [
    ("POST", "/v1/tasks", "tasks:write", {"pool": "echo"}),
    ("GET", "/v1/tasks", "tasks:read", None),
    ("POST", "/v1/tasks/batch", "tasks:write", {"tasks": [{"pool": "echo"}]}),
    ("GET", f"/v1/tasks/{SOME}", "tasks:read", None),
    ("GET", f"/v1/tasks/{SOME}/steps", "tasks:read", None),
    ("POST", f"/v1/tasks/{SOME}/cancel", "tasks:write", None),
    ("POST", f"/v1/tasks/{SOME}/retry", "tasks:write", None),
    ("GET", f"/v1/tasks/{SOME}/events", "tasks:read", None),
    ("POST", "/v1/events", "tasks:write", {"name": "paid"}),
    ("GET", "/v1/events?page_size=0", "tasks:read", None),  # a stream would have no end
    ("GET", "/v1/stream-token?channel=events", "tasks:read", None),
    ("PUT", "/v1/pools/another", "pools:admin", {}),
    ("GET", "/v1/pools", "tasks:read", None),
    ("GET", "/v1/pools/echo", "tasks:read", None),
    ("POST", "/v1/pools/echo/scale", "pools:admin", {"replicas": 1}),
    ("GET", "/v1/pools/echo/balancer", "pools:admin", None),
    ("GET", "/v1/pools/echo/attempts", "pools:admin", None),
    ("GET", "/v1/pools/echo/scaling", "tasks:read", None),
    ("GET", "/v1/pools/echo/scaling/decisions", "tasks:read", None),
    ("GET", "/v1/pools/echo/demand", "tasks:read", None),
    ("GET", "/v1/pools/echo/load", "tasks:read", None),
    ("POST", "/v1/agents", "agents:register", {"pool": "echo", "url": "http://127.0.0.1:9"}),
    ("GET", "/v1/agents", "tasks:read", None),
    ("GET", f"/v1/agents/{SOME}", "tasks:read", None),
    ("POST", f"/v1/agents/{SOME}/heartbeat", "agents:register", {}),
    ("POST", f"/v1/agents/{SOME}/drain", "pools:admin", None),
    ("DELETE", f"/v1/agents/{SOME}", "pools:admin", None),
    ("GET", "/v1/approvals", "tasks:read|approvals:decide", None),
    ("GET", f"/v1/approvals/{SOME}", "tasks:read|approvals:decide", None),
    ("POST", f"/v1/approvals/{SOME}/approve", "approvals:decide", {"payload_hash": "0" * 64}),
    ("POST", f"/v1/approvals/{SOME}/reject", "approvals:decide", None),
    ("GET", f"/v1/tasks/{SOME}/explain", "tasks:read", None),
    ("POST", "/v1/tasks/bulk/cancel", "tasks:write", {"filter": {"pool": "echo"}}),
    ("POST", "/v1/tasks/bulk/retry", "tasks:write", {"filter": {"pool": "echo"}}),
    ("GET", "/v1/limits", "admin", None),
    ("PUT", "/v1/limits/tenant/nobody", "admin", {"weight": 2}),
    ("GET", "/v1/limits/tenant/nobody", "admin", None),
    ("DELETE", "/v1/limits/tenant/nobody", "admin", None),
    ("POST", "/v1/stops", "pools:admin", {"tenant": "default", "reason": "test"}),
    ("GET", "/v1/stops", "pools:admin", None),
    ("GET", f"/v1/stops/{SOME}", "pools:admin", None),
    ("POST", f"/v1/stops/{SOME}/lift", "pools:admin", None),
    ("GET", "/v1/emergency-mode", "tasks:read", None),
    ("PUT", "/v1/emergency-mode", "admin", {"pool": "echo", "reason": "r", "min_priority": -1000}),
    ("DELETE", "/v1/emergency-mode", "admin", None),
    ("GET", "/v1/alert-actions", "admin", None),
    ("GET", f"/v1/alert-actions/{SOME}", "admin", None),
    ("POST", f"/v1/alert-actions/{SOME}/end", "admin", None),
    ("GET", f"/v1/alert-reports/{SOME}", "admin", None),
    ("POST", "/v1/keys", "admin", {"name": "n", "scopes": ["tasks:read"]}),
    ("GET", "/v1/keys", "admin", None),
    ("DELETE", "/v1/keys/unknown000", "admin", None),
    ("PUT", "/v1/slack/channels/*", "admin", {"channel": "C024BE91L"}),
    ("GET", "/v1/slack/channels", "admin", None),
    ("GET", "/v1/slack/channels/echo", "admin", None),
    ("DELETE", "/v1/slack/channels/echo", "admin", None),
    ("PUT", "/v1/slack/users/U024BE7LH", "admin", {"key_id": "unknown000"}),
    ("GET", "/v1/slack/users", "admin", None),
    ("GET", "/v1/slack/users/U024BE7LH", "admin", None),
    ("DELETE", "/v1/slack/users/U024BE7LH", "admin", None),
    ("POST", "/v1/webhooks", "admin", {"url": "http://127.0.0.1:9/"}),
    ("GET", "/v1/webhooks", "admin", None),
    ("GET", f"/v1/webhooks/{SOME}", "admin", None),
    ("PATCH", f"/v1/webhooks/{SOME}", "admin", {}),
    ("DELETE", f"/v1/webhooks/{SOME}", "admin", None),
    ("POST", f"/v1/webhooks/{SOME}/rotate", "admin", None),
    ("POST", f"/v1/webhooks/{SOME}/test", "admin", None),
    ("GET", f"/v1/webhooks/{SOME}/deliveries", "admin", None),
    ("GET", f"/v1/webhooks/{SOME}/deliveries/{SOME}", "admin", None),
    ("POST", f"/v1/webhooks/{SOME}/deliveries/{SOME}/redeliver", "admin", None),
    ("POST", f"/v1/webhooks/{SOME}/redeliver", "admin", None),
    ("POST", "/v1/schedules/preview", "tasks:read", {"cron": "0 9 * * *"}),
    ("PUT", "/v1/schedules/daily", "tasks:write", {"cron": "0 9 * * *", "task": {"pool": "echo"}}),
    ("GET", "/v1/schedules", "tasks:read", None),
    ("GET", "/v1/schedules/daily", "tasks:read", None),
    ("DELETE", "/v1/schedules/unknown", "tasks:write", None),
    ("GET", "/v1/schedules/daily/preview", "tasks:read", None),
    ("GET", "/v1/schedules/daily/runs", "tasks:read", None),
    ("POST", "/v1/schedules/daily/pause", "tasks:write", None),
    ("POST", "/v1/schedules/daily/resume", "tasks:write", None),
    ("POST", "/v1/schedules/daily/trigger", "tasks:write", None),
    ("POST", "/v1/schedules/daily/backfill", "tasks:write", {}),
    ("GET", "/v1/costs", "tasks:read", None),
    ("GET", "/v1/costs/analysis", "tasks:read", None),
    ("PUT", "/v1/budgets/daily", "admin", {"limit": "5", "window": {"kind": "day"}}),
    ("GET", "/v1/budgets", "admin", None),
    ("GET", "/v1/budgets/daily", "admin", None),
    ("GET", "/v1/budgets/daily/accounts", "admin", None),
    ("DELETE", "/v1/budgets/unknown", "admin", None),
    ("PUT", "/v1/cost-controls/tenant/nobody", "admin", {"requests_per_hour": 5}),
    ("GET", "/v1/cost-controls", "admin", None),
    ("GET", "/v1/cost-controls/tenant/nobody", "admin", None),
    ("DELETE", "/v1/cost-controls/tenant/nobody", "admin", None),
    ("PUT", "/v1/prices/ours", "admin", {"unit_prices": {"input_tokens": "0.1", "output_tokens": "0.1"}}),
    ("GET", "/v1/prices", "admin", None),
    ("GET", "/v1/prices/ours", "tasks:read", None),
    ("DELETE", "/v1/prices/ours", "admin", None),
    ("PUT", "/v1/slos/daily", "admin", {"kind": "availability", "target": 0.99}),
    ("GET", "/v1/slos", "tasks:read", None),
    ("GET", "/v1/slos/daily", "tasks:read", None),
    ("GET", "/v1/slos/daily/history", "tasks:read", None),
    ("GET", "/v1/slos/daily/openslo", "tasks:read", None),
    ("POST", "/v1/slos/openslo", "admin", None),
    ("DELETE", "/v1/slos/unknown", "admin", None),
    ("POST", f"/v1/tasks/{SOME}/feedback", "tasks:write", {"label": "good"}),
    ("GET", f"/v1/tasks/{SOME}/feedback", "tasks:read", None),
    ("GET", "/v1/models", "tasks:read", None),
    ("POST", "/v1/models/recommend", "tasks:read", {"input_type": "general", "complexity": 0.5}),
    ("PUT", "/v1/models/ours", "admin", {"quality": 0.5, "speed": 0.5}),
    ("POST", "/v1/models/ours/feedback", "tasks:write", {"good": True}),
    ("PUT", "/v1/probes/golden", "admin", {"pool": "echo"}),
    ("GET", "/v1/probes", "admin", None),
    ("GET", "/v1/probes/golden", "admin", None),
    ("POST", "/v1/probes/golden/run", "admin", None),
    ("GET", "/v1/probes/golden/runs", "admin", None),
    ("DELETE", "/v1/probes/unknown", "admin", None),
    ("PUT", "/v1/alert-rules/mine", "admin", {"signal": "queue_length", "comparison": ">", "threshold": 5}),
    ("GET", "/v1/alert-rules", "admin", None),
    ("GET", "/v1/alert-rules/mine", "admin", None),
    ("GET", "/v1/alert-rules/mine/explain", "admin", None),
    ("DELETE", "/v1/alert-rules/unknown", "admin", None),
    ("GET", "/v1/alerts", "admin", None),
    ("GET", "/v1/signals", "tasks:read", None),
    ("PUT", "/v1/receivers/on-call", "admin", {"kind": "pagerduty", "config": {"routing_key": "0" * 32}}),
    ("GET", "/v1/receivers", "admin", None),
    ("GET", "/v1/receivers/on-call", "admin", None),
    ("POST", "/v1/receivers/unknown/test", "admin", None),
    ("DELETE", "/v1/receivers/unknown", "admin", None),
    ("POST", "/v1/silences", "admin", {"matchers": ['pool="none"'], "ends_at": "2999-01-01T00:00:00Z"}),
    ("GET", "/v1/silences", "admin", None),
    ("GET", f"/v1/silences/{SOME}", "admin", None),
    ("PUT", f"/v1/silences/{SOME}", "admin", {"matchers": ['pool="none"'], "ends_at": "2999-01-01T00:00:00Z"}),
    ("DELETE", f"/v1/silences/{SOME}", "admin", None),
    ("PUT", "/v1/inhibit-rules/over", "admin", {"source": ['severity="critical"'], "target": ['severity="warning"']}),
    ("GET", "/v1/inhibit-rules", "admin", None),
    ("GET", "/v1/inhibit-rules/over", "admin", None),
    ("DELETE", "/v1/inhibit-rules/unknown", "admin", None),
    ("PUT", "/v1/mute-times/weekends", "admin", {"intervals": [{"weekdays": ["saturday", "sunday"]}]}),
    ("GET", "/v1/mute-times", "admin", None),
    ("GET", "/v1/mute-times/weekends", "admin", None),
    ("DELETE", "/v1/mute-times/unknown", "admin", None),
    ("GET", "/v1/notifications", "admin", None),
    ("GET", f"/v1/notifications/{SOME}", "admin", None),
    ("GET", "/v1/alert-groups", "admin", None),
    ("GET", f"/v1/alert-groups/on-call:{'0' * 32}", "admin", None),
    ("POST", f"/v1/alert-groups/on-call:{'0' * 32}/ack", "admin", {"for_s": 60}),
    ("POST", f"/v1/alert-groups/on-call:{'0' * 32}/unack", "admin", None),
]


async def test_the_table_of_operations_is_whole(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    documented = sum(len(operations) for path, operations in paths.items() if path.startswith("/v1/"))
    assert documented == len({(method, path) for method, path, _, _ in OPERATIONS})


async def test_every_operation_needs_a_key_with_its_scope(app: App) -> None:
    client, yard = app
    await put_pool(client)
    keys = {scope: await new_key(client, scope) for scope in SCOPES}
    before = await rows(yard)
    for method, path, needed, body in OPERATIONS:
        for header in ("", "Bearer", "Bearer x", "Basic YWRtaW46YWRtaW4="):
            answer = await client.request(method, path, json=body, headers={"Authorization": header})
            refused(answer, 401, "unauthenticated")
            assert answer.headers["www-authenticate"].startswith("Bearer")
        for scope in SCOPES.keys() - {*needed.split("|"), "admin"}:
            answer = await client.request(method, path, json=body, headers=bearer(keys[scope]))
            assert refused(answer, 403, "forbidden")["needs"] == needed.partition("|")[0]
    assert await rows(yard) == before
    for method, path, needed, body in OPERATIONS:
        for scope in needed.split("|"):
            answer = await client.request(method, path, json=body, headers=bearer(keys[scope]))
            assert answer.status_code not in (401, 403), (method, path, answer.text)


async def test_a_key_is_made_shown_once_listed_and_revoked(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/v1/keys", json={"name": "ci", "tenant": "t", "scopes": ["tasks:read", "tasks:write", "tasks:read"]}
    )
    made = answer.json()
    assert answer.status_code == 201
    assert made["scopes"] == ["tasks:write", "tasks:read"]
    assert made["key"].startswith(made["prefix"] + "_")
    key = bearer(made["key"])
    assert (await client.get("/v1/tasks", headers=key)).status_code == 200
    listed = await client.get("/v1/keys")
    assert made["key"].removeprefix(made["prefix"]) not in listed.text
    assert made["id"] in [item["id"] for item in listed.json()["items"]]
    revoked = await client.delete(f"/v1/keys/{made['id']}")
    assert revoked.status_code == 200
    assert revoked.json()["revoked_at"] is not None
    refused(await client.get("/v1/tasks", headers=key), 401, "unauthenticated")
    assert (await client.delete(f"/v1/keys/{made['id']}")).json() == revoked.json()
    refused(await client.delete("/v1/keys/unknown000"), 404, "not_found")


async def test_keys_are_paged(client: httpx.AsyncClient) -> None:
    for _ in range(4):
        await new_key(client, "tasks:read")
    first = (await client.get("/v1/keys", params={"page_size": 3})).json()
    rest = (await client.get("/v1/keys", params={"page_size": 3, "page_token": first["next_page_token"]})).json()
    ids = [item["id"] for item in first["items"] + rest["items"]]
    assert (ids, rest["next_page_token"]) == (sorted(set(ids)), None)
    assert len(ids) == 5  # and the admin's


async def test_a_key_cannot_revoke_itself(client: httpx.AsyncClient, backing: Backing) -> None:
    own = backing.admin_key.split("_")[1]
    refused(await client.delete(f"/v1/keys/{own}"), 409, "conflict")
    assert (await client.get("/v1/keys")).status_code == 200


async def test_an_expired_key_ends_at_its_time_though_it_was_just_used(client: httpx.AsyncClient) -> None:
    key = bearer(await new_key(client, "tasks:read", expires_s=1.0))
    assert (await client.get("/v1/tasks", headers=key)).status_code == 200

    async def expired() -> bool:
        return (await client.get("/v1/tasks", headers=key)).status_code == 401

    await until(expired, within_s=4)
    refused(await client.get("/v1/tasks", headers=key), 401, "unauthenticated")


@pytest.mark.parametrize("change", ["secret", "id", "kind", "case", "cut", "more"])
async def test_a_key_that_is_not_quite_right_is_refused(client: httpx.AsyncClient, change: str) -> None:
    kind, key_id, secret = (await new_key(client, "admin")).split("_")
    other = "0" if secret[0] != "0" else "1"
    wrong = {
        "secret": f"{kind}_{key_id}_{other}{secret[1:]}",
        "id": f"{kind}_0000000000_{secret}",
        "kind": f"ya_{uuid4()}_{secret}",
        "case": f"{kind}_{key_id}_{secret.upper()}x",
        "cut": f"{kind}_{key_id}_{secret[:-1]}",
        "more": f"{kind}_{key_id}_{secret}0",
    }[change]
    refused(await client.get("/v1/keys", headers=bearer(wrong)), 401, "unauthenticated")


async def test_a_key_of_another_service_is_refused(backing: Backing) -> None:
    foreign = Backing(backing.database_url, backing.redis_url, backing.admin_key, new_pepper())
    async with running_app(settings_for(foreign), foreign.admin_key) as (client, _):
        refused(await client.get("/v1/tasks"), 401, "unauthenticated")


async def test_another_tenants_task_is_not_there(client: httpx.AsyncClient, agents: Any) -> None:
    agent = await agents()
    await put_pool(client)
    queued = await submit(client, "theirs", run_at="2100-01-01T00:00:00Z")
    await register(client, agent.url)
    done = (await run(client, "done"))["id"]
    other = bearer(await new_key(client, "tasks:read", "tasks:write", tenant="other"))
    admin = bearer(await new_key(client, "admin", tenant="other"))
    for key in (other, admin):
        for task_id in (queued, done, str(uuid4())):
            for method, verb in (("GET", ""), ("POST", "/cancel"), ("POST", "/retry"), ("GET", "/events")):
                for accept in ("application/json", "text/event-stream"):
                    path = f"/v1/tasks/{task_id}{verb}"
                    answer = await client.request(method, path, headers={**key, "Accept": accept})
                    refused(answer, 404, "task_not_found")
        assert (await client.get("/v1/tasks", headers=key)).json()["items"] == []
    assert (await read(client, queued))["status"] == "queued"
    mine = await client.post("/v1/tasks", json={"pool": "echo"}, headers=other)
    assert (await client.get("/v1/tasks", headers=other)).json()["items"][0]["id"] == mine.json()["id"]
