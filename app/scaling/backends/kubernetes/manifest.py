"""From a pool to the objects that run it: a Deployment, and the Secret with its agents' key. Pure.

The manifests hold exactly the fields that Yardmaster owns by server-side apply. What they leave out is Kubernetes' own
default, or somebody else's.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.registry.records import PoolRecord
from app.scaling.backends.kubernetes import names

type Json = dict[str, Any]

APP = "ai-agent"
MANAGER = "yardmaster"
POOL = "yardmaster/pool"
LAUNCH_HASH = "yardmaster/launch-hash"
KEY_HASH = "yardmaster/key-hash"
CONTAINER = "agent"
KEY = "YARD_API_KEY"

SDK_MARGIN_S = 15
"""An agent told to end gives up so long after its grace: by then what it ran is back in the queue."""
KILL_MARGIN_S = 30
"""And Kubernetes kills its pod so long after the grace."""
PROGRESS_S = 600


@dataclass(frozen=True, slots=True)
class Place:
    """Where the objects go. `secret`: the name of that with the agents' key; `key_hash` tells one key from the next."""

    namespace: str
    instance: str
    secret: str
    key_hash: str
    manager_url: str


def instance_labels(instance: str) -> dict[str, str]:
    """What all objects of one Yardmaster carry."""
    return {
        "app": APP,
        "app.kubernetes.io/managed-by": MANAGER,
        "app.kubernetes.io/instance": names.label_value(instance),
    }


def selector(instance: str) -> str:
    """The label selector of all Deployments and pods of one Yardmaster."""
    return ",".join(f"{key}={value}" for key, value in sorted(instance_labels(instance).items()))


def short_hash(value: object) -> str:
    """16 hexadecimal digits; the same for equal values, however their keys are ordered."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def secret(place: Place, key: str) -> Json:
    """The Secret that Yardmaster keeps itself."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": place.secret,
            "namespace": place.namespace,
            "labels": instance_labels(place.instance),
        },
        "type": "Opaque",
        "data": {KEY: base64.b64encode(key.encode()).decode()},
    }


def deployment(pool: PoolRecord, place: Place, grace_s: float) -> Json:
    """The pool's Deployment, `spec.replicas` left out: whoever applies it says how many (`sized`)."""
    labels = instance_labels(place.instance) | {"agent-type": names.label_value(pool.name)}
    spec = {
        "selector": {"matchLabels": _selecting(labels)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
        "paused": False,
        "progressDeadlineSeconds": PROGRESS_S,
        "revisionHistoryLimit": 3,
        "template": {
            "metadata": {"labels": labels, "annotations": _notes(pool, place, grace_s)},
            "spec": _pod(pool, place, labels, grace_s),
        },
    }
    metadata = {
        "name": names.deployment_name(place.instance, pool.name),
        "namespace": place.namespace,
        "labels": labels,
        "annotations": {POOL: pool.name, LAUNCH_HASH: short_hash({"labels": labels, "spec": spec})},
    }
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def sized(manifest: Json, replicas: int, resource_version: str | None) -> Json:
    """A Deployment to apply. `resource_version`: of the one whose `replicas` these are; None: there is none yet."""
    metadata = dict(manifest["metadata"])
    if resource_version is not None:
        metadata["resourceVersion"] = resource_version
    return {**manifest, "metadata": metadata, "spec": {**manifest["spec"], "replicas": replicas}}


def _selecting(labels: Mapping[str, str]) -> dict[str, str]:
    """A selector cannot be changed later, so it has only what tells pools and Yardmasters apart."""
    return {key: labels[key] for key in ("app", "agent-type", "app.kubernetes.io/instance")}


def _notes(pool: PoolRecord, place: Place, grace_s: float) -> dict[str, str]:
    """A node is not taken away for being little used while tasks run on it, and a mesh's proxy comes before the agent
    and outlives it: without one it can tell the manager nothing."""
    proxy = {
        "holdApplicationUntilProxyStarts": True,
        "terminationDrainDuration": f"{math.ceil(grace_s) + KILL_MARGIN_S}s",
    }
    return {
        POOL: pool.name,
        KEY_HASH: place.key_hash,
        "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
        "proxy.istio.io/config": json.dumps(proxy),
    }


def _pod(pool: PoolRecord, place: Place, labels: Mapping[str, str], grace_s: float) -> Json:
    launch = pool.launch
    spec: Json = {
        "containers": [_container(pool, place, grace_s)],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "terminationGracePeriodSeconds": math.ceil(grace_s) + KILL_MARGIN_S,
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": _selecting(labels)},
            }
        ],
    }
    if launch.get("service_account"):
        spec["serviceAccountName"] = launch["service_account"]
    if launch.get("image_pull_secrets"):
        spec["imagePullSecrets"] = [{"name": name} for name in launch["image_pull_secrets"]]
    if launch.get("node_selector"):
        spec["nodeSelector"] = dict(launch["node_selector"])
    return spec


