"""The chart, installed by Helm's own library into a fake Kubernetes API: once a run for each set of values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest
from fastapi import FastAPI

from app.main import create_app
from app.settings import AuthSettings, Settings
from tests.deploy.chart_cases import CASES
from tests.deploy.cluster_jobs import Jobs, jobs_of
from tests.deploy.release import Helm, Object, Release
from tests.fakes.kubernetes import FakeCluster

NAMESPACES = ("yard", "agents", "yardmaster-agents", "yardmaster-staging-agents")


@dataclass
class Charts:
    """Renders by installing; the API validates every object on the way."""

    helm: Helm
    jobs: Jobs
    cluster: FakeCluster
    _known: dict[str, Release] = field(default_factory=dict)

    def case(self, name: str) -> Release:
        """One of CASES."""
        if name not in self._known:
            self._known[name] = self.helm.install(name, CASES[name])
        return self._known[name]

    def render(self, values: Object) -> Release:
        """Any values; the release is taken away again."""
        name = f"r{uuid4().hex[:8]}"
        try:
            return self.helm.install(name, values)
        finally:
            if name in self.cluster_releases():
                self.helm.uninstall(name)

    def cluster_releases(self) -> set[str]:
        """Names of the releases that Helm keeps in the cluster."""
        return {secret["metadata"]["labels"]["name"] for secret in self.cluster.objects("Secret", "yard", "owner=helm")}


@pytest.fixture(scope="session")
def charts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Charts]:
    """A cluster that has Istio and the Prometheus operator."""
    with FakeCluster(groups=("istio", "prometheus"), namespaces=NAMESPACES) as cluster, jobs_of(cluster) as jobs:
        kubeconfig: Path = cluster.kubeconfig(tmp_path_factory.mktemp("charts") / "config")
        yield Charts(Helm(kubeconfig), jobs, cluster)


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def release(charts: Charts, case: str) -> Release:
    """The chart with each of the CASES' values."""
    return charts.case(case)


@pytest.fixture(scope="session")
def manager_app() -> FastAPI:
    """The application that the chart runs; no server is started."""
    return create_app(Settings(auth=AuthSettings(pepper="p" * 40)))
