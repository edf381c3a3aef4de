"""What the server adds to new objects, and what it refuses for reasons outside the object itself."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tests.fakes.kubernetes import errors
from tests.fakes.kubernetes.kinds import Kind, Kinds
from tests.fakes.kubernetes.quantity import parse_quantity, show_quantity
from tests.fakes.kubernetes.store import Body, Store


class Admission:
    """Namespaces must exist, pods stay within quotas and name a service account that exists."""

    def __init__(self, store: Store, kinds: Kinds) -> None:
        self._store = store
        self._kinds = kinds
        self._addresses = 1

    def complete(self, kind: Kind, body: Body) -> None:
        """Fill in what the server computes for a new object."""
        if kind.kind == "Namespace":
            body["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = body["metadata"]["name"]
            body["spec"] = {"finalizers": ["kubernetes"]}
            body["status"] = {"phase": "Active"}
        elif kind.kind == "Pod":
            body["status"] = {"phase": "Pending", "qosClass": quality(body["spec"])}
        elif kind.kind == "PersistentVolumeClaim":
            body["status"] = {"phase": "Pending"}
        elif kind.kind == "Job":
            _identify_job(body)
        elif kind.kind == "CustomResourceDefinition":
            body["status"] = _established(body)
        elif kind.kind == "Service":
            self._give_address(body)

    def _give_address(self, body: Body) -> None:
        spec = body.get("spec")
        if isinstance(spec, dict) and spec.get("type") != "ExternalName" and not spec.get("clusterIP"):
            self._addresses += 1
            spec["clusterIP"] = f"10.96.{self._addresses // 256}.{self._addresses % 256}"
        if isinstance(spec, dict) and spec.get("clusterIP"):
            spec.setdefault("clusterIPs", [spec["clusterIP"]])
            spec.setdefault("ipFamilies", ["IPv4"])
            spec.setdefault("ipFamilyPolicy", "SingleStack")

    def admit(self, kind: Kind, body: Body) -> None:
        """Raises 403 or 404."""
        namespace, name = body["metadata"].get("namespace", ""), body["metadata"]["name"]
        if kind.namespaced:
            self._check_namespace(kind, namespace, name)
        if kind.kind == "Pod":
            self._check_account(kind, namespace, body)
        self._check_quotas(kind, namespace, body)

    def _check_namespace(self, kind: Kind, namespace: str, name: str) -> None:
        found = self._store.get(self._kinds.named("Namespace"), "", namespace)
        if found is None:
            raise errors.not_found("", "namespaces", namespace)
        if found["metadata"].get("deletionTimestamp"):
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            raise errors.forbidden(kind.group, kind.plural, name, why)

    def _check_account(self, kind: Kind, namespace: str, body: Body) -> None:
        account = body["spec"].get("serviceAccountName", "default")
        if self._store.get(self._kinds.named("ServiceAccount"), namespace, account) is None:
            why = f'error looking up service account {namespace}/{account}: serviceaccount "{account}" not found'
            raise errors.forbidden(kind.group, kind.plural, body["metadata"]["name"], why)

    def _check_quotas(self, kind: Kind, namespace: str, body: Body) -> None:
        for quota in self._store.items(self._kinds.named("ResourceQuota"), namespace) if namespace else []:
            hard = {key: parse_quantity(value) for key, value in (quota["spec"].get("hard") or {}).items()}
            asked = {key: value for key, value in usage(kind, body).items() if key in hard}
            used = self.used(kind, namespace)
            over = [key for key, value in asked.items() if used.get(key, Decimal(0)) + value > hard[key]]
            if over:
                why = f"exceeded quota: {quota['metadata']['name']}, requested: {_list(asked, over)}, "
                why += f"used: {_list(used, over)}, limited: {_list(hard, over)}"
                raise errors.forbidden(kind.group, kind.plural, body["metadata"]["name"], why)

    def used(self, kind: Kind, namespace: str) -> dict[str, Decimal]:
        """What the objects of this kind in the namespace use; finished pods use nothing."""
        total: dict[str, Decimal] = {}
        for item in self._store.items(kind, namespace):
            if kind.kind == "Pod" and (item.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
                continue
            for key, value in usage(kind, item).items():
                total[key] = total.get(key, Decimal(0)) + value
        return total


def _list(amounts: dict[str, Decimal], keys: list[str]) -> str:
    return ",".join(f"{key}={show_quantity(amounts.get(key, Decimal(0)))}" for key in keys)


def usage(kind: Kind, body: Body) -> dict[str, Decimal]:
    """What one object counts for in quotas: `pods`, `count/deployments.apps`, `requests.cpu`, `cpu`, …"""
    total = {f"count/{errors.qualified(kind.group, kind.plural)}": Decimal(1)}
    if not kind.group:
        total[kind.plural] = Decimal(1)
    if kind.kind != "Pod":
        return total
    for container in body["spec"].get("containers") or []:
        for side in ("requests", "limits"):
            for name, amount in ((container.get("resources") or {}).get(side) or {}).items():
                for key in (f"{side}.{name}", *((name,) if side == "requests" else ())):
                    total[key] = total.get(key, Decimal(0)) + parse_quantity(amount)
    return total


def quality(spec: dict[str, Any]) -> str:
    """The pod's QoS class."""
    resources = [container.get("resources") or {} for container in spec.get("containers") or []]
    if not any(part.get("requests") or part.get("limits") for part in resources):
        return "BestEffort"
    full = all(
        (part.get("limits") or {}).get(name) and (part.get("requests") or {}).get(name) == part["limits"][name]
        for part in resources
        for name in ("cpu", "memory")
    )
    return "Guaranteed" if full else "Burstable"


def _identify_job(body: Body) -> None:
    """A Job's pods are found by labels the server gives them, unless the client chose its own."""
    spec = body.get("spec")
    if not isinstance(spec, dict) or spec.get("manualSelector") or not isinstance(spec.get("template"), dict):
        return
    meta, labels = body["metadata"], spec["template"].setdefault("metadata", {}).setdefault("labels", {})
    labels |= {"batch.kubernetes.io/controller-uid": meta["uid"], "controller-uid": meta["uid"]}
    labels |= {"batch.kubernetes.io/job-name": meta["name"], "job-name": meta["name"]}
    spec["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": meta["uid"]}}


def _established(body: Body) -> dict[str, Any]:
    versions = [version["name"] for version in body["spec"].get("versions") or [] if version.get("storage")]
    conditions = [
        {"type": name, "status": "True", "reason": reason, "lastTransitionTime": body["metadata"]["creationTimestamp"]}
        for name, reason in (("NamesAccepted", "NoConflicts"), ("Established", "InitialNamesAccepted"))
    ]
    return {"acceptedNames": body["spec"]["names"], "storedVersions": versions, "conditions": conditions}
