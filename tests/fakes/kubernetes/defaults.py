"""Defaults the API server fills in, as far as they matter to clients: pods, workloads, services, secrets."""

from __future__ import annotations

import base64
from typing import Any


def fill(body: dict[str, Any]) -> None:
    """Fill in the defaults of the object's kind, in place."""
    kind, spec = body.get("kind"), body.get("spec")
    if kind == "Secret":
        _secret(body)
    elif isinstance(spec, dict) and (filler := _FILLERS.get(str(kind))):
        filler(spec)


def _secret(body: dict[str, Any]) -> None:
    body.setdefault("type", "Opaque")
    plain = body.pop("stringData", None) or {}
    if plain:
        data = body.setdefault("data", {})
        data |= {key: base64.b64encode(str(value).encode()).decode() for key, value in plain.items()}


def _set(target: dict[str, Any], **values: Any) -> None:
    for key, value in values.items():
        if target.get(key) is None:
            target[key] = value


def pod_spec(spec: dict[str, Any], restart: str = "Always") -> None:
    """Defaults of a pod's or template's spec."""
    _set(
        spec,
        restartPolicy=restart,
        terminationGracePeriodSeconds=30,
        dnsPolicy="ClusterFirst",
        schedulerName="default-scheduler",
        securityContext={},
    )
    if name := spec.get("serviceAccountName"):
        spec["serviceAccount"] = name
    for container in [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]:
        if isinstance(container, dict):
            _container(container)
    for volume in spec.get("volumes") or []:
        _volume(volume)


def _container(container: dict[str, Any]) -> None:
    image = str(container.get("image", ""))
    untagged = ":" not in image.rpartition("/")[2] or image.endswith(":latest")
    _set(
        container,
        imagePullPolicy="Always" if untagged and "@" not in image else "IfNotPresent",
        resources={},
        terminationMessagePath="/dev/termination-log",
        terminationMessagePolicy="File",
    )
    limits = container["resources"].get("limits") or {}
    if limits:
        container["resources"]["requests"] = limits | (container["resources"].get("requests") or {})
    for port in container.get("ports") or []:
        _set(port, protocol="TCP")
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        if probe := container.get(name):
            _set(probe, timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
            if http := probe.get("httpGet"):
                _set(http, scheme="HTTP", path="/")
    for variable in container.get("env") or []:
        if field := (variable.get("valueFrom") or {}).get("fieldRef"):
            _set(field, apiVersion="v1")


def _volume(volume: dict[str, Any]) -> None:
    for source in ("secret", "configMap", "projected", "downwardAPI"):
        if isinstance(volume.get(source), dict):
            _set(volume[source], defaultMode=420)


def _pod(spec: dict[str, Any]) -> None:
    pod_spec(spec)
    _set(spec, serviceAccountName="default", serviceAccount=spec.get("serviceAccountName") or "default")
    _set(spec, enableServiceLinks=True, preemptionPolicy="PreemptLowerPriority", priority=0)


def _template(spec: dict[str, Any], restart: str = "Always") -> None:
    template = spec.get("template")
    if isinstance(template, dict):
        template.setdefault("metadata", {})
        if isinstance(template.get("spec"), dict):
            pod_spec(template["spec"], restart)


def _deployment(spec: dict[str, Any]) -> None:
    _set(spec, replicas=1, progressDeadlineSeconds=600, revisionHistoryLimit=10, strategy={})
    strategy = spec["strategy"]
    _set(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        _set(strategy, rollingUpdate={})
        _set(strategy["rollingUpdate"], maxSurge="25%", maxUnavailable="25%")
    _template(spec)


def _replica_set(spec: dict[str, Any]) -> None:
    _set(spec, replicas=1)
    _template(spec)


def _stateful_set(spec: dict[str, Any]) -> None:
    _set(spec, replicas=1, revisionHistoryLimit=10, podManagementPolicy="OrderedReady", updateStrategy={})
    _set(spec["updateStrategy"], type="RollingUpdate")
    if spec["updateStrategy"]["type"] == "RollingUpdate":
        _set(spec["updateStrategy"], rollingUpdate={"partition": 0})
    _set(spec, persistentVolumeClaimRetentionPolicy={"whenDeleted": "Retain", "whenScaled": "Retain"})
    for claim in spec.get("volumeClaimTemplates") or []:
        _set(claim, apiVersion="v1", kind="PersistentVolumeClaim", status={"phase": "Pending"})
        _set(claim.setdefault("spec", {}), volumeMode="Filesystem")
    _template(spec)


def _daemon_set(spec: dict[str, Any]) -> None:
    _set(spec, revisionHistoryLimit=10, updateStrategy={"type": "RollingUpdate"})
    _template(spec)


def _job(spec: dict[str, Any]) -> None:
    _set(spec, parallelism=1, backoffLimit=6, completionMode="NonIndexed", suspend=False, podReplacementPolicy="")
    spec["podReplacementPolicy"] = spec["podReplacementPolicy"] or "TerminatingOrFailed"
    if spec.get("completions") is None and spec["parallelism"] == 1:
        spec["completions"] = 1
    _template(spec)


def _cron_job(spec: dict[str, Any]) -> None:
    _set(spec, concurrencyPolicy="Allow", suspend=False, successfulJobsHistoryLimit=3, failedJobsHistoryLimit=1)
    job = (spec.get("jobTemplate") or {}).get("spec")
    if isinstance(job, dict):
        _template(job)


def _service(spec: dict[str, Any]) -> None:
    _set(spec, type="ClusterIP", sessionAffinity="None", internalTrafficPolicy="Cluster")
    for port in spec.get("ports") or []:
        _set(port, protocol="TCP", targetPort=port.get("port"))


def _autoscaler(spec: dict[str, Any]) -> None:
    _set(spec, minReplicas=1)


def _policy(spec: dict[str, Any]) -> None:
    ports = [rule for side in ("ingress", "egress") for rule in spec.get(side) or []]
    for port in (port for rule in ports for port in rule.get("ports") or []):
        _set(port, protocol="TCP")
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", *(["Egress"] if spec.get("egress") else [])]


def _claim(spec: dict[str, Any]) -> None:
    _set(spec, volumeMode="Filesystem")


def _definition(spec: dict[str, Any]) -> None:
    names = spec.get("names") or {}
    _set(names, singular=str(names.get("kind", "")).lower(), listKind=f"{names.get('kind', '')}List")
    _set(spec, conversion={"strategy": "None"})


_FILLERS = {
    "Pod": _pod,
    "Deployment": _deployment,
    "ReplicaSet": _replica_set,
    "StatefulSet": _stateful_set,
    "DaemonSet": _daemon_set,
    "Job": _job,
    "CronJob": _cron_job,
    "Service": _service,
    "HorizontalPodAutoscaler": _autoscaler,
    "NetworkPolicy": _policy,
    "PersistentVolumeClaim": _claim,
    "CustomResourceDefinition": _definition,
}
