"""`scale` of workloads, `eviction` of pods, and access reviews."""

from __future__ import annotations

import copy
from typing import Any

from tests.fakes.kubernetes import errors
from tests.fakes.kubernetes.access import Access, Ask, User
from tests.fakes.kubernetes.kinds import Kind
from tests.fakes.kubernetes.revision import APPLY_PATCH, patched
from tests.fakes.kubernetes.schema import Node
from tests.fakes.kubernetes.store import Body
from tests.fakes.kubernetes.writes import Write, Writes


def scale_of(body: Body) -> dict[str, Any]:
    """The `autoscaling/v1` Scale of a workload."""
    meta, status = body["metadata"], body.get("status") or {}
    labels = (body["spec"].get("selector") or {}).get("matchLabels") or {}
    shown = {key: meta[key] for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")}
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": shown,
        "spec": {"replicas": body["spec"].get("replicas", 0)},
        "status": {
            "replicas": status.get("replicas", 0),
            "selector": ",".join(f"{key}={value}" for key, value in sorted(labels.items())),
        },
    }


def put_scale(writes: Writes, kind: Kind, namespace: str, name: str, scale: Any, write: Write) -> dict[str, Any]:
    """Set the count; a resourceVersion in the Scale is a precondition. Raises 400, 404, 409, 422."""
    body = copy.deepcopy(writes.must(kind, namespace, name))
    body["spec"]["replicas"] = _count(name, scale)
    sent = scale.get("metadata") or {}
    if sent.get("name", name) != name:
        raise errors.bad_request(f"name in URL does not match name in Scale object: {name} != {sent['name']}")
    for key in ("resourceVersion", "uid"):
        body["metadata"][key] = sent.get(key) or body["metadata"][key]
    return scale_of(writes.replace(kind, namespace, name, body, write))


def patch_scale(
    writes: Writes, kind: Kind, namespace: str, name: str, how: str, data: Any, write: Write
) -> dict[str, Any]:
    """PATCH the Scale with any of the four patches."""
    old = writes.must(kind, namespace, name)
    if how != APPLY_PATCH:
        return put_scale(writes, kind, namespace, name, patched(scale_of(old), how, data, Node(None)), write)
    part = {"apiVersion": kind.api_version, "kind": kind.kind, "spec": {"replicas": _count(name, data)}}
    meta = {key: value for key, value in (data.get("metadata") or {}).items() if key in ("resourceVersion", "uid")}
    return scale_of(writes.apply(kind, namespace, name, part | {"metadata": meta | {"name": name}}, write)[0])


def _count(name: str, scale: Any) -> int:
    if not isinstance(scale, dict) or scale.get("kind", "Scale") != "Scale":
        raise errors.bad_request("the object provided is unrecognized: expected autoscaling/v1 Scale")
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if not isinstance(replicas, int) or isinstance(replicas, bool):
        raise errors.bad_request("json: cannot unmarshal into Go struct field ScaleSpec.spec.replicas of type int32")
    if replicas < 0:
        text = f"Invalid value: {replicas}: must be greater than or equal to 0"
        raise errors.invalid("autoscaling", "Scale", name, [("FieldValueInvalid", "spec.replicas", text)])
    return replicas


def evict(writes: Writes, kind: Kind, namespace: str, name: str, eviction: Any) -> dict[str, Any]:
    """Delete the pod as the eviction's options say (disruption budgets are not judged)."""
    options = (eviction.get("deleteOptions") if isinstance(eviction, dict) else None) or {}
    writes.delete(kind, namespace, name, options)
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def review(access: Access, user: User, body: Any) -> dict[str, Any]:
    """Answer a SelfSubjectAccessReview."""
    spec = (body.get("spec") if isinstance(body, dict) else None) or {}
    wanted = spec.get("resourceAttributes") or {}
    ask = Ask(
        wanted.get("verb", ""),
        wanted.get("group", ""),
        wanted.get("resource", ""),
        wanted.get("subresource", ""),
        wanted.get("namespace", ""),
        wanted.get("name", ""),
    )
    # Whoever is known may read discovery.
    allowed = access.may(user, ask) if wanted else True
    return {**body, "metadata": {}, "status": {"allowed": allowed}}
