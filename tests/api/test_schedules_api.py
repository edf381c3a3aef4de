"""`/v1/schedules` on a running manager: a tick becomes a finished task, and what is refused."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from app.wiring import Yard
from tests.api.verbs import bearer, new_key, put_pool, refused, register, until, until_status

App = tuple[httpx.AsyncClient, Yard]
TASK = {"pool": "echo", "payload": {"n": 1}}


async def put(client: httpx.AsyncClient, name: str = "s", **fields: Any) -> dict[str, Any]:
    body = {
        "task": TASK,
        **({"cron": "0 9 * * *"} if not fields.keys() & {"interval_s", "at", "cron"} else {}),
        **fields,
    }
    answer = await client.put(f"/v1/schedules/{name}", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_every_second_a_task_is_made_and_runs(client: httpx.AsyncClient, agents: Any) -> None:
    agent = await agents()
    await put_pool(client)
    await register(client, agent.url)
    await put(client, interval_s=1)

    async def done() -> Any:
        found = (await client.get("/v1/schedules/s")).json()
        ended = [run for run in found["last_runs"] if run["task_status"] == "succeeded"]
        return found if len(ended) >= 2 else None

    found = await until(done)
    assert len({run["task_id"] for run in found["last_runs"]}) == len(found["last_runs"])
    runs = (await client.get("/v1/schedules/s/runs", params={"page_size": 1})).json()
    more = await client.get("/v1/schedules/s/runs", params={"page_token": runs["next_page_token"]})
    assert more.json()["items"][0]["tick_at"] < runs["items"][0]["tick_at"]
    assert agent.calls[0]["payload"] == TASK["payload"]
    assert (await client.delete("/v1/schedules/s")).status_code == 204
    refused(await client.get("/v1/schedules/s"), 404, "schedule_not_found")


async def test_defining_reading_replacing_and_listing(client: httpx.AsyncClient) -> None:
    await put_pool(client)
    made = await put(client, cron="0 9 * * MON-FRI", timezone="Europe/Berlin", overlap="skip")
    assert made["task"] == TASK
    assert (made["misfire"], made["overlap"], made["paused"], made["anchor_at"]) == ("run_once", "skip", False, None)
    found = (await client.get("/v1/schedules/s")).json()
    assert found == {**made, "last_runs": []}
    again = await put(client, cron="0 9 * * MON-FRI", timezone="Europe/Berlin")
    assert (again["id"], again["next_at"], again["overlap"]) == (made["id"], made["next_at"], "allow")
    every = await put(client, "every", interval_s=3600, anchor_at="2100-01-01T00:00:00Z")
    assert every["next_at"] == every["anchor_at"] == "2100-01-01T00:00:00Z"
    first = (await client.get("/v1/schedules", params={"page_size": 1})).json()
    rest = (await client.get("/v1/schedules", params={"page_token": first["next_page_token"]})).json()
    assert [item["name"] for item in first["items"] + rest["items"]] == ["every", "s"]
    assert rest["next_page_token"] is None


async def test_previews(client: httpx.AsyncClient) -> None:
    await put_pool(client)
    body = {"cron": "30 2 * * *", "timezone": "Europe/Berlin", "count": 3}
    shown = (await client.post("/v1/schedules/preview", json=body)).json()
    assert len(shown["ticks"]) == len(shown["local"]) == 3
    assert all("T02:30:00+0" in text or "T03:00:00+02:00" in text for text in shown["local"])
    await put(client, cron="30 2 * * *", timezone="Europe/Berlin")
    stored = (await client.get("/v1/schedules/s/preview", params={"count": 3})).json()
    assert stored == shown
    once = {"at": "2100-01-01T00:00:00Z"}
    assert (await client.post("/v1/schedules/preview", json=once)).json()["ticks"] == [once["at"]]
    assert (await client.get("/v1/schedules")).json()["items"][0]["name"] == "s"


async def test_pause_resume_trigger_and_backfill(client: httpx.AsyncClient, agents: Any) -> None:
    agent = await agents()
    await put_pool(client)
    await register(client, agent.url)
    await put(client, interval_s=3600, anchor_at="2026-01-01T00:00:00Z", task={**TASK, "labels": {"team": "search"}})
    assert (await client.post("/v1/schedules/s/pause")).json()["paused"] is True
    triggered = await client.post("/v1/schedules/s/trigger")
    assert triggered.status_code == 202
    assert (await until_status(client, triggered.json()["task_id"], "succeeded"))["labels"] == {"team": "search"}
    period = {"from": "2026-01-01T00:00:00Z", "until": "2026-01-01T05:00:00Z"}
    answer = await client.post("/v1/schedules/s/backfill", json=period)
    assert (answer.status_code, answer.json()) == (202, {"name": "s", "ticks": 6})
    refused(await client.post("/v1/schedules/s/backfill", json=period), 409, "backfill_running")
    resumed = (await client.post("/v1/schedules/s/resume")).json()
    assert resumed["paused"] is False

    async def made() -> bool:
        runs = (await client.get("/v1/schedules/s/runs")).json()["items"]
        return len(runs) == 7 and all(run["task_status"] == "succeeded" for run in runs)

    await until(made)
    assert (await client.get("/v1/schedules/s")).json()["backfill_until"] is None
    assert all(task["labels"] == {"team": "search"} for task in (await client.get("/v1/tasks")).json()["items"])


@pytest.mark.parametrize(
    ("fields", "code", "path"),
    [
        ({"cron": "0 0 30 2 *"}, "cron_never_fires", "cron"),
        ({"cron": "61 * * * *"}, "bad_cron", "cron"),
        ({"cron": "* * * * * *"}, "bad_cron", "cron"),
        ({"cron": "* * * * *", "timezone": "Europe/Bonn"}, "bad_timezone", "timezone"),
        ({"interval_s": 0.5}, "validation_error", "interval_s"),
        ({"at": "2020-01-01T00:00:00Z"}, "at_is_past", "at"),
        ({"at": "2100-01-01T00:00:00"}, "validation_error", "at"),
        ({"cron": "* * * * *", "interval_s": 60}, "validation_error", ""),
        ({"cron": "* * * * *", "anchor_at": "2026-01-01T00:00:00Z"}, "validation_error", ""),
        ({"interval_s": 60, "task": {"pool": "nowhere"}}, "pool_not_found", "task.pool"),
        ({"interval_s": 60, "task": {"type": "nothing"}}, "no_pool_for_type", "task.type"),
        ({"interval_s": 60, "task": {"pool": "echo", "payload": {}}}, "contract_violation", "task.payload"),
        ({"interval_s": 60, "task": {**TASK, "run_at": "2100-01-01T00:00:00Z"}}, "validation_error", "task"),
        ({"interval_s": 60, "misfire": "sometimes"}, "validation_error", "misfire"),
        ({"interval_s": 60, "paused": True}, "validation_error", "paused"),
    ],
)
async def test_what_is_refused(client: httpx.AsyncClient, fields: dict[str, Any], code: str, path: str) -> None:
    await put_pool(client, input_schema={"type": "object", "required": ["n"]})
    answer = await client.put("/v1/schedules/s", json={"task": TASK, **fields})
    problem = refused(answer, 404 if code == "pool_not_found" else 422, code)
    assert problem["errors"][0]["path"] == path
    assert (await client.get("/v1/schedules")).json()["items"] == []
    if "task" not in fields:
        timing = {name: value for name, value in fields.items() if name not in ("misfire", "paused")}
        previewed = await client.post("/v1/schedules/preview", json=timing)
        assert previewed.status_code in (200, 422)


async def test_too_many_ticks_and_wrong_periods(client: httpx.AsyncClient) -> None:
    await put_pool(client)
    await put(client, cron="* * * * *")
    path = "/v1/schedules/s/backfill"
    year = {"from": "2025-01-01T00:00:00Z", "until": "2026-01-01T00:00:00Z"}
    refused(await client.post(path, json=year), 422, "too_many_ticks")
    refused(await client.post(path, json={"from": year["until"], "until": year["from"]}), 422, "bad_period")
    refused(await client.post(path, json={**year, "until": "2100-01-01T00:00:00Z"}), 422, "bad_period")
    refused(await client.post(path, json={"until": year["until"]}), 422, "validation_error")


async def test_a_trigger_is_refused_as_a_submission_is(app: App) -> None:
    client, yard = app
    await put_pool(client)
    await put(client)
    await put_pool(client, input_schema={"type": "object", "required": ["other"]})
    refused(await client.post("/v1/schedules/s/trigger"), 422, "contract_violation")
    assert (await client.get("/v1/schedules/s/runs")).json()["items"] == []
    async with yard.db.hot() as connection:
        assert await connection.fetchval("SELECT count(*) FROM tasks") == 0


async def test_a_schedule_ends_with_its_key_but_may_be_triggered_by_another(app: App) -> None:
    client, yard = app
    await put_pool(client)
    made = (await client.post("/v1/keys", json={"name": "n", "scopes": ["tasks:write"]})).json()
    body = {"task": TASK, "interval_s": 1}
    answer = await client.put("/v1/schedules/s", json=body, headers=bearer(made["key"]))
    assert answer.json()["created_by"] == made["id"]
    await client.delete(f"/v1/keys/{made['id']}")

    async def failed() -> Any:
        runs = (await client.get("/v1/schedules/s/runs")).json()["items"]
        return next((run for run in runs if run["outcome"] == "failed"), None)

    assert (await until(failed))["reason"].startswith("key_ended: ")
    task_id = (await client.post("/v1/schedules/s/trigger")).json()["task_id"]
    by = client.headers["Authorization"].split("_")[1]
    async with yard.db.hot() as connection:
        assert await connection.fetchval("SELECT submitted_by FROM tasks WHERE id::text = $1", task_id) == by


async def test_another_tenants_schedule_is_not_there(client: httpx.AsyncClient) -> None:
    await put_pool(client)
    await put(client)
    other = bearer(await new_key(client, "admin", tenant="other"))
    period = {"from": "2026-01-01T00:00:00Z", "until": "2026-01-01T05:00:00Z"}
    for method, verb, body in (
        ("GET", "", None), ("DELETE", "", None), ("GET", "/preview", None), ("GET", "/runs", None),
        ("POST", "/pause", None), ("POST", "/resume", None), ("POST", "/trigger", None), ("POST", "/backfill", period),
    ):  # fmt: skip
        answer = await client.request(method, f"/v1/schedules/s{verb}", headers=other, json=body)
        refused(answer, 404, "schedule_not_found")
    assert (await client.get("/v1/schedules", headers=other)).json()["items"] == []
    theirs = await client.put("/v1/schedules/s", headers=other, json={"task": TASK, "interval_s": 60})
    assert theirs.json()["id"] != (await client.get("/v1/schedules/s")).json()["id"]
