"""Schemas of the built-in kinds (Kubernetes' own OpenAPI, carried by `kubernetes_validate`).

They answer three questions: is this object well-formed, which of its lists are merged by which key, and which
maps are replaced as a whole. A kind without a schema (a custom resource) merges maps and replaces lists.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import jsonschema  # type: ignore[import-untyped]
import kubernetes_validate  # type: ignore[import-untyped]
from kubernetes_validate.utils import schema_contents  # type: ignore[import-untyped]
from referencing import Registry, Resource

VERSION = "1.36"
_FOLDER = f"kubernetes-json-schema/v{VERSION}.0-local-strict"
# Keys of associative lists that have a default: two ports that both leave out the protocol have the same key.
KEY_DEFAULTS: dict[str, Any] = {"protocol": "TCP"}


@cache
def _definitions() -> dict[str, Any]:
    return cast(dict[str, Any], schema_contents(f"{_FOLDER}/_definitions.json", VERSION))


@cache
def _document(api_version: str, kind: str) -> dict[str, Any] | None:
    group, _, version = api_version.rpartition("/")
    name = "-".join(part for part in (kind.lower(), group.split(".")[0], version) if part)
    try:
        return cast(dict[str, Any], schema_contents(f"{_FOLDER}/{name}.json", VERSION))
    except (FileNotFoundError, kubernetes_validate.SchemaNotFoundError):
        return None


@dataclass(frozen=True)
class Node:
    """A place in a schema. `raw` is None where nothing is known of it."""

    raw: dict[str, Any] | None
    # What the property says itself, beside its $ref (list types, merge keys).
    beside: dict[str, Any] | None = None

    def _of(self, key: str) -> Any:
        return (self.beside or {}).get(key, (self.raw or {}).get(key))

    def field(self, name: str) -> Node:
        raw = self.raw or {}
        inner = raw.get("properties", {}).get(name)
        if inner is None:
            extra = raw.get("additionalProperties")
            inner = extra if isinstance(extra, dict) else None
        return _node(inner)

    def item(self) -> Node:
        return _node((self.raw or {}).get("items"))

    @property
    def atomic_map(self) -> bool:
        return bool(self._of("x-kubernetes-map-type") == "atomic")

    @property
    def list_kind(self) -> str:
        """`map`, `set` or `atomic`."""
        return str(self._of("x-kubernetes-list-type") or "atomic")

    @property
    def list_keys(self) -> tuple[str, ...]:
        return tuple(self._of("x-kubernetes-list-map-keys") or ())

    @property
    def merge_key(self) -> str | None:
        """The key by which a strategic merge patch merges this list; None: replaced."""
        return self._of("x-kubernetes-patch-merge-key") if self.merges else None

    @property
    def merges(self) -> bool:
        return "merge" in str(self._of("x-kubernetes-patch-strategy") or "").split(",")

    @property
    def retains_keys(self) -> bool:
        return "retainKeys" in str(self._of("x-kubernetes-patch-strategy") or "").split(",")


def _node(schema: dict[str, Any] | None) -> Node:
    if schema is None:
        return Node(None)
    if ref := schema.get("$ref"):
        return Node(_definitions()["$defs"][ref.rpartition("/")[2]], schema)
    return Node(schema)


def schema_of(api_version: str, kind: str) -> Node:
    """The schema of a kind; a custom one knows only the shape of metadata."""
    document = _document(api_version, kind)
    if document is None:
        meta = {"$ref": "#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}
        return Node({"properties": {"metadata": meta}})
    return Node(document)


@cache
def _validator(api_version: str, kind: str) -> Any:
    document = _document(api_version, kind)
    if document is None:
        return None
    parts = [Resource.from_contents(part) for part in (document, _definitions())]
    registry: Any = Registry()
    for part in parts:
        registry = part @ registry
    return jsonschema.Draft202012Validator(document, registry=registry)


@dataclass(frozen=True)
class Fault:
    """What is wrong with an object: `kind` is unknown, type, missing or value; `path` like `spec.replicas`."""

    kind: str
    path: str
    message: str


_FAULTS = {"additionalProperties": "unknown", "type": "type", "oneOf": "type", "required": "missing"}


def faults_of(body: dict[str, Any]) -> list[Fault]:
    """Everything the strict schema of the object's kind has against it; empty for kinds without a schema."""
    validator = _validator(str(body.get("apiVersion", "")), str(body.get("kind", "")))
    return [] if validator is None else [_fault(error) for error in validator.iter_errors(body)]


def _fault(error: Any) -> Fault:
    kind = _FAULTS.get(error.validator, "value")
    path = path_text(list(error.absolute_path))
    if kind == "unknown":
        known = error.schema.get("properties", {})
        names = sorted(name for name in error.instance if name not in known)
        path = ".".join(part for part in (path, names[0]) if part)
    elif kind == "missing":
        names = [name for name in error.validator_value if name not in error.instance]
        path = ".".join(part for part in (path, names[0]) if part)
    return Fault(kind, path, error.message)


def path_text(path: list[Any]) -> str:
    """`spec.template.spec.containers[0].image`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".")
