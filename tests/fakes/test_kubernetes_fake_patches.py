"""The fake API's four patches, server-side apply above all: who owns which field, by the real client."""

from __future__ import annotations

from typing import Any

import aiohttp
from kubernetes_asyncio import client

from tests.fakes.kubernetes import FakeCluster
from tests.fakes.workloads import APPLY, JSON, MERGE, STRATEGIC, apps_api, container, deployment, failure


async def apply(
    api: client.ApiClient, body: dict[str, Any], manager: str = "yard", *, force: bool | None = True
) -> Any:
    more = {} if force is None else {"force": force}
    apps = apps_api(api)
    name = body["metadata"]["name"]
    return await apps.patch_namespaced_deployment(
        name, "default", body, field_manager=manager, _content_type=APPLY, **more
    )


async def test_strategic_merge_merges_lists_by_their_keys(api: client.ApiClient) -> None:
    apps = apps_api(api)
    body = deployment()
    body["spec"]["template"]["spec"]["containers"] = [
        container(env=[{"name": "A", "value": "1"}], ports=[{"containerPort": 80}]),
        {"name": "side", "image": "side:1"},
    ]
    await apps.create_namespaced_deployment("default", body)
    env = [{"name": "B", "value": "2"}, {"name": "A", "$patch": "delete"}]
    change = {"containers": [{"name": "main", "env": env, "ports": [{"containerPort": 81}]}]}
    patch = {"spec": {"template": {"spec": change}}}
    made = await apps.patch_namespaced_deployment("web", "default", patch, _content_type=STRATEGIC)
    main, side = made.spec.template.spec.containers
    assert (main.image, side.image) == ("agent:1", "side:1")
    assert [one.name for one in main.env] == ["B"]
    assert [(one.container_port, one.protocol) for one in main.ports] == [(80, "TCP"), (81, "TCP")]


async def test_merge_and_json_patches(api: client.ApiClient) -> None:
    apps = apps_api(api)
    await apps.create_namespaced_deployment("default", deployment())
    patch: Any = {"metadata": {"labels": {"app": None, "new": "x"}}}
    made = await apps.patch_namespaced_deployment("web", "default", patch, _content_type=MERGE)
    assert made.metadata.labels == {"new": "x"}
    patch = [
        {"op": "test", "path": "/spec/replicas", "value": 2},
        {"op": "replace", "path": "/spec/replicas", "value": 5},
        {"op": "add", "path": "/metadata/labels/a~1b", "value": "y"},
        {"op": "remove", "path": "/metadata/labels/new"},
    ]
    made = await apps.patch_namespaced_deployment("web", "default", patch, _content_type=JSON)
    assert (made.spec.replicas, made.metadata.labels) == (5, {"a/b": "y"})
    status = await failure(apps.patch_namespaced_deployment("web", "default", patch, _content_type=JSON))
    assert status["code"] == 422


async def test_apply_creates_and_then_removes_what_its_owner_leaves_out(
    cluster: FakeCluster, api: client.ApiClient
) -> None:
    body = deployment(replicas=4)
    variables = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    body["spec"]["template"]["spec"]["containers"] = [container(env=variables)]
    body["metadata"]["labels"]["extra"] = "x"
    made = await apply(api, body)
    assert cluster.requests("patch")[-1].status == 201
    assert made.spec.replicas == 4
    cluster.patch("Deployment", "web", {"metadata": {"annotations": {"other": "kept"}}})
    del body["metadata"]["labels"]["extra"], body["spec"]["replicas"], variables[0]
    made = await apply(api, body)
    assert made.metadata.labels == {"app": "web"}
    assert made.metadata.annotations == {"other": "kept"}
    assert [one.name for one in made.spec.template.spec.containers[0].env] == ["B"]
    # Nobody owns the count any more: it falls to its default.
    assert made.spec.replicas == 1


async def test_a_count_somebody_else_scaled_survives_an_apply_without_it(api: client.ApiClient) -> None:
    apps = apps_api(api)
    await apply(api, deployment(replicas=2))
    await apps.patch_namespaced_deployment_scale("web", "default", {"spec": {"replicas": 7}}, _content_type=MERGE)
    assert (await apply(api, deployment(replicas=None))).spec.replicas == 7


async def test_apply_conflicts_with_another_owner_unless_forced(api: client.ApiClient) -> None:
    await apply(api, deployment(replicas=2), "one")
    status = await failure(apply(api, deployment(replicas=3), "two", force=None))
    assert (status["code"], status["reason"]) == (409, "Conflict")
    cause = {
        "reason": "FieldManagerConflict",
        "message": 'conflict with "one" using apps/v1',
        "field": ".spec.replicas",
    }
    assert status["details"]["causes"] == [cause]
    shared = await apply(api, deployment(replicas=2), "two", force=None)
    owners = [entry.manager for entry in shared.metadata.managed_fields if "f:replicas" in entry.fields_v1["f:spec"]]
    assert owners == ["one", "two"]
    forced = await apply(api, deployment(replicas=3), "two")
    owners = [entry.manager for entry in forced.metadata.managed_fields if "f:replicas" in entry.fields_v1["f:spec"]]
    assert owners == ["two"]


async def test_apply_takes_the_version_as_a_precondition(api: client.ApiClient) -> None:
    made = await apply(api, deployment())
    body = deployment(replicas=5)
    body["metadata"]["resourceVersion"] = made.metadata.resource_version
    assert (await apply(api, body)).spec.replicas == 5
    assert (await failure(apply(api, body)))["reason"] == "Conflict"
    unmade = deployment("other")
    unmade["metadata"]["resourceVersion"] = "1"
    assert (await failure(apply(api, unmade)))["code"] == 409


async def test_apply_needs_a_manager(api: client.ApiClient) -> None:
    apps = apps_api(api)
    call = apps.patch_namespaced_deployment("web", "default", deployment(), _content_type=APPLY)
    assert "fieldManager: Required value" in (await failure(call))["message"]


async def test_applying_twice_changes_nothing(cluster: FakeCluster, api: client.ApiClient) -> None:
    first = await apply(api, deployment())
    assert (await apply(api, deployment())).metadata.resource_version == first.metadata.resource_version


async def test_other_content_types_are_refused(cluster: FakeCluster) -> None:
    cluster.create(deployment())
    path = "/apis/apps/v1/namespaces/default/deployments/web"
    async with aiohttp.ClientSession(cluster.url) as http:
        for kind in ("application/json", "text/plain"):
            answer = await http.patch(path, data=b"{}", headers={"Content-Type": kind})
            assert (answer.status, (await answer.json())["reason"]) == (415, "UnsupportedMediaType")
        scaled = "/apis/keda.sh/v1alpha1/namespaces/default/scaledobjects/x"
        answer = await http.patch(scaled, data=b"{}", headers={"Content-Type": STRATEGIC})
        assert answer.status == 415
