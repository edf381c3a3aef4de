"""Automatic answers: once per alert, tried again, undone; what each does to the rest of the service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import httpx
import pytest

from app.alerts.action_queries import open_answers
from app.alerts.actions.base import ActionParams, Ask, Begun
from app.alerts.actions.registry import build
from app.alerts.answering import MAX_TRIES
from app.alerts.investigation import bounded, capture, report_urls
from app.alerts.records import fingerprint
from app.alerts.responses import Responses
from app.core.db import HotConnection
from app.core.leader import Leader
from app.wiring import Yard
from tests.alerts.answers import (
    FIRED,
    POOL,
    accounts,
    count,
    execute,
    fire,
    quiet_app,
    resolve,
    rule,
    set_phase,
    sole,
    tick,
    time_is_over,
)
from tests.api.verbs import put_pool, refused, register, run, submit, until
from tests.support.service import Backing
from tests.support.stub_agent import StubAgent
from tests.support.webhook_receiver import WebhookReceiver, accept, answering

type App = tuple[httpx.AsyncClient, Yard]
type Agents = Callable[..., Awaitable[StubAgent]]


@pytest.fixture
async def app(backing: Backing) -> AsyncIterator[App]:
    async with quiet_app(backing) as running:
        yield running


class Always(Leader):
    """Believes to lead, whoever else does."""

    def __init__(self) -> None:
        """Without a lease."""

    async def leads(self) -> bool:
        return True


class Never(Always):
    """Leads nothing."""

    async def leads(self) -> bool:
        return False


async def no_live(pool: str) -> Mapping[str, Any]:
    return {}


def alone(yard: Yard, **actions: Any) -> Responses:
    """A loop in place of the manager's own."""
    yard.responding.responses._leader = Never()
    return second(yard, **actions)


def second(yard: Yard, **actions: Any) -> Responses:
    """Another leader's loop."""
    return Responses(yard.db, yard.clock, Always(), {**build(no_live), **actions}, keep_s=3600)


class Broken:
    """An action that breaks `times` times, after it has written something."""

    params_type = ActionParams

    def __init__(self, times: int) -> None:
        self.left = times

    async def begin(self, connection: HotConnection, ask: Ask, params: ActionParams) -> Begun:
        await connection.execute("UPDATE pools SET description = 'touched'")
        self.left -= 1
        if self.left >= 0:
            raise RuntimeError("it broke")
        return Begun("done")

    async def end(self, connection: HotConnection, ask: Ask, facts: Mapping[str, Any], why: str) -> None:
        self.left -= 1
        if self.left >= 0:
            raise RuntimeError("it cannot end")


async def due_now(yard: Yard) -> None:
    await execute(yard, "UPDATE alert_actions SET due_at = clock_timestamp() WHERE due_at IS NOT NULL")


async def test_two_leaders_at_once_answer_each_alert_once(app: App) -> None:
    client, yard = app
    await put_pool(client)
    await rule(yard, "immediate_intervention", scope="installation")
    for number in range(8):
        await fire(yard, {**POOL, "number": str(number)})
    others = [second(yard) for _ in range(3)]
    await asyncio.gather(*(loop.tick() for loop in (yard.responding.responses, *others)))
    assert len(await accounts(client)) == 8
    assert await count(yard, "SELECT count(*) FROM restraints") == 8
    await execute(yard, "UPDATE alert_states SET phase = 'resolved'")
    await asyncio.gather(*(loop.tick() for loop in (yard.responding.responses, *others)))
    assert {item["status"] for item in await accounts(client)} == {"ended"}
    assert await count(yard, "SELECT count(*) FROM restraints WHERE ended_at IS NULL") == 0


async def test_an_alert_that_fires_anew_is_answered_anew(app: App) -> None:
    client, yard = app
    await put_pool(client)
    await rule(yard, "pause_pool", until_resolved=True)
    for again in range(3):
        await fire(yard, again=again)
        await tick(yard)
    found = await accounts(client)
    assert [item["status"] for item in found] == ["running", "ended", "ended"]
    assert len({item["fired_at"] for item in found}) == 3


