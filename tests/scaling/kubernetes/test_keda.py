"""The manifest with which KEDA scales by `GET /v1/pools/{pool}/demand`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from app.scaling.wire import DemandOut
from tests.fakes.kubernetes import FakeCluster

FILE = Path(__file__).parents[3] / "deploy" / "keda" / "scaledobject.yaml"


@pytest.fixture
def manifests() -> dict[str, dict[str, Any]]:
    return {item["kind"]: item for item in yaml.safe_load_all(FILE.read_text())}


def test_it_reads_a_number_that_is_always_there(manifests: dict[str, dict[str, Any]]) -> None:
    (trigger,) = manifests["ScaledObject"]["spec"]["triggers"]
    assert trigger["type"] == "metrics-api"
    field = DemandOut.model_fields[trigger["metadata"]["valueLocation"]]
    assert field.annotation is int
    assert field.is_required()
    assert trigger["metadata"]["url"].endswith("/v1/pools/log-analyzer/demand")
    assert all(isinstance(value, str) for value in trigger["metadata"].values())


def test_its_token_comes_from_the_authentication_beside_it(manifests: dict[str, dict[str, Any]]) -> None:
    (trigger,) = manifests["ScaledObject"]["spec"]["triggers"]
    authentication = manifests["TriggerAuthentication"]
    assert trigger["metadata"]["authMode"] == "bearer"
    assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]
    assert [item["parameter"] for item in authentication["spec"]["secretTargetRef"]] == ["token"]


def test_a_cluster_with_keda_takes_it(manifests: dict[str, dict[str, Any]]) -> None:
    cluster = FakeCluster(groups=("keda",))
    for item in manifests.values():
        cluster.create(item)
    assert len(cluster.objects("ScaledObject")) == 1
