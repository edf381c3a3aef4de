"""Bulk cancel and retry over the API."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.api.verbs import Failing, bearer, new_key, put_pool, read, refused, register, submit, until_status

LATER = "2100-01-01T00:00:00Z"


async def bulk(client: httpx.AsyncClient, verb: str, **body: Any) -> dict[str, Any]:
    answer = await client.post(f"/v1/tasks/bulk/{verb}", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_a_preview_counts_and_changes_nothing(client: httpx.AsyncClient) -> None:
    await put_pool(client)
    ids = [await submit(client, run_at=LATER) for _ in range(3)]
    found = await bulk(client, "cancel", filter={"pool": "echo"})
    assert found == {"matched": 3, "done": 0, "dry_run": True, "more": False}
    assert {(await read(client, task_id))["status"] for task_id in ids} == {"queued"}


async def test_what_fits_is_cancelled_up_to_the_limit(client: httpx.AsyncClient) -> None:
    await put_pool(client)
    await put_pool(client, "other")
    ids = [await submit(client, run_at=LATER) for _ in range(5)]
    spared = await submit(client, pool="other", run_at=LATER)
    first = await bulk(client, "cancel", filter={"pool": "echo"}, dry_run=False, limit=3, reason="wrong input")
    assert first == {"matched": 5, "done": 3, "dry_run": False, "more": True}
    rest = await bulk(client, "cancel", filter={"pool": "echo"}, dry_run=False)
    assert rest == {"matched": 2, "done": 2, "dry_run": False, "more": False}
    assert {(await read(client, task_id))["status"] for task_id in ids} == {"cancelled"}
    assert (await read(client, spared))["status"] == "queued"
    assert (await read(client, ids[0]))["error"]["message"] == "wrong input"


async def test_failed_tasks_are_tried_again(client: httpx.AsyncClient, agents: Any) -> None:
    agent = await agents(handler=Failing(3, 400))
    await put_pool(client)
    await register(client, agent.url)
    ids = [await submit(client, max_attempts=1) for _ in range(3)]
    for task_id in ids:
        await until_status(client, task_id, "failed")
    code = (await read(client, ids[0]))["error"]["code"]
    assert (await bulk(client, "retry", filter={"error_code": "else"}))["matched"] == 0
    done = await bulk(client, "retry", filter={"error_code": code, "ids": ids[:2]}, dry_run=False)
    assert (done["matched"], done["done"]) == (2, 2)
    for task_id in ids[:2]:
        await until_status(client, task_id, "succeeded")
    assert (await read(client, ids[2]))["status"] == "failed"


async def test_another_tenants_tasks_do_not_fit(client: httpx.AsyncClient) -> None:
    await put_pool(client)
    task_id = await submit(client, run_at=LATER)
    other = bearer(await new_key(client, "admin", tenant="other"))
    body = {"filter": {"ids": [task_id]}, "dry_run": False}
    answer = await client.post("/v1/tasks/bulk/cancel", json=body, headers=other)
    assert answer.json() == {"matched": 0, "done": 0, "dry_run": False, "more": False}
    assert (await read(client, task_id))["status"] == "queued"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "validation_error"),
        ({"filter": {}}, "empty_filter"),
        ({"filter": {"colour": "red"}}, "validation_error"),
        ({"filter": {"status": "lost"}}, "validation_error"),
        ({"filter": {"created_before": "2026-01-01T00:00:00"}}, "validation_error"),
        ({"filter": {"ids": ["x"]}}, "validation_error"),
        ({"filter": {"pool": "echo"}, "limit": 0}, "validation_error"),
    ],
)
async def test_what_is_no_filter(client: httpx.AsyncClient, body: dict[str, Any], code: str) -> None:
    for verb in ("cancel", "retry"):
        refused(await client.post(f"/v1/tasks/bulk/{verb}", json=body), 422, code)
