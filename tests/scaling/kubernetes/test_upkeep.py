"""Deployments and the Secret: made, repaired, left alone; and what the API has against it, as the pool's conditions."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from app.core.db import Database
from app.scaling.backends.kubernetes import foreign
from app.scaling.backends.kubernetes.upkeep import REFUSED_S, SECRET_EVERY_S
from tests.fakes.kubernetes import FakeCluster
from tests.scaling.kubernetes.ground import GRACE_S, NAMESPACE, Ground, ground

DEPLOYMENTS = "/apis/apps/v1/namespaces/agents/deployments"
RIGHTS = [
    {
        "apiGroups": ["apps"],
        "resources": ["deployments"],
        "verbs": ["get", "list", "watch", "create", "patch", "delete"],
    },
    {"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["patch"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch", "patch"]},
    {"apiGroups": ["autoscaling"], "resources": ["horizontalpodautoscalers"], "verbs": ["list"]},
    {"apiGroups": ["keda.sh"], "resources": ["scaledobjects"], "verbs": ["list"]},
    {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["yardmaster-agent-key"], "verbs": ["patch"]},
    {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]},
]


def writes(yard: Ground) -> list[str]:
    return [
        f"{item.method} {item.path.rsplit('/agents/', 1)[-1]}"
        for item in yard.cluster.requests()
        if item.method != "GET"
    ]


async def test_a_pool_becomes_a_deployment_and_a_second_pass_writes_nothing(yard: Ground) -> None:
    await yard.wish(3, env={"MODEL": "small"})
    await yard.tick()
    live = yard.deployment()
    assert live["spec"]["replicas"] == 3
    assert live["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > GRACE_S
    secret = yard.cluster.get("Secret", "yardmaster-agent-key", NAMESPACE)
    assert secret is not None
    assert base64.b64decode(secret["data"]["YARD_API_KEY"]) == b"yk_agents_key"
    assert writes(yard) == ["PATCH secrets/yardmaster-agent-key", "PATCH deployments/yardmaster-p"]
    yard.cluster.forget_requests()
    await yard.tick()
    assert writes(yard) == []
    assert await yard.conditions() == {}


async def test_two_pools_are_two_deployments(yard: Ground) -> None:
    await yard.wish(1, "Log_analyzer")
    await yard.wish(2, "summarizer")
    await yard.tick()
    assert (yard.replicas("Log_analyzer"), yard.replicas("summarizer")) == (1, 2)
    assert yard.deployment("Log_analyzer")["metadata"]["annotations"]["yardmaster/pool"] == "Log_analyzer"


async def test_a_changed_launch_is_applied_and_the_scale_stays(yard: Ground) -> None:
    await yard.wish(3)
    await yard.tick()
    await yard.wish(3, image="acme/agents:2", args=["--fast"])
    await yard.tick()
    container = yard.deployment()["spec"]["template"]["spec"]["containers"][0]
    assert (container["image"], container["args"]) == ("acme/agents:2", ["--fast"])
    assert yard.replicas() == 3


async def test_while_rollouts_are_frozen_a_changed_launch_waits_and_drift_is_repaired(yard: Ground) -> None:
    await yard.wish(3)
    await yard.tick()
    before = yard.deployment()["spec"]
    yard.frozen.add("p")
    yard.cluster.patch("Deployment", yard.home(), {"spec": {"strategy": {"rollingUpdate": {"maxUnavailable": 1}}}},
                       NAMESPACE)  # fmt: skip
    await yard.tick()
    assert yard.deployment()["spec"] == before
    await yard.wish(4, image="acme/agents:2")
    await yard.tick()
    assert yard.deployment()["spec"]["template"] == before["template"]
    assert yard.replicas() == 4
    async with yard.db.hot() as connection:
        assert "rollout_frozen" in await connection.fetchval("SELECT conditions::text FROM pools WHERE name = 'p'")
    yard.frozen.clear()
    await yard.tick()
    assert yard.deployment()["spec"]["template"]["spec"]["containers"][0]["image"] == "acme/agents:2"


@pytest.mark.parametrize(
    "drift",
    [
        {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}},
        {"spec": {"template": {"spec": {"automountServiceAccountToken": True}}}},
        {"metadata": {"annotations": {"yardmaster/launch-hash": "0"}}},
        {"spec": {"strategy": {"rollingUpdate": {"maxUnavailable": 1}}}},
    ],
)
async def test_drift_is_repaired(yard: Ground, drift: dict[str, Any]) -> None:
    await yard.wish(2)
    await yard.tick()
    before = yard.deployment()
    yard.cluster.patch("Deployment", yard.home(), drift, NAMESPACE)
    await yard.tick()
    after = yard.deployment()
    assert after["spec"] == before["spec"]
    assert after["metadata"]["annotations"] == before["metadata"]["annotations"]


async def test_what_others_add_stays_and_is_not_fought_over(yard: Ground) -> None:
    await yard.wish(2)
    await yard.tick()
    added = {
        "metadata": {"labels": {"team": "ml"}},
        "spec": {"template": {"metadata": {"annotations": {"restarted": "x"}}}},
    }
    yard.cluster.patch("Deployment", yard.home(), added, NAMESPACE)
    yard.cluster.forget_requests()
    await yard.tick()
    assert writes(yard) == []
    assert yard.deployment()["metadata"]["labels"]["team"] == "ml"


async def test_a_deployment_that_was_deleted_comes_back(yard: Ground) -> None:
    await yard.wish(2)
    await yard.tick()
    yard.cluster.delete("Deployment", yard.home(), NAMESPACE)
    await yard.tick()
    assert yard.replicas() == 2


async def test_a_secret_that_was_deleted_comes_back(yard: Ground) -> None:
    await yard.wish(1)
    await yard.tick()
    yard.cluster.delete("Secret", "yardmaster-agent-key", NAMESPACE)
    yard.clock.forward(SECRET_EVERY_S)
    await yard.tick()
    assert yard.cluster.get("Secret", "yardmaster-agent-key", NAMESPACE) is not None


async def test_a_secret_of_somebody_elses_is_only_named(db: Database, cluster: FakeCluster, tmp_path: Path) -> None:
    async with ground(db, cluster, tmp_path, agent_secret="vault-key") as yard:
        await yard.wish(1)
        await yard.tick()
        assert writes(yard) == ["PATCH deployments/yardmaster-p"]
        env = yard.deployment()["spec"]["template"]["spec"]["containers"][0]["env"]
        assert env[-1]["valueFrom"]["secretKeyRef"] == {"name": "vault-key", "key": "YARD_API_KEY"}


async def test_a_deployment_that_is_not_ours_is_never_touched(yard: Ground) -> None:
    labels = {"matchLabels": {"app": "x"}}
    template = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    theirs = yard.cluster.create(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": yard.home(), "namespace": NAMESPACE},
            "spec": {"replicas": 1, "selector": labels, "template": template},
        }
    )
    await yard.wish(3)
    await yard.tick()
    await yard.tick()
    assert yard.deployment() == theirs
    assert "yardmaster-p in agents that is not ours" in (await yard.conditions())["foreign_deployment"]
    yard.cluster.delete("Deployment", yard.home(), NAMESPACE)
    await yard.tick()
    assert yard.replicas() == 3
    assert await yard.conditions() == {}


def hpa(target: str, **metadata: Any) -> dict[str, Any]:
    ref = {"apiVersion": "apps/v1", "kind": "Deployment", "name": target}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "cpu-hpa", "namespace": NAMESPACE, **metadata},
        "spec": {"scaleTargetRef": ref, "minReplicas": 1, "maxReplicas": 5},
    }


async def test_a_foreign_hpa_is_named_and_the_scale_left_to_it(yard: Ground) -> None:
    await yard.wish(2)
    await yard.tick()
    yard.cluster.create(hpa(yard.home()))
    yard.clock.forward(foreign.EVERY_S)
    await yard.want(5)
    await yard.tick()
    assert yard.replicas() == 2
    assert "HorizontalPodAutoscaler cpu-hpa scales the Deployment" in (await yard.conditions())["foreign_autoscaler"]
    await yard.wish(5, image="acme/agents:2")
    await yard.tick()
    assert yard.replicas() == 2
    assert yard.deployment()["spec"]["template"]["spec"]["containers"][0]["image"] == "acme/agents:2"
    yard.cluster.delete("HorizontalPodAutoscaler", "cpu-hpa", NAMESPACE)
    yard.clock.forward(foreign.EVERY_S)
    await yard.tick()
    assert yard.replicas() == 5
    assert await yard.conditions() == {}


async def test_a_foreign_keda_scaled_object_is_named(yard: Ground) -> None:
    await yard.wish(2)
    await yard.tick()
    yard.cluster.create(
        {
            "apiVersion": "keda.sh/v1alpha1",
            "kind": "ScaledObject",
            "metadata": {"name": "by-queue", "namespace": NAMESPACE},
            "spec": {"scaleTargetRef": {"name": yard.home()}, "triggers": []},
        }
    )
    yard.clock.forward(foreign.EVERY_S)
    await yard.want(5)
    await yard.tick()
    assert yard.replicas() == 2
    assert "KEDA's ScaledObject by-queue scales" in (await yard.conditions())["foreign_autoscaler"]


def test_an_hpa_that_keda_made_is_named_by_its_scaled_object() -> None:
    owner = [{"kind": "ScaledObject", "name": "by-queue", "apiVersion": "keda.sh/v1alpha1", "uid": "u"}]
    found = foreign.claims([hpa("a", ownerReferences=owner), hpa("b")], [])
    assert found == {"a": "KEDA's ScaledObject by-queue", "b": "The HorizontalPodAutoscaler cpu-hpa"}


async def test_a_launch_that_kubernetes_refuses_says_why_and_is_not_tried_all_the_time(yard: Ground) -> None:
    cpu = {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}
    await yard.wish(1, resources=cpu)
    await yard.tick()
    assert "less than or equal to cpu limit" in (await yard.conditions())["invalid_launch"]
    yard.cluster.forget_requests()
    await yard.tick()
    assert writes(yard) == []
    yard.clock.forward(REFUSED_S)
    await yard.tick()
    assert writes(yard)[-1:] == ["PATCH deployments/yardmaster-p"]
    await yard.wish(1)
    await yard.tick()
    assert yard.replicas() == 1
    assert await yard.conditions() == {}


async def test_a_refused_change_does_not_keep_what_runs_from_being_scaled(yard: Ground) -> None:
    await yard.wish(1)
    await yard.tick()
    await yard.wish(3, resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1"}})
    await yard.tick()
    assert yard.replicas() == 3
    assert "invalid_launch" in await yard.conditions()


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, "unauthorized"), (403, "forbidden"), (429, "throttled"), (500, "api_error"), (503, "api_unreachable")],
)
async def test_faults_of_the_api_are_conditions_and_pass(yard: Ground, status: int, code: str) -> None:
    await yard.wish(1)
    await yard.caught_up()
    yard.cluster.faults.answer(status, verb="patch", times=None)
    await yard.tick()
    assert set(await yard.conditions()) == {code}
    yard.cluster.forget_requests()
    await yard.tick()
    assert writes(yard) == []  # it rests
    yard.cluster.faults.clear()
    yard.clock.forward(5)
    await yard.tick()
    assert yard.replicas() == 1
    assert await yard.conditions() == {}


async def test_a_hanging_api_is_a_condition(db: Database, cluster: FakeCluster, tmp_path: Path) -> None:
    async with ground(db, cluster, tmp_path, request_timeout_s=0.3) as yard:
        await yard.wish(1)
        await yard.caught_up()
        yard.cluster.faults.hang(verb="patch", times=None)
        await yard.tick()
        assert "gives no answer in time" in (await yard.conditions())["api_unreachable"]


async def test_a_conflict_is_nobodys_condition(yard: Ground) -> None:
    await yard.wish(1)
    await yard.tick()
    yard.cluster.faults.answer(409, verb="patch", path=f"{DEPLOYMENTS}/yardmaster-p/scale")
    await yard.want(3)
    await yard.tick()
    assert (yard.replicas(), await yard.conditions()) == (1, {})
    await yard.tick()
    assert yard.replicas() == 3


async def test_the_rights_that_are_written_down_are_enough(db: Database, cluster: FakeCluster, tmp_path: Path) -> None:
    cluster.require_token("t")
    cluster.allow(RIGHTS, "t")
    async with ground(db, cluster, tmp_path, token="t") as yard:
        await yard.wish(1)
        await yard.tick()
        await yard.want(2)
        await yard.tick()
        assert yard.replicas() == 2
        await yard.sql("DELETE FROM pools")
        await yard.view.refresh()
        yard.view.pools.clear()
        await yard.loop.tick()
        assert cluster.get("Deployment", yard.home(), NAMESPACE) is None
        assert [item for item in cluster.requests() if item.status == 403] == []


async def test_without_rights_the_pool_says_which_are_missing(
    db: Database, cluster: FakeCluster, tmp_path: Path
) -> None:
    cluster.require_token("t")
    cluster.allow([rule for rule in RIGHTS if "deployments/scale" not in rule["resources"]], "t")
    async with ground(db, cluster, tmp_path, token="t") as yard:
        await yard.wish(1)
        await yard.tick()
        await yard.want(2)
        await yard.tick()
        assert "patch deployments/scale" in (await yard.conditions())["forbidden"]


async def test_where_autoscalers_may_not_be_listed_that_is_said_and_the_rest_goes_on(
    db: Database, cluster: FakeCluster, tmp_path: Path
) -> None:
    cluster.require_token("t")
    cluster.allow([rule for rule in RIGHTS if rule["apiGroups"] != ["autoscaling"]], "t")
    async with ground(db, cluster, tmp_path, token="t") as yard:
        await yard.wish(2)
        await yard.tick()
        assert yard.replicas() == 2
        assert "list horizontalpodautoscalers" in (await yard.conditions())["forbidden"]


async def test_the_quota_of_all_pools_together_bounds_what_is_added(
    db: Database, cluster: FakeCluster, tmp_path: Path
) -> None:
    async with ground(db, cluster, tmp_path, max_replicas=5) as yard:
        await yard.wish(3, "a")
        await yard.wish(4, "b")
        await yard.tick()
        await yard.tick()
        assert (yard.replicas("a"), yard.replicas("b")) == (3, 2)
        assert await yard.conditions("a") == {}
        assert "2 more replicas are wanted than the quota" in (await yard.conditions("b"))["quota_exceeded"]
