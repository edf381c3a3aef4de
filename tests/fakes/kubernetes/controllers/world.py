"""What every controller needs: reading and writing objects as the controller manager does."""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests.fakes.kubernetes.revision import timestamp
from tests.fakes.kubernetes.store import Body
from tests.fakes.kubernetes.writes import LETTERS, Write, Writes

MANAGER = "kube-controller-manager"


@dataclass
class World:
    """All calls are made under the store's lock."""

    writes: Writes

    def now(self) -> str:
        return timestamp(self.writes.now())

    def all(self, kind: str, namespace: str = "") -> list[Body]:
        return self.writes.store.items(self.writes.kinds.named(kind), namespace)

    def get(self, kind: str, namespace: str, name: str) -> Body | None:
        return self.writes.store.get(self.writes.kinds.named(kind), namespace, name)

    def fresh(self, body: Body) -> Body | None:
        """The same object as it is now."""
        now = self.get(body["kind"], body["metadata"].get("namespace", ""), body["metadata"]["name"])
        return now if now and now["metadata"]["uid"] == body["metadata"]["uid"] else None

    def create(self, kind: str, namespace: str, body: Body) -> Body:
        """Raises ApiError."""
        return self.writes.create(self.writes.kinds.named(kind), namespace, body, Write(MANAGER))

    def change(self, body: Body, **spec: Any) -> Body:
        """Set fields of the spec."""
        new = copy.deepcopy(body)
        new["spec"] |= spec
        return self.write(new)

    def write(self, body: Body, subresource: str = "") -> Body:
        """Replace the object (or its status), whatever its version."""
        kind, meta = self.writes.kinds.named(body["kind"]), body["metadata"]
        new = body | {"metadata": {key: value for key, value in meta.items() if key != "resourceVersion"}}
        if kind.open_schema:
            new["metadata"]["resourceVersion"] = meta["resourceVersion"]
        where = meta.get("namespace", "")
        return self.writes.replace(kind, where, meta["name"], new, Write(MANAGER, subresource=subresource))

    def set_status(self, body: Body, status: dict[str, Any]) -> Body:
        """Write the status where it differs."""
        status = {key: value for key, value in status.items() if value not in (None, [])}
        if (body.get("status") or {}) == status:
            return body
        return self.write(body | {"status": status}, "status")

    def delete(self, body: Body, **options: Any) -> None:
        kind, meta = self.writes.kinds.named(body["kind"]), body["metadata"]
        self.writes.delete(kind, meta.get("namespace", ""), meta["name"], options)

    def owned(self, kind: str, owner: Body) -> list[Body]:
        """The objects this one controls."""
        uid, where = owner["metadata"]["uid"], owner["metadata"]["namespace"]
        return [body for body in self.all(kind, where) if controller_of(body) == uid]


def controller_of(body: Body) -> str | None:
    """The uid of the controlling owner."""
    refs = body["metadata"].get("ownerReferences") or []
    return next((ref["uid"] for ref in refs if ref.get("controller")), None)


def owner_reference(owner: Body) -> dict[str, Any]:
    meta = owner["metadata"]
    named = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": meta["name"], "uid": meta["uid"]}
    return named | {"controller": True, "blockOwnerDeletion": True}


def pod_of(owner: Body, labels: dict[str, str] | None = None, **meta: Any) -> Body:
    """A pod from the owner's template."""
    template = owner["spec"]["template"]
    own = template.get("metadata") or {}
    metadata: dict[str, Any] = {"labels": {**(own.get("labels") or {}), **(labels or {})}}
    if own.get("annotations"):
        metadata["annotations"] = dict(own["annotations"])
    metadata |= {"ownerReferences": [owner_reference(owner)], **meta}
    return {"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": copy.deepcopy(template["spec"])}


def template_hash(template: dict[str, Any]) -> str:
    """Ten letters that stand for a pod template."""
    digest = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).digest()
    return "".join(LETTERS[byte % len(LETTERS)] for byte in digest[:10])


def is_ready(pod: Body) -> bool:
    return condition(pod, "Ready").get("status") == "True"


def is_active(pod: Body) -> bool:
    """Counts as a replica: not finished, not being deleted."""
    phase = (pod.get("status") or {}).get("phase")
    return phase not in ("Succeeded", "Failed") and not pod["metadata"].get("deletionTimestamp")


def condition(body: Body, type_: str) -> dict[str, Any]:
    """The condition of this type; empty where there is none."""
    conditions = (body.get("status") or {}).get("conditions") or []
    return next((dict(one) for one in conditions if one["type"] == type_), {})


def parse_time(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def with_condition(
    conditions: list[dict[str, Any]],
    type_: str,
    status: str,
    reason: str,
    message: str,
    now: str,
    *,
    updated: bool = False,
) -> list[dict[str, Any]]:
    """The conditions with this one set. It keeps its times while status, reason and message stay (`updated` has
    `lastUpdateTime` too)."""
    old = next((one for one in conditions if one["type"] == type_), {})
    if (old.get("status"), old.get("reason", ""), old.get("message", "")) == (status, reason, message):
        return conditions
    since = old.get("lastTransitionTime", now) if old.get("status") == status else now
    new = {"type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": since}
    new = {key: value for key, value in new.items() if value} | ({"lastUpdateTime": now} if updated else {})
    return [new if one["type"] == type_ else one for one in conditions] if old else [*conditions, new]


def without_condition(conditions: list[dict[str, Any]], type_: str) -> list[dict[str, Any]]:
    return [one for one in conditions if one["type"] != type_]
