"""Receivers, silences, inhibitions and mute times by the API: what is taken, what is shown, what is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.alerts.desk import KEY, Desk, desk_of
from tests.api.verbs import refused
from tests.support.service import Backing
from tests.support.waiting import until_async

PAGER = {"kind": "pagerduty", "config": {"routing_key": KEY}}


@pytest.fixture
async def desk(backing: Backing) -> AsyncIterator[Desk]:
    async with desk_of(backing) as made:
        yield made


async def put(desk: Desk, name: str, **fields: Any) -> httpx.Response:
    return await desk.client.put(f"/v1/receivers/{name}", json={**PAGER, **fields})


async def test_a_receiver_is_set_read_listed_and_deleted(desk: Desk) -> None:
    made = await put(desk, "on-call", matchers=['severity="critical"'], description="night shift")
    assert made.status_code == 201
    assert (await put(desk, "on-call", matchers=["severity=critical"])).status_code == 200
    found = await desk.get("/v1/receivers/on-call")
    assert found["matchers"] == ['severity="critical"']
    assert found["config"] == {
        "routing_key": "**********", "previous_routing_keys": [], "region": "us", "source": "yardmaster",
    }  # fmt: skip
    assert KEY not in str(await desk.get("/v1/receivers"))
    kept = await put(desk, "on-call", config=found["config"])
    assert kept.status_code == 200
    assert (await desk.client.post("/v1/receivers/on-call/test")).json()["outcome"] == "delivered"
    await put(desk, "second")
    first = await desk.get("/v1/receivers?page_size=1")
    then = await desk.get(f"/v1/receivers?page_size=1&page_token={first['next_page_token']}")
    assert [item["name"] for item in first["items"] + then["items"]] == ["on-call", "second"]
    assert (await desk.client.delete("/v1/receivers/second")).status_code == 204
    refused(await desk.client.get("/v1/receivers/second"), 404, "receiver_not_found")
    refused(await desk.client.delete("/v1/receivers/second"), 404, "receiver_not_found")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"kind": "pigeon"}, "validation_error"),
        ({"config": {"routing_key": "short"}}, "validation_error"),
        ({"config": {}}, "validation_error"),
        ({"config": {"routing_key": "**********"}}, "secret_not_known"),
        ({"kind": "webhook", "config": {"url": "http://169.254.169.254/latest"}}, "address_not_allowed"),
        ({"kind": "alertmanager", "config": {"urls": ["http://10.0.0.1:9093"]}}, "address_not_allowed"),
        ({"kind": "slack", "config": {"webhook_url": "http://192.168.1.1/x"}}, "address_not_allowed"),
        ({"kind": "webhook", "config": {"url": "ftp://example.com"}}, "validation_error"),
        ({"matchers": ["no matcher"]}, "bad_matcher"),
        ({"matchers": ["a=~("]}, "bad_matcher"),
        ({"mute_times": ["nights"]}, "unknown_mute_time"),
        ({"active_times": ["days"]}, "unknown_mute_time"),
        ({"escalate_to": "nobody", "escalate_after_s": 60}, "unknown_escalation"),
        ({"escalate_to": "refused", "escalate_after_s": 60}, "escalation_cycle"),
        ({"escalate_to": "nobody"}, "validation_error"),
        ({"group_interval_s": 0}, "validation_error"),
        ({"group_by": ["a-b"]}, "validation_error"),
        ({"unknown": 1}, "validation_error"),
    ],
)
async def test_a_receiver_that_cannot_be_is_refused_by_a_code(desk: Desk, fields: dict[str, Any], code: str) -> None:
    refused(await put(desk, "refused", **fields), 422, code)
    assert (await desk.get("/v1/receivers"))["items"] == []


async def test_escalations_make_no_circle_and_keep_their_receivers(desk: Desk) -> None:
    await put(desk, "c")
    await put(desk, "b", escalate_to="c", escalate_after_s=60)
    await put(desk, "a", escalate_to="b", escalate_after_s=60)
    answer = refused(await put(desk, "c", escalate_to="a", escalate_after_s=60), 422, "escalation_cycle")
    assert "c → a → b → c" in answer["detail"]
    refused(await desk.client.delete("/v1/receivers/b"), 409, "receiver_in_use")


async def test_a_test_says_how_it_went_and_leaves_nothing_open(desk: Desk) -> None:
    await put(desk, "on-call")
    assert (await desk.client.post("/v1/receivers/on-call/test")).json() == {
        "outcome": "delivered", "reason": "", "until": None,
    }  # fmt: skip
    assert desk.actions() == ["trigger", "resolve"]
    await desk.receiver("lost", "slack", config={"channel": "C0NOBODY"})
    outcome = (await desk.client.post("/v1/receivers/lost/test")).json()
    assert (outcome["outcome"], "channel_not_found" in outcome["reason"]) == ("permanent", True)
    assert (await desk.get("/v1/receivers/lost"))["status"] == "failing"
    desk.slack.channels["#nobody"] = "C0NOBODY"

    async def delivered() -> bool:
        """Slack takes one message a second."""
        return bool((await desk.client.post("/v1/receivers/lost/test")).json()["outcome"] == "delivered")

    await until_async(delivered, "Slack takes it", 20)
    assert (await desk.get("/v1/receivers/lost"))["status"] == "ok"
    refused(await desk.client.post("/v1/receivers/nobody/test"), 404, "receiver_not_found")
    mail = await desk.client.put("/v1/receivers/mail", json={"kind": "email", "config": {"to": ["a@example.com"]}})
    assert mail.status_code == 201
    outcome = (await desk.client.post("/v1/receivers/mail/test")).json()
    assert outcome["reason"] == "E-mail: no mail server is set up."


async def test_a_mask_keeps_what_another_put_has_stored_meanwhile(desk: Desk) -> None:
    """The second waits for the first, and then keeps its key."""
    await put(desk, "on-call")
    changed = "f" * 32
    async with desk.yard.db.hot() as connection, connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext('yardmaster-receivers'))")
        late = asyncio.create_task(put(desk, "on-call", config={"routing_key": "**********"}))
        await until_async(lambda: waits(desk), "the put waits", 20)
        await connection.execute("UPDATE receivers SET config = $1", json.dumps({"routing_key": changed}))
    assert (await late).status_code == 200
    ((config,),) = await desk.watcher.rows("SELECT config FROM receivers")
    stored = json.loads(config)
    assert (stored["routing_key"], stored["previous_routing_keys"]) == (changed, [])


async def waits(desk: Desk) -> bool:
    here = "(SELECT oid FROM pg_database WHERE datname = current_database())"
    query = f"SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = {here}"
    return bool(await desk.watcher.rows(query))


def silence(**fields: Any) -> dict[str, Any]:
    return {"matchers": ["pool=ops"], "ends_at": at(3600), **fields}


def at(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


async def test_a_silence_is_changed_in_place_or_by_another_one_and_expires(desk: Desk) -> None:
    answer = await desk.client.post("/v1/silences", json=silence(comment="a deploy"))
    made = answer.json()
    assert (answer.status_code, made["state"], made["matchers"]) == (201, "active", ['pool="ops"'])
    assert answer.headers["Location"] == f"/v1/silences/{made['id']}"
    longer = (await desk.client.put(f"/v1/silences/{made['id']}", json=silence(ends_at=at(7200)))).json()
    assert (longer["id"], longer["starts_at"]) == (made["id"], made["starts_at"])
    other = (await desk.client.put(f"/v1/silences/{made['id']}", json=silence(matchers=["pool=web"]))).json()
    assert other["id"] != made["id"]
    assert (await desk.get(f"/v1/silences/{made['id']}"))["state"] == "expired"
    pending = (await desk.client.post("/v1/silences", json=silence(starts_at=at(600)))).json()
    assert pending["state"] == "pending"
    assert (await desk.client.delete(f"/v1/silences/{pending['id']}")).json()["state"] == "expired"
    assert (await desk.client.delete(f"/v1/silences/{pending['id']}")).json()["state"] == "expired"
    active = await desk.get("/v1/silences?state=active")
    assert [item["id"] for item in active["items"]] == [other["id"]]
    first = await desk.get("/v1/silences?page_size=2")
    then = await desk.get(f"/v1/silences?page_size=2&page_token={first['next_page_token']}")
    assert [len(first["items"]), len(then["items"])] == [2, 1]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"matchers": []}, "bad_matcher"),
        ({"matchers": ["pool=~.*"]}, "bad_matcher"),
        ({"matchers": ["x"]}, "bad_matcher"),
        ({"ends_at": "2020-01-01T00:00:00Z"}, "bad_silence"),
        ({"ends_at": "2999-01-01T00:00:00Z", "starts_at": "2999-01-02T00:00:00Z"}, "bad_silence"),
        ({"ends_at": "2999-01-01T00:00:00"}, "validation_error"),
        ({"ends_at": "soon"}, "validation_error"),
        ({"ends_at": "9999-12-31T23:59:59-14:00"}, "validation_error"),
        ({"starts_at": "0001-01-01T00:00:00+14:00"}, "validation_error"),
    ],
)
async def test_a_silence_that_cannot_be_is_refused_by_a_code(desk: Desk, fields: dict[str, Any], code: str) -> None:
    refused(await desk.client.post("/v1/silences", json=silence(**fields)), 422, code)


async def test_inhibitions_and_mute_times_are_set_and_hold_back(desk: Desk) -> None:
    rule = {"source": ["alertname=down"], "target": ["alertname=errors"], "equal": ["pool"]}
    assert (await desk.client.put("/v1/inhibit-rules/down", json=rule)).status_code == 201
    assert (await desk.client.put("/v1/inhibit-rules/down", json=rule)).status_code == 200
    refused(await desk.client.put("/v1/inhibit-rules/x", json={**rule, "source": []}), 422, "bad_matcher")
    always = {"intervals": [{"times": [{"start_time": "00:00", "end_time": "24:00"}]}]}
    assert (await desk.client.put("/v1/mute-times/always", json=always)).status_code == 201
    wrong = {"intervals": [{"times": [{"start_time": "25:00", "end_time": "26:00"}]}]}
    refused(await desk.client.put("/v1/mute-times/wrong", json=wrong), 422, "bad_mute_time")
    await desk.receiver("on-call", group_by=["alertname"])
    await desk.receiver("asleep", mute_times=["always"])
    refused(await desk.client.delete("/v1/mute-times/always"), 409, "mute_time_in_use")
    await desk.watcher.fire("down")
    await desk.watcher.fire("errors")
    assert (await desk.noted("on-call", "held"))["reason"] == "inhibited"
    assert (await desk.noted("asleep", "held"))["reason"] in ("several", "muted")
    assert (await desk.get("/v1/inhibit-rules"))["items"] == [{"name": "down",
        "source": ['alertname="down"'], "target": ['alertname="errors"'], "equal": ["pool"]}]  # fmt: skip
    assert (await desk.get("/v1/mute-times/always"))["intervals"] == always["intervals"]
    assert (await desk.client.delete("/v1/inhibit-rules/down")).status_code == 204
    refused(await desk.client.delete("/v1/inhibit-rules/down"), 404, "inhibit_rule_not_found")
    refused(await desk.client.get("/v1/mute-times/none"), 404, "mute_time_not_found")


async def test_groups_and_notifications_that_are_not_there_are_404(desk: Desk) -> None:
    key = f"on-call:{'0' * 32}"
    refused(await desk.client.get(f"/v1/alert-groups/{key}"), 404, "alert_group_not_found")
    refused(await desk.client.post(f"/v1/alert-groups/{key}/ack"), 404, "alert_group_not_found")
    refused(await desk.client.post(f"/v1/alert-groups/{key}/unack"), 404, "alert_group_not_found")
    missing = "/v1/notifications/01939f2e-6f1c-7c3a-8a57-0d5c4e6b7a10"
    refused(await desk.client.get(missing), 404, "notification_not_found")
    refused(await desk.client.get("/v1/alert-groups?page_token=x"), 400, "bad_page_token")
