"""Calls of the API over HTTP, and what its refusals and silences become."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.scaling.backends.base import BackendError
from app.scaling.backends.kubernetes import manifest
from app.scaling.backends.kubernetes.client import Api
from app.scaling.backends.kubernetes.credentials import Credentials
from app.scaling.backends.kubernetes.faults import ApiError
from app.settings import KubernetesSettings
from tests.core.database import HandClock
from tests.fakes.kubernetes import FakeCluster
from tests.scaling.kubernetes.pools import PLACE, pool

NAMESPACE = "agents"


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    async with FakeCluster(namespaces=("default", NAMESPACE), groups=("keda",)) as running:
        yield running


@pytest.fixture
async def api(cluster: FakeCluster, tmp_path: Path, clock: HandClock) -> AsyncIterator[Api]:
    made = Api(Credentials(_settings(cluster, tmp_path)), NAMESPACE, clock, 2.0)
    await made.open()
    yield made
    await made.close()


def _settings(cluster: FakeCluster, folder: Path, token: str = "") -> KubernetesSettings:
    return KubernetesSettings(mode="kubeconfig", kubeconfig=str(cluster.kubeconfig(folder / "config", token=token)))


def deployment(replicas: int = 2, version: str | None = None, **launch: Any) -> dict[str, Any]:
    return manifest.sized(manifest.deployment(pool(**launch), PLACE, 30.0), replicas, version)


NAME = deployment()["metadata"]["name"]


async def refused(call: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await call
    return caught.value


async def test_a_deployment_is_made_by_server_side_apply(api: Api, cluster: FakeCluster) -> None:
    made = await api.apply("deployments", deployment(3))
    assert (made["spec"]["replicas"], made["metadata"]["namespace"]) == (3, NAMESPACE)
    (asked,) = cluster.requests("PATCH")
    assert asked.content_type.startswith("application/apply-patch+yaml")
    assert asked.query["fieldManager"] == "yardmaster"
    assert asked.query["force"] == "true"


async def test_applying_again_changes_nothing_and_a_changed_launch_drops_what_it_dropped(api: Api) -> None:
    first = await api.apply("deployments", deployment(env={"A": "1"}, args=["x"]))
    again = await api.apply(
        "deployments", deployment(2, first["metadata"]["resourceVersion"], env={"A": "1"}, args=["x"])
    )
    assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    changed = await api.apply("deployments", deployment(2, first["metadata"]["resourceVersion"]))
    (container,) = changed["spec"]["template"]["spec"]["containers"]
    assert "args" not in container
    assert "A" not in [item["name"] for item in container["env"]]


async def test_an_apply_of_an_older_version_is_a_conflict(api: Api, cluster: FakeCluster) -> None:
    first = await api.apply("deployments", deployment())
    cluster.patch("Deployment", NAME, {"metadata": {"labels": {"x": "y"}}}, NAMESPACE)
    error = await refused(api.apply("deployments", deployment(2, first["metadata"]["resourceVersion"], args=["z"])))
    assert (error.status, error.code) == (409, "conflict")


async def test_the_scale_is_set_by_its_subresource_where_the_version_is_right(api: Api, cluster: FakeCluster) -> None:
    first = await api.apply("deployments", deployment())
    await api.scale(NAME, 5, first["metadata"]["resourceVersion"])
    live = cluster.get("Deployment", NAME, NAMESPACE)
    assert live is not None
    assert live["spec"]["replicas"] == 5
    assert (await refused(api.scale(NAME, 1, first["metadata"]["resourceVersion"]))).status == 409


async def test_pages_are_read_to_the_end(api: Api, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.scaling.backends.kubernetes.client.PAGE", 2)
    for number in range(5):
        await api.apply("deployments", deployment(name=f"p{number}"))
    found, version = await api.list("deployments", manifest.selector("yardmaster"))
    assert len(found) == 5
    assert version
    assert len(cluster.requests("list", "/apis/apps")) == 3


async def test_what_is_not_there(api: Api) -> None:
    assert await api.get("deployments", "nobody") is None
    assert await api.annotate("nobody", {"a": "b"}) is None


async def test_a_deployment_is_deleted_only_as_it_was_seen(api: Api, cluster: FakeCluster) -> None:
    first = await api.apply("deployments", deployment())
    cluster.patch("Deployment", NAME, {"metadata": {"labels": {"x": "y"}}}, NAMESPACE)
    assert (await refused(api.delete("deployments", first))).status == 409
    live = cluster.get("Deployment", NAME, NAMESPACE)
    assert live is not None
    await api.delete("deployments", live)
    assert cluster.get("Deployment", NAME, NAMESPACE) is None


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (401, "unauthorized", "does not accept our credentials"),
        (403, "forbidden", "not allowed to list pods"),
        (409, "conflict", "409"),
        (410, "expired", "410"),
        (422, "invalid_launch", "does not take the launch spec"),
        (500, "api_error", "500"),
        (503, "api_unreachable", "503"),
    ],
)
async def test_refusals(api: Api, cluster: FakeCluster, status: int, code: str, words: str) -> None:
    cluster.faults.answer(status, verb="list")
    error = await refused(api.list("pods"))
    assert (error.status, error.code) == (status, code)
    assert words in str(error)
    assert (await api.list("pods"))[0] == []


async def test_after_a_429_no_call_is_sent_before_its_time(api: Api, cluster: FakeCluster, clock: HandClock) -> None:
    cluster.faults.answer(429, verb="list", retry_after_s=7)
    assert (await refused(api.list("pods"))).code == "throttled"
    asked = len(cluster.requests())
    clock.forward(6.9)
    error = await refused(api.list("pods"))
    assert (error.code, round(error.retry_after_s, 1)) == ("throttled", 0.1)
    assert len(cluster.requests()) == asked
    clock.forward(0.2)
    await api.list("pods")


async def test_an_api_that_never_answers(cluster: FakeCluster, tmp_path: Path, clock: HandClock) -> None:
    api = Api(Credentials(_settings(cluster, tmp_path)), NAMESPACE, clock, 0.2)
    await api.open()
    cluster.faults.hang(verb="list")
    error = await refused(api.list("pods"))
    assert (error.code, error.status) == ("api_unreachable", 0)
    cluster.faults.hang(verb="watch")
    with pytest.raises(ApiError) as caught:
        async with api.watch("pods", "app=x", "1", 60.0):
            pass
    assert caught.value.code == "api_unreachable"
    await api.close()


async def test_a_connection_that_is_cut(api: Api, cluster: FakeCluster) -> None:
    cluster.faults.reset(verb="list", times=None)
    assert (await refused(api.list("pods"))).code == "api_unreachable"


async def test_what_kubernetes_says_of_a_bad_launch_is_passed_on(api: Api) -> None:
    error = await refused(api.apply("deployments", deployment(env_from_secrets=["Not_A_Name"], image="")))
    assert error.code == "invalid_launch"
    assert "image" in str(error)


async def test_a_token_is_sent_and_read_anew_when_it_was_refused(
    cluster: FakeCluster, tmp_path: Path, clock: HandClock
) -> None:
    cluster.require_token("good")
    api = Api(Credentials(_settings(cluster, tmp_path, "stale")), NAMESPACE, clock, 2.0)
    await api.open()
    cluster.kubeconfig(tmp_path / "config", token="good")
    assert (await refused(api.list("pods"))).code == "unauthorized"
    await api.list("pods")
    await api.close()


async def test_rights_that_are_missing_are_named(cluster: FakeCluster, tmp_path: Path, clock: HandClock) -> None:
    cluster.require_token("t")
    cluster.allow([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}], "t")
    api = Api(Credentials(_settings(cluster, tmp_path, "t")), NAMESPACE, clock, 2.0)
    await api.open()
    await api.list("pods")
    error = await refused(api.apply("deployments", deployment()))
    assert error.code == "forbidden"
    assert "patch deployments" in str(error)
    await api.close()


async def test_a_missing_kubeconfig_and_a_missing_service_account_say_so(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"there is no kubeconfig at .*nowhere"):
        await Credentials(KubernetesSettings(mode="kubeconfig", kubeconfig=str(tmp_path / "nowhere"))).load()
    with pytest.raises(BackendError, match="Service host/port is not set"):
        await Credentials(KubernetesSettings(mode="in_cluster"), tmp_path).load()
    (tmp_path / "broken").write_text("not: [a kubeconfig")
    with pytest.raises(BackendError) as caught:
        await Credentials(KubernetesSettings(mode="kubeconfig", kubeconfig=str(tmp_path / "broken"))).load()
    assert caught.value.code == "api_config"


async def test_in_a_pod_the_service_account_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    (tmp_path / "token").write_text("the-token")
    (tmp_path / "ca.crt").write_text("a certificate")
    found = await Credentials(KubernetesSettings(mode="in_cluster"), tmp_path).load()
    assert found.host == "https://[fd00::1]:443"
    assert (await found.auth_settings())["BearerToken"]["value"] == "Bearer the-token"
