"""What the fake's controllers, scheduler and kubelets make of the objects."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.fakes.kubernetes import FakeCluster, Image, Kubelet, PodReport
from tests.fakes.kubernetes.controllers.scale_in import COST
from tests.fakes.workloads import container, deployment, job


def condition(body: dict[str, Any] | None, name: str) -> dict[str, Any]:
    assert body is not None
    return next((one for one in body["status"].get("conditions") or [] if one["type"] == name), {})


def state(body: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = body["status"]["containerStatuses"][0]["state"]
    return found


async def test_a_deployment_becomes_ready_pods(cluster: FakeCluster) -> None:
    cluster.create(deployment(replicas=3))
    await cluster.reconcile()
    (replica_set,) = cluster.objects("ReplicaSet")
    pods = cluster.objects("Pod")
    suffix = replica_set["metadata"]["labels"]["pod-template-hash"]
    assert replica_set["metadata"]["name"] == f"web-{suffix}"
    for one in pods:
        assert one["metadata"]["name"].startswith(f"web-{suffix}-")
        assert one["metadata"]["ownerReferences"][0]["uid"] == replica_set["metadata"]["uid"]
        assert (one["status"]["phase"], condition(one, "Ready")["status"]) == ("Running", "True")
        assert one["status"]["podIP"]
    assert {one["spec"]["nodeName"] for one in pods} == {"node-1", "node-2", "node-3"}
    found = cluster.get("Deployment", "web")
    assert found is not None
    counts = ("replicas", "readyReplicas", "updatedReplicas", "availableReplicas", "observedGeneration")
    assert [found["status"][key] for key in counts] == [3, 3, 3, 3, 1]
    assert condition(found, "Available")["status"] == "True"
    assert condition(found, "Progressing")["reason"] == "NewReplicaSetAvailable"
    version = cluster.store.version
    await cluster.reconcile()
    assert cluster.store.version == version


async def test_a_rollout_keeps_within_its_bounds(cluster: FakeCluster) -> None:
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    cluster.create(deployment(replicas=3, strategy=rolling))
    await cluster.reconcile()
    cluster.images["agent:2"] = Image.starts_slowly(1)
    template = {"spec": {"containers": [container("agent:2")]}}
    cluster.patch("Deployment", "web", {"spec": {"template": template}})
    for _ in range(30):
        await cluster.step()
        pods = [one for one in cluster.objects("Pod") if "deletionTimestamp" not in one["metadata"]]
        assert len(pods) <= 4
        assert sum(condition(one, "Ready").get("status") == "True" for one in pods) >= 3
    assert {one["spec"]["containers"][0]["image"] for one in cluster.objects("Pod")} == {"agent:2"}
    assert len(cluster.objects("ReplicaSet")) == 2


async def test_the_annotated_pods_leave_first(cluster: FakeCluster) -> None:
    cluster.create(deployment(replicas=4))
    await cluster.reconcile()
    leaving = {cluster.objects("Pod")[index]["metadata"]["name"] for index in (1, 2)}
    for name in leaving:
        cluster.patch("Pod", name, {"metadata": {"annotations": {COST: "-1000"}}})
    before = {one["metadata"]["name"] for one in cluster.objects("Pod")}
    cluster.patch("Deployment", "web", {"spec": {"replicas": 2}})
    await cluster.reconcile()
    assert before - {one["metadata"]["name"] for one in cluster.objects("Pod")} == leaving


@pytest.mark.parametrize(
    ("image", "reason", "words"),
    [
        (Image.never_starts("no such tag"), "ImagePullBackOff", "no such tag"),
        (Image.crash_loop(137, "out of memory"), "CrashLoopBackOff", "back-off 40s restarting failed container"),
        (Image.misconfigured("no key"), "CreateContainerConfigError", "no key"),
    ],
)
async def test_images_that_misbehave(cluster: FakeCluster, image: Image, reason: str, words: str) -> None:
    cluster.images["bad:*"] = image
    cluster.create(deployment(replicas=1, image="bad:1"))
    await cluster.reconcile()
    (one,) = cluster.objects("Pod")
    waiting = state(one)["waiting"]
    assert waiting["reason"] == reason
    assert words in waiting["message"]
    assert condition(one, "Ready")["status"] == "False"
    if reason == "CrashLoopBackOff":
        status = one["status"]["containerStatuses"][0]
        ended = status["lastState"]["terminated"]
        assert (status["restartCount"], ended["exitCode"], ended["message"]) == (3, 137, "out of memory")
    cluster.images["bad:*"] = Image()
    await cluster.reconcile()
    assert condition(cluster.objects("Pod")[0], "Ready")["status"] == "True"


async def test_pods_no_node_takes(cluster: FakeCluster) -> None:
    body = deployment(replicas=1)
    body["spec"]["template"]["spec"]["containers"] = [container(resources={"requests": {"cpu": "100"}})]
    cluster.create(body)
    cluster.images["odd:1"] = Image.no_node("0/3 nodes are available: 3 had a taint.")
    cluster.create(deployment("odd", replicas=1, image="odd:1"))
    await cluster.reconcile()
    told = {one["metadata"]["labels"]["app"]: condition(one, "PodScheduled") for one in cluster.objects("Pod")}
    assert all((one["status"], one["reason"]) == ("False", "Unschedulable") for one in told.values())
    assert told["web"]["message"] == "0/3 nodes are available: 3 Insufficient cpu."
    assert told["odd"]["message"].endswith("had a taint.")


async def test_a_missing_secret_holds_the_container(cluster: FakeCluster) -> None:
    ref = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "agent", "key": "key"}}}
    body = deployment(replicas=1)
    body["spec"]["template"]["spec"]["containers"] = [container(env=[ref])]
    cluster.create(body)
    await cluster.reconcile()
    waiting = state(cluster.objects("Pod")[0])["waiting"]
    assert (waiting["reason"], waiting["message"]) == ("CreateContainerConfigError", 'secret "agent" not found')
    cluster.create({"kind": "Secret", "metadata": {"name": "agent"}, "stringData": {"key": "x"}})
    await cluster.reconcile()
    assert "running" in state(cluster.objects("Pod")[0])


async def test_a_quota_that_is_exceeded_is_said_on_the_deployment(cluster: FakeCluster) -> None:
    cluster.create({"kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": {"pods": "2"}}})
    cluster.create(deployment(replicas=3))
    await cluster.reconcile()
    failure = condition(cluster.get("Deployment", "web"), "ReplicaFailure")
    assert (failure["status"], failure["reason"]) == ("True", "FailedCreate")
    assert failure["message"].endswith("exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2")
    quota = cluster.get("ResourceQuota", "q")
    assert quota and quota["status"]["used"] == {"pods": "2"}
    cluster.delete("ResourceQuota", "q")
    await cluster.reconcile()
    assert condition(cluster.get("Deployment", "web"), "ReplicaFailure") == {}


async def test_a_rollout_that_takes_too_long() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    async with FakeCluster(now=lambda: now) as cluster:
        cluster.images["agent:*"] = Image.never_ready()
        cluster.create(deployment(progressDeadlineSeconds=60))
        await cluster.reconcile()
        now += timedelta(seconds=61)
        await cluster.reconcile()
        progress = condition(cluster.get("Deployment", "web"), "Progressing")
        assert (progress["status"], progress["reason"]) == ("False", "ProgressDeadlineExceeded")
        cluster.images["agent:*"] = Image()
        await cluster.reconcile()
        assert condition(cluster.get("Deployment", "web"), "Progressing")["status"] == "True"


async def test_a_deadline_can_be_declared_exceeded(cluster: FakeCluster) -> None:
    cluster.images["agent:*"] = Image.never_ready()
    cluster.create(deployment())
    await cluster.reconcile()
    cluster.exceed_deadline("web")
    await cluster.reconcile()
    assert condition(cluster.get("Deployment", "web"), "Progressing")["reason"] == "ProgressDeadlineExceeded"


class Processes(Kubelet):
    """Stands for something real that runs for each pod."""

    def __init__(self) -> None:
        self.running: set[str] = set()
        self.may_end = False

    async def start(self, pod: dict[str, Any]) -> PodReport:
        self.running.add(pod["metadata"]["name"])
        return PodReport(ready=False, ip="127.0.0.9")

    async def look(self, pod: dict[str, Any]) -> PodReport | None:
        return PodReport(ip="127.0.0.9")

    async def stop(self, pod: dict[str, Any]) -> bool:
        if self.may_end:
            self.running.discard(pod["metadata"]["name"])
        return self.may_end


async def test_the_kubelet_hook_decides() -> None:
    processes = Processes()
    async with FakeCluster(kubelet=processes) as cluster:
        cluster.create(deployment(replicas=2))
        await cluster.step()
        assert {condition(one, "Ready")["status"] for one in cluster.objects("Pod")} == {"False"}
        await cluster.reconcile()
        pods = cluster.objects("Pod")
        assert {one["status"]["podIP"] for one in pods} == {"127.0.0.9"}
        assert processes.running == {one["metadata"]["name"] for one in pods}
        cluster.patch("Deployment", "web", {"spec": {"replicas": 1}})
        await cluster.reconcile()
        leaving = [one for one in cluster.objects("Pod") if "deletionTimestamp" in one["metadata"]]
        assert len(leaving) == 1 and len(processes.running) == 2
        processes.may_end = True
        await cluster.reconcile()
        assert {one["metadata"]["name"] for one in cluster.objects("Pod")} == processes.running
        # Removed by force: its process is ended all the same.
        cluster.delete("Pod", next(iter(processes.running)), gracePeriodSeconds=0)
        await cluster.reconcile()
        assert {one["metadata"]["name"] for one in cluster.objects("Pod")} == processes.running


async def test_dependents_follow_their_owner(cluster: FakeCluster) -> None:
    for policy in ("Background", "Foreground", "Orphan"):
        cluster.create(deployment(replicas=1))
        await cluster.reconcile()
        cluster.delete("Deployment", "web", propagationPolicy=policy)
        assert (cluster.get("Deployment", "web") is None) is (policy == "Background")
        await cluster.reconcile()
        assert cluster.get("Deployment", "web") is None
        left = 1 if policy == "Orphan" else 0
        assert (len(cluster.objects("ReplicaSet")), len(cluster.objects("Pod"))) == (left, left)


async def test_jobs_end(cluster: FakeCluster) -> None:
    cluster.images["bad:1"] = Image.fails(3)
    cluster.create(job())
    cluster.create(job("fails", "bad:1", backoffLimit=1))
    await cluster.reconcile()
    done, failed = cluster.get("Job", "once"), cluster.get("Job", "fails")
    assert condition(done, "Complete")["status"] == "True"
    assert condition(failed, "Failed")["reason"] == "BackoffLimitExceeded"
    assert failed and failed["status"]["failed"] == 2


async def test_stateful_sets_start_in_order(cluster: FakeCluster) -> None:
    claim = {"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": "1Gi"}}}}
    body = deployment("db", replicas=2, serviceName="db", volumeClaimTemplates=[claim]) | {"kind": "StatefulSet"}
    cluster.create(body)
    await cluster.step()
    assert [one["metadata"]["name"] for one in cluster.objects("Pod")] == ["db-0"]
    await cluster.reconcile()
    assert [one["metadata"]["name"] for one in cluster.objects("Pod")] == ["db-0", "db-1"]
    claims = cluster.objects("PersistentVolumeClaim")
    assert [(one["metadata"]["name"], one["status"]["phase"]) for one in claims] == [
        ("data-db-0", "Bound"),
        ("data-db-1", "Bound"),
    ]


async def test_a_namespace_goes_with_all_it_holds(cluster: FakeCluster) -> None:
    cluster.create({"kind": "Namespace", "metadata": {"name": "other"}})
    cluster.create(deployment() | {"metadata": {"name": "web", "namespace": "other"}})
    await cluster.reconcile()
    cluster.delete("Namespace", "other")
    await cluster.reconcile()
    assert cluster.get("Namespace", "other") is None
    assert cluster.objects("Pod", "other") == []
