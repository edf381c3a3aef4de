"""What every action keeps to, against a running manager (`app.alerts.actions.base`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from app.alerts.actions.base import Ask, NothingToDo
from app.alerts.actions.registry import KINDS, build, read_params
from app.wiring import Yard
from tests.alerts.answers import FIRED, POOL, count, execute, fire, quiet_app, resolve, rule, sole, tick
from tests.api.verbs import put_pool, register, run
from tests.support.service import Backing
from tests.support.stub_agent import StubAgent

type App = tuple[httpx.AsyncClient, Yard]
type Agents = Callable[..., Awaitable[StubAgent]]

ID = UUID(int=77)


@pytest.fixture
async def app(backing: Backing) -> AsyncIterator[App]:
    async with quiet_app(backing) as running:
        yield running


@dataclass
class Case:
    """`prepare` returns parameters; `effects` counts what has been done; `standing` what of it lasts."""

    prepare: Callable[[httpx.AsyncClient, Yard, Agents], Awaitable[dict[str, Any]]]
    effects: str
    standing: str = "SELECT 0"
    lasts: bool = True
    labels: dict[str, str] = field(default_factory=lambda: dict(POOL))
    anywhere: bool = False


async def nothing(client: httpx.AsyncClient, yard: Yard, agents: Agents) -> dict[str, Any]:
    await put_pool(client)
    return {}


async def launched(client: httpx.AsyncClient, yard: Yard, agents: Agents) -> dict[str, Any]:
    """A pool that could have more replicas. Nobody launches it: the backend has no process allowed."""
    await put_pool(client)
    scale = '{"min": 0, "max": 5, "policy": "queue_wait"}'
    await execute(yard, 'UPDATE pools SET launch = \'{"kind": "kubernetes"}\', scale = $1::jsonb', scale)
    return {"by_replicas": 2}


async def two_agents(client: httpx.AsyncClient, yard: Yard, agents: Agents) -> dict[str, Any]:
    """Two that work, one of which has failed."""
    await put_pool(client, max_attempts=1)
    for _ in range(2):
        await register(client, (await agents()).url)
    await run(client)
    await execute(yard, "UPDATE attempts SET outcome = 'failed'")
    return {"min_failures": 1}


async def hook(client: httpx.AsyncClient, yard: Yard, agents: Agents) -> dict[str, Any]:
    answer = await client.post("/v1/webhooks", json={"url": "http://127.0.0.1:9/hook", "types": ["none"]})
    assert answer.status_code == 201, answer.text
    return {"webhook_id": answer.json()["id"]}


CASES = {
    "scale_up": Case(
        launched,
        "SELECT count(*) FROM raised_floors",
        "SELECT count(*) FROM raised_floors WHERE ended_at IS NULL",
    ),
    "immediate_intervention": Case(
        nothing,
        "SELECT count(*) FROM restraints WHERE kind = 'emergency'",
        "SELECT count(*) FROM restraints WHERE ended_at IS NULL",
    ),
    "pause_pool": Case(
        nothing,
        "SELECT count(*) FROM restraints WHERE kind = 'pause'",
        "SELECT count(*) FROM restraints WHERE ended_at IS NULL",
    ),
    "rate_limiting": Case(
        nothing,
        "SELECT count(*) FROM temporary_limits",
        "SELECT count(*) FROM temporary_limits WHERE ended_at IS NULL",
    ),
    "performance_investigation": Case(nothing, "SELECT count(*) FROM alert_reports", lasts=False, anywhere=True),
    "drain_agent": Case(two_agents, "SELECT count(*) FROM agents WHERE status = 'draining'", lasts=False),
    "webhook": Case(hook, "SELECT count(*) FROM webhook_deliveries WHERE type = 'alert.firing'", anywhere=True),
}


@pytest.fixture(params=sorted(KINDS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def ask_of(yard: Yard, labels: dict[str, str]) -> Ask:
    now = await count(yard, "SELECT clock_timestamp()")
    return Ask(ID, "r", "f", FIRED, labels, now + timedelta(minutes=5), 0.4, "success_rate", 0.8)


async def no_live(pool: str) -> dict[str, Any]:
    return {}


def test_every_action_is_in_the_suite() -> None:
    assert set(CASES) == set(KINDS)


async def test_it_acts_once_and_is_undone_however_often_it_is_told(app: App, agents: Agents, name: str) -> None:
    client, yard = app
    case, action = CASES[name], build(no_live)[name]
    params = read_params(name, await case.prepare(client, yard, agents))
    ask = await ask_of(yard, case.labels)
    begun = None
    for _ in range(2):
        async with yard.db.hot() as connection, connection.transaction():
            try:
                again = await action.begin(connection, ask, params)
            except NothingToDo:
                assert begun is not None
                continue
        begun = begun or again
        assert again.lasts == case.lasts and again.detail
        assert await count(yard, case.effects) == 1
    assert begun is not None
    if case.lasts and name != "webhook":
        assert await count(yard, case.standing) == 1
    for _ in range(2):
        async with yard.db.hot() as connection, connection.transaction():
            await action.end(connection, ask, begun.facts, "resolved")
    assert await count(yard, case.effects) == 1
    assert await count(yard, case.standing) == 0


async def test_what_was_done_counts_with_the_transaction_only(app: App, agents: Agents, name: str) -> None:
    client, yard = app
    case, action = CASES[name], build(no_live)[name]
    params = read_params(name, await case.prepare(client, yard, agents))
    ask = await ask_of(yard, case.labels)
    with pytest.raises(ZeroDivisionError):
        async with yard.db.hot() as connection, connection.transaction():
            await action.begin(connection, ask, params)
            raise ZeroDivisionError
    assert await count(yard, case.effects) == 0


async def test_a_dry_run_notes_what_it_would_do_and_does_nothing(app: App, agents: Agents, name: str) -> None:
    client, yard = app
    case = CASES[name]
    params = await case.prepare(client, yard, agents)
    await rule(yard, name, **params, dry_run=True)
    await fire(yard, case.labels)
    await tick(yard)
    account = await sole(client)
    assert account["status"] == "dry_run", account
    assert account["detail"]
    assert await count(yard, case.effects) == 0


async def test_the_loop_answers_an_alert_once_and_ends_it_with_the_alert(app: App, agents: Agents, name: str) -> None:
    client, yard = app
    case = CASES[name]
    await rule(yard, name, **await case.prepare(client, yard, agents), until_resolved=True)
    await fire(yard, case.labels)
    for _ in range(3):
        await tick(yard)
    account = await sole(client)
    assert account["status"] == ("running" if case.lasts else "done"), account
    assert account["labels"] == case.labels and account["action"] == name
    assert await count(yard, case.effects) == 1
    await resolve(yard, case.labels)
    await tick(yard)
    account = await sole(client)
    if case.lasts:
        assert (account["status"], account["ended_by"]) == ("ended", "resolved"), account
    assert await count(yard, case.standing) == 0


async def test_where_there_is_nothing_to_act_on_it_says_so_and_is_not_tried_again(
    app: App, agents: Agents, name: str
) -> None:
    client, yard = app
    case = CASES[name]
    params = await case.prepare(client, yard, agents)
    await rule(yard, name, **params)
    await fire(yard, {"alertname": "r", "severity": "critical"})
    for _ in range(2):
        await tick(yard)
    account = await sole(client)
    if case.anywhere:
        assert account["status"] in ("running", "done"), account
    else:
        assert (account["status"], account["tries"]) == ("skipped", 1), account
        assert "names no" in account["detail"]
        assert await count(yard, case.effects) == 0
