"""The next revision of an object: what of a client's body is taken, by which patch, and whether it changes a thing."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from tests.fakes.kubernetes import errors, patches
from tests.fakes.kubernetes.kinds import Kind
from tests.fakes.kubernetes.ownership import Entry, entries_of
from tests.fakes.kubernetes.schema import Node
from tests.fakes.kubernetes.store import Body

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
PATCHES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH)
# Kept from the stored object, whatever a client sends.
KEPT = ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds", "namespace")


def timestamp(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def received(kind: Kind, namespace: str, body: Any, name: str = "") -> Body:
    """A copy of what a client sent, its kind, name and namespace checked against the path. Raises 400."""
    if not isinstance(body, dict):
        raise errors.bad_request("the object provided is unrecognized: a JSON object is needed")
    new: Body = _without_nulls(body)
    sent = new.setdefault("apiVersion", kind.api_version), new.setdefault("kind", kind.kind)
    if sent != (kind.api_version, kind.kind):
        words = f"{sent[1]} in version {sent[0]} cannot be handled as a {kind.kind}: expected {kind.api_version}"
        raise errors.bad_request(words)
    meta = new.setdefault("metadata", {})
    if not isinstance(meta, dict):
        raise errors.bad_request("metadata must be an object")
    if name and meta.setdefault("name", name) != name:
        words = f"the name of the object ({meta['name']}) does not match the name on the URL ({name})"
        raise errors.bad_request(words)
    if kind.namespaced and (meta.get("namespace") or namespace) != namespace:
        words = "the namespace of the provided object does not match the namespace sent on the request"
        raise errors.bad_request(words)
    if kind.namespaced:
        meta["namespace"] = namespace
    return new


def _without_nulls(value: Any) -> Any:
    """A copy in which what is null is absent, as in the server's typed objects."""
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def patched(old: Body, how: str, data: Any, node: Node) -> Any:
    """The object with the patch applied."""
    if how == JSON_PATCH:
        return patches.json_patch(old, data)
    if not isinstance(data, dict):
        raise errors.bad_request("error decoding patch: a JSON object is needed")
    return patches.merge_patch(old, data) if how == MERGE_PATCH else patches.strategic_merge(old, data, node)


def part(kind: Kind, body: Body, subresource: str) -> Body:
    """What an apply at this (sub)resource may set."""
    if subresource == "status":
        return {key: value for key, value in body.items() if key in ("apiVersion", "kind", "metadata", "status")}
    return {key: value for key, value in body.items() if key != "status" or not kind.has_status}


def combined(kind: Kind, old: Body, new: Body, subresource: str) -> Body:
    """The new object with what this (sub)resource may not change taken from the old."""
    final = copy.deepcopy(new)
    if subresource == "status":
        final = copy.deepcopy(old)
        final.pop("status", None)
        if "status" in new:
            final["status"] = copy.deepcopy(new["status"])
        return final
    if kind.has_status and subresource != "all":
        final.pop("status", None)
        if "status" in old:
            final["status"] = copy.deepcopy(old["status"])
    meta = final["metadata"]
    for key in KEPT:
        meta.pop(key, None)
        if key in old["metadata"]:
            meta[key] = old["metadata"][key]
    meta["resourceVersion"] = old["metadata"]["resourceVersion"]
    if "generateName" in old["metadata"]:
        meta["generateName"] = old["metadata"]["generateName"]
    return final


def desired(body: Body) -> Body:
    """What counts as a new generation: everything but metadata and status."""
    return {key: value for key, value in body.items() if key not in ("metadata", "status")}


def same(new: Body, old: Body) -> bool:
    """Whether a write changes nothing: then the version stays."""

    def plain(body: Body) -> Body:
        entries = [replace(entry, time="") for entry in entries_of(body)]
        meta = body["metadata"] | {"managedFields": sorted(str(entry) for entry in _shown(entries))}
        return body | {"metadata": meta}

    return plain(new) == plain(old)


def _shown(entries: list[Entry]) -> list[tuple[object, ...]]:
    return [(*entry.who, entry.api_version, sorted(entry.fields)) for entry in entries]