@pytest.mark.parametrize("reason", ["too_few_events", "not_confident", "no_data", "error", "vanished", "forgotten"])
async def test_where_nothing_says_that_all_is_well_it_goes_on_until_its_bound(app: App, reason: str) -> None:
    client, yard = app
    await put_pool(client)
    await rule(yard, "immediate_intervention")
    await fire(yard)
    await tick(yard)
    await resolve(yard)
    said = "UPDATE alert_states SET state = (state::jsonb || jsonb_build_object('reason', $1::text))::json"
    await execute(yard, *(("DELETE FROM alert_states",) if reason == "forgotten" else (said, reason)))
    await tick(yard)
    assert (await sole(client))["status"] == "running"
    if reason == "vanished":
        await fire(yard, again=1)
        await tick(yard)
        assert [item["status"] for item in await accounts(client)] == ["running", "ended"]
    await time_is_over(yard)
    await tick(yard)
    assert (await accounts(client))[-1]["ended_by"] == ("resolved" if reason == "vanished" else "expired")


class Noted:
    """Says what it is in the order in which it is asked."""

    params_type = ActionParams

    def __init__(self, name: str, order: list[str]) -> None:
        self.name, self.order = name, order

    async def begin(self, connection: HotConnection, ask: Ask, params: ActionParams) -> Begun:
        self.order.append(self.name)
        return Begun("done", lasts=False)

    async def end(self, connection: HotConnection, ask: Ask, facts: Mapping[str, Any], why: str) -> None:
        """It does not last."""


async def test_investigations_come_last_and_hold_up_nobody(app: App) -> None:
    _, yard = app
    order = list[str]()
    kinds = ("performance_investigation", "pause_pool")
    loop = alone(yard, **{name: Noted(name, order) for name in kinds})
    for name in kinds:
        await rule(yard, name, name)
    for number in range(5):
        await fire(yard, {**POOL, "number": str(number)}, name="performance_investigation")
    await fire(yard, again=1, name="pause_pool")
    assert await loop.tick() == 0.0
    assert order == ["pause_pool", *["performance_investigation"] * 2]
    assert [await loop.tick() for _ in range(2)] == [0.0, None]
    assert len(order) == 6


@pytest.mark.parametrize("phase", ["ok", "pending", "resolved"])
async def test_what_does_not_fire_is_not_answered(app: App, phase: str) -> None:
    client, yard = app
    await put_pool(client)
    await rule(yard, "pause_pool")
    async with yard.db.hot() as connection:
        await set_phase(connection, phase)
    await tick(yard)
    assert await accounts(client, fingerprint=fingerprint(POOL)) == []


async def test_while_it_recovers_it_fires_still(app: App) -> None:
    client, yard = app
    await put_pool(client)
    await rule(yard, "pause_pool", until_resolved=True)
    await fire(yard)
    await execute(yard, "UPDATE alert_states SET phase = 'recovering'")
    for _ in range(2):
        await tick(yard)
    assert (await sole(client))["status"] == "running"


async def test_an_action_that_breaks_leaves_nothing_and_is_tried_again(app: App) -> None:
    client, yard = app
    loop = alone(yard, pause_pool=Broken(2))
    await put_pool(client, description="as it was")
    await rule(yard, "pause_pool")
    await fire(yard)
    for tries in (1, 2):
        await loop.tick()
        await loop.tick()  # not before its time
        account = await sole(client)
        assert (account["status"], account["tries"]) == ("retrying", tries), account
        assert "it broke" in account["detail"] and account["due_at"]
        assert await count(yard, "SELECT description FROM pools") == "as it was"
        await due_now(yard)
    await loop.tick()
    account = await sole(client)
    assert (account["status"], account["tries"], account["detail"]) == ("running", 3, "done")


