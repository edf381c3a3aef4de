"""`/v1/probes`: what may be set, what is refused with its place, and reading."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from app.settings import SloSettings
from app.wiring import Yard
from tests.api.verbs import bearer, new_key, put_pool, refused
from tests.conftest import running_app, settings_for
from tests.support.service import Backing

App = tuple[httpx.AsyncClient, Yard]
CHECK = {"kind": "json", "path": "$.answer", "op": "equals", "value": 42}
BODY: dict[str, Any] = {"pool": "echo", "payload": {"answer": 42}, "checks": [CHECK], "every_s": 3600, "timeout_s": 5}


async def put(client: httpx.AsyncClient, name: str = "golden", **fields: Any) -> httpx.Response:
    return await client.put(f"/v1/probes/{name}", json={**BODY, **fields})


async def test_a_probe_is_set_read_listed_and_removed(client: httpx.AsyncClient) -> None:
    await put_pool(client)
    made = await put(client, labels={"team": "search"})
    assert made.status_code == 201, made.text
    body = made.json()
    assert (body["state"], body["why"], body["last_runs"]) == ("undecided", "it has not run yet", [])
    assert (body["fail_after"], body["of_last"], body["labels"]) == (2, 3, {"team": "search"})
    assert (body["payload"], body["checks"]) == (BODY["payload"], BODY["checks"])
    again = await put(client, labels={"team": "search"})
    assert again.status_code == 200
    same = {**again.json(), "updated_at": body["updated_at"]}
    assert same == body
    assert (await client.get("/v1/probes/golden")).json() == again.json()
    await put(client, "another", enabled=False)
    (first, second) = (await client.get("/v1/probes")).json()["items"]
    assert (first["name"], first["state"], first["next_at"]) == ("another", "disabled", None)
    assert second["name"] == "golden"
    assert "payload" not in second
    page = (await client.get("/v1/probes", params={"page_size": 1})).json()
    assert [item["name"] for item in page["items"]] == ["another"]
    rest = await client.get("/v1/probes", params={"page_size": 1, "page_token": page["next_page_token"]})
    assert [item["name"] for item in rest.json()["items"]] == ["golden"]
    assert (await client.delete("/v1/probes/golden")).status_code == 204
    for path in ("golden", "golden/runs"):
        refused(await client.get(f"/v1/probes/{path}"), 404, "probe_not_found")
    refused(await client.delete("/v1/probes/golden"), 404, "probe_not_found")
    refused(await client.post("/v1/probes/golden/run"), 404, "probe_not_found")


@pytest.mark.parametrize(
    ("check", "path"),
    [
        ({"kind": "json", "path": "answer"}, "checks[1].path"),
        ({"kind": "json", "path": "$..answer", "value": 1}, "checks[1].path"),
        ({"kind": "json", "path": "$.a", "op": "gt", "value": "x"}, "checks[1].value"),
        ({"kind": "json", "path": "$.a", "op": "like", "value": "x"}, "checks[1].op"),
        ({"kind": "regex", "path": "$.a", "pattern": "(unclosed"}, "checks[1].pattern"),
        ({"kind": "regex", "path": "$.a", "pattern": "(?=ahead)"}, "checks[1].pattern"),
        ({"kind": "regex", "path": "$.a", "pattern": "(a{1000}){1000}"}, "checks[1].pattern"),
        ({"kind": "schema", "schema": {"type": "nonsense"}}, "checks[1].schema"),
        ({"kind": "schema", "schema": {"$ref": "http://127.0.0.1:9/schema"}}, "checks[1].schema"),
        ({"kind": "latency", "max_s": 0}, "checks[1].max_s"),
        ({"kind": "latency", "max_s": True}, "checks[1].max_s"),
        ({"kind": "exec", "command": "true"}, "checks[1].kind"),
        ({"kind": "latency", "max_s": 1, "more": 2}, "checks[1].more"),
    ],
)
async def test_a_bad_check_is_refused_with_its_place(client: httpx.AsyncClient, check: Any, path: str) -> None:
    await put_pool(client)
    found = refused(await put(client, checks=[CHECK, check]), 422, "probe_check_invalid")
    assert [error["path"] for error in found["errors"]] == [path]
    assert found["detail"].startswith(f"{path}: ")
    refused(await client.get("/v1/probes/golden"), 404, "probe_not_found")


@pytest.mark.parametrize(
    "fields",
    [
        {"every_s": 9},
        {"every_s": 604_801},
        {"every_s": True},
        {"every_s": 60.5},
        {"timeout_s": 0},
        {"timeout_s": True},
        {"timeout_s": 3601},
        {"fail_after": 4},
        {"fail_after": 0},
        {"fail_after": True},
        {"of_last": 61},
        {"enabled": "yes"},
        {"labels": {"Team": "x"}},
        {"labels": {"probe": "x"}},
        {"labels": {"pool": "x"}},
        {"labels": {"severity": "critical"}},
        {"labels": {"team": "a\u0000b"}},
        {"labels": {f"l{number}": "x" for number in range(11)}},
        {"payload": "x" * 65_536},
        {"checks": [{"kind": "schema", "schema": {"description": "x" * 65_536}}]},
        {"checks": [CHECK] * 51},
        {"checks": {"kind": "latency", "max_s": 1}},
        {"cron": "* * * * *"},
        {"budget": {"limit": True}},
        {"budget": {"limit": "0"}},
        {"budget": {"unit": "eur", "limit": "1"}},
        {"pool": "no such name"},
    ],
)
async def test_a_field_that_does_not_fit_is_refused(client: httpx.AsyncClient, fields: Any) -> None:
    await put_pool(client)
    answer = await put(client, **fields)
    assert answer.status_code in (400, 422), answer.text
    assert answer.json()["code"] in ("validation_error", "null_byte"), answer.text


async def test_its_task_is_checked_as_if_it_were_submitted(client: httpx.AsyncClient) -> None:
    refused(await put(client), 404, "pool_not_found")
    await put_pool(client, input_schema={"type": "object", "required": ["question"]})
    found = refused(await put(client), 422, "contract_violation")
    assert found["errors"][0]["path"].startswith("payload")
    refused(await client.get("/v1/probes/golden"), 404, "probe_not_found")


async def test_a_probe_cannot_be_run_while_its_pool_is_stopped(client: httpx.AsyncClient) -> None:
    await put_pool(client)
    await put(client)
    stop = (await client.post("/v1/stops", json={"pool": "echo", "reason": "on fire"})).json()
    found = refused(await client.post("/v1/probes/golden/run"), 409, "pool_stopped")
    assert "on fire" in found["detail"]
    await client.post(f"/v1/stops/{stop['id']}/lift")
    assert (await client.post("/v1/probes/golden/run")).status_code == 202


async def test_there_is_a_limit_of_probes(backing: Backing) -> None:
    settings = settings_for(backing, slo=SloSettings(max_probes=2))
    async with running_app(settings, backing.admin_key) as (client, _):
        await put_pool(client)
        assert [(await put(client, name)).status_code for name in ("a", "b")] == [201, 201]
        refused(await put(client, "c"), 409, "too_many_probes")
        assert (await put(client, "a", every_s=60)).status_code == 200
        await client.delete("/v1/probes/b")
        assert (await put(client, "c")).status_code == 201


async def test_only_admins_see_and_set_what_probes_ask(client: httpx.AsyncClient) -> None:
    await put_pool(client)
    await put(client)
    reader = bearer(await new_key(client, "tasks:read", "pools:admin", tenant="acme"))
    for path in ("", "/golden", "/golden/runs"):
        refused(await client.get(f"/v1/probes{path}", headers=reader), 403, "forbidden")
    admin = bearer(await new_key(client, "admin", tenant="acme"))
    assert (await client.get("/v1/probes/golden/runs", headers=admin)).json()["items"] == []
    refused(await client.put("/v1/probes/golden", json=BODY, headers=reader), 403, "forbidden")
    refused(await client.post("/v1/probes/golden/run", headers=reader), 403, "forbidden")


async def test_keys_of_the_probes_tenant_may_read_and_nothing_else(client: httpx.AsyncClient) -> None:
    await put_pool(client)
    await put(client)
    for scopes in (["tasks:write"], ["admin"], ["tasks:read", "tasks:write"], ["pools:admin"]):
        body = {"name": "k", "tenant": "yardmaster-probes", "scopes": scopes}
        found = refused(await client.post("/v1/keys", json=body), 422, "reserved_tenant")
        assert found["errors"][0]["path"] == "tenant"
    reader = bearer(await new_key(client, "tasks:read", tenant="yardmaster-probes"))
    task_id = (await client.post("/v1/probes/golden/run")).json()["task_id"]
    task = (await client.get(f"/v1/tasks/{task_id}", headers=reader)).json()
    assert (task["synthetic"], task["labels"]) == (True, {"probe": "golden"})
    refused(await client.get(f"/v1/tasks/{task_id}"), 404, "task_not_found")


async def test_a_damaged_page_token_is_refused(client: httpx.AsyncClient) -> None:
    await put_pool(client)
    await put(client)
    for path in ("/v1/probes", "/v1/probes/golden/runs"):
        refused(await client.get(path, params={"page_token": "AAAA"}), 400, "bad_page_token")
