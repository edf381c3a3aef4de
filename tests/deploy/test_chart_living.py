"""What the chart makes of a release that is there already: it looks at the cluster before it changes anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import helm_sdkpy  # type: ignore[import-untyped]
import pytest

from tests.deploy.chart_cases import URLS
from tests.deploy.cluster_jobs import Jobs, jobs_of
from tests.deploy.conftest import NAMESPACES
from tests.deploy.release import Helm, Object, Release, merged
from tests.fakes.kubernetes import FakeCluster

NAME = "yard-yardmaster"
TRIAL: Object = {"auth": {"pepper": "p" * 40}}


class Place:
    """A cluster of the test's own, and Helm in it."""

    def __init__(self, cluster: FakeCluster, jobs: Jobs, helm: Helm) -> None:
        self.cluster, self.jobs, self.helm = cluster, jobs, helm

    def managers(self) -> int:
        found = self.cluster.get("Deployment", NAME, "yard")
        assert found is not None
        return int(found["spec"]["replicas"])

    def there(self, kind: str, name: str) -> bool:
        return self.cluster.get(kind, name, "yard") is not None


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with FakeCluster(namespaces=NAMESPACES) as cluster, jobs_of(cluster) as jobs:
        yield Place(cluster, jobs, Helm(cluster.kubeconfig(tmp_path / "config")))


def jobs(release: Release) -> list[str]:
    return [job["metadata"]["name"] for job in release.objects if job["kind"] == "Job"]


def test_turning_the_autoscaler_on_leaves_the_managers_alone(place: Place) -> None:
    """Without a number in the manifest Helm would take it away, and the cluster would put 1 there."""
    place.helm.install("yard", {"autoscaling": {"enabled": False}, "manager": {"replicas": 6}})
    place.helm.upgrade("yard", {"autoscaling": {"enabled": True}})
    assert place.managers() == 6


def test_an_upgrade_keeps_the_autoscaler_s_number(place: Place) -> None:
    place.helm.install("yard", {"autoscaling": {"minReplicas": 3}})
    assert place.managers() == 3
    for number in (5, 0):  # 0: stopped by somebody on purpose
        place.cluster.patch("Deployment", NAME, {"spec": {"replicas": number}}, "yard")
        place.helm.upgrade("yard", {"image": {"tag": f"0.2.{number}"}})
        assert place.managers() == number
    place.helm.upgrade("yard", {"autoscaling": {"enabled": False}, "manager": {"replicas": 4}})
    assert place.managers() == 4


def test_a_database_of_the_release_s_own_after_an_external_one_gets_its_schema(place: Place) -> None:
    """A hook would migrate the old one, or wait for the new one for ever."""
    place.helm.install("yard", URLS)
    changed = place.helm.upgrade("yard", TRIAL)
    assert changed.hooks == []
    assert jobs(changed) == [f"{NAME}-migrations-2"]
    job = changed.one("Job", "-migrations-2")["spec"]["template"]["spec"]["containers"][0]
    assert job["env"][0]["valueFrom"]["secretKeyRef"] == {"name": f"{NAME}-secrets", "key": "YARD_DATABASE_URL"}
    back = place.helm.upgrade("yard", URLS)
    assert [each["metadata"]["name"] for each in back.hooks if each["kind"] == "Job"] == [f"{NAME}-migrations"]
    assert not place.there("StatefulSet", f"{NAME}-postgres")


def test_what_a_failed_hook_left_behind_is_in_nobody_s_way(place: Place) -> None:
    place.helm.install("yard", URLS)
    place.jobs.succeed = False
    with pytest.raises(helm_sdkpy.UpgradeError, match="pre-upgrade"):
        place.helm.upgrade("yard", URLS)
    place.jobs.succeed = True
    assert place.there("Job", f"{NAME}-migrations")
    assert jobs(place.helm.upgrade("yard", TRIAL)) == [f"{NAME}-migrations-3"]


def test_an_installation_that_failed_before_its_database_was_there_is_mended(place: Place) -> None:
    place.cluster.faults.answer(403, verb="create", path="/apis/apps/v1/namespaces/yard/statefulsets", times=2)
    with pytest.raises(helm_sdkpy.InstallError):
        place.helm.install("yard", {})
    assert not place.there("StatefulSet", f"{NAME}-postgres")
    place.cluster.faults.clear()
    second = place.helm.upgrade("yard", {"image": {"tag": "0.2.0"}})
    assert (second.hooks, jobs(second)) == ([], [f"{NAME}-migrations-2"])
    assert place.helm.status("yard") == "deployed"
    third = place.helm.upgrade("yard", {"image": {"tag": "0.3.0"}})
    assert {each["kind"] for each in third.hooks} == {"Job", "NetworkPolicy"}
    assert jobs(third) == []


VOLUME: list[tuple[Object, str]] = [
    ({"storage": "20Gi"}, "keep postgres.inCluster.storage (8Gi)"),
    ({"storage": 8_000_000_000}, "keep postgres.inCluster.storage (8Gi)"),
    ({"storageClass": "fast"}, "keep postgres.inCluster.storageClass (the default one)"),
    ({"persistent": False, "storage": "1Gi"}, "keep postgres.inCluster.persistent (true)"),
]


@pytest.mark.parametrize(("values", "why"), VOLUME)
def test_the_volume_of_a_living_database_cannot_be_changed(place: Place, values: Object, why: str) -> None:
    place.helm.install("yard", {})
    with pytest.raises(helm_sdkpy.UpgradeError) as refused:
        place.helm.upgrade("yard", {"postgres": {"inCluster": values}})
    assert f"StatefulSet {NAME}-postgres is there, and its volume cannot be changed: {why}, or" in str(refused.value)


def test_a_volume_is_wanted_where_there_was_none(place: Place) -> None:
    memory: Object = {"postgres": {"inCluster": {"persistent": False}}}
    place.helm.install("yard", memory)
    with pytest.raises(helm_sdkpy.UpgradeError, match=r"keep postgres\.inCluster\.persistent \(false\)"):
        place.helm.upgrade("yard", {"postgres": {"inCluster": {"persistent": True}}})
    place.helm.upgrade("yard", merged(memory, {"postgres": {"inCluster": {"storage": "20Gi"}}}))


def test_the_same_volume_in_other_words_is_no_change(place: Place) -> None:
    """The cluster writes quantities in its own way: what was asked for as 8192Mi is 8Gi there."""
    place.helm.install("yard", {"postgres": {"inCluster": {"storage": "8192Mi"}}})
    with pytest.raises(helm_sdkpy.UpgradeError) as refused:
        place.helm.upgrade("yard", {"postgres": {"inCluster": {"storage": "9Gi"}}})
    assert "keep postgres.inCluster.storage (8192Mi)" in str(refused.value)
    place.helm.upgrade("yard", {"postgres": {"inCluster": {"storage": "8192Mi"}}})


@pytest.mark.parametrize("name", ["my.yard", "9yard"])
def test_a_release_whose_services_cannot_be_named_so_is_refused(place: Place, name: str) -> None:
    with pytest.raises(helm_sdkpy.InstallError, match="Choose another release name or fullnameOverride"):
        place.helm.install(name, {})
    place.helm.install(name, {"fullnameOverride": "mine"})