async def test_tries_are_bounded(app: App) -> None:
    client, yard = app
    loop = alone(yard, pause_pool=Broken(1000))
    await put_pool(client)
    await rule(yard, "pause_pool")
    await fire(yard)
    for _ in range(MAX_TRIES + 2):
        await loop.tick()
        await due_now(yard)
    account = await sole(client)
    assert (account["status"], account["tries"]) == ("failed", MAX_TRIES)


async def test_what_cannot_be_ended_is_tried_until_it_can(app: App) -> None:
    client, yard = app
    broken = Broken(0)
    loop = alone(yard, pause_pool=broken)
    await put_pool(client)
    await rule(yard, "pause_pool", until_resolved=True)
    await fire(yard)
    await loop.tick()
    broken.left = 2
    await resolve(yard)
    for _ in range(2):
        await loop.tick()
        account = await sole(client)
        assert account["status"] == "running" and "it cannot end" in account["detail"]
        await due_now(yard)
    await loop.tick()
    assert (await sole(client))["status"] == "ended"


async def test_parameters_that_do_not_fit_any_more_fail_it_at_once(app: App) -> None:
    client, yard = app
    await rule(yard, "pause_pool", for_ever=True)
    await fire(yard)
    await tick(yard)
    account = await sole(client)
    assert account["status"] == "failed" and "for_ever" in account["detail"]


async def test_a_rule_that_asks_for_something_else_ends_what_it_asked_for(app: App) -> None:
    client, yard = app
    await put_pool(client)
    await rule(yard, "pause_pool")
    await fire(yard)
    await tick(yard)
    await rule(yard, "immediate_intervention")
    for _ in range(2):
        await tick(yard)
    account = await sole(client)  # of one instance there is one answer
    assert (account["action"], account["ended_by"]) == ("pause_pool", "rule_changed")


async def test_a_rule_that_is_deleted_or_disabled_ends_it(app: App) -> None:
    client, yard = app
    await put_pool(client)
    ends = ("DELETE FROM alert_rules WHERE name = 'r'", "UPDATE alert_rules SET enabled = false")
    for number, statement in enumerate(ends):
        await rule(yard, "pause_pool")
        await fire(yard, again=number)
        await tick(yard)
        assert (await accounts(client))[0]["status"] == "running"
        await execute(yard, statement)
        await tick(yard)
        assert (await accounts(client))[0]["ended_by"] == "rule_changed"


async def test_a_person_ends_one_once(app: App) -> None:
    client, yard = app
    await put_pool(client)
    await rule(yard, "pause_pool")
    await fire(yard)
    await tick(yard)
    path = f"/v1/alert-actions/{(await sole(client))['id']}"
    ended = (await client.post(f"{path}/end")).json()
    assert ended["status"] == "ended" and ended["ended_by"] not in ("resolved", "expired", None)
    assert (await client.get(path)).json() == ended
    assert refused(await client.post(f"{path}/end"), 409, "alert_action_over")["action_status"] == "ended"
    await tick(yard)
    assert len(await accounts(client)) == 1
    missing = "01a1fb40-7d11-7c3a-8a57-0d5c4e6b7a10"
    refused(await client.post(f"/v1/alert-actions/{missing}/end"), 404, "alert_action_not_found")
    refused(await client.get(f"/v1/alert-reports/{missing}"), 404, "alert_report_not_found")


