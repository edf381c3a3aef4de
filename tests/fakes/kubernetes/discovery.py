"""Discovery: which versions, groups and resources there are."""

from __future__ import annotations

from typing import Any

from tests.fakes.kubernetes.errors import ApiError
from tests.fakes.kubernetes.kinds import Kind, Kinds
from tests.fakes.kubernetes.schema import VERSION

_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
# What `kubectl get all` shows.
_ALL = {"Pod", "Service", "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob"}
_SUB_VERBS = {"eviction": ["create"], "log": ["get"]}


def version() -> dict[str, str]:
    major, minor = VERSION.split(".")
    text = {"gitVersion": f"v{VERSION}.0", "gitCommit": "0" * 40, "gitTreeState": "clean", "platform": "linux/amd64"}
    return {"major": major, "minor": minor, "buildDate": "2026-01-01T00:00:00Z", "goVersion": "go1.25", **text} | {
        "compiler": "gc"
    }


def document(kinds: Kinds, path: str) -> dict[str, Any] | None:
    """The answer for a discovery path, or None where the path is none."""
    parts = path.strip("/").split("/")
    if path == "/version":
        return version()
    match parts:
        case ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        case ["apis"]:
            groups = [_group(kinds, name) for name in _group_names(kinds)]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        case ["apis", group]:
            found = _group(kinds, group) if group in _group_names(kinds) else None
            return found and {"kind": "APIGroup", "apiVersion": "v1", **found}
        case ["api", "v1"]:
            return _resources(kinds, "", "v1")
        case ["apis", group, name]:
            return _resources(kinds, group, name)
    return None


def _group_names(kinds: Kinds) -> list[str]:
    return list(dict.fromkeys(kind.group for kind in kinds.all() if kind.group))


def _group(kinds: Kinds, name: str) -> dict[str, Any]:
    versions = dict.fromkeys(kind.version for kind in kinds.all() if kind.group == name)
    shown = [{"groupVersion": f"{name}/{one}", "version": one} for one in versions]
    return {"name": name, "versions": shown, "preferredVersion": shown[0]}


def _resources(kinds: Kinds, group: str, version_name: str) -> dict[str, Any]:
    found = [kind for kind in kinds.all() if (kind.group, kind.version) == (group, version_name)]
    if not found:
        raise ApiError(404, "the server could not find the requested resource", reason="NotFound")
    resources = [entry for kind in found for entry in _entries(kind)]
    name = f"{group}/{version_name}" if group else version_name
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": resources}


def _entries(kind: Kind) -> list[dict[str, Any]]:
    base = {"singularName": kind.kind.lower(), "namespaced": kind.namespaced, "kind": kind.kind}
    verbs = ["create"] if kind.review else _VERBS
    main: dict[str, Any] = {"name": kind.plural, **base, "verbs": verbs}
    if kind.short:
        main["shortNames"] = list(kind.short)
    if kind.kind in _ALL:
        main["categories"] = ["all"]
    return [main, *(_sub_entry(kind, name) for name in sorted(kind.subresources))]


def _sub_entry(kind: Kind, name: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": f"{kind.plural}/{name}", "singularName": "", "namespaced": kind.namespaced}
    entry |= {"kind": kind.kind, "verbs": _SUB_VERBS.get(name, ["get", "patch", "update"])}
    if name == "scale":
        entry |= {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    if name == "eviction":
        entry |= {"group": "policy", "version": "v1", "kind": "Eviction"}
    return entry
