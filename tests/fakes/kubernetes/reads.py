"""Lists in pages, and the forms in which objects are shown (whole, or metadata only)."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.kubernetes.errors import bad_request, expired
from tests.fakes.kubernetes.kinds import Kind
from tests.fakes.kubernetes.selectors import Match, query_match
from tests.fakes.kubernetes.store import Body, Store

_TOO_OLD = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list "
    "without the continue parameter."
)


@dataclass
class Reads:
    """Pages of one list come from one snapshot, which `forget` (compaction) drops."""

    store: Store
    _snapshots: dict[str, tuple[int, list[Body]]] = field(default_factory=dict)

    def forget(self) -> None:
        self._snapshots.clear()

    def page(self, kind: Kind, namespace: str, query: Mapping[str, str]) -> dict[str, Any]:
        """A `…List`. Raises 400, 410 for an expired continue token, 504 for a version to come."""
        if token := query.get("continue"):
            version, items = self._resume(token)
        else:
            _check_version(self.store, query)
            match = query_match(kind, query.get("labelSelector", ""), query.get("fieldSelector", ""))
            version, items = self.store.version, [b for b in self.store.items(kind, namespace) if match(b)]
        meta: dict[str, Any] = {"resourceVersion": str(version)}
        limit = int(query.get("limit") or 0)
        page = items[:limit] if limit else items
        if limit and len(items) > limit:
            meta |= {"continue": self._keep(version, items[limit:]), "remainingItemCount": len(items) - limit}
        shown = [{k: v for k, v in b.items() if k not in ("kind", "apiVersion")} for b in page]
        return {"kind": kind.list_kind, "apiVersion": kind.api_version, "metadata": meta, "items": shown}

    def _keep(self, version: int, items: list[Body]) -> str:
        token = base64.urlsafe_b64encode(json.dumps({"rv": version, "left": len(items)}).encode()).decode()
        self._snapshots[token] = version, items
        return token

    def _resume(self, token: str) -> tuple[int, list[Body]]:
        try:
            json.loads(base64.urlsafe_b64decode(token))
        except ValueError:
            raise bad_request("continue key is not valid") from None
        if token not in self._snapshots:
            raise expired(_TOO_OLD)
        return self._snapshots[token]


def _check_version(store: Store, query: Mapping[str, str]) -> None:
    wanted, exact = query.get("resourceVersion", ""), query.get("resourceVersionMatch", "")
    if wanted and not wanted.isdecimal():
        raise bad_request(f'resourceVersion: Invalid value: "{wanted}": strconv.ParseUint: invalid syntax')
    if wanted and exact == "Exact" and int(wanted) < store.compacted:
        raise expired(f"The resourceVersion for the provided list is too old: {wanted}")


def matcher(kind: Kind, query: Mapping[str, str]) -> Match:
    """The test of a watch's or collection's selectors."""
    return query_match(kind, query.get("labelSelector", ""), query.get("fieldSelector", ""))


def shown(body: dict[str, Any], accept: str) -> dict[str, Any]:
    """The object as the Accept header asks for it: whole, or `PartialObjectMetadata`."""
    if "as=PartialObjectMetadata" not in accept or body.get("kind") == "Status":
        return body
    if "items" in body:
        items = [_partial(item) for item in body["items"]]
        meta = body["metadata"]
        return {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": meta, "items": items}
    return _partial(body)


def _partial(body: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": body["metadata"]}