async def test_accounts_are_filtered_and_paged(app: App) -> None:
    client, yard = app
    await put_pool(client)
    await rule(yard, "pause_pool")
    await rule(yard, "rate_limiting", "other")
    for number in range(3):
        await fire(yard, {**POOL, "number": str(number)})
    await fire(yard, {"alertname": "other"}, name="other")
    await tick(yard)
    assert len(await accounts(client)) == 4
    assert len(await accounts(client, rule="r")) == 3
    assert [item["rule"] for item in await accounts(client, status="skipped")] == ["other"]
    assert len(await accounts(client, action="rate_limiting")) == 1
    page = (await client.get("/v1/alert-actions", params={"page_size": 3})).json()
    rest = (await client.get("/v1/alert-actions", params={"page_token": page["next_page_token"]})).json()
    ids = [item["id"] for item in page["items"] + rest["items"]]
    assert len(set(ids)) == 4 and ids == sorted(ids, reverse=True)
    refused(await client.get("/v1/alert-actions", params={"status": "odd"}), 422, "validation_error")
    refused(await client.get("/v1/alert-actions", params={"page_token": "WyJrZXlzIiwiYSJd"}), 400, "bad_page_token")


async def test_a_raised_floor_is_the_autoscalers_word(app: App) -> None:
    client, yard = app
    await put_pool(client)
    scale = '{"min": 1, "max": 4, "policy": "queue_wait"}'
    await execute(yard, 'UPDATE pools SET launch = \'{"kind": "kubernetes"}\', scale = $1::jsonb, desired = 1', scale)
    await yard.view.refresh()
    await rule(yard, "scale_up", by_replicas=2)
    await fire(yard)
    await tick(yard)
    assert "At least 3 replicas" in (await sole(client))["detail"]
    await yard.fleets.autoscale.tick()
    shown = (await client.get("/v1/pools/echo/scaling")).json()
    assert (shown["desired"], shown["decision"]["code"]) == (3, "raised"), shown
    assert "answer to an alert" in shown["decision"]["reason"] and shown["decision"]["inputs"]["raised"] == 3
    await resolve(yard)
    await tick(yard)
    await execute(yard, "UPDATE pool_scaling SET state = '{}'")
    await yard.view.refresh()
    await yard.fleets.autoscale.tick()
    shown = (await client.get("/v1/pools/echo/scaling")).json()
    assert shown["decision"]["inputs"]["raised"] == 0


async def test_a_pool_at_its_most_or_of_others_is_left_alone(app: App) -> None:
    client, yard = app
    await put_pool(client)
    await rule(yard, "scale_up")
    await fire(yard)
    await tick(yard)
    assert "started by somebody else" in (await sole(client))["detail"]
    scale = '{"min": 1, "max": 2, "policy": "queue_wait"}'
    await execute(yard, 'UPDATE pools SET launch = \'{"kind": "kubernetes"}\', scale = $1::jsonb, desired = 2', scale)
    await fire(yard, again=1)
    await tick(yard)
    assert "all the replicas" in (await accounts(client))[0]["detail"]


async def test_requests_are_limited_until_the_limit_expires(app: App) -> None:
    client, yard = app
    await put_pool(client)
    await rule(yard, "rate_limiting", requests_per_minute=6)
    await fire(yard)
    await tick(yard)
    await yard.durable.limits_view.refresh()
    for _ in range(10):  # so many may come at once, however low the rate is
        await submit(client)
    problem = refused(await client.post("/v1/tasks", json={"pool": "echo"}), 429, "rate_limited")
    assert problem["limit"]["rate_per_s"] == pytest.approx(0.1)
    refused(await client.post("/v1/tasks/batch", json={"tasks": [{"pool": "echo"}] * 3}), 429, "rate_limited")
    await resolve(yard)
    await tick(yard)
    assert (await sole(client))["status"] == "running"
    await time_is_over(yard)
    await tick(yard)
    await yard.durable.limits_view.refresh()
    await submit(client)
    assert (await sole(client))["ended_by"] == "expired"


async def test_a_lower_limit_of_an_operators_stays(app: App) -> None:
    client, yard = app
    await put_pool(client)
    await client.put("/v1/limits/pool/echo", json={"rate_per_s": 0.001, "burst": 1})
    await rule(yard, "rate_limiting", requests_per_minute=600)
    await fire(yard)
    await tick(yard)
    await yard.durable.limits_view.refresh()
    assert yard.durable.limits_view.rates["pool", "echo"].per_s == 0.001


