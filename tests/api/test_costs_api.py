"""Reports of costs over the API: from the roll-ups, one's own, in JSON, CSV and FOCUS."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import httpx
import pytest

from app.costs import reports_api
from app.costs.advice import ModelOption
from app.costs.focus import COLUMNS
from app.costs.rollup import add_dirty
from app.settings import CostSettings
from app.wiring import Yard
from tests.api.verbs import bearer, new_key, put_pool, refused, register
from tests.conftest import running_app, settings_for
from tests.costs.usage_rows import Used
from tests.costs.usage_rows import write as add
from tests.support.service import Backing

type App = tuple[httpx.AsyncClient, Yard]
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


@pytest.fixture
async def app(backing: Backing) -> AsyncIterator[App]:
    """A manager that rolls up when a test says so."""
    async with running_app(settings_for(backing, costs=CostSettings(interval_s=3600)), backing.admin_key) as running:
        yield running


async def write(yard: Yard, rows: Sequence[Used]) -> None:
    """Add usage of the past, and roll it up."""
    await add(yard.db, rows)
    async with yard.db.hot() as connection:
        await add_dirty(connection, [row.at for row in rows])
    while (done := await yard.money.rollup.roll()) is None or done.more:
        pass


async def get(client: httpx.AsyncClient, path: str = "/v1/costs", **params: Any) -> dict[str, Any]:
    answer = await client.get(path, params={name.rstrip("_"): value for name, value in params.items()})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def table_of(answer: httpx.Response) -> list[dict[str, str]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


ROWS = [
    Used(TODAY - 2 * DAY + 3 * HOUR, "1.5", labels={"team": "ads"}),
    Used(TODAY - 2 * DAY + 5 * HOUR, "0.5", "failed", pool="q"),
    Used(TODAY - DAY, "2", model="n", labels={"team": "search"}),
    Used(TODAY - DAY, None, model="home-made"),
    Used(TODAY - DAY, "0.25", synthetic=True),
    Used(TODAY - DAY, "4", tenant="acme", pool="=cmd()"),
    Used(TODAY - 300 * DAY, "8"),
]


async def test_reports(app: App) -> None:
    client, yard = app
    empty = await get(client, group_by="day")
    assert (empty["items"], empty["as_of"], empty["totals"]["cost_usd"]) == ([], None, "0")
    await write(yard, ROWS)

    found = await get(client, group_by="day")
    assert [(item["day"], item["cost_usd"]) for item in found["items"]] == [
        (str((TODAY - 2 * DAY).date()), "2"), (str((TODAY - DAY).date()), "6"),
    ]  # fmt: skip
    assert found["items"][0] | found["totals"] == found["items"][0] | {
        "attempts": 5, "succeeded": 4, "input_tokens": 500, "output_tokens": 50, "cost_usd": "8", "waste_usd": "0.5",
        "unpriced": 1, "unpriced_tokens": 110, "cost_per_success_usd": "2",
    }  # fmt: skip
    assert (found["synthetic"]["cost_usd"], found["synthetic"]["attempts"]) == ("0.25", 1)
    assert found["as_of"] is not None

    assert (await get(client, synthetic="include"))["totals"]["cost_usd"] == "8.25"
    only = await get(client, group_by="pool", synthetic="only")
    assert [(item["pool"], item["cost_usd"]) for item in only["items"]] == [("p", "0.25")]
    by_label = await get(client, group_by="label:team", tenant="default")
    assert {item["label:team"]: item["cost_usd"] for item in by_label["items"]} == {
        None: "0.5", "ads": "1.5", "search": "2",
    }  # fmt: skip
    by_outcome = await get(client, group_by="outcome,pool")
    assert [item for item in by_outcome["items"] if item["outcome"]] == [
        {"outcome": "failed", "pool": "q", "attempts": 1, "succeeded": 0, "input_tokens": 100, "output_tokens": 10,
         "cost_usd": "0.5", "waste_usd": "0.5", "unpriced": 0, "unpriced_tokens": 0, "cost_per_success_usd": None}
    ]  # fmt: skip
    assert (await get(client, label="team=ads"))["totals"]["cost_usd"] == "1.5"
    assert (await get(client, model="n", pool="p", type="work"))["totals"]["cost_usd"] == "2"
    begin, end = TODAY - 2 * DAY + 4 * HOUR, TODAY - DAY + HOUR
    ragged = await get(client, group_by="hour", from_=begin.isoformat(), to=end.isoformat())
    assert [item["cost_usd"] for item in ragged["items"]] == ["0.5", "6"]
    assert ragged["items"][0]["hour"].endswith("T05:00:00Z")
    assert (await get(client, from_=begin.isoformat(), to=end.isoformat()))["totals"]["cost_usd"] == "6.5"
    year_ago = (TODAY - 300 * DAY).date()
    assert (await get(client, from_=str(year_ago), to=str(year_ago + DAY)))["totals"]["cost_usd"] == "8"
    hour = {"group_by": "hour", "from": str(year_ago)}
    refused(await client.get("/v1/costs", params=hour), 422, "report_invalid")
    refused(await client.get("/v1/costs", params={"from": f"{year_ago}T05:00:00Z"}), 422, "report_invalid")


async def test_pages_and_exports(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    client, yard = app
    await write(yard, ROWS)
    whole = await get(client, group_by="day,model,label:team")
    pages, token = [], None
    while True:
        page = await get(
            client, group_by="day,model,label:team", page_size=1, **({"page_token": token} if token else {})
        )
        pages += page["items"]
        assert page["totals"] == whole["totals"]
        if (token := page["next_page_token"]) is None:
            break
        other = await client.get("/v1/costs", params={"group_by": "day,pool,model", "page_token": token})
        refused(other, 400, "bad_page_token")
    assert pages == whole["items"]
    assert len(pages) == 5
    assert (await get(client, group_by="hour,pool", page_size=1))["next_page_token"]

    monkeypatch.setattr(reports_api, "CHUNK", 2)
    for chosen in ({"params": {"group_by": "pool", "format": "csv"}},
                   {"params": {"group_by": "pool"}, "headers": {"accept": "text/csv"}}):  # fmt: skip
        found = table_of(await client.get("/v1/costs", **chosen))
        assert [(row["pool"], row["cost_usd"]) for row in found] == [("'=cmd()", "4"), ("p", "3.5"), ("q", "0.5")]
    (total,) = table_of(await client.get("/v1/costs", params={"format": "csv"}))
    assert total["cost_usd"] == "8"
    charges = table_of(await client.get("/v1/costs", params={"format": "focus", "synthetic": "include"}))
    assert tuple(charges[0]) == COLUMNS
    assert len(charges) == 6
    assert sum(Decimal(row["BilledCost"]) for row in charges) == Decimal("8.25")
    assert {row["SubAccountId"] for row in charges} == {"default", "acme"}
    refused(await client.get("/v1/costs", params={"format": "focus", "group_by": "day"}), 422, "report_invalid")


async def test_everybody_sees_their_own(app: App) -> None:
    client, yard = app
    await write(yard, ROWS)
    other = bearer(await new_key(client, "tasks:read", tenant="acme"))
    answer = await client.get("/v1/costs", params={"group_by": "tenant"}, headers=other)
    assert [(item["tenant"], item["cost_usd"]) for item in answer.json()["items"]] == [("acme", "4")]
    assert answer.json()["totals"]["attempts"] == 1
    found = table_of(await client.get("/v1/costs", params={"format": "focus"}, headers=other))
    assert [row["SubAccountId"] for row in found] == ["acme"]
    for path in ("/v1/costs", "/v1/costs/analysis"):
        refused(await client.get(path, params={"tenant": "default"}, headers=other), 403, "forbidden")
        assert (await client.get(path, params={"tenant": "acme"}, headers=other)).status_code == 200
        assert (await get(client, path, tenant="acme"))["totals"]["cost_usd"] == "4"
    analysis = (await client.get("/v1/costs/analysis", headers=other)).json()
    assert analysis["totals"]["cost_usd"] == "4"


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"group_by": "colour"}, "report_invalid"),
    ({"label": "team"}, "report_invalid"),
    ({"from": "NaN"}, "validation_error"),
    ({"from": "1e400"}, "validation_error"),
    ({"to": "99999999999999999"}, "validation_error"),
    ({"from": "-1"}, "report_invalid"),
    ({"from": "2026-11-02", "to": "2026-11-01"}, "report_invalid"),
    ({"synthetic": "maybe"}, "validation_error"),
    ({"format": "xml"}, "validation_error"),
    ({"page_size": 0}, "validation_error"),
    ({"page_size": 100_000}, "validation_error"),
    ({"pool": ""}, "validation_error"),
    ({"pool": "a\x00"}, "null_byte"),
    ({"unknown": "1"}, "validation_error"),
]


async def test_what_is_no_report(client: httpx.AsyncClient) -> None:
    for params, code in WRONG:
        refused(await client.get("/v1/costs", params=params), 422, code)


async def budget(yard: Yard, **fields: Any) -> None:
    """A budget with its account, as others write them."""
    values = {"limit": Decimal(100), "spent": Decimal(90), "kind": "total", "start": None, "end": None, **fields}
    key = uuid4()
    async with yard.db.hot() as connection:
        await connection.execute(
            """INSERT INTO budgets (name, id, tenant, window_kind, rolling_s, unit, "limit", thresholds, created_by,
              created_by_tenant) VALUES ($1, $2, $3, $4, $5, 'usd', $6, '[]', 'k', 'default')""",
            values["name"], key, values.get("tenant"), values["kind"], values.get("rolling_s"), values["limit"],
        )  # fmt: skip
        await connection.execute(
            """INSERT INTO budget_accounts (id, budget_id, key, window_start, window_end, unit, "limit", spent,
              opened_at) VALUES ($1, $2, '', $3, $4, 'usd', $5, $6, now() - interval '10 days')""",
            uuid4(), key, values["start"], values["end"], values["limit"], values["spent"],
        )  # fmt: skip


async def test_the_analysis(app: App) -> None:
    client, yard = app
    first = await get(client, "/v1/costs/analysis")
    assert (first["trend"], first["projection"], first["daily_average_usd"], first["models"]) == (None, None, None, [])
    assert first["missing"]["trend"] == "needs 7 full days with usage before today; there are 0"

    costs = [str(10 + n % 3) for n in range(30)]
    costs[8], costs[25:] = "50", ["10", "14", "18", "22", "26"]
    rows = [Used(TODAY - n * DAY, usd, model="big") for n, usd in zip(range(30, 0, -1), costs, strict=True)]
    rows += [Used(TODAY - n * DAY, "0.5", "failed", pool="q") for n in range(1, 6)]
    await write(yard, rows)
    pool = await put_pool(client, "idle")
    await register(client, "http://127.0.0.1:1", pool["name"])
    await budget(yard, name="whole")
    await budget(yard, name="acme's", tenant="acme", spent=Decimal(1), kind="rolling", rolling_s=86_400.0)
    await budget(yard, name="past", start=TODAY - 2 * DAY, end=TODAY - DAY, kind="day")
    async with yard.db.hot() as connection:
        await connection.execute("UPDATE agents SET status = 'idle', registered_at = now() - interval '2 days'")
        await retried(connection, 25)

    async def options() -> list[ModelOption]:
        return [
        ModelOption("big", Decimal("0.01"), Decimal("0.01"), 0.9), ModelOption("own", Decimal(0), Decimal(0), 0.95),
    ]  # fmt: skip

    yard.money.analyst.options = options
    found = await get(client, "/v1/costs/analysis")
    assert Decimal(found["trend"]["slope_usd_per_day"]) > 2
    assert len(found["days"]) == 30
    assert found["projection"]["month"] == f"{TODAY:%Y-%m}"
    assert [one["day"] for one in found["anomalies"]][-1] == str((TODAY - 22 * DAY).date())
    assert found["waste"] == [{"pool": "q", "outcome": "failed", "attempts": 5, "cost_usd": "2.5"}]
    assert [(one["name"], one["spent"], one["why"]) for one in found["budgets"]] == [
        ("whole", "90", "at this rate"),
        ("acme's", "1", "a rolling window gives back what leaves it"),
        ("past", "0", "not enough data: the window has just begun"),
    ]
    kinds = {one["kind"]: one for one in found["suggestions"]}
    assert set(kinds) == {"substitute_model", "rising_trend", "budget_strained", "idle_agents", "hopeless_retries"}
    assert kinds["substitute_model"]["savings_usd"] == found["models"][0]["cost_usd"]
    assert kinds["hopeless_retries"]["basis"] == {"retries": 25, "succeeded": 0, "cost_usd": "0"}
    assert kinds["idle_agents"]["basis"]["agents"] == 1
    assert found["missing"] == {}
    theirs = bearer(await new_key(client, "tasks:read", tenant="acme"))
    other = (await client.get("/v1/costs/analysis", headers=theirs)).json()
    assert [one["name"] for one in other["budgets"]] == ["acme's"]


async def retried(connection: Any, count: int) -> None:
    """Tasks whose second attempt failed."""
    await connection.execute(
        """WITH made AS (
          INSERT INTO tasks (id, tenant, submitted_by, pool, type, payload, priority, tag, status, attempt,
            max_attempts, finished_at)
          SELECT gen_random_uuid(), 'default', 'k', 'p', 'work', '{}', 0, 1, 'failed', 2, 2, now()
          FROM generate_series(1, $1::int) RETURNING id
        )
        INSERT INTO attempts (task_id, fence, attempt, pool, outcome, counted)
        SELECT id, 2, 2, 'p', 'failed', true FROM made""",
        count,
    )


async def test_metrics_say_what_has_no_price(app: App) -> None:
    client, yard = app
    await write(yard, [Used(datetime.now(UTC), None), Used(datetime.now(UTC), "1.25")])
    while await yard.money.rollup.tick() not in (None, 3600.0):
        pass
    text = (await client.get("/metrics")).text
    assert "yard_costs_unpriced_rows 1.0" in text
    assert 'yard_costs_usd{pool="p"} 1.25' in text


async def test_an_attempt_of_two_models_is_one_in_the_totals(app: App) -> None:
    client, yard = app
    task = uuid4()
    rows = [Used(TODAY - DAY, "2", task=task), Used(TODAY - DAY, "3", task=task, ordinal=1, model="n")]
    await write(yard, [*rows, Used(TODAY - DAY, "1", "failed", synthetic=False)])
    whole, by_model = await get(client), await get(client, group_by="model")
    assert by_model["totals"] == whole["totals"]
    assert (whole["totals"]["attempts"], whole["totals"]["cost_per_success_usd"]) == (2, "6")
    assert {item["model"]: item["attempts"] for item in by_model["items"]} == {"m": 2, "n": 1}
    assert (await get(client, model="n"))["totals"]["attempts"] == 1


async def test_a_success_that_used_no_model_is_one(app: App) -> None:
    client, yard = app
    task = uuid4()
    last = Used(TODAY - DAY, "0", model="", tokens=(0, 0), task=task, fence=2)
    await write(yard, [Used(TODAY - DAY, "3", "suspended", task=task), last])
    for groups in ({}, {"group_by": "model"}):
        totals = (await get(client, **groups))["totals"]
        assert (totals["succeeded"], totals["cost_per_success_usd"]) == (1, "3")
    assert [item["model"] for item in (await get(client, group_by="model"))["items"]] == ["m"]
    export = table_of(await client.get("/v1/costs", params={"format": "focus"}))
    assert [row["SkuId"] for row in export] == ["m"]


async def test_the_average_is_of_the_days_that_are_asked_for(app: App) -> None:
    client, yard = app
    await write(yard, [Used(TODAY - days * DAY, str(10**days)) for days in range(5)])
    for days, average in ((1, None), (2, "10"), (3, "55"), (4, "370")):
        assert (await get(client, "/v1/costs/analysis", days=days))["daily_average_usd"] == average


async def test_absurd_amounts_are_shown(app: App) -> None:
    client, yard = app
    rows = [Used(TODAY - DAY, "1000000000000000000.00000000001"), Used(TODAY - DAY, "8000000000000000000.5")]
    await write(yard, rows)
    assert (await get(client))["totals"]["cost_usd"] == "9000000000000000000.5"
    tiny = {"window": {"kind": "total"}, "limit": "0.000000001"}
    assert (await client.put("/v1/budgets/tiny", json=tiny)).status_code == 200
    async with yard.db.hot() as connection:
        await connection.execute(
            'INSERT INTO budget_accounts (id, budget_id, key, unit, "limit", spent) '
            "SELECT $1, id, '', unit, \"limit\", 1e18 FROM budgets",
            (await yard.money.budget_service.get("tiny")).account_id("", None),
        )
    assert (await get(client, "/v1/budgets/tiny"))["account"]["spent"].startswith("1000000000000000000")
    assert (await get(client, "/v1/costs/analysis"))["budgets"][0]["name"] == "tiny"


async def test_what_left_a_rolling_window_is_not_in_the_analysis(app: App) -> None:
    client, yard = app
    body = {"window": {"kind": "rolling", "seconds": 3600}, "limit": "10"}
    assert (await client.put("/v1/budgets/r", json=body)).status_code == 200
    account = (await yard.money.budget_service.get("r")).account_id("", None)
    async with yard.db.hot() as connection:
        await connection.execute(
            'INSERT INTO budget_accounts (id, budget_id, key, unit, "limit", spent, slice_s, opened_at) '
            "SELECT $1, id, '', unit, \"limit\", 9.5, 60, now() - interval '2 days' FROM budgets",
            account,
        )
        await connection.execute(
            "INSERT INTO budget_slices (account_id, start, spent) VALUES ($1, now() - interval '1 day', 9.5)", account
        )
    found = await get(client, "/v1/costs/analysis")
    assert (Decimal(found["budgets"][0]["spent"]), found["suggestions"]) == (0, [])
