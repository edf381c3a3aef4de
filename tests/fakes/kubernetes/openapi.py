"""OpenAPI v3, as little of it as clients look at: that the server itself validates fields (`fieldValidation`)."""

from __future__ import annotations

from typing import Any

from tests.fakes.kubernetes.kinds import Kind, Kinds

_ROOT = "/openapi/v3"


def document(kinds: Kinds, path: str) -> dict[str, Any] | None:
    """The answer for a path below /openapi/v3, or None where the path is none."""
    groups: dict[str, list[Kind]] = {_path(kind): [] for kind in kinds.all()}
    for kind in kinds.all():
        groups[_path(kind)].append(kind)
    if path == _ROOT:
        return {"paths": {group: {"serverRelativeURL": f"{_ROOT}/{group}"} for group in groups}}
    found = groups.get(path.removeprefix(f"{_ROOT}/"))
    return None if found is None else _group(found)


def _path(kind: Kind) -> str:
    return f"apis/{kind.api_version}" if kind.group else f"api/{kind.api_version}"


def _group(kinds: list[Kind]) -> dict[str, Any]:
    info = {"title": "Kubernetes", "version": "v1"}
    return {"openapi": "3.0.0", "info": info, "paths": dict(_object_path(kind) for kind in kinds)}


def _object_path(kind: Kind) -> tuple[str, dict[str, Any]]:
    where = "/namespaces/{namespace}" if kind.namespaced else ""
    named = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    parameters = [{"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}]
    patch = {"parameters": parameters, "x-kubernetes-group-version-kind": named, "responses": {}}
    return f"/{_path(kind)}{where}/{kind.plural}/{{name}}", {"patch": patch}