async def test_without_numbers_it_is_a_share_of_what_came_lately(app: App) -> None:
    client, yard = app
    await put_pool(client)
    for _ in range(20):
        await submit(client)
    await rule(yard, "rate_limiting")
    await fire(yard, {"alertname": "r", "tenant": "default"})
    await tick(yard)
    account = await sole(client)
    assert account["scope"] == {"tenant": "default"}
    assert "2 tasks a minute" in account["detail"]  # half of 20 in five minutes


async def test_after_quiet_minutes_it_is_a_share_of_the_last_hour_and_batches_still_fit(app: App) -> None:
    client, yard = app
    await put_pool(client)
    await execute(  # a batch of ten minutes ago, as its ids say
        yard,
        """INSERT INTO tasks (id, tenant, submitted_by, pool, type, payload, priority, tag, status, max_attempts)
        SELECT (lpad(to_hex(floor(extract(epoch FROM now() - interval '10 min') * 1000)::bigint), 12, '0') || '7'
          || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid,
          'default', 'k', 'echo', 't', 'null', 0, 0, 'succeeded', 3 FROM generate_series(1, 240) n""",
    )
    await rule(yard, "rate_limiting")
    await fire(yard)
    await tick(yard)
    assert "2 tasks a minute" in (await sole(client))["detail"]  # half of 240 in an hour
    await yard.durable.limits_view.refresh()
    assert yard.durable.limits_view.rates["pool", "echo"].burst == 240


async def test_tokens_are_kept_to_a_budget_that_goes_with_the_action(app: App) -> None:
    client, yard = app
    await put_pool(client)
    await rule(yard, "rate_limiting", tokens_per_hour=5000)
    await fire(yard)
    await tick(yard)
    account = await sole(client)
    budget = (await client.get(f"/v1/budgets/alert-{account['id']}")).json()
    assert (budget["limit"], budget["unit"], budget["scope"]["pool"]) == ("5000", "tokens", "echo")
    assert (await client.post(f"/v1/alert-actions/{account['id']}/end")).status_code == 200
    refused(await client.get(f"/v1/budgets/alert-{account['id']}"), 404, "budget_not_found")


async def test_the_worst_agent_drains_and_never_the_last(app: App, agents: Agents) -> None:
    client, yard = app
    await put_pool(client, max_attempts=1)
    ids = [(await register(client, (await agents()).url))["id"] for _ in range(2)]
    for agent_id in ids:
        for _ in range(3):
            await run(client, agent_id=agent_id)
    await execute(yard, "UPDATE attempts SET outcome = 'failed' WHERE agent_id = $1", ids[1])
    await rule(yard, "drain_agent")
    await fire(yard)
    await tick(yard)
    account = await sole(client)
    assert (account["status"], account["scope"]) == ("done", {"pool": "echo", "agent_id": ids[1]})
    assert "3 of its last 3 attempts failed" in account["detail"]
    states = {item["id"]: item["status"] for item in (await client.get("/v1/agents")).json()["items"]}
    assert states[ids[1]] == "draining" and states[ids[0]] != "draining"
    await fire(yard, {"alertname": "r", "agent_id": ids[0]})
    await tick(yard)
    assert "is the last" in (await accounts(client))[0]["detail"]


