"""`/v1/pools/{pool}/scaling`, `…/demand` and `…/load` over the API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from app.core.http import encode_page_token
from app.scaling import wire
from app.scaling.decision import Decision
from app.settings import KubernetesSettings
from app.wiring import Yard
from tests.conftest import running_app, settings_for
from tests.support.service import Backing

Running = tuple[httpx.AsyncClient, Yard]
POOL = "work"


async def define(client: httpx.AsyncClient, **fields: Any) -> httpx.Response:
    return await client.put(f"/v1/pools/{POOL}", json={"slots": 2, **fields})


async def judged(running: Running) -> None:
    _, yard = running
    await yard.view.refresh()
    await yard.fleets.autoscale.tick()


async def test_before_the_first_pass_there_is_no_decision_and_no_number_is_missing(app: Running) -> None:
    client, _ = app
    await define(client)
    shown = (await client.get(f"/v1/pools/{POOL}/scaling")).json()
    assert (shown["decision"], shown["conditions"], shown["launch"]) == (None, [], "external")
    demand = (await client.get(f"/v1/pools/{POOL}/demand")).json()
    numbers = {name: value for name, value in demand.items() if name not in ("pool", "at", "slots_per_replica")}
    assert set(numbers.values()) == {0}, numbers


async def test_the_demand_of_a_pool_with_work(app: Running) -> None:
    client, _ = app
    await define(client, scale={"min": 0, "max": 3})
    for _ in range(5):
        assert (await client.post("/v1/tasks", json={"pool": POOL, "payload": {}})).status_code == 202
    fresh = (await client.get(f"/v1/pools/{POOL}/demand")).json()
    assert (fresh["queued"], fresh["replicas_needed"], fresh["slots_needed"]) == (5, 3, 6), "nobody has judged it yet"
    await judged(app)
    known = (await client.get(f"/v1/pools/{POOL}/demand")).json()
    assert known["queued"] == 5 and known["replicas_needed"] >= 1
    shown = (await client.get(f"/v1/pools/{POOL}/scaling")).json()
    assert shown["decision"]["applied"] is False and shown["decision"]["inputs"]["queued"] == 5
    assert shown["desired"] == 0, "others start its agents"


@pytest.mark.parametrize(
    ("code", "recommended", "scale", "needed"),
    [
        ("queue_wait", 7, {"max": 9}, 7),
        ("queue_wait", 1, {"max": 9}, 2),
        ("queue_wait", 50, {"max": 9}, 9),
        ("idle", 0, {"min": 3, "max": 9}, 3),
        ("queue_wait", 0, {"max": 1}, 1),
        ("manual", 0, {"max": 9, "policy": "manual"}, 4),
        ("frozen", 0, {"max": 9}, 4),
    ],
)
async def test_the_demand_is_within_bounds_and_what_runs_is_kept(
    app: Running, code: str, recommended: int, scale: dict[str, Any], needed: int
) -> None:
    client, yard = app
    await define(client, scale=scale)
    async with yard.db.hot() as connection:
        await connection.execute(
            """INSERT INTO tasks (id, tenant, submitted_by, pool, type, payload, priority, tag, status, max_attempts)
            SELECT gen_random_uuid(), 't', 'k', $1, 'w', '{}', 0, 0, status, 3
            FROM unnest(ARRAY['running', 'running', 'running', 'queued', 'queued', 'queued', 'queued']) AS status""",
            POOL,
        )
        await connection.execute(
            """INSERT INTO pool_scaling (pool, decision)
            VALUES ($1, json_build_object('code', $2::text, 'recommended', $3::int))
            ON CONFLICT (pool) DO UPDATE SET decision = EXCLUDED.decision, decided_at = clock_timestamp()""",
            POOL,
            code,
            recommended,
        )
    demand = (await client.get(f"/v1/pools/{POOL}/demand")).json()
    assert (demand["running"], demand["queued"]) == (3, 4)
    assert (demand["replicas_needed"], demand["slots_needed"]) == (needed, 2 * needed)


def test_the_example_names_a_code_that_there_is() -> None:
    assert f"`{wire.DECISION_EXAMPLE['code']}`" in (Decision.__doc__ or "")


async def test_decisions_by_page_the_newest_first(app: Running) -> None:
    client, yard = app
    await define(client)
    async with yard.db.hot() as connection:
        for number in range(5):
            await connection.execute(
                """INSERT INTO scale_decisions (id, pool, before, desired, recommended, code, reason, inputs)
                VALUES (lpad(to_hex($1::int), 32, '0')::uuid, $2, 0, $1, $1, 'queue_wait', 'why', '{"queued": 1}')""",
                number,
                POOL,
            )
    first = (await client.get(f"/v1/pools/{POOL}/scaling/decisions", params={"page_size": 3})).json()
    rest = (
        await client.get(f"/v1/pools/{POOL}/scaling/decisions", params={"page_token": first["next_page_token"]})
    ).json()
    assert [item["desired"] for item in first["items"] + rest["items"]] == [4, 3, 2, 1, 0]
    assert rest["next_page_token"] is None and first["items"][0]["inputs"] == {"queued": 1}


async def test_the_load_by_page_the_oldest_first(app: Running) -> None:
    client, yard = app
    await define(client)
    start = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=10)
    async with yard.db.hot() as connection:
        for number in range(5):
            await connection.execute(
                "INSERT INTO pool_load VALUES ($1, $2, $3, 2, 6, 20, 1, 1, 1)",
                POOL,
                start + timedelta(minutes=number),
                float(number),
            )
    first = (await client.get(f"/v1/pools/{POOL}/load", params={"page_size": 3})).json()
    rest = (await client.get(f"/v1/pools/{POOL}/load", params={"page_token": first["next_page_token"]})).json()
    assert [item["arrivals"] for item in first["items"] + rest["items"]] == [0, 1, 2, 3, 4]
    assert first["items"][0]["service_mean_s"] == 3.0
    assert first["items"][0]["service_cv"] == pytest.approx(1 / 3)
    later = {"from": (start + timedelta(minutes=4)).isoformat()}
    assert len((await client.get(f"/v1/pools/{POOL}/load", params=later)).json()["items"]) == 1


@pytest.mark.parametrize("path", ["scaling", "scaling/decisions", "demand", "load"])
async def test_a_pool_that_is_not_there(app: Running, path: str) -> None:
    client, _ = app
    answer = await client.get(f"/v1/pools/nobody/{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "pool_not_found")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("load?from=2026-11-20T00:00:00", "time_without_offset"),
        ("load?from=0001-01-01T00:00:00%2B14:00", "time_out_of_range"),
        ("load?until=9999-12-31T23:59:59-14:00", "time_out_of_range"),
        ("load?page_token=abc", "bad_page_token"),
        (f"load?page_token={encode_page_token('load', '0001-01-01T00:00:00+14:00')}", "bad_page_token"),
        ("scaling/decisions?page_token=abc", "bad_page_token"),
    ],
)
async def test_what_cannot_be_read(app: Running, path: str, code: str) -> None:
    client, _ = app
    await define(client)
    answer = await client.get(f"/v1/pools/{POOL}/{path}")
    assert answer.status_code in (400, 422) and answer.json()["code"] == code


@pytest.mark.parametrize(
    ("scale", "says"),
    [
        ({"min": 3, "max": 2}, "scale.min is greater than scale.max"),
        ({"min": -1}, "greater than or equal to 0"),
        ({"low": 0.9, "high": 0.8}, "scale.low is not below scale.high"),
        ({"max_usd_per_hour": 5}, "needs scale.replica_usd_per_hour"),
        ({"max": 2, "schedule": [{"cron": "0 8 * * *", "duration_s": 60, "min": 3}]}, "greater than scale.max"),
        ({"schedule": [{"cron": "0 8 * *", "duration_s": 60, "min": 1}]}, "cron"),
        ({"schedule": [{"cron": "0 0 31 2 *", "duration_s": 60, "min": 1}]}, "not a time that ever comes"),
        ({"schedule": [{"cron": "0 8 * * *", "duration_s": 60, "min": 1, "timezone": "Mars/North"}]}, "no time zone"),
        ({"policy": "magic"}, "queue_wait"),
        ({"wait_share": 0}, "greater than"),
        ({"what": 1}, "Extra inputs"),
    ],
)
async def test_a_scale_policy_that_cannot_be(app: Running, scale: dict[str, Any], says: str) -> None:
    client, _ = app
    answer = await define(client, scale=scale)
    assert answer.status_code == 422, answer.text
    assert says in answer.text


async def test_a_launch_that_this_service_cannot_do(app: Running) -> None:
    client, _ = app
    answer = await define(client, launch={"kind": "kubernetes", "image": "agents:1"})
    assert (answer.status_code, answer.json()["code"]) == (422, "launch_not_allowed")
    assert "YARD_KUBERNETES_MODE" in answer.json()["detail"]


async def test_a_secret_that_no_launch_may_name(backing: Backing) -> None:
    kubernetes = KubernetesSettings(mode="off", allowed_secrets=["llm-keys"])
    async with running_app(settings_for(backing, kubernetes=kubernetes), backing.admin_key) as (client, yard):
        yard.registry._launches = ["kubernetes"]  # what the mode would allow, without a cluster
        launch = {"kind": "kubernetes", "image": "agents:1", "env_from_secrets": ["yardmaster-secrets"]}
        refused = await define(client, launch=launch)
        assert (refused.status_code, refused.json()["code"]) == (422, "launch_not_allowed")
        assert "yardmaster-secrets" in refused.json()["detail"]
        assert (await define(client, launch={**launch, "env_from_secrets": ["llm-keys"]})).status_code == 200
