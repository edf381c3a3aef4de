"""The table of kinds the fake serves, and their paths."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

STATUS = frozenset({"status"})
SCALED = frozenset({"status", "scale"})
NONE: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Kind:
    """One served resource. `option` names the group that must be switched on for it to be served."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True
    subresources: frozenset[str] = NONE
    short: tuple[str, ...] = ()
    option: str = ""
    # An answer is computed and nothing is stored (access reviews).
    review: bool = False
    # Its CustomResourceDefinition's schema, for kinds a test registers itself.
    open_schema: bool = field(default=False, compare=False)

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def root(self) -> str:
        """`/api/v1` or `/apis/{group}/{version}`."""
        return f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"

    @property
    def list_kind(self) -> str:
        return f"{self.kind}List"

    @property
    def has_status(self) -> bool:
        return "status" in self.subresources

    def path(self, name: str = "", namespace: str = "", subresource: str = "") -> str:
        """The URL path of the collection, the object or its subresource."""
        scope = f"/namespaces/{namespace}" if namespace and self.namespaced else ""
        tail = "".join(f"/{part}" for part in (self.plural, name, subresource) if part)
        return f"{self.root}{scope}{tail}"


def _core() -> Iterable[Kind]:
    yield Kind("", "v1", "Namespace", "namespaces", False, STATUS, ("ns",))
    yield Kind("", "v1", "Node", "nodes", False, STATUS, ("no",))
    yield Kind("", "v1", "PersistentVolume", "persistentvolumes", False, STATUS, ("pv",))
    yield Kind("", "v1", "Pod", "pods", True, STATUS | {"eviction", "log"}, ("po",))
    yield Kind("", "v1", "Service", "services", True, STATUS, ("svc",))
    yield Kind("", "v1", "Endpoints", "endpoints", True, NONE, ("ep",))
    yield Kind("", "v1", "Secret", "secrets")
    yield Kind("", "v1", "ConfigMap", "configmaps", True, NONE, ("cm",))
    yield Kind("", "v1", "ServiceAccount", "serviceaccounts", True, NONE, ("sa",))
    yield Kind("", "v1", "Event", "events", True, NONE, ("ev",))
    yield Kind("", "v1", "ResourceQuota", "resourcequotas", True, STATUS, ("quota",))
    yield Kind("", "v1", "LimitRange", "limitranges", True, NONE, ("limits",))
    yield Kind("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", True, STATUS, ("pvc",))


def _workloads() -> Iterable[Kind]:
    yield Kind("apps", "v1", "Deployment", "deployments", True, SCALED, ("deploy",))
    yield Kind("apps", "v1", "ReplicaSet", "replicasets", True, SCALED, ("rs",))
    yield Kind("apps", "v1", "StatefulSet", "statefulsets", True, SCALED, ("sts",))
    yield Kind("apps", "v1", "DaemonSet", "daemonsets", True, STATUS, ("ds",))
    yield Kind("apps", "v1", "ControllerRevision", "controllerrevisions")
    yield Kind("batch", "v1", "Job", "jobs", True, STATUS)
    yield Kind("batch", "v1", "CronJob", "cronjobs", True, STATUS, ("cj",))
    yield Kind("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", True, STATUS, ("hpa",))
    yield Kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", True, STATUS, ("pdb",))


def _network_and_access() -> Iterable[Kind]:
    net, rbac, review = "networking.k8s.io", "rbac.authorization.k8s.io", "authorization.k8s.io"
    yield Kind(net, "v1", "NetworkPolicy", "networkpolicies", True, NONE, ("netpol",))
    yield Kind(net, "v1", "Ingress", "ingresses", True, STATUS, ("ing",))
    yield Kind(net, "v1", "IngressClass", "ingressclasses", False)
    yield Kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
    yield Kind("coordination.k8s.io", "v1", "Lease", "leases")
    yield Kind("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", False, NONE, ("pc",))
    yield Kind("storage.k8s.io", "v1", "StorageClass", "storageclasses", False, NONE, ("sc",))
    yield Kind(rbac, "v1", "Role", "roles")
    yield Kind(rbac, "v1", "RoleBinding", "rolebindings")
    yield Kind(rbac, "v1", "ClusterRole", "clusterroles", False)
    yield Kind(rbac, "v1", "ClusterRoleBinding", "clusterrolebindings", False)
    yield Kind(review, "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", False, review=True)
    yield Kind(
        "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", False, STATUS, ("crd",)
    )


def _optional() -> Iterable[Kind]:
    def kind(group: str, version: str, name: str, plural: str, option: str) -> Kind:
        return Kind(group, version, name, plural, True, STATUS, option=option, open_schema=True)

    yield kind("keda.sh", "v1alpha1", "ScaledObject", "scaledobjects", "keda")
    yield kind("keda.sh", "v1alpha1", "TriggerAuthentication", "triggerauthentications", "keda")
    yield kind("security.istio.io", "v1", "PeerAuthentication", "peerauthentications", "istio")
    yield kind("security.istio.io", "v1", "AuthorizationPolicy", "authorizationpolicies", "istio")
    yield kind("networking.istio.io", "v1", "DestinationRule", "destinationrules", "istio")
    yield kind("monitoring.coreos.com", "v1", "ServiceMonitor", "servicemonitors", "prometheus")
    yield kind("monitoring.coreos.com", "v1", "PrometheusRule", "prometheusrules", "prometheus")


KINDS: tuple[Kind, ...] = (*_core(), *_workloads(), *_network_and_access(), *_optional())
# The groups a test may switch on.
OPTIONS = frozenset(kind.option for kind in KINDS if kind.option)


def defined(definition: dict[str, Any]) -> list[Kind]:
    """The kinds a CustomResourceDefinition adds."""
    spec = definition["spec"]
    names, namespaced = spec["names"], spec.get("scope") == "Namespaced"
    return [
        Kind(
            spec["group"],
            version["name"],
            names["kind"],
            names["plural"],
            namespaced,
            STATUS if "status" in (version.get("subresources") or {}) else NONE,
            tuple(names.get("shortNames") or ()),
            open_schema=True,
        )
        for version in spec.get("versions") or []
        if version.get("served")
    ]


class Kinds:
    """The kinds one cluster serves: the built-in ones, the switched-on groups, and what CRDs add."""

    def __init__(self, options: Iterable[str] = ()) -> None:
        wanted = frozenset(options)
        if unknown := wanted - OPTIONS:
            raise ValueError(f"unknown groups {sorted(unknown)}; known: {sorted(OPTIONS)}")
        self._kinds = [kind for kind in KINDS if not kind.option or kind.option in wanted]

    def all(self) -> tuple[Kind, ...]:
        return tuple(self._kinds)

    def at(self, group: str, version: str, plural: str) -> Kind | None:
        """The kind served at this path, if any."""
        wanted = (group, version, plural)
        return next((k for k in self._kinds if (k.group, k.version, k.plural) == wanted), None)

    def named(self, name: str, group: str | None = None) -> Kind:
        """By kind, plural or short name, for tests: `named("Deployment")`. Raises KeyError."""
        for kind in self._kinds:
            if name in (kind.kind, kind.plural, *kind.short) and group in (None, kind.group):
                return kind
        raise KeyError(name)

    def add(self, kind: Kind) -> None:
        if self.at(kind.group, kind.version, kind.plural) is None:
            self._kinds.append(kind)

    def drop(self, group: str, plural: str) -> None:
        self._kinds = [k for k in self._kinds if (k.group, k.plural) != (group, plural)]