async def test_a_report_tells_what_was_slow(app: App, agents: Agents) -> None:
    client, yard = app
    await put_pool(client)
    await register(client, (await agents()).url)
    done = await run(client, {"a": 1})
    waiting = await submit(client, pool="echo", run_at="2099-01-01T00:00:00Z")
    await rule(yard, "performance_investigation")
    await fire(yard)
    await tick(yard)
    account = await sole(client)
    assert account["status"] == "done"
    answer = (await client.get(account["report"])).json()
    report = answer["report"]["pools"]["echo"]
    assert [item["task_id"] for item in report["slowest"]] == [done["id"]]
    assert report["queue"]["tasks"] == {"queued": 1}, waiting
    assert report["agents"][0]["tried"] == 1
    assert report["balancer"]["pool"] == "echo" and report["pool"]["name"] == "echo"
    assert "dispatch" not in answer["report"]["left_out"]
    key = ("r", fingerprint(POOL), FIRED)
    async with yard.db.read() as connection:
        urls = await report_urls(connection, [key, ("x", "y", FIRED)], "http://yard/")
    assert urls == {key: f"http://yard/v1/alert-reports/{account['id']}"}


async def test_a_section_that_fails_is_named_and_takes_no_other_with_it(app: App) -> None:
    client, yard = app
    await put_pool(client)
    async with yard.db.hot() as connection, connection.transaction():
        await connection.execute("ALTER TABLE attempts RENAME COLUMN error_code TO hidden")
        report = await capture(connection, "echo", 900, 20, no_live)
        bound = await connection.fetchval("SHOW statement_timeout")
        await connection.execute("ALTER TABLE attempts RENAME COLUMN hidden TO error_code")
    assert sorted(report["left_out"]) == ["echo.errors", "echo.slowest"]
    assert report["pools"]["echo"].keys() == {"pool", "queue", "scaling", "agents", "types"}
    assert bound == "3s"


def test_a_report_is_bounded_whatever_there_is() -> None:
    large = {"slowest": [{"error_message": "x" * 500}] * 1000, "queue": {"tasks": {}}, "balancer": {"a": "y" * 9000}}
    found = bounded({"manager": {}, "pools": {"p": large}, "left_out": []}, 10_000)
    assert found["pools"]["p"] == {"queue": {"tasks": {}}}
    assert sorted(found["left_out"]) == ["p.balancer", "p.slowest"]
    huge = bounded({"manager": {"m": "x" * 20_000}, "pools": {}, "left_out": []}, 10_000)
    assert huge == {"manager": {}, "pools": {}, "left_out": ["everything"]}


async def test_a_webhook_is_told_signed_and_again_at_the_end(app: App) -> None:
    client, yard = app
    receiver = await WebhookReceiver(answering(500)).start()
    try:
        made = (await client.post("/v1/webhooks", json={"url": receiver.url, "types": ["none"]})).json()
        await rule(yard, "webhook", webhook_id=made["id"], data={"team": "a"})
        await fire(yard)
        await tick(yard)
        account = await sole(client)
        await receiver.until(1)
        receiver.handler = accept
        first, last, *_ = await receiver.until(2)
        firing = last.verified(made["secret"])
        assert firing["type"] == "alert.firing" and first.id == last.id == account["id"]
        assert firing["data"]["action_id"] == account["id"] and firing["data"]["data"] == {"team": "a"}
        await resolve(yard)
        await tick(yard)
        await until(lambda: _told(receiver, made["secret"], "alert.ended"))
    finally:
        await receiver.stop()


async def _told(receiver: WebhookReceiver, secret: str, kind: str) -> bool:
    return any(item.verified(secret)["type"] == kind for item in receiver.got)


async def test_old_accounts_are_forgotten_but_not_of_what_fires(app: App) -> None:
    client, yard = app
    await put_pool(client)
    await rule(yard, "pause_pool", duration_s=10)
    await fire(yard)
    await fire(yard, {**POOL, "number": "2"})
    await tick(yard)
    await resolve(yard, {**POOL, "number": "2"})
    await time_is_over(yard)
    await tick(yard)
    await execute(yard, "UPDATE alert_actions SET created_at = now() - interval '90 days'")
    loop = second(yard)
    await loop.tick()
    assert [item["labels"] for item in await accounts(client)] == [POOL]
    async with yard.db.read() as connection:
        assert await open_answers(connection) == []
