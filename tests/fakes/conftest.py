"""A running fake cluster and the real client connected to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from kubernetes_asyncio import client, config

from tests.fakes.kubernetes import FakeCluster


async def connect(cluster: FakeCluster, folder: Path, token: str = "") -> client.ApiClient:
    """The real client, by way of a kubeconfig."""
    path = cluster.kubeconfig(folder / f"config-{token}", token=token)
    settings = client.Configuration()
    await config.load_kube_config(str(path), client_configuration=settings)
    return client.ApiClient(settings)


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    async with FakeCluster(groups=("keda",)) as running:
        yield running


@pytest.fixture
async def api(cluster: FakeCluster, tmp_path: Path) -> AsyncIterator[client.ApiClient]:
    async with await connect(cluster, tmp_path) as connected:
        yield connected
