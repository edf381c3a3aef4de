"""Objectives and feedback over the API: what is set is kept, what makes no sense is refused with its reason."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from app.settings import SloSettings
from app.slo.openslo_api import _EXAMPLE as FILE
from app.wiring import Yard
from tests.api.verbs import bearer, new_key, put_pool, refused, submit
from tests.conftest import running_app, settings_for
from tests.slo.ended_tasks import Ended, write
from tests.support.service import Backing

App = tuple[httpx.AsyncClient, Yard]
GOOD: dict[str, Any] = {"kind": "availability", "target": 0.999}
LATENCY: dict[str, Any] = {"kind": "latency", "target": 0.95, "threshold_s": 30}
ACCURACY: dict[str, Any] = {"kind": "accuracy", "target": 0.9, "evaluator": "rubric", "version": "3"}
YAML = {"Content-Type": "application/yaml"}


async def put(client: httpx.AsyncClient, name: str = "o", status: int = 201, **fields: Any) -> dict[str, Any]:
    answer = await client.put(f"/v1/slos/{name}", json={**GOOD, **fields})
    assert answer.status_code == status, answer.text
    return dict(answer.json())


async def counted(yard: Yard) -> None:
    while await yard.objectives.counting.run_once():
        pass


def ago(**units: float) -> datetime:
    return datetime.now(UTC) - timedelta(**units)


async def test_an_objective_is_set_read_listed_and_deleted(app: App) -> None:
    client, _ = app
    await put_pool(client)
    made = await put(client, scope={"pool": "echo"}, description="Echoes come back.")
    assert made["window"] == {"kind": "rolling", "seconds": 2592000, "zone": "UTC"}
    assert [(rule["name"], rule["factor"]) for rule in made["burn_rules"]] == [
        ("quick_page", 14.4), ("slow_page", 6.0), ("quick_ticket", 3.0), ("slow_ticket", 1.0),
    ]  # fmt: skip
    again = await put(client, status=200, scope={"pool": "echo"}, description="Echoes come back.")
    assert (again["id"], again["updated_at"]) == (made["id"], made["updated_at"])
    changed = await put(client, status=200, scope={"pool": "echo"}, target=0.99)
    assert changed["id"] == made["id"]
    assert changed["description"] == ""
    assert (await put(client, status=200))["id"] != made["id"]
    await put(client, "another", **LATENCY)
    first = (await client.get("/v1/slos", params={"page_size": 1})).json()
    rest = (await client.get("/v1/slos", params={"page_token": first["next_page_token"]})).json()
    assert [item["name"] for item in first["items"] + rest["items"]] == ["another", "o"]
    assert (await client.get("/v1/slos/another")).json()["threshold_s"] == 30
    assert (await client.delete("/v1/slos/o")).json()["name"] == "o"
    for method, path in (("DELETE", "/v1/slos/o"), ("GET", "/v1/slos/o"), ("GET", "/v1/slos/o/history")):
        refused(await client.request(method, path), 404, "slo_not_found")


async def test_it_stands_by_what_ended(app: App) -> None:
    client, yard = app
    await write(
        yard.db,
        [
            *(Ended(ago(minutes=90), "succeeded") for _ in range(996)),
            *(Ended(ago(minutes=90), status) for status in ("failed", "expired", "cancelled")),
            Ended(ago(minutes=90), synthetic=True),
        ],
    )
    new = await put(client, "o", target=0.99, on_exhausted=[], min_events=5)
    assert new["standing"]["state"] == "no_data"
    assert new["standing"]["counted"]["complete"] is False
    await counted(yard)
    shown = (await client.get("/v1/slos/o")).json()
    standing = shown["standing"]
    assert standing["counts"] == {"good": 996, "bad": 2, "unscored": 0, "pending": 0, "excluded": 2}
    assert shown["named"] == {"succeeded": 996, "failed": 1, "expired": 1, "cancelled": 1, "synthetic": 1}
    assert (standing["state"], standing["counted"]["complete"], standing["counted"]["fresh"]) == ("healthy", True, True)
    assert standing["allowed"] == pytest.approx(9.98)
    assert standing["remaining"] == pytest.approx(1 - 2 / 9.98)
    assert standing["burn_rate"] is None
    assert {rule["name"]: rule["state"] for rule in shown["burn_rules"]}["quick_page"] == "no_data"
    hours = (await client.get("/v1/slos/o/history")).json()
    assert [item["counts"]["bad"] for item in hours["items"]] == [2]
    assert hours["items"][0]["burn_rate"] == pytest.approx(2 / 998 / 0.01)
    days = (await client.get("/v1/slos/o/history", params={"step": "day"})).json()["items"]
    assert days[0]["start"].endswith("T00:00:00Z")


async def test_the_history_goes_on_page_by_page_in_the_days_of_its_zone(app: App) -> None:
    client, yard = app
    await write(yard.db, [Ended(ago(hours=hours)) for hours in range(0, 72, 2)])
    await put(client, window={"kind": "month", "zone": "Asia/Kathmandu"}, burn_rules=[
        {"name": "far", "share": 0.1, "long_s": 259200, "short_s": 3600, "severity": "warning"},
    ])  # fmt: skip
    await counted(yard)
    whole = (await client.get("/v1/slos/o/history", params={"step": "day"})).json()["items"]
    assert all(item["start"].endswith("18:15:00Z") for item in whole)
    assert sum(item["counts"]["good"] for item in whole) == 36
    pages, token = list[Any](), None
    while True:
        query = {"step": "day", "page_size": 1, **({"page_token": token} if token else {})}
        page = (await client.get("/v1/slos/o/history", params=query)).json()
        pages += page["items"]
        if (token := page["next_page_token"]) is None:
            break
    assert pages == whole


@pytest.mark.parametrize(
    ("body", "code", "path"),
    [
        ({"kind": "uptime"}, "validation_error", "kind"),
        ({"target": 1}, "slo_invalid", "target"),
        ({"target": 0}, "slo_invalid", "target"),
        ({"target": True}, "validation_error", "target"),
        ({"target": 99.9}, "validation_error", "target"),
        ({"extra": 1}, "validation_error", "extra"),
        ({"threshold_s": 3}, "slo_invalid", "threshold_s"),
        ({**LATENCY, "threshold_s": None}, "slo_invalid", "threshold_s"),
        ({"evaluator": "x"}, "slo_invalid", "evaluator"),
        ({**ACCURACY, "version": None}, "slo_invalid", "version"),
        ({"settle_after_s": 5}, "slo_invalid", "settle_after_s"),
        ({"window": {"kind": "rolling", "seconds": 3601}}, "slo_invalid", "window.seconds"),
        ({"window": {"kind": "rolling", "seconds": 60}}, "slo_invalid", "window.seconds"),
        ({"window": {"kind": "month", "seconds": 3600}}, "slo_invalid", "window.seconds"),
        ({"window": {"kind": "week", "zone": "Mars/Olympus"}}, "slo_invalid", "window.zone"),
        ({"scope": {"pool": "nowhere"}}, "unknown_pool", "scope.pool"),
        ({"scope": {"pool": "-"}}, "validation_error", "scope.pool"),
        ({"scope": {"label": {"key": "a b", "value": ""}}}, "slo_invalid", "scope.label"),
        ({"on_exhausted": ["freeze_rollouts"]}, "slo_invalid", "on_exhausted"),
        ({**LATENCY, "scope": {"pool": "p"}, "on_exhausted": ["require_approval"]}, "slo_invalid", "on_exhausted"),
        ({"scope": {"pool": "p", "tenant": "t"}, "on_exhausted": ["freeze_rollouts"]}, "slo_invalid", "on_exhausted"),
        (
            {"scope": {"pool": "p", "label": {"key": "a", "value": "b"}}, "on_exhausted": ["require_approval"]},
            "slo_invalid",
            "on_exhausted",
        ),
        ({"on_exhausted": ["panic"]}, "validation_error", "on_exhausted.0"),
        ({"min_events": 0}, "validation_error", "min_events"),
        ({"burn_rules": [{"name": "A"}]}, "validation_error", "burn_rules.0.name"),
    ],
)
async def test_what_is_no_objective(client: httpx.AsyncClient, body: dict[str, Any], code: str, path: str) -> None:
    problem = refused(await client.put("/v1/slos/o", json={**GOOD, **body}), 422, code)
    assert path in [error["path"] for error in problem["errors"]]
    assert (await client.get("/v1/slos")).json()["items"] == []


def rule(**fields: Any) -> dict[str, Any]:
    return {"name": "r", "share": 0.02, "long_s": 3600, "short_s": 300, "severity": "critical", **fields}


@pytest.mark.parametrize(
    ("target", "asked", "planned"),
    [
        (0.999, rule(), {"long_s": 3600, "short_s": 300, "factor": 14.4, "replanned": ""}),
        (0.9, rule(), {"long_s": 7200, "short_s": 600, "factor": 7.2, "replanned": "longer_window"}),
        (0.5, rule(share=0.001), {"long_s": 3600, "factor": 1.0, "replanned": "larger_share"}),
    ],
)
async def test_a_rule_that_could_never_fire_is_planned_anew(
    client: httpx.AsyncClient, target: float, asked: dict[str, Any], planned: dict[str, Any]
) -> None:
    (made,) = (await put(client, target=target, burn_rules=[asked]))["burn_rules"]
    assert {name: made[name] for name in planned} == planned


@pytest.mark.parametrize(
    ("target", "asked", "code"),
    [
        (0.1, rule(share=0.5), "burn_rule_never_fires"),
        (0.999, rule(short_s=3600), "burn_rule_invalid"),
    ],
)
async def test_a_rule_that_cannot_be_planned_is_refused(
    client: httpx.AsyncClient, target: float, asked: dict[str, Any], code: str
) -> None:
    refused(await client.put("/v1/slos/o", json={**GOOD, "target": target, "burn_rules": [asked]}), 422, code)


async def test_no_rules_are_rules_too(client: httpx.AsyncClient) -> None:
    assert (await put(client, burn_rules=[]))["burn_rules"] == []


async def test_there_are_only_so_many(backing: Backing) -> None:
    settings = settings_for(backing, slo=SloSettings(max_objectives=1, max_feedback=1))
    async with running_app(settings, backing.admin_key) as (client, yard):
        await put(client)
        refused(await client.put("/v1/slos/second", json=GOOD), 409, "too_many_slos")
        await put(client, status=200, target=0.9)
        task = Ended(ago(minutes=1))
        await write(yard.db, [task])
        assert (await client.post(f"/v1/tasks/{task.id}/feedback", json={"label": "good"})).status_code == 201
        refused(await client.post(f"/v1/tasks/{task.id}/feedback", json={"label": "bad"}), 409, "too_much_feedback")


async def test_each_tenant_has_its_own_and_readers_see_no_other_tenants_tasks(client: httpx.AsyncClient) -> None:
    await put(client, "ours", scope={"tenant": "default"})
    await put(client, "everyones")
    reader = bearer(await new_key(client, "tasks:read"))
    assert [item["name"] for item in (await client.get("/v1/slos", headers=reader)).json()["items"]] == ["ours"]
    refused(await client.get("/v1/slos/everyones", headers=reader), 404, "slo_not_found")
    refused(await client.get("/v1/slos/everyones/openslo", headers=reader), 404, "slo_not_found")
    refused(await client.put("/v1/slos/ours", json=GOOD, headers=reader), 403, "forbidden")
    theirs = bearer(await new_key(client, "admin", tenant="acme"))
    refused(await client.get("/v1/slos/ours", headers=theirs), 404, "slo_not_found")
    refused(await client.delete("/v1/slos/ours", headers=theirs), 404, "slo_not_found")
    answer = await client.put("/v1/slos/ours", json={**GOOD, "target": 0.5}, headers=theirs)
    assert (answer.status_code, answer.json()["owner"]) == (201, "acme")
    assert (await client.get("/v1/slos/ours")).json()["target"] == 0.999


async def test_an_openslo_file_is_applied_document_by_document(client: httpx.AsyncClient) -> None:
    await put_pool(client, "checkout")
    other = FILE.replace("name: checkout}", "name: second}").replace("pool: checkout", "pool: nowhere")
    text = f"{FILE}---\n{other}"
    path = "/v1/slos/openslo"
    dry = (await client.post(path, params={"dry_run": True}, content=text, headers=YAML)).json()
    assert [item["outcome"] for item in dry["items"]] == ["created", "refused"]
    assert (await client.get("/v1/slos")).json()["items"] == []
    done = (await client.post(path, content=text, headers=YAML)).json()
    assert [(item["name"], item["outcome"], item["code"]) for item in done["items"]] == [
        ("checkout", "created", None), ("second", "refused", "unknown_pool"),
    ]  # fmt: skip
    assert done["items"][1]["errors"][0]["path"] == "scope.pool"
    again = (await client.post(path, content=FILE, headers=YAML)).json()
    assert [item["outcome"] for item in again["items"]] == ["unchanged"]
    written = await client.get("/v1/slos/checkout/openslo")
    assert written.headers["content-type"].startswith("application/yaml")
    assert (await client.post(path, content=written.text, headers=YAML)).json()["items"][0]["outcome"] == "unchanged"
    await put(client, "checkout", 200, scope={"pool": "checkout"}, on_exhausted=["freeze_rollouts"], min_events=7)
    changed = FILE.replace("0.999", "0.99")
    assert (await client.post(path, content=changed, headers=YAML)).json()["items"][0]["outcome"] == "updated"
    kept = (await client.get("/v1/slos/checkout")).json()
    assert (kept["target"], kept["on_exhausted"], kept["min_events"]) == (0.99, ["freeze_rollouts"], 7)


@pytest.mark.parametrize(
    ("content", "path"),
    [
        (b"", ""),
        (b"\xff\xfe", ""),
        (b"a: [", ""),
        (b"kind: SLO", "documents[0].apiVersion"),
        (FILE.replace("Occurrences", "Timeslices").encode(), "documents[0].spec.budgetingMethod"),
        ((FILE + "---\n" + FILE).encode(), "documents[1].metadata.name"),
        (b"a: &a [x]\nb: *a\n", ""),
    ],
)
async def test_what_is_no_openslo_file(client: httpx.AsyncClient, content: bytes, path: str) -> None:
    await put_pool(client, "checkout")
    problem = refused(await client.post("/v1/slos/openslo", content=content, headers=YAML), 422, "openslo_invalid")
    assert not path or path in [error["path"] for error in problem["errors"]]
    assert (await client.get("/v1/slos")).json()["items"] == []


async def test_feedback_is_kept_and_listed_newest_first(app: App) -> None:
    client, yard = app
    task = Ended(ago(minutes=1))
    await write(yard.db, [task])
    path = f"/v1/tasks/{task.id}/feedback"
    judge = {"source": "judge", "evaluator": "rubric", "version": "3", "score": 0.25}
    first = await client.post(path, json=judge)
    assert (first.status_code, first.headers["location"]) == (201, path)
    assert first.json()["score"] == 0.25
    await client.post(path, json={"label": "good", "comment": "Right after all."})
    page = (await client.get(path, params={"page_size": 1})).json()
    rest = (await client.get(path, params={"page_token": page["next_page_token"]})).json()
    found = page["items"] + rest["items"]
    assert [(item["source"], item["evaluator"], item["version"], item["label"]) for item in found] == [
        ("human", "human", "1", "good"), ("judge", "rubric", "3", None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"source": "judge", "score": 1},
        {"source": "judge", "evaluator": "x", "score": 1},
        {"source": "oracle", "score": 1},
        {"score": 1.1},
        {"score": -0.1},
        {"score": True},
        {"score": 0.0000000001},
        {"label": ""},
        {"label": "a\nb"},
        {"label": "x" * 101},
        {"comment": "x" * 4001},
        {"score": 1, "stars": 5},
    ],
)
async def test_what_is_no_feedback(app: App, body: dict[str, Any]) -> None:
    client, yard = app
    task = Ended(ago(minutes=1))
    await write(yard.db, [task])
    refused(await client.post(f"/v1/tasks/{task.id}/feedback", json=body), 422, "validation_error")
    assert (await client.get(f"/v1/tasks/{task.id}/feedback")).json()["items"] == []


async def test_feedback_is_about_an_own_task_that_has_ended(app: App) -> None:
    client, yard = app
    await put_pool(client)
    theirs = Ended(ago(minutes=1), tenant="acme")
    await write(yard.db, [theirs])
    for task_id in (theirs.id, uuid4()):
        refused(await client.post(f"/v1/tasks/{task_id}/feedback", json={"label": "bad"}), 404, "task_not_found")
        refused(await client.get(f"/v1/tasks/{task_id}/feedback"), 404, "task_not_found")
    waiting = await submit(client)
    answer = await client.post(f"/v1/tasks/{waiting}/feedback", json={"label": "bad"})
    assert refused(answer, 409, "task_not_final")["task_status"] == "queued"


async def test_verdicts_make_the_accuracy_of_an_objective(app: App) -> None:
    client, yard = app
    tasks = [Ended(ago(minutes=1)) for _ in range(4)]
    await write(yard.db, tasks)
    await put(client, **ACCURACY, settle_after_s=3600, coverage_floor=0.5, min_events=1)
    await counted(yard)
    standing = (await client.get("/v1/slos/o")).json()["standing"]
    assert (standing["state"], standing["counts"]["pending"]) == ("insufficient_evidence", 4)
    for task, score in zip(tasks, (0.9, 0.8, 0.1), strict=False):
        body = {"source": "judge", "evaluator": "rubric", "version": "3", "score": score}
        assert (await client.post(f"/v1/tasks/{task.id}/feedback", json=body)).status_code == 201
    await client.post(f"/v1/tasks/{tasks[0].id}/feedback", json={"label": "bad"})
    other = {"source": "judge", "evaluator": "rubric", "version": "4", "score": 0}
    await client.post(f"/v1/tasks/{tasks[1].id}/feedback", json=other)
    await counted(yard)
    standing = (await client.get("/v1/slos/o")).json()["standing"]
    assert standing["counts"] == {"good": 1, "bad": 2, "unscored": 0, "pending": 1, "excluded": 0}
    assert standing["state"] == "exhausted"
