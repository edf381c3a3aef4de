"""The life of a release: install, upgrade, a migration that fails, uninstall; and what the managers may do then."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import helm_sdkpy  # type: ignore[import-untyped]
import pytest

from tests.deploy.chart_cases import CASES, EVERYTHING, URLS
from tests.deploy.cluster_jobs import Jobs, jobs_of
from tests.deploy.conftest import NAMESPACES
from tests.deploy.release import Helm, Object, Release, merged
from tests.fakes.kubernetes import FakeCluster

HELMS_OWN = "owner=helm"


class Place:
    """A cluster of the test's own, and Helm in it."""

    def __init__(self, cluster: FakeCluster, jobs: Jobs, helm: Helm) -> None:
        self.cluster, self.jobs, self.helm = cluster, jobs, helm

    def names(self) -> set[tuple[str, str]]:
        """(kind, name) of everything that the chart put there."""
        kinds = ("Deployment", "StatefulSet", "Service", "ConfigMap", "Secret", "ServiceAccount", "Role", "RoleBinding")
        more = ("Job", "NetworkPolicy", "PodDisruptionBudget", "HorizontalPodAutoscaler", "Ingress")
        mesh = ("AuthorizationPolicy", "PeerAuthentication", "DestinationRule", "ServiceMonitor", "PrometheusRule")
        return {
            (kind, each["metadata"]["name"])
            for kind in kinds + more + mesh
            for namespace in NAMESPACES
            for each in self.cluster.objects(kind, namespace)
            if each["metadata"].get("labels", {}).get("owner") != "helm" and "labels" in each["metadata"]
        }

    def secret(self, name: str, key: str) -> str:
        found = self.cluster.get("Secret", name, "yard")
        assert found is not None
        return base64.b64decode(found["data"][key]).decode()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with FakeCluster(groups=("istio", "prometheus"), namespaces=NAMESPACES) as cluster, jobs_of(cluster) as jobs:
        yield Place(cluster, jobs, Helm(cluster.kubeconfig(tmp_path / "config")))


def named(release: Release, *, hooks: bool = False) -> set[tuple[str, str]]:
    return {(each["kind"], each["metadata"]["name"]) for each in (release.hooks if hooks else release.objects)}


@pytest.mark.parametrize("name", CASES)
def test_install_upgrade_uninstall(place: Place, name: str) -> None:
    first = place.helm.install("yard", CASES[name])
    assert place.helm.status("yard") == "deployed"
    assert place.names() == named(first)
    second = place.helm.upgrade("yard", merged(CASES[name], {"manager": {"podAnnotations": {"restarted": "1"}}}))
    assert second.revision == 2
    assert place.names() == named(second)
    place.helm.uninstall("yard")
    assert place.names() == set()
    assert place.cluster.objects("Secret", "yard", HELMS_OWN) == []


