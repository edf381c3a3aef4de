"""The fake API's tokens, roles, faults and request log."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientConnectionError
from kubernetes_asyncio import client
from kubernetes_asyncio.config.incluster_config import InClusterConfigLoader

from tests.fakes.conftest import connect
from tests.fakes.kubernetes import FakeCluster
from tests.fakes.kubernetes.access import Ask, allows
from tests.fakes.workloads import APPLY, apps_api, core_api, deployment, failure, pod, review_api

RBAC = "rbac.authorization.k8s.io"


def rule(group: str, resources: str, verbs: str, *names: str) -> dict[str, Any]:
    made: dict[str, Any] = {"apiGroups": [group], "resources": resources.split(), "verbs": verbs.split()}
    return made | ({"resourceNames": list(names)} if names else {})


def role(*rules: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "Role",
        "metadata": {"name": "r", "namespace": "default"},
        "rules": list(rules),
    }


@pytest.mark.parametrize(
    ("given", "ask", "answer"),
    [
        (rule("apps", "deployments", "get list"), Ask("get", "apps", "deployments", name="x"), True),
        (rule("apps", "deployments", "get list"), Ask("watch", "apps", "deployments"), False),
        (rule("", "deployments", "get"), Ask("get", "apps", "deployments"), False),
        (rule("apps", "deployments", "patch"), Ask("patch", "apps", "deployments", "scale"), False),
        (rule("apps", "deployments/scale", "patch"), Ask("patch", "apps", "deployments", "scale"), True),
        (rule("apps", "*/scale", "patch"), Ask("patch", "apps", "deployments", "scale"), True),
        (rule("*", "*", "*"), Ask("delete", "apps", "deployments", "status"), True),
        (rule("", "secrets", "get create", "mine"), Ask("get", "", "secrets", name="mine"), True),
        (rule("", "secrets", "get create", "mine"), Ask("get", "", "secrets", name="other"), False),
        (rule("", "secrets", "get create", "mine"), Ask("create", "", "secrets"), False),
    ],
)
def test_rules(given: dict[str, Any], ask: Ask, answer: bool) -> None:
    assert allows(given, ask) is answer


async def test_only_what_the_role_allows(cluster: FakeCluster, api: client.ApiClient) -> None:
    apps, core = apps_api(api), core_api(api)
    cluster.create(deployment())
    cluster.allow(role(rule("apps", "deployments", "get patch"), rule("apps", "deployments/scale", "patch")))
    await apps.read_namespaced_deployment("web", "default")
    patch = {"spec": {"replicas": 3}}
    await apps.patch_namespaced_deployment_scale("web", "default", patch, _content_type="application/merge-patch+json")
    for call in (
        apps.list_namespaced_deployment("default"),
        apps.read_namespaced_deployment_scale("web", "default"),
        apps.read_namespaced_deployment("web", "kube-system"),
        core.list_namespaced_pod("default"),
    ):
        assert (await failure(call))["reason"] == "Forbidden"
    status = await failure(apps.delete_namespaced_deployment("web", "default"))
    assert status["message"].startswith('deployments.apps "web" is forbidden: User "system:admin" cannot delete')
    # An apply that creates needs `create`, too.
    call = apps.patch_namespaced_deployment(
        "new", "default", deployment("new"), field_manager="yard", force=True, _content_type=APPLY
    )
    assert "cannot create resource" in (await failure(call))["message"]


async def test_a_list_of_one_name_is_about_that_name(cluster: FakeCluster, api: client.ApiClient) -> None:
    core = core_api(api)
    cluster.create({"kind": "Secret", "metadata": {"name": "mine"}})
    cluster.allow([rule("", "secrets", "list", "mine")])
    found = await core.list_namespaced_secret("default", field_selector="metadata.name=mine")
    assert len(found.items) == 1
    assert (await failure(core.list_namespaced_secret("default")))["code"] == 403


async def test_tokens(cluster: FakeCluster, tmp_path: Path) -> None:
    cluster.require_token("good")
    async with await connect(cluster, tmp_path, "good") as known, await connect(cluster, tmp_path, "bad") as unknown:
        await core_api(known).list_namespaced_pod("default")
        status = await failure(core_api(unknown).list_namespaced_pod("default"))
    assert (status["code"], status["message"]) == (401, "Unauthorized")


async def test_a_pod_s_account_may_do_what_its_bindings_say(tmp_path: Path) -> None:
    async with FakeCluster(tls=tmp_path) as cluster:
        cluster.act_as("token", "default")
        environment = cluster.in_cluster(tmp_path, "token")
        settings = client.Configuration()
        files = str(tmp_path / "token"), str(tmp_path / "ca.crt")
        InClusterConfigLoader(*files, environ=environment).load_and_set(settings)
        async with client.ApiClient(settings) as api:
            core = core_api(api)
            assert (await failure(core.list_namespaced_pod("default")))["code"] == 403
            cluster.create(role(rule("", "pods", "list")))
            subject = {"kind": "ServiceAccount", "name": "default", "namespace": "default"}
            ref = {"apiGroup": RBAC, "kind": "Role", "name": "r"}
            cluster.create({"kind": "RoleBinding", "metadata": {"name": "b"}, "roleRef": ref, "subjects": [subject]})
            assert (await core.list_namespaced_pod("default")).items == []
            spec = {"resourceAttributes": {"verb": "delete", "resource": "pods", "namespace": "default"}}
            review = await review_api(api).create_self_subject_access_review({"spec": spec})
            assert review.status.allowed is False


@pytest.mark.parametrize("code", [401, 403, 409, 410, 429, 500, 503])
async def test_faults_answer_so_often_and_then_no_more(cluster: FakeCluster, api: client.ApiClient, code: int) -> None:
    core = core_api(api)
    fault = cluster.faults.answer(code, verb="list", path="/api/v1/namespaces/default/pods", times=2, retry_after_s=7)
    for _ in range(2):
        with pytest.raises(client.ApiException) as caught:
            await core.list_namespaced_pod("default")
        assert caught.value.status == code
        assert caught.value.headers and caught.value.headers["Retry-After"] == "7"
    await core.list_namespaced_pod("default")
    assert fault.seen == 2


async def test_faults_that_do_not_answer(cluster: FakeCluster, api: client.ApiClient) -> None:
    core = core_api(api)
    cluster.faults.hang(verb="GET", path="/api/v1/namespaces/default/pods")
    with pytest.raises(asyncio.TimeoutError):
        await core.list_namespaced_pod("default", _request_timeout=0.05)
    cluster.faults.reset(verb="*", times=None)
    with pytest.raises(ClientConnectionError):
        await core.list_namespaced_pod("default")
    cluster.faults.clear()
    await core.list_namespaced_pod("default")


async def test_requests_are_logged(cluster: FakeCluster, api: client.ApiClient) -> None:
    core = core_api(api)
    await core.create_namespaced_pod("default", pod("a"), field_manager="yard")
    (logged,) = cluster.requests("create", "/api/v1")
    assert (logged.method, logged.path, logged.status) == ("POST", "/api/v1/namespaces/default/pods", 201)
    assert logged.query == {"fieldManager": "yard"}
    assert logged.content_type == "application/json"
    assert logged.json()["metadata"]["name"] == "a"
    cluster.forget_requests()
    assert cluster.requests() == []
