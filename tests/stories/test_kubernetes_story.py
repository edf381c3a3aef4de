"""Pools that are Deployments: real managers, real agents in the pods, an API that is not always well."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes.kubernetes import FakeCluster, Image
from tests.fakes.kubernetes.faults import Fault
from tests.support.agent_process import PROGRAM, Journal
from tests.support.kubernetes_pods import PodProcesses
from tests.support.ledger import Ledger
from tests.support.pools import define_pool, submit_many
from tests.support.service import Fleet, Manager, free_port
from tests.support.tcp_service import TcpService, tcp_service
from tests.support.traffic import traffic
from tests.support.waiting import until

NAMESPACE = "agents"
HOME = "yardmaster-work"
IMAGE = "acme/agents:1"
SCALE = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{HOME}/scale"
CALL_S = 1.0
PATIENCE_S = 60.0
REFUSALS = 2
LONG_S = 9.0
MOST_SCALES = 6


@dataclass
class Site:
    """A cluster whose pods are processes, and managers behind one address. The pool is `work`."""

    cluster: FakeCluster
    pods: PodProcesses
    front: TcpService
    fleet: Fleet
    ledger: Ledger
    folder: Path
    port: int = field(default_factory=free_port)

    @property
    def journal(self) -> Journal:
        return Journal(self.folder / "journal.jsonl")

    def manager(self, **environment: str) -> Manager:
        config = self.cluster.kubeconfig(self.folder / "kubeconfig", namespace=NAMESPACE)
        given = {
            "YARD_KUBERNETES_MODE": "kubeconfig",
            "YARD_KUBERNETES_KUBECONFIG": str(config),
            "YARD_KUBERNETES_NAMESPACE": NAMESPACE,
            "YARD_KUBERNETES_INTERVAL_S": "1",
            "YARD_KUBERNETES_REQUEST_TIMEOUT_S": str(CALL_S),
            "YARD_SCALING_MANAGER_URL": self.front.url,
            "YARD_SCALING_DECIDE_INTERVAL_S": "1",
            "YARD_SCALING_DRAIN_GRACE_S": "60",
            "YARD_REGISTRY_ALLOWED_NETWORKS": '["127.0.0.0/8"]',
        }
        manager = self.fleet.manager(**(given | environment))
        self.front.targets.append(manager.url)
        return manager

    def define(self, client: httpx.Client, image: str = IMAGE, slots: int = 2, **scale: Any) -> None:
        launch = {
            "kind": "kubernetes",
            "image": image,
            "command": [sys.executable, str(PROGRAM)],
            "env": {"AGENT_JOURNAL": str(self.journal.path)},
            "port": self.port,
        }
        bounds = {"min": 1, "max": 5, "wait_s": 1, "drain_s": 5, "down_window_s": 5, **scale}
        define_pool(client, "work", slots=slots, launch=launch, scale=bounds)

    def define_manual(self, client: httpx.Client, replicas: int, image: str = IMAGE, **fields: Any) -> None:
        """Of so many replicas, which work."""
        self.define(client, image, min=0, max=9, policy="manual", **fields)
        scale(client, replicas)
        self.wait_working(replicas)

    def replicas(self) -> int:
        found = self.cluster.get("Deployment", HOME, NAMESPACE)
        return -1 if found is None else int(found["spec"]["replicas"])

    def desired(self) -> int:
        return int(self.ledger.rows("SELECT desired FROM pools WHERE name = 'work'")[0]["desired"])

    def pod_names(self) -> set[str]:
        """Those that are ending included."""
        return {pod["metadata"]["name"] for pod in self.cluster.objects("Pod", NAMESPACE)}

    def agents(self) -> dict[str, str]:
        """Status by name of pod."""
        rows = self.ledger.rows("SELECT labels->>'pod' AS pod, status FROM agents WHERE status <> 'gone'")
        return {row["pod"]: row["status"] for row in rows}

    def working(self) -> set[str]:
        """Pods whose agents may be given tasks."""
        return {pod for pod, status in self.agents().items() if status in ("idle", "busy")} & self.pod_names()

    def wait_working(self, count: int) -> set[str]:
        """Exactly so many pods, and all of them work."""

        def exactly() -> set[str] | None:
            pods = self.working()
            return pods if len(pods) == count == len(self.pod_names()) == self.replicas() else None

        if count:
            return until(exactly, f"{count} pods work", PATIENCE_S)
        until(lambda: self.replicas() == 0 and not self.pod_names(), "no pod is left", PATIENCE_S)
        return set()

    def running(self, pod: str) -> set[str]:
        """Tasks that run in this pod."""
        query = "SELECT t.id FROM tasks t JOIN agents a ON a.id = t.agent_id WHERE t.status = 'running' AND "
        return {str(row["id"]) for row in self.ledger.rows(query + "a.labels->>'pod' = $1", pod)}

    def scales(self) -> list[int]:
        """The scales that were written, in this order."""
        return [
            int(one.json()["spec"]["replicas"]) for one in self.cluster.requests("patch", SCALE) if one.status < 300
        ]

    def assert_no_loss(self, ids: list[str]) -> None:
        """Every task succeeded in its first attempt, was started by one agent only, and no pod had to be killed."""
        self.ledger.assert_succeeded_once(ids)
        assert set(self.journal.starts().values()) == {1}
        assert self.pods.killed == []


@contextmanager
def site_of(managers: Fleet, ledger: Ledger, folder: Path) -> Iterator[Site]:
    with tcp_service() as front:
        cluster = FakeCluster(namespaces=("default", NAMESPACE), groups=("keda",))
        pods = PodProcesses(cluster, folder)
        cluster.kubelet = pods
        try:
            with cluster:
                cluster.run(every_s=0.1)
                yield Site(cluster, pods, front, managers, ledger, folder)
                managers.close()
        finally:
            pods.close()


@pytest.fixture
def site(managers: Fleet, ledger: Ledger, tmp_path: Path) -> Iterator[Site]:
    with site_of(managers, ledger, tmp_path) as made:
        yield made


def scale(client: httpx.Client, replicas: int) -> None:
    answer = client.post("/v1/pools/work/scale", json={"replicas": replicas, "reason": "story"})
    assert (answer.status_code, answer.json()["desired"]) == (200, replicas)


def conditions(client: httpx.Client) -> dict[str, str]:
    """What the pool says is wrong: message by code."""
    return {item["code"]: item["message"] for item in client.get("/v1/pools/work").json()["conditions"]}


def turns(numbers: list[int]) -> int:
    """How often a row of numbers changes its direction."""
    steps = [after > before for before, after in pairwise(numbers) if after != before]
    return sum(one != other for one, other in pairwise(steps))


def test_a_deployment_follows_the_load_and_no_task_fails(site: Site) -> None:
    manager, _ = site.manager(), site.manager()
    with manager.client() as client:
        site.define(client, min=0, idle_s=1)
        ids = submit_many(client, "work", [{"seconds": 1.0}] * 30)
        until(lambda: len(site.working()) >= 3, "pods become agents", PATIENCE_S)
        grown = site.working()
        until(lambda: len({entry["pid"] for entry in site.journal.entries()}) >= len(grown), "they work")
        site.ledger.wait_final(len(ids), PATIENCE_S)
        site.wait_working(0)
        assert conditions(client) == {}
    site.assert_no_loss(ids)
    assert turns([0, *site.scales()]) <= 1, f"up, then down: {site.scales()}"


def test_another_manager_goes_on_when_the_leader_is_killed_while_pods_leave(site: Site) -> None:
    pair = {manager.process.pid: manager for manager in (site.manager(), site.manager())}
    leading = "SELECT m.pid FROM leases l JOIN managers m ON m.id::text = l.holder WHERE l.name = 'kubernetes'"
    with next(iter(pair.values())).client() as client:
        site.define_manual(client, 3)
        ids = submit_many(client, "work", [{"seconds": LONG_S}] * 6)
        until(lambda: len(site.journal.starts()) == 6, "all of them run")
        scale(client, 1)
        until(lambda: list(site.agents().values()).count("draining") == 2, "two are asked to leave")
    (row,) = site.ledger.rows(leading)
    pair.pop(row["pid"]).kill()
    assert (site.replicas(), len(site.pod_names())) == (3, 3)
    (survivor,) = pair.values()
    site.ledger.wait_final(6, PATIENCE_S)
    site.wait_working(1)
    with survivor.client() as client:
        ids += submit_many(client, "work", [{"seconds": 0.1}])
        site.ledger.wait_final(7)
    site.ledger.assert_succeeded_once(ids)
    assert site.pods.killed == []
    lost = {str(row["task_id"]) for row in site.ledger.rows("SELECT task_id FROM attempts WHERE outcome = 'lost'")}
    again = {task for task, times in site.journal.starts().items() if times > 1}
    assert again <= lost, "only what the dead manager ran is ever started anew"
    assert site.ledger.rows("SELECT 1 FROM attempts WHERE error_code = 'agent_taken_away'") == []
    assert turns([0, *site.scales()]) == 1, f"up to three, then down: {site.scales()}"


def test_a_new_image_rolls_out_under_traffic(site: Site) -> None:
    manager = site.manager()
    with manager.client() as client:
        site.define_manual(client, 2)
        old = site.pod_names()
        with traffic([manager.url], site.fleet.backing.admin_key, "work", lambda _: 0.4) as flowing:
            flowing.every_s = 0.1
            until(lambda: all(map(site.running, old)), "both have work", PATIENCE_S)
            site.define(client, "acme/agents:2", min=0, max=9, policy="manual")
            until(lambda: not old & site.pod_names(), "the old ones are gone", PATIENCE_S)
            site.wait_working(2)
            wanted = len(flowing.accepted) + 10
            until(lambda: len(flowing.accepted) >= wanted, "traffic goes on")
        site.ledger.wait_final(len(flowing.accepted), PATIENCE_S)
        images = {pod["spec"]["containers"][0]["image"] for pod in site.cluster.objects("Pod", NAMESPACE)}
        assert (images, conditions(client)) == ({"acme/agents:2"}, {})
    site.assert_no_loss(flowing.accepted)
    assert {site.pods.exits[name] for name in old} == {0}


def test_an_ailing_api_is_a_condition_and_the_size_does_not_flap(site: Site) -> None:
    manager, faults = site.manager(), site.cluster.faults
    with manager.client() as client:
        site.define(client, max=4, min=0, idle_s=1)
        with traffic([manager.url], site.fleet.backing.admin_key, "work", lambda _: 0.5) as flowing:
            flowing.every_s = 0.15
            until(lambda: len(site.working()) >= 2, "it grows", PATIENCE_S)
            ails(site, client, faults.answer(500, times=None), "api_error")
            ails(site, client, faults.answer(429, times=None, retry_after_s=1), "throttled")
            ails(site, client, faults.hang(times=None), "api_unreachable")
            before_watches = len(site.cluster.requests("watch"))
            faults.watch_life_s = 1.0
            site.cluster.end_watches()
            until(lambda: len(site.cluster.requests("watch")) >= before_watches + 6, "watches die", PATIENCE_S)
            assert conditions(client) == {}
            faults.clear()
        site.ledger.wait_final(len(flowing.accepted), PATIENCE_S)
        until(lambda: len(site.working()) == site.replicas() == site.desired(), "as it should be", PATIENCE_S)
    assert len(site.cluster.requests("list", f"/api/v1/namespaces/{NAMESPACE}/pods")) == 1, "it was read once only"
    assert len(site.scales()) <= MOST_SCALES and turns([0, *site.scales()]) <= 2, site.scales()
    site.assert_no_loss(flowing.accepted)


def ails(site: Site, client: httpx.Client, fault: Fault, code: str) -> None:
    """The API ails like this for a while; the size stays."""
    before = site.replicas()
    site.cluster.end_watches()
    until(lambda: code in conditions(client), f"it says so: {code}", PATIENCE_S)
    until(lambda: fault.seen >= REFUSALS, "and goes on trying", PATIENCE_S)
    assert site.replicas() == before
    site.cluster.faults.clear()
    until(lambda: conditions(client) == {}, "and when it is over", PATIENCE_S)


def test_a_pool_that_is_launched_otherwise_or_deleted_leaves_nothing_behind(site: Site) -> None:
    manager = site.manager(YARD_REGISTRY_REFRESH_INTERVAL_S="0.1")  # a row that vanishes is missed by full reads only
    with manager.client() as client:
        site.define_manual(client, 2)
        ids = submit_many(client, "work", [{"seconds": 3.0}] * 3)
        until(lambda: len(site.journal.starts()) == 3, "they run")
        define_pool(client, "work", slots=2, launch={"kind": "external"})
        until(lambda: set(site.agents().values()) == {"draining"}, "all are asked to leave")
        assert len(site.pod_names()) == 2, "and may finish what they do"
        until(lambda: site.replicas() == -1 and not site.pod_names(), "the Deployment is gone", PATIENCE_S)
        assert site.agents() == {}
        site.ledger.wait_final(3)
        site.assert_no_loss(ids)
        site.define_manual(client, 1)
        site.ledger.rows("DELETE FROM pools WHERE name = 'work'")
        until(lambda: site.replicas() == -1 and not site.pod_names(), "nobody wants it any more", PATIENCE_S)
    left = [kind for kind in ("Deployment", "ReplicaSet", "Pod") if site.cluster.objects(kind, NAMESPACE)]
    assert (left, site.pods.killed) == ([], [])


def test_an_image_that_never_starts_is_told_and_mended_by_another(site: Site) -> None:
    site.cluster.images["acme/typo:*"] = Image.never_starts("manifest for acme/typo:1 not found")
    manager = site.manager()
    with manager.client() as client:
        site.define(client, "acme/typo:1")
        ids = submit_many(client, "work", [{"seconds": 0.1}])
        until(lambda: "image_pull_failed" in conditions(client), "it says what is wrong")
        message = conditions(client)["image_pull_failed"]
        assert "acme/typo:1" in message and "not found" in message
        shown = explained(manager)
        assert "image_pull_failed" in shown and "acme/typo:1" in shown
        site.define(client, IMAGE)
        site.wait_working(1)
        until(lambda: conditions(client) == {}, "mended")
        assert "image_pull_failed" not in explained(manager)
        site.ledger.wait_final(1)
    site.assert_no_loss(ids)


def explained(manager: Manager) -> str:
    """What `yard explain pool work` prints."""
    more = {"YARD_URL": manager.url, "YARD_API_KEY": manager.backing.admin_key, "COLUMNS": "200"}
    command = [sys.executable, "-m", "app.cli", "explain", "pool", "work"]
    done = subprocess.run(command, env=manager.backing.environment(**more), capture_output=True, text=True, check=True)
    return " ".join(done.stdout.split())


def test_a_pod_that_somebody_deletes_loses_no_task(site: Site) -> None:
    """By `kubectl delete pod` it finishes what it runs; with `--force` its tasks go elsewhere."""
    manager = site.manager()
    with manager.client() as client:
        site.define_manual(client, 2)
        ids = submit_many(client, "work", [{"seconds": 3.0}] * 4)
        victim, inside = victim_of(site, ids)
        site.cluster.delete("Pod", victim, NAMESPACE)
        until(lambda: site.agents().get(victim, "gone") in ("draining", "gone"), "nothing more for it")
        site.ledger.wait_final(4, PATIENCE_S)
        assert victim not in site.wait_working(2)
        site.assert_no_loss(ids)
        more = submit_many(client, "work", [{"seconds": 3.0}] * 4)
        victim, inside = victim_of(site, more)
        site.cluster.delete("Pod", victim, NAMESPACE, gracePeriodSeconds=0)
        until(lambda: victim not in site.agents(), "its agent is gone with it")
        site.ledger.wait_final(8, PATIENCE_S)
        assert victim not in site.wait_working(2)
    assert (len(inside), site.pods.killed) == (2, [victim])
    site.ledger.assert_succeeded_once(ids + more)
    assert site.journal.starts() == {task: 1 + (task in inside) for task in ids + more}


def victim_of(site: Site, ids: list[str]) -> tuple[str, set[str]]:
    """A pod, once all these tasks run, and those of them that run in it."""
    until(lambda: site.journal.starts().keys() >= set(ids), "all of them run")
    victim = min(site.working())
    return victim, site.running(victim)
