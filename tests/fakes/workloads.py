"""Objects the fake's tests put in, and the failures they expect."""

from __future__ import annotations

import json
from collections.abc import Awaitable
from typing import Any

import pytest
from kubernetes_asyncio import client

APPLY = "application/apply-patch+yaml"
STRATEGIC = "application/strategic-merge-patch+json"
MERGE = "application/merge-patch+json"
JSON = "application/json-patch+json"


def apps_api(api: client.ApiClient) -> Any:
    """Untyped, so that tests send and read plain dicts."""
    return client.AppsV1Api(api)


def core_api(api: client.ApiClient) -> Any:
    return client.CoreV1Api(api)


def review_api(api: client.ApiClient) -> Any:
    return client.AuthorizationV1Api(api)


def container(image: str = "agent:1", **more: Any) -> dict[str, Any]:
    return {"name": "main", "image": image, **more}


def deployment(name: str = "web", replicas: int | None = 2, image: str = "agent:1", **spec: Any) -> dict[str, Any]:
    """A valid Deployment; `replicas` None leaves the count out."""
    count = {} if replicas is None else {"replicas": replicas}
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container(image)]}}
    selector = {"matchLabels": {"app": name}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {**count, "selector": selector, "template": template, **spec},
    }


def pod(name: str, namespace: str = "default", **meta: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, **meta}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container()]}}


def job(name: str = "once", image: str = "job:1", **spec: Any) -> dict[str, Any]:
    template = {"spec": {"restartPolicy": "Never", "containers": [container(image)]}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"template": template, **spec}}


async def failure(call: Awaitable[Any]) -> dict[str, Any]:
    """The Status a call is answered with."""
    with pytest.raises(client.ApiException) as caught:
        await call
    status: dict[str, Any] = json.loads(caught.value.body or b"")
    assert (status["kind"], status["code"]) == ("Status", caught.value.status)
    return status