def test_migrations_come_before_the_managers_of_an_upgrade(place: Place) -> None:
    place.helm.install("yard", URLS)
    (before,) = place.jobs.ran
    assert before["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    place.cluster.forget_requests()
    place.helm.upgrade("yard", merged(URLS, {"image": {"tag": "0.2.0"}}))
    job = place.jobs.ran[-1]["spec"]["template"]["spec"]["containers"][0]
    assert (job["image"], job["args"]) == ("yardmaster:0.2.0", ["db", "upgrade"])
    writes = [each.path for each in place.cluster.requests() if each.method in ("POST", "PATCH", "PUT", "DELETE")]
    made, gone = [at for at, path in enumerate(writes) if "/jobs" in path][-2:]
    changed = next(at for at, path in enumerate(writes) if path.endswith("/deployments/yard-yardmaster"))
    assert made < gone < changed


def test_a_migration_that_fails_leaves_the_old_managers_alone(place: Place) -> None:
    place.helm.install("yard", URLS)
    before = place.cluster.get("Deployment", "yard-yardmaster", "yard")
    place.jobs.succeed = False
    with pytest.raises(helm_sdkpy.UpgradeError, match="pre-upgrade"):
        place.helm.upgrade("yard", merged(URLS, {"image": {"tag": "0.2.0"}}))
    assert place.cluster.get("Deployment", "yard-yardmaster", "yard") == before
    assert ("Job", "yard-yardmaster-migrations") in place.names()  # its log says why
    place.jobs.succeed = True
    place.helm.upgrade("yard", merged(URLS, {"image": {"tag": "0.2.1"}}))
    assert ("Job", "yard-yardmaster-migrations") not in place.names()


def test_the_first_installation_with_its_own_database_has_no_hooks(place: Place) -> None:
    """A hook before a database that is not there yet would wait for ever."""
    first = place.helm.install("yard", {})
    assert first.hooks == []
    assert ("Job", "yard-yardmaster-migrations-1") in named(first)
    second = place.helm.upgrade("yard", {})
    assert named(second, hooks=True) == {
        ("Job", "yard-yardmaster-migrations"),
        ("NetworkPolicy", "yard-yardmaster-migrations"),
    }
    assert {each["metadata"]["annotations"]["helm.sh/hook"] for each in second.hooks} == {"pre-install,pre-upgrade"}
    assert not [name for kind, name in place.names() if kind == "Job"]


def test_what_was_made_by_chance_stays(place: Place) -> None:
    """A new pepper would make every key invalid, a new password would lock the managers out."""
    place.helm.install("yard", {})
    name = "yard-yardmaster-secrets"
    keys = ("YARD_AUTH_PEPPER", "YARD_DATABASE_URL", "YARD_REDIS_URL", "POSTGRES_PASSWORD", "REDIS_PASSWORD")
    before = {key: place.secret(name, key) for key in keys}
    place.helm.upgrade("yard", {"telemetry": {"logLevel": "debug"}})
    assert {key: place.secret(name, key) for key in keys} == before
    assert len(before["YARD_AUTH_PEPPER"]) >= 32
    assert f":{before['POSTGRES_PASSWORD']}@yard-yardmaster-postgres:5432/" in before["YARD_DATABASE_URL"]
    assert f":{before['REDIS_PASSWORD']}@yard-yardmaster-redis:6379/" in before["YARD_REDIS_URL"]


def test_pods_are_replaced_when_what_they_read_has_changed(place: Place) -> None:
    def sums(values: Object) -> dict[str, str]:
        release = place.helm.upgrade("yard", values)
        annotations = release.one("Deployment")["spec"]["template"]["metadata"]["annotations"]
        return {key: value for key, value in annotations.items() if key.startswith("checksum/")}

    place.helm.install("yard", {})
    same, again = sums({}), sums({})
    assert same == again
    assert sums({"settings": {"YARD_TASKS_MAX_QUEUED": 5}})["checksum/settings"] != same["checksum/settings"]
    assert sums({"slack": {"token": "xoxb-2"}})["checksum/secrets"] != same["checksum/secrets"]


def test_two_releases_live_side_by_side(place: Place) -> None:
    one, two = place.helm.install("blue", {}), place.helm.install("green", {})
    assert not named(one) & named(two)
    selector = one.one("Service")["spec"]["selector"]
    labels = two.one("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert any(labels.get(key) != value for key, value in selector.items())


@pytest.mark.parametrize("own", [True, False])
def test_managers_may_do_what_the_backend_needs_and_no_more(place: Place, own: bool) -> None:
    """Compared with the rules that the backend's documentation names."""
    values = merged(EVERYTHING, {"agents": {"existingSecret": "" if own else "key-of-agents"}})
    role = place.helm.install("yard", values).one("Role")
    assert role["metadata"]["namespace"] == "agents"
    granted = {
        (group, resource, verb, tuple(rule.get("resourceNames", ())))
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    needed: set[tuple[str, str, str, tuple[str, ...]]] = {
        ("apps", "deployments", verb, ()) for verb in ("get", "list", "watch", "create", "patch", "delete")
    }
    needed |= {("apps", "deployments/scale", "patch", ())} | {
        ("", "pods", verb, ()) for verb in ("list", "watch", "patch")
    }
    needed |= {("autoscaling", "horizontalpodautoscalers", "list", ()), ("keda.sh", "scaledobjects", "list", ())}
    if own:
        needed |= {("", "secrets", "patch", ("yards-agent-key",)), ("", "secrets", "create", ())}
    assert granted == needed
