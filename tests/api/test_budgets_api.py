"""Budgets over the API: what is set is read back, what makes no sense is refused, and accounts are shown."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx

from app.wiring import Yard
from tests.api.verbs import bearer, new_key, put_pool, refused

App = tuple[httpx.AsyncClient, Yard]
DAY = {"window": {"kind": "day"}, "limit": "100.00"}
DEFAULTS = [
    {"percent": 50, "action": "notify", "per_minute": None, "models": None},
    {"percent": 80, "action": "notify", "per_minute": None, "models": None},
    {"percent": 90, "action": "notify", "per_minute": None, "models": None},
    {"percent": 100, "action": "pause", "per_minute": None, "models": None},
]


async def put(client: httpx.AsyncClient, name: str, **body: Any) -> dict[str, Any]:
    answer = await client.put(f"/v1/budgets/{name}", json={**DAY, **body})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def sql(yard: Yard, statement: str, *args: Any) -> Any:
    async with yard.db.hot() as connection:
        return await connection.fetchval(statement, *args)


async def spend(yard: Yard, budget: dict[str, Any], spent: str, reserved: str = "0", key: str = "") -> None:
    """What the ledger would write, into the current window."""
    record = await yard.money.budget_service.get(budget["name"])
    account = budget["account"] or {"window_start": None, "window_end": None}
    start, end = (
        None if account[name] is None else datetime.fromisoformat(account[name])
        for name in ("window_start", "window_end")
    )
    await sql(
        yard,
        """INSERT INTO budget_accounts (id, budget_id, key, window_start, window_end, unit, "limit", spent, reserved)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8::text::numeric, $9::text::numeric)""",
        record.account_id(key, start), record.id, key, start, end, record.unit, record.limit, spent, reserved,
    )  # fmt: skip


async def test_a_budget_is_set_read_listed_and_deleted(client: httpx.AsyncClient) -> None:
    made = await put(client, "acme-daily", scope={"tenant": "acme"}, window={"kind": "day", "zone": "Asia/Kathmandu"})
    assert made["scope"] == {"tenant": "acme", "pool": None, "model": None, "label": None, "per": None}
    assert made["window"] == {"kind": "day", "zone": "Asia/Kathmandu", "seconds": None}
    assert (made["limit"], made["unit"], made["on_exhausted"], made["control"]) == ("100.00", "usd", "wait", None)
    assert made["thresholds"] == DEFAULTS
    assert made["effective_since"] == made["updated_at"] >= made["created_at"]
    account = made["account"]
    assert (account["spent"], account["remaining"], account["percent"], account["opened_at"]) == (
        "0",
        "100.00",
        0.0,
        None,
    )
    assert datetime.fromisoformat(account["window_start"]) <= datetime.now(UTC)
    assert account["window_start"].endswith("18:15:00Z")
    whole = (await client.get("/v1/budgets/acme-daily")).json()
    assert whole == {**made, "accounts": [account]}
    await put(client, "b", window={"kind": "rolling", "seconds": 3600}, unit="tokens", limit=1_000_000)
    first = (await client.get("/v1/budgets", params={"page_size": 1})).json()
    rest = (await client.get("/v1/budgets", params={"page_token": first["next_page_token"]})).json()
    assert [item["name"] for item in first["items"] + rest["items"]] == ["acme-daily", "b"]
    assert (await client.delete("/v1/budgets/acme-daily")).json() == {**made, "account": None}
    refused(await client.delete("/v1/budgets/acme-daily"), 404, "budget_not_found")
    refused(await client.get("/v1/budgets/acme-daily"), 404, "budget_not_found")
    refused(await client.get("/v1/budgets/acme-daily/accounts"), 404, "budget_not_found")


def at(percent: Any, action: str, **more: Any) -> dict[str, Any]:
    return {"percent": percent, "action": action, **more}


LIMITS: list[Any] = [0, -1, "NaN", "Infinity", 1e13, "0.0000000001", "1e-12", None, True, "ten", []]
BAD: list[dict[str, Any]] = [
    *({"limit": limit} for limit in LIMITS),
    *({"window": window} for window in (
        {"kind": "week"}, {"kind": "day", "zone": "Mars/Olympus"}, {"kind": "day", "zone": "Europe"},
        {"kind": "total", "zone": "UTC"}, {"kind": "rolling"}, {"kind": "rolling", "seconds": 59},
        {"kind": "rolling", "seconds": 31_622_401}, {"kind": "day", "seconds": 3600}, {}, None,
    )),
    *({"scope": scope} for scope in (
        {"tenant": ""}, {"tenant": "a b"}, {"per": "attempt"}, {"label": {"key": "team"}},
        {"label": {"key": "", "value": "x"}}, {"model": ""}, {"model": "m" * 201}, {"agent": "x"},
    )),
    *({"thresholds": [item]} for item in (
        at(0, "notify"), at(1001, "notify"), at(50.5, "notify"), at("50", "notify"), at(50, "explode"),
        at(50, "throttle"), at(50, "throttle", per_minute=0), at(50, "notify", per_minute=1), at(50, "downgrade"),
        at(50, "downgrade", models={}), at(50, "downgrade", models={"a": "a"}), at(50, "notify", models={"a": "b"}),
        at(50, "downgrade", models={f"m{n}": "a" for n in range(51)}), at(100, "stop"),
    )),
    {"thresholds": [at(50, "notify"), at(50, "notify")]},
    {"thresholds": [at(n, "notify") for n in range(1, 12)]},
    {"scope": {"tenant": "a", "model": "gpt-5"}, "thresholds": [at(100, "stop")]},
    {"scope": {"label": {"key": "a", "value": "b"}}, "thresholds": [at(100, "stop")]},
    {"unit": "tokens", "limit": "1.5"},
    {"unit": "euros"},
    {"on_exhausted": "panic"},
    {"extra": 1},
]  # fmt: skip


async def test_what_is_no_budget(client: httpx.AsyncClient) -> None:
    for body in BAD:
        answer = await client.put("/v1/budgets/b", json={**DAY, **body})
        assert answer.status_code == 422, (body, answer.text)
        assert answer.json()["code"] == "validation_error", body
    raw = await client.put(
        "/v1/budgets/b", content=b'{"window":{"kind":"day"},"limit":NaN}', headers={"Content-Type": "application/json"}
    )
    refused(raw, 400, "malformed_json")
    refused(await client.put("/v1/budgets/b", json={**DAY, "scope": {"pool": "nowhere"}}), 422, "unknown_pool")
    refused(await client.put("/v1/budgets/%20", json=DAY), 422, "validation_error")
    refused(await client.put("/v1/budgets/control-x", json=DAY), 409, "budget_of_control")
    refused(await client.get("/v1/budgets", params={"page_token": "WyJrZXlzIiwiYSJd"}), 400, "bad_page_token")
    weak = bearer(await new_key(client, "pools:admin", "tasks:read"))
    refused(await client.get("/v1/budgets", headers=weak), 403, "forbidden")
    refused(await client.put("/v1/budgets/b", json=DAY, headers=weak), 403, "forbidden")
    assert (await client.get("/v1/budgets")).json()["items"] == []


async def test_every_change_is_counted_and_only_those_that_move_money_make_room(app: App) -> None:
    client, yard = app
    rooms: list[int] = []
    yard.money.budget_service._on_room = lambda: rooms.append(1)

    async def epoch() -> int:
        value = int(await sql(yard, "SELECT epoch FROM budget_epoch"))
        assert yard.money.budgets.epoch == value
        return value

    begin = await epoch()
    made = await put(client, "b")
    assert (await epoch(), len(rooms)) == (begin + 1, 0)
    assert await put(client, "b") == made
    assert (await epoch(), len(rooms)) == (begin + 1, 0)
    raised = await put(client, "b", limit="200")
    assert (await epoch(), len(rooms), raised["id"]) == (begin + 2, 1, made["id"])
    assert raised["effective_since"] > made["effective_since"]
    moved = await put(client, "b", limit="200", window={"kind": "month"})
    assert (await epoch(), len(rooms)) == (begin + 3, 2)
    assert moved["id"] != made["id"]
    await client.delete("/v1/budgets/b")
    assert (await epoch(), len(rooms)) == (begin + 4, 3)
    assert yard.money.budgets.budgets == ()


async def test_a_limit_below_what_is_spent_holds_at_once(app: App) -> None:
    client, yard = app
    made = await put(client, "b")
    await spend(yard, made, "60.50", "4.25")
    lowered = await put(client, "b", limit="50")
    account = lowered["account"]
    assert (account["limit"], account["spent"], account["reserved"], account["remaining"]) == (
        "50",
        "60.50",
        "4.25",
        "0",
    )
    assert account["percent"] == 129.5
    assert [item["percent"] for item in account["reached"]] == [50, 80, 90, 100]
    # Another scope is another question: the old account is history.
    other = await put(client, "b", limit="50", scope={"tenant": "acme"})
    assert (other["account"]["spent"], other["id"] == made["id"]) == ("0", False)
    assert await sql(yard, "SELECT count(*) FROM budget_accounts WHERE budget_id = $1", UUID(made["id"])) == 1


async def test_accounts_of_keys_and_of_past_windows_are_listed(app: App) -> None:
    client, yard = app
    await put_pool(client)
    made = await put(client, "per-thread", scope={"pool": "echo", "per": "thread"}, window={"kind": "total"})
    assert made["account"] is None
    for key, spent in (("a", "1"), ("b", "30"), ("c", "20")):
        await spend(yard, made, spent, key=key)
    whole = (await client.get("/v1/budgets/per-thread")).json()
    assert [(item["key"], item["spent"]) for item in whole["accounts"]] == [("b", "30"), ("c", "20"), ("a", "1")]
    assert whole["account"]["key"] == "b"
    found, token = [], None
    for _ in range(2):
        params = {"page_size": 2} | ({"page_token": token} if token else {})
        page = (await client.get("/v1/budgets/per-thread/accounts", params=params)).json()
        found += [item["key"] for item in page["items"]]
        token = page["next_page_token"]
    assert (sorted(found), token) == (["a", "b", "c"], None)
    one = (await client.get("/v1/budgets/per-thread/accounts", params={"key": "c"})).json()["items"]
    assert [item["spent"] for item in one] == ["20"]

    daily = await put(client, "daily")
    await spend(yard, daily, "5")
    await sql(
        yard,
        """INSERT INTO budget_accounts (id, budget_id, key, window_start, window_end, unit, "limit", spent)
        SELECT gen_random_uuid(), budget_id, key, window_start - make_interval(days => d), window_start, unit,
          "limit", d
        FROM budget_accounts, generate_series(1, 3) d WHERE budget_id = $1""",
        UUID(daily["id"]),
    )
    first = (await client.get("/v1/budgets/daily/accounts", params={"page_size": 2})).json()
    rest = (await client.get("/v1/budgets/daily/accounts", params={"page_token": first["next_page_token"]})).json()
    assert [item["spent"] for item in first["items"] + rest["items"]] == ["5", "1", "2", "3"]
    assert [item["spent"] for item in (await client.get("/v1/budgets/daily")).json()["accounts"]] == ["5"]
    refused(
        await client.get("/v1/budgets/per-thread/accounts", params={"page_token": first["next_page_token"]}),
        400,
        "bad_page_token",
    )


async def test_what_has_left_a_rolling_window_is_not_shown(app: App) -> None:
    client, yard = app
    made = await put(client, "b", window={"kind": "rolling", "seconds": 600})
    await spend(yard, made, "9")
    account = UUID((await client.get("/v1/budgets/b")).json()["account"]["id"])
    await sql(yard, "UPDATE budget_accounts SET slice_s = 10 WHERE id = $1", account)
    await sql(
        yard,
        """INSERT INTO budget_slices (account_id, start, spent)
        VALUES ($1, now() - interval '620 s', 4), ($1, now() - interval '30 s', 5)""",
        account,
    )
    assert (await client.get("/v1/budgets/b")).json()["account"]["spent"] == "5"
