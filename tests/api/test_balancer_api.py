"""What a balancer knows, and the attempts it could have learned from, as operators read them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from app.core.http import encode_page_token
from app.dispatch.balancers.base import TaskView
from app.dispatch.balancers.registry import BUILT_IN
from app.wiring import Yard
from tests.api.verbs import Failing, put_pool, refused, register, run, submit, until
from tests.dispatch.balancers.offers import FAILED

App = tuple[httpx.AsyncClient, Yard]
NOBODY = "http://127.0.0.1:9"
LEARNERS = {"ai_optimized"}


async def balancer_of(client: httpx.AsyncClient, pool: str = "echo", **params: Any) -> dict[str, Any]:
    answer = await client.get(f"/v1/pools/{pool}/balancer", params=params)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def known_agents(client: httpx.AsyncClient, count: int) -> list[dict[str, Any]]:
    """The pool's agents once this manager's balancer knows so many."""

    async def there() -> list[dict[str, Any]] | None:
        shown = await balancer_of(client)
        return list(shown["agents"]) if shown["agents_total"] == count else None

    return list(await until(there))


@pytest.mark.parametrize("balancer", sorted(BUILT_IN))
async def test_every_strategy_is_explained_the_ejected_first(app: App, balancer: str) -> None:
    client, yard = app
    await put_pool(client, balancer=balancer)
    for number in range(7):
        await register(client, f"{NOBODY}/{number}", slots=2, version="1.4")
    agents = await known_agents(client, 7)
    assert [agent["id"] for agent in agents] == sorted(agent["id"] for agent in agents)
    last = agents[-1]["id"]
    for number in range(8):
        yard.placer.finished("echo", yard.view.agents[UUID(last)], TaskView(str(number), "echo"), FAILED)
    shown = await balancer_of(client)
    assert (shown["pool"], shown["strategy"], shown["runs"]) == ("echo", balancer, balancer)
    assert (shown["manager_id"], shown["managers"]) == (str(yard.me), 1)
    assert (shown["errors"], shown["last_error"], shown["agents_total"]) == (0, None, 7)
    first, *others = shown["agents"]
    assert first["id"] == last and first["ejected_s"] > 0 and first["ejected_reason"]
    assert {(agent["ejected_s"], agent["ejected_reason"]) for agent in others} == {(None, None)}
    assert {(agent["version"], agent["slots"], agent["in_flight"]) for agent in shown["agents"]} == {("1.4", 2, 0)}
    assert (first["learned"] != {}) == (balancer in LEARNERS)
    assert [agent["id"] for agent in (await balancer_of(client, agents=1))["agents"]] == [last]
    none = await balancer_of(client, agents=0)
    assert (none["agents"], none["agents_total"]) == ([], 7)


async def test_unknown_pools_and_bad_counts_are_refused(client: httpx.AsyncClient) -> None:
    await put_pool(client)
    refused(await client.get("/v1/pools/nowhere/balancer"), 404, "pool_not_found")
    refused(await client.get("/v1/pools/nowhere/attempts"), 404, "pool_not_found")
    for params in ({"agents": -1}, {"agents": 10_001}, {"agents": "all"}):
        refused(await client.get("/v1/pools/echo/balancer", params=params), 422, "validation_error")
    for params in ({"page_size": 0}, {"page_size": 5001}, {"since": "yesterday"}):
        refused(await client.get("/v1/pools/echo/attempts", params=params), 422, "validation_error")


async def test_the_last_choices_say_when_and_why(client: httpx.AsyncClient, agents: Any) -> None:
    await put_pool(client, balancer="ai_optimized")
    made = {(await register(client, (await agents()).url))["id"] for _ in range(3)}
    await known_agents(client, 3)
    before = datetime.now(UTC)
    ran = [(await run(client, number))["id"] for number in range(3)]
    after = datetime.now(UTC)
    choices = (await balancer_of(client))["last_choices"]
    assert [choice["task"]["id"] for choice in choices if choice["agent"]] == ran[::-1], "newest first"
    assert {choice["agent"] for choice in choices} <= made | {None}
    slack = timedelta(seconds=1)  # of two clocks
    for choice in choices:
        assert before - slack <= datetime.fromisoformat(choice["at"]) <= after + slack
        assert choice["why"] and {item["agent"] for item in choice["considered"]} <= made


async def ended(yard: Yard, tasks: Sequence[str], times: Sequence[datetime], agent_id: str | None = None) -> None:
    """An attempt of each task, ended at its time, begun a second before."""
    async with yard.db.hot() as connection:
        await connection.execute(
            """INSERT INTO attempts (task_id, fence, attempt, pool, agent_id, started_at, finished_at, outcome, counted)
            SELECT i.id, 1, 1, 'echo', $3, i.at - interval '1 second', i.at, 'succeeded', true
            FROM unnest($1::uuid[], $2::timestamptz[]) AS i(id, at)""",
            [UUID(task) for task in tasks],
            list(times),
            agent_id,
        )


async def some_tasks(client: httpx.AsyncClient, count: int) -> list[str]:
    """Tasks that nobody runs."""
    body = {"pool": "echo", "run_at": "2100-01-01T00:00:00Z"}
    answer = await client.post("/v1/tasks/batch", json={"tasks": [body] * count})
    return [task["id"] for task in answer.json()["tasks"]]


async def pages(client: httpx.AsyncClient, **params: Any) -> list[list[dict[str, Any]]]:
    """Every page of the attempts of pool echo."""
    found, token = [], None
    while True:
        query = {**params, **({"page_token": token} if token else {})}
        answer = await client.get("/v1/pools/echo/attempts", params=query)
        assert answer.status_code == 200, answer.text
        found.append(answer.json()["items"])
        token = answer.json()["next_page_token"]
        if token is None:
            return found


@pytest.mark.parametrize("page_size", [1, 7, 23, 24])
async def test_every_attempt_is_listed_once_in_order(app: App, page_size: int) -> None:
    client, yard = app
    await put_pool(client)
    tasks = await some_tasks(client, 23)
    start = datetime.now(UTC) - timedelta(minutes=50)
    # Five of the same microsecond, one more of the next, then minutes apart: over more than one window of time.
    times = [start + timedelta(microseconds=max(0, n - 4)) for n in range(6)]
    times += [start + timedelta(minutes=2 * (n - 5)) for n in range(6, 23)]
    await ended(yard, tasks, times)
    listed = await pages(client, page_size=page_size)
    assert [len(page) for page in listed[:-1]] == [page_size] * (len(listed) - 1)
    got = [item for page in listed for item in page]
    expected = sorted(zip(times, tasks, strict=True), key=lambda item: (item[0], UUID(item[1])))
    assert [item["task_id"] for item in got] == [task for _, task in expected]
    assert [datetime.fromisoformat(item["finished_at"]) for item in got] == [at for at, _ in expected]
    assert {item["seconds"] for item in got} == {1.0}


async def test_since_takes_in_its_own_moment_and_has_no_zone_but_utc(app: App) -> None:
    client, yard = app
    await put_pool(client)
    tasks = await some_tasks(client, 3)
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3)
    await ended(yard, tasks, [at - timedelta(seconds=1), at, at + timedelta(seconds=1)])
    for text in (at.isoformat(), at.replace(tzinfo=None).isoformat(), at.isoformat().replace("+00:00", "Z")):
        (page,) = await pages(client, since=text)
        assert [item["task_id"] for item in page] == tasks[1:], text
    assert await pages(client) == [[]], "by default the last hour"
    assert await pages(client, since="2999-01-01T00:00:00Z") == [[]]


async def test_since_long_before_the_first_attempt_lists_all(app: App) -> None:
    client, yard = app
    await put_pool(client)
    tasks = await some_tasks(client, 1)
    await ended(yard, tasks, [datetime.now(UTC)])
    (page,) = await pages(client, since="1970-01-01T00:00:00Z")
    assert [item["task_id"] for item in page] == tasks


@pytest.mark.parametrize(
    "token",
    [
        "x",
        encode_page_token("attempts"),
        encode_page_token("agents", "2026-01-01T00:00:00+00:00 00000000-0000-0000-0000-000000000000"),
        encode_page_token("attempts", ""),
        encode_page_token("attempts", "2026-01-01T00:00:00+00:00"),
        encode_page_token("attempts", "2026-01-01T00:00:00+00:00 me"),
        encode_page_token("attempts", "soon 00000000-0000-0000-0000-000000000000"),
    ],
)
async def test_a_token_that_is_not_of_this_list_is_refused(client: httpx.AsyncClient, token: str) -> None:
    await put_pool(client)
    refused(await client.get("/v1/pools/echo/attempts", params={"page_token": token}), 400, "bad_page_token")


async def test_an_attempt_tells_what_a_simulation_needs(client: httpx.AsyncClient, agents: Any) -> None:
    await put_pool(client, skills={"sums": 1.0})
    made = await register(client, (await agents(handler=Failing(times=1))).url, version="2.0")
    task_id = await submit(client, 1, None, type="sums", complexity=0.7)

    async def two() -> list[dict[str, Any]] | None:
        (page,) = await pages(client)
        return page if len(page) == 2 else None

    first, second = await until(two)
    assert (first["outcome"], first["error_code"]) == ("failed", "boom")
    assert (second["outcome"], second["error_code"]) == ("succeeded", None)
    for attempt in (first, second):
        assert (attempt["task_id"], attempt["agent_id"], attempt["version"]) == (task_id, made["id"], "2.0")
        assert (attempt["type"], attempt["complexity"], attempt["counted"]) == ("sums", 0.7, True)
        assert attempt["started_at"] <= attempt["finished_at"] and attempt["seconds"] >= 0
        assert "payload" not in attempt and "result" not in attempt
    assert first["queued_at"] is None, "the task was made claimable again since"
    assert second["queued_at"] <= second["started_at"]
    assert (await client.delete(f"/v1/agents/{made['id']}")).status_code == 204
    (page,) = await pages(client)
    assert {item["version"] for item in page} == {None}
