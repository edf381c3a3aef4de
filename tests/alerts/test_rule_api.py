"""`/v1/alert-rules`, `/v1/alerts` and `/v1/signals` of a running manager."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from app.alerts import rule_service
from app.alerts.rule import DEFAULT_RULES
from app.alerts.signals.registry import SIGNALS
from app.settings import AlertSettings
from app.wiring import Yard
from tests.alerts.watched import age, attempts, moves, states
from tests.api.verbs import bearer, new_key, put_pool, refused, until
from tests.conftest import running_app, settings_for
from tests.support.service import Backing

App = tuple[httpx.AsyncClient, Yard]
RULE: dict[str, Any] = {"signal": "success_rate", "comparison": "<", "threshold": 0.9}


@pytest.fixture
async def app(backing: Backing) -> AsyncIterator[App]:
    """Its rules are evaluated every five minutes, and when they change."""
    async with running_app(settings_for(backing, alerts=AlertSettings(interval_s=300)), backing.admin_key) as running:
        yield running


async def evaluated(app: App, name: str) -> dict[str, Any]:
    """The rule, once it was evaluated after its last change."""

    async def done() -> dict[str, Any] | None:
        await app[1].watching.evaluation.run()
        rule: dict[str, Any] = (await app[0].get(f"/v1/alert-rules/{name}")).json()
        return rule if rule["evaluated_at"] and rule["evaluated_at"] > rule["updated_at"] else None

    return dict(await until(done))


async def put(client: httpx.AsyncClient, name: str = "mine", **fields: Any) -> httpx.Response:
    return await client.put(f"/v1/alert-rules/{name}", json={**RULE, **fields})


async def test_the_defaults_are_there(client: httpx.AsyncClient) -> None:
    first = (await client.get("/v1/alert-rules", params={"page_size": 5})).json()
    rest = (await client.get("/v1/alert-rules", params={"page_token": first["next_page_token"]})).json()
    found = first["items"] + rest["items"]
    assert [rule["name"] for rule in found] == sorted(rule.name for rule in DEFAULT_RULES)
    assert rest["next_page_token"] is None
    by_name = {rule["name"]: rule for rule in found}
    fields = ("signal", "comparison", "threshold", "for_s", "severity", "action", "min_events", "confidence")
    assert [by_name["high_error_rate"][field] for field in fields] == [
        *("success_rate", "<", 0.9, 300, "warning", "scale_up", 10, 0.95)
    ]


async def test_a_rule_is_set_read_replaced_and_deleted(client: httpx.AsyncClient) -> None:
    made = await put(client, labels={"team": "core"}, matchers=['pool=~"a|b"', {"name": "x", "value": 'q"uote'}])
    assert made.status_code == 201, made.text
    rule = made.json()
    assert rule["matchers"] == ['pool=~"a|b"', 'x="q\\"uote"']
    assert (rule["labels"], rule["no_data"], rule["by"], rule["enabled"]) == ({"team": "core"}, "ok", "pool", True)
    assert (await client.get("/v1/alert-rules/mine")).json()["updated_at"] == rule["updated_at"]
    again = await put(client, threshold=1, enabled=False)
    assert again.status_code == 200
    assert (again.json()["labels"], again.json()["enabled"]) == ({}, False), "a rule is set as a whole"
    assert again.json()["created_at"] == rule["created_at"]
    assert (await client.delete("/v1/alert-rules/mine")).json()["threshold"] == 1
    refused(await client.get("/v1/alert-rules/mine"), 404, "alert_rule_not_found")
    refused(await client.delete("/v1/alert-rules/mine"), 404, "alert_rule_not_found")
    refused(await client.get("/v1/alert-rules/mine/explain"), 404, "alert_rule_not_found")


@pytest.mark.parametrize(
    ("fields", "code", "paths"),
    [
        ({"signal": "nothing"}, "unknown_signal", {"signal"}),
        ({"signal": "no name"}, "invalid_alert_rule", {"signal"}),
        ({"by": "agent"}, "invalid_alert_rule", {"by"}),
        ({"signal": "agents", "by": "tenant"}, "invalid_alert_rule", {"by"}),
        ({"for_s": -1, "min_events": -1, "confidence": 2}, "invalid_alert_rule", {"for_s", "min_events", "confidence"}),
        ({"labels": {"severity": "x", "a": "{{ 1 }}"}}, "invalid_alert_rule", {"labels.severity", "labels.a"}),
        ({"matchers": ["pool"]}, "invalid_alert_rule", {"matchers"}),
        ({"matchers": ['pool=~"("']}, "invalid_alert_rule", {"matchers"}),
        ({"matchers": [{"name": "a b", "value": ""}]}, "invalid_alert_rule", {"matchers"}),
        ({"receivers": ["a", "a"]}, "invalid_alert_rule", {"receivers"}),
        ({"receivers": ["no name!"]}, "invalid_alert_rule", {"receivers"}),
        ({"receivers": ["nobody"]}, "invalid_alert_rule", {"receivers"}),
        ({"annotations": {"summary": "{{ template }}"}}, "invalid_alert_rule", {"annotations.summary"}),
        ({"annotations": {"summary": "x" * 1_000_000}}, "invalid_alert_rule", {"annotations.summary"}),
        ({"annotations": {"summary": "{{ $value" * 400}}, "invalid_alert_rule", {"annotations.summary"}),
        ({"action_params": {"x": "y" * 20_000}}, "invalid_alert_rule", {"action_params"}),
        ({"action_params": {"x": [[[[[[[[[[]]]]]]]]]]}}, "invalid_alert_rule", {"action_params"}),
        ({"for_s": 1e300}, "invalid_alert_rule", {"for_s"}),
        ({"comparison": "=>"}, "validation_error", {"comparison"}),
        ({"action": "shout"}, "validation_error", {"action"}),
        ({"threshold": "0.9"}, "validation_error", {"threshold"}),
        ({"threshold": True}, "validation_error", {"threshold"}),
        ({"unknown": 1}, "validation_error", {"unknown"}),
        ({"matchers": [1]}, "validation_error", None),
    ],
)
async def test_a_rule_that_cannot_be(
    client: httpx.AsyncClient, fields: dict[str, Any], code: str, paths: set[str] | None
) -> None:
    problem = refused(await put(client, **fields), 422, code)
    if paths is not None:
        assert {error["path"] for error in problem["errors"]} == paths
    assert len(problem["detail"]) < 2_000
    refused(await client.get("/v1/alert-rules/mine"), 404, "alert_rule_not_found")


@pytest.mark.parametrize("threshold", ["NaN", "Infinity", "-Infinity", "1e999"])
async def test_a_threshold_is_a_number(client: httpx.AsyncClient, threshold: str) -> None:
    body = f'{{"signal": "success_rate", "comparison": "<", "threshold": {threshold}}}'
    answer = await client.put("/v1/alert-rules/mine", content=body, headers={"Content-Type": "application/json"})
    refused(answer, 400, "malformed_json")


async def test_a_receiver_that_a_rule_names_stays(client: httpx.AsyncClient) -> None:
    config = {"kind": "pagerduty", "config": {"routing_key": "0" * 32}}
    assert (await client.put("/v1/receivers/on-call", json=config)).status_code == 201
    assert (await put(client, receivers=["on-call"])).status_code == 201
    refused(await client.delete("/v1/receivers/on-call"), 409, "receiver_in_use")
    assert (await put(client, receivers=[])).status_code == 200
    assert (await client.delete("/v1/receivers/on-call")).status_code == 204


async def test_parameters_are_those_of_the_action(client: httpx.AsyncClient) -> None:
    given = {"by_replicas": 3, "duration_s": 600}
    made = await put(client, action="scale_up", action_params=given)
    assert made.status_code == 201, made.text
    assert (await client.get("/v1/alert-rules/mine")).json()["action_params"] == given


@pytest.mark.parametrize(
    ("action", "params", "where"),
    [
        ("scale_up", {"by": 3}, "action_params.by"),
        ("scale_up", {"factor": 100}, "action_params.factor"),
        ("immediate_intervention", {"duration_s": 10**9}, "action_params.duration_s"),
        ("webhook", {}, "action_params.webhook_id"),
        (None, {"by_replicas": 1}, "action_params"),
    ],
)
async def test_parameters_that_the_action_does_not_take(
    client: httpx.AsyncClient, action: str | None, params: dict[str, Any], where: str
) -> None:
    answer = await put(client, action=action, action_params=params)
    refused(answer, 422, "invalid_alert_rule")
    assert where in json.dumps(answer.json()["errors"])


async def test_names(client: httpx.AsyncClient) -> None:
    refused(await put(client, "9lives"), 422, "validation_error")
    refused(await put(client, "a" * 101), 422, "validation_error")
    assert (await put(client, "a:b.c-d_E")).status_code == 201


async def test_there_is_an_end_to_rules(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    most = len(DEFAULT_RULES) + 1
    monkeypatch.setattr(rule_service, "_PUT", rule_service._PUT.replace(f"< {rule_service.MAX_RULES}", f"< {most}"))
    assert (await put(client, "last")).status_code == 201
    refused(await put(client, "one_more"), 409, "too_many_alert_rules")
    assert (await put(client, "last", threshold=0.5)).status_code == 200


async def test_what_fires_is_listed_and_explained(app: App) -> None:
    client, yard = app
    for pool in ("bad", "few", "good", "quiet"):
        await put_pool(client, pool)
    await attempts(yard.db, "bad", *["failed"] * 12)
    await attempts(yard.db, "few", "succeeded", "succeeded", "failed")
    await attempts(yard.db, "good", *["succeeded"] * 12)
    await put(client, for_s=60, severity="critical", annotations={"summary": "{{ $labels.pool }} at {{ $value }}"})
    await evaluated(app, "mine")
    (pending,) = (await client.get("/v1/alerts", params={"rule": "mine"})).json()["items"]
    assert (pending["phase"], pending["labels"]["pool"], pending["fired_at"]) == ("pending", "bad", None)
    assert pending["reading"] == {"value": 0.0, "total": 12, "good": 0, "why": None, "detail": ""}
    found = (await client.get("/v1/alert-rules/mine/explain")).json()
    assert [(item["labels"]["pool"], item["finding"]) for item in found["instances"]] == [
        ("bad", "violated"),
        ("few", "too_few_events"),
        ("good", "cleared"),
        ("quiet", "no_data"),
    ]
    assert found["instances"][0]["fires_at"] is not None and "Pending since" in found["instances"][0]["text"]
    assert found["instances"][0]["interval"][1] < 0.9
    assert "the rule wants 10" in found["instances"][1]["text"]
    await age(yard.db, "mine", 60)
    await yard.watching.evaluation.run()
    (firing,) = (await client.get("/v1/alerts", params={"phase": "firing", "rule": "mine"})).json()["items"]
    assert (firing["severity"], firing["reason"], firing["value"]) == ("critical", "violated", 0.0)
    assert firing["annotations"] == {"summary": "bad at 0"}
    rule = (await client.get("/v1/alert-rules/mine")).json()
    assert (rule["instances"], rule["evaluation_error"]) == ({"firing": 1}, "")
    found = (await client.get("/v1/alert-rules/mine/explain")).json()
    assert [(item["before"], item["after"]) for item in found["transitions"]] == [
        ("pending", "firing"),
        ("ok", "pending"),
    ]
    await client.delete("/v1/alert-rules/mine")
    await yard.watching.evaluation.run()
    (resolved,) = (await client.get("/v1/alerts", params={"rule": "mine"})).json()["items"]
    assert (resolved["phase"], resolved["reason"]) == ("resolved", "rule_changed")


async def test_a_changed_rule_is_evaluated_at_once(app: App) -> None:
    client, yard = app
    await put_pool(client, "bad")
    await attempts(yard.db, "bad", *["failed"] * 12)
    await put(client)

    async def fires() -> bool:
        return "bad" in await states(yard.db, "mine")

    await until(fires)
    assert (await moves(yard.db, "mine"))[-1][1] == "firing"


async def test_pages_of_alerts(app: App) -> None:
    client, yard = app
    for number in range(5):
        await put_pool(client, f"bad{number}")
        await attempts(yard.db, f"bad{number}", *["failed"] * 12)
    await put(client)
    await put(client, "other")
    for name in ("mine", "other"):
        await evaluated(app, name)
    seen: list[tuple[str, str]] = []
    token = None
    while True:
        params: dict[str, str] = {"page_size": "3", "phase": "firing", **({"page_token": token} if token else {})}
        page = (await client.get("/v1/alerts", params=params)).json()
        assert len(page["items"]) <= 3
        seen += [(item["rule"], item["labels"]["pool"]) for item in page["items"]]
        token = page["next_page_token"]
        if token is None:
            break
    assert sorted(seen) == [(rule, f"bad{number}") for rule in ("mine", "other") for number in range(5)]
    refused(await client.get("/v1/alerts", params={"page_token": "x"}), 400, "bad_page_token")
    refused(await client.get("/v1/alerts", params={"phase": "broken"}), 422, "validation_error")


async def test_a_rule_of_an_unknown_signal_says_so_when_it_is_evaluated(app: App) -> None:
    """One of a later release, after going back."""
    client, yard = app
    async with yard.db.hot() as connection:
        await connection.execute(
            """INSERT INTO alert_rules (name, spec, created_by)
            VALUES ('later', '{"signal": "of_later", "comparison": ">", "threshold": 1}', 'k')"""
        )
    assert (await evaluated(app, "later"))["evaluation_error"] == "there is no signal 'of_later'"
    found = (await client.get("/v1/alert-rules/later/explain")).json()
    assert "there is no signal" in found["instances"][0]["text"]


async def test_signals_are_listed(client: httpx.AsyncClient) -> None:
    reader = await new_key(client, "tasks:read")
    found = (await client.get("/v1/signals", headers=bearer(reader))).json()["items"]
    assert [item["name"] for item in found] == sorted(SIGNALS)
    assert next(item for item in found if item["name"] == "success_rate")["by"] == ["label", "pool", "tenant"]
    refused(await client.get("/v1/alerts", headers=bearer(reader)), 403, "forbidden")


async def test_a_manager_tells_how_late_its_loops_are(app: App) -> None:
    client, yard = app
    await yard.watching.beats.tick()
    async with yard.db.read() as connection:
        lags = await connection.fetchval("SELECT lags FROM loop_beats WHERE manager_id = $1", yard.me)
    for name in ("alerts", "dispatch", "membership", "sweep", "health"):
        assert f'"{name}"' in lags
    await put(client, "late", signal="loop_lag", comparison=">", threshold=60)
    found = (await client.get("/v1/alert-rules/late/explain")).json()["instances"]
    assert {"alerts", "dispatch"} <= {item["labels"]["loop"] for item in found}
    assert {item["finding"] for item in found} == {"cleared"}
    await yard.watching.beats.leave()
    async with yard.db.read() as connection:
        assert await connection.fetchval("SELECT count(*) FROM loop_beats WHERE manager_id = $1", yard.me) == 0