def _container(pool: PoolRecord, place: Place, grace_s: float) -> Json:
    launch = pool.launch
    container: Json = {
        "name": CONTAINER,
        "image": launch["image"],
        "env": _environment(pool, place, grace_s),
        "ports": [{"name": "http", "containerPort": _port(launch), "protocol": "TCP"}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - in the pod
        **_probes(),
    }
    for field in ("command", "args"):
        if launch.get(field):
            container[field] = [_literal(item) for item in launch[field]]
    if launch.get("env_from_secrets"):
        container["envFrom"] = [{"secretRef": {"name": name}} for name in launch["env_from_secrets"]]
    resources = {side: dict(amounts) for side, amounts in (launch.get("resources") or {}).items() if amounts}
    if resources:
        container["resources"] = resources
    return container


def _port(launch: Mapping[str, Any]) -> int:
    return int(launch.get("port", 8080))


def _environment(pool: PoolRecord, place: Place, grace_s: float) -> list[Json]:
    """Ours win over the pool's of the same name: an agent that registers elsewhere is none of this pool.

    `AGENT_HOST` is both where the agent listens and what it tells the manager, with brackets where it is IPv6.
    """
    ours: dict[str, Json] = {
        "POD_NAME": {"valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        "POD_IP": {"valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        "AGENT_POOL": {"value": pool.name},
        "MANAGER_URL": {"value": place.manager_url},
        "AGENT_HOST": {"value": "$(POD_IP)"},
        "AGENT_PORT": {"value": str(_port(pool.launch))},
        "AGENT_SLOTS": {"value": str(pool.slots)},
        "AGENT_LABELS": {"value": '{"pod":"$(POD_NAME)"}'},
        "AGENT_DRAIN_GRACE_S": {"value": str(math.ceil(grace_s) + SDK_MARGIN_S)},
        KEY: {"valueFrom": {"secretKeyRef": {"name": place.secret, "key": KEY}}},
    }
    launch = pool.launch.get("env", {})
    given = {name: {"value": _literal(value)} for name, value in launch.items() if name not in ours}
    return [{"name": name, **source} for name, source in (ours | given).items()]


def _literal(text: str) -> str:
    """As it is written: Kubernetes would put variables for `$(NAME)`, which no other backend does."""
    return text.replace("$", "$$")


def _probes() -> Json:
    """Health is asked before it gets tasks and while it has some; only one that takes no connection is restarted: a
    handler that keeps its process busy must not lose its tasks for that."""
    health = {"httpGet": {"path": "/health", "port": "http"}, "timeoutSeconds": 3}
    return {
        "startupProbe": {**health, "periodSeconds": 2, "failureThreshold": 150},
        "readinessProbe": {**health, "periodSeconds": 5, "failureThreshold": 3},
        "livenessProbe": {
            "tcpSocket": {"port": "http"},
            "timeoutSeconds": 5,
            "periodSeconds": 20,
            "failureThreshold": 6,
        },
    }
