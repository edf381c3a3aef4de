from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.core.db import Database
from tests.fakes.kubernetes import FakeCluster
from tests.scaling.kubernetes.ground import NAMESPACE, Ground, ground


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    async with FakeCluster(namespaces=("default", NAMESPACE), groups=("keda",)) as running:
        yield running


@pytest.fixture
async def yard(db: Database, cluster: FakeCluster, tmp_path: Path) -> AsyncIterator[Ground]:
    """One manager."""
    async with ground(db, cluster, tmp_path) as made:
        yield made
