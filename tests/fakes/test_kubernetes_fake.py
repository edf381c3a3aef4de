"""The fake API's objects: stored, validated, listed and deleted as a real API server does, by the real client."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from kubernetes_asyncio import client

from tests.fakes.kubernetes import FakeCluster
from tests.fakes.workloads import MERGE, apps_api, container, core_api, deployment, failure, pod


async def test_objects_get_what_the_server_gives(cluster: FakeCluster, api: client.ApiClient) -> None:
    apps = apps_api(api)
    made = await apps.create_namespaced_deployment("default", deployment(replicas=None))
    assert made.metadata.uid and made.metadata.creation_timestamp and made.metadata.generation == 1
    spec = made.spec
    assert (spec.replicas, spec.progress_deadline_seconds, spec.revision_history_limit) == (1, 600, 10)
    assert spec.strategy.rolling_update.max_surge == "25%"
    assert spec.template.spec.termination_grace_period_seconds == 30
    again = await failure(apps.create_namespaced_deployment("default", deployment()))
    assert (again["code"], again["reason"]) == (409, "AlreadyExists")
    assert again["details"] == {"name": "web", "group": "apps", "kind": "deployments"}
    missing = await failure(apps.read_namespaced_deployment("none", "default"))
    assert missing["message"] == 'deployments.apps "none" not found'
    nowhere = await failure(apps.create_namespaced_deployment("nowhere", deployment()))
    assert nowhere["message"] == 'namespaces "nowhere" not found'


async def test_names_can_be_generated(api: client.ApiClient) -> None:
    body = {"metadata": {"generateName": "x-"}, "data": {}}
    core = core_api(api)
    names = {(await core.create_namespaced_config_map("default", body)).metadata.name for _ in range(5)}
    assert len(names) == 5
    assert all(name.startswith("x-") and len(name) == 7 for name in names)


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"spec": {"replcas": 1}}, 400, 'unknown field "spec.replcas"'),
        ({"spec": {"replicas": "two"}}, 400, "cannot unmarshal"),
        ({"spec": {"replicas": -1}}, 422, "must be greater than or equal to 0"),
        ({"spec": {"selector": {"matchLabels": {"app": "other"}}}}, 422, "does not match template `labels`"),
        ({"metadata": {"name": "Web_1"}}, 422, "RFC 1123 subdomain"),
        ({"metadata": {"labels": {"pool": "a b"}}}, 422, "a valid label must be"),
        ({"metadata": {"labels": {"pool": "x" * 64}}}, 422, "no more than 63 characters"),
        ({"spec": {"template": {"spec": {"containers": []}}}}, 422, "Required value"),
        ({"spec": {"template": {"spec": {"containers": [container("")]}}}}, 422, "image: Required value"),
        (
            {"spec": {"template": {"spec": {"containers": [container(resources={"limits": {"cpu": "much"}})]}}}},
            422,
            "quantities must match",
        ),
        ({"spec": {"template": {"spec": {"restartPolicy": "Never"}}}}, 422, "supported values"),
    ],
)
async def test_what_is_refused(
    cluster: FakeCluster, api: client.ApiClient, change: dict[str, Any], code: int, words: str
) -> None:
    body = _merged(deployment(), change)
    status = await failure(apps_api(api).create_namespaced_deployment("default", body))
    assert status["code"] == code
    assert words in status["message"]
    assert cluster.objects("Deployment") == []


def _merged(target: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    result = dict(target)
    for key, value in change.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict) and key != "matchLabels"
        result[key] = _merged(result[key], value) if both else value
    return result


async def test_a_write_of_an_old_version_conflicts(api: client.ApiClient) -> None:
    apps = apps_api(api)
    made = await apps.create_namespaced_deployment("default", deployment())
    made.spec.replicas = 3
    newer = await apps.replace_namespaced_deployment("web", "default", made)
    assert newer.metadata.generation == 2
    status = await failure(apps.replace_namespaced_deployment("web", "default", made))
    assert (status["code"], status["reason"]) == (409, "Conflict")
    assert "the object has been modified" in status["message"]
    same = await apps.replace_namespaced_deployment("web", "default", newer)
    assert same.metadata.resource_version == newer.metadata.resource_version


async def test_the_selector_is_immutable(api: client.ApiClient) -> None:
    apps = apps_api(api)
    await apps.create_namespaced_deployment("default", deployment())
    labels = {"app": "web", "more": "x"}
    spec = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}}}
    status = await failure(apps.patch_namespaced_deployment("web", "default", {"spec": spec}, _content_type=MERGE))
    assert status["code"] == 422
    assert status["details"]["causes"][0]["field"] == "spec.selector"


async def test_scale(api: client.ApiClient) -> None:
    apps = apps_api(api)
    await apps.create_namespaced_deployment("default", deployment())
    scale = await apps.read_namespaced_deployment_scale("web", "default")
    assert (scale.kind, scale.api_version) == ("Scale", "autoscaling/v1")
    assert (scale.spec.replicas, scale.status.selector) == (2, "app=web")
    scale.spec.replicas = 4
    await apps.replace_namespaced_deployment_scale("web", "default", scale)
    assert (await apps.read_namespaced_deployment("web", "default")).spec.replicas == 4
    assert (await failure(apps.replace_namespaced_deployment_scale("web", "default", scale)))["code"] == 409
    patch = {"spec": {"replicas": -1}}
    status = await failure(apps.patch_namespaced_deployment_scale("web", "default", patch, _content_type=MERGE))
    assert (status["code"], status["details"]["kind"]) == (422, "Scale")


async def test_status_and_spec_are_written_apart(api: client.ApiClient) -> None:
    apps = apps_api(api)
    await apps.create_namespaced_deployment("default", deployment() | {"status": {"replicas": 9}})
    patch = {"spec": {"replicas": 8}, "status": {"replicas": 3}}
    made = await apps.patch_namespaced_deployment_status("web", "default", patch, _content_type=MERGE)
    assert (made.spec.replicas, made.status.replicas, made.metadata.generation) == (2, 3, 1)
    made = await apps.patch_namespaced_deployment("web", "default", patch, _content_type=MERGE)
    assert (made.spec.replicas, made.status.replicas, made.metadata.generation) == (8, 3, 2)


async def test_lists_select_and_page(cluster: FakeCluster, api: client.ApiClient) -> None:
    core = core_api(api)
    for number in range(5):
        cluster.create(pod(f"p{number}", labels={"n": str(number), "even": str(number % 2 == 0).lower()}))
    for selector, names in {
        "even=true": "p0 p2 p4",
        "even!=true": "p1 p3",
        "n in (1,2),even": "p1 p2",
        "n notin (1,2)": "p0 p3 p4",
        "!n": "",
    }.items():
        found = await core.list_namespaced_pod("default", label_selector=selector)
        assert [one.metadata.name for one in found.items] == names.split()
    found = await core.list_namespaced_pod("default", field_selector="metadata.name=p3,status.phase=Pending")
    assert [one.metadata.name for one in found.items] == ["p3"]
    status = await failure(core.list_namespaced_pod("default", field_selector="spec.colour=red"))
    assert status["message"] == "field label not supported: spec.colour"
    page = await core.list_namespaced_pod("default", limit=2)
    assert page.metadata.remaining_item_count == 3
    # A later page is of the same moment as the first.
    cluster.delete("Pod", "p4")
    token = page.metadata._continue
    rest = await core.list_namespaced_pod("default", _continue=token)
    assert [one.metadata.name for one in rest.items] == ["p2", "p3", "p4"]
    assert rest.metadata.resource_version == page.metadata.resource_version
    cluster.compact()
    assert (await failure(core.list_namespaced_pod("default", _continue=token)))["reason"] == "Expired"


async def test_deletion(cluster: FakeCluster, api: client.ApiClient) -> None:
    apps, core = apps_api(api), core_api(api)
    made = await apps.create_namespaced_deployment("default", deployment())
    options = {"preconditions": {"uid": "another"}}
    assert (await failure(apps.delete_namespaced_deployment("web", "default", body=options)))["code"] == 409
    body = {"metadata": {"name": "held", "finalizers": ["example.com/hold"]}}
    await core.create_namespaced_config_map("default", body)
    await core.delete_namespaced_config_map("held", "default")
    held = cluster.get("ConfigMap", "held")
    assert held and held["metadata"]["deletionTimestamp"]
    patch = {"metadata": {"finalizers": None}}
    await core.patch_namespaced_config_map("held", "default", patch, _content_type=MERGE)
    assert cluster.get("ConfigMap", "held") is None
    done = await apps.delete_namespaced_deployment("web", "default", body={"preconditions": {"uid": made.metadata.uid}})
    assert done.status == "Success"
    assert (await failure(apps.delete_namespaced_deployment("web", "default")))["code"] == 404


async def test_secrets_hide_plain_text(api: client.ApiClient) -> None:
    core = core_api(api)
    made = await core.create_namespaced_secret("default", {"metadata": {"name": "s"}, "stringData": {"key": "yard"}})
    assert (made.type, made.data, made.string_data) == ("Opaque", {"key": "eWFyZA=="}, None)


async def test_custom_resources_are_served_once_defined(cluster: FakeCluster, api: client.ApiClient) -> None:
    custom = client.CustomObjectsApi(api)
    scaled = {"metadata": {"name": "s"}, "spec": {"scaleTargetRef": {"name": "web"}}}
    made = await custom.create_namespaced_custom_object("keda.sh", "v1alpha1", "default", "scaledobjects", scaled)
    assert made["kind"] == "ScaledObject"
    with pytest.raises(client.ApiException, match="404"):
        await custom.list_namespaced_custom_object("security.istio.io", "v1", "default", "peerauthentications")
    names = {"kind": "Widget", "plural": "widgets"}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    spec = {"group": "example.com", "names": names, "scope": "Namespaced", "versions": [version]}
    definition = {"kind": "CustomResourceDefinition", "metadata": {"name": "widgets.example.com"}, "spec": spec}
    cluster.create(definition)
    await custom.create_namespaced_custom_object("example.com", "v1", "default", "widgets", {"metadata": {"name": "w"}})
    assert [one["metadata"]["name"] for one in cluster.objects("Widget")] == ["w"]


async def test_discovery(cluster: FakeCluster) -> None:
    async with aiohttp.ClientSession(cluster.url) as http:
        groups = await (await http.get("/apis")).json()
        assert {"apps", "keda.sh", "autoscaling"} <= {group["name"] for group in groups["groups"]}
        found = await (await http.get("/apis/apps/v1")).json()
        assert {"deployments", "deployments/scale"} <= {one["name"] for one in found["resources"]}
        assert (await (await http.get("/version")).json())["minor"] == "36"
        unknown = await http.get("/apis/security.istio.io/v1")
        assert (unknown.status, (await unknown.json())["reason"]) == (404, "NotFound")
