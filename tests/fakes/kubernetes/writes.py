"""The write verbs: create, replace, patch, apply, delete, with the server's rules for versions and ownership."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.fakes.kubernetes import defaults, deletion, errors, validation
from tests.fakes.kubernetes.admission import Admission
from tests.fakes.kubernetes.kinds import Kind, Kinds, defined
from tests.fakes.kubernetes.ownership import Entry, after_update, apply, conflicts_of, fields_of, write_entries
from tests.fakes.kubernetes.revision import (
    KEPT,
    PATCHES,
    STRATEGIC_PATCH,
    combined,
    desired,
    part,
    patched,
    received,
    same,
    timestamp,
)
from tests.fakes.kubernetes.schema import Node, schema_of
from tests.fakes.kubernetes.store import Body, Store

LETTERS = "bcdfghjklmnpqrstvwxz2456789"


@dataclass(frozen=True)
class Write:
    """Who writes and how. `force` is None where the query does not say."""

    manager: str = "unknown"
    named_manager: bool = True
    dry_run: bool = False
    force: bool | None = None
    subresource: str = ""


class Writes:
    """All under the store's lock."""

    def __init__(self, store: Store, kinds: Kinds, now: Callable[[], datetime], rng: random.Random) -> None:
        self.store = store
        self.kinds = kinds
        self.now = now
        self.rng = rng
        self.admission = Admission(store, kinds)

    def suffix(self, length: int = 5) -> str:
        """What generateName appends."""
        return "".join(self.rng.choice(LETTERS) for _ in range(length))

    def must(self, kind: Kind, namespace: str, name: str) -> Body:
        """The stored object. Raises 404."""
        found = self.store.get(kind, namespace, name)
        if found is None:
            raise errors.not_found(kind.group, kind.plural, name)
        return found

    def create(self, kind: Kind, namespace: str, body: Body, write: Write = Write()) -> Body:
        """Store a new object. Raises 400, 403, 404 (namespace), 409 AlreadyExists, 422."""
        new = received(kind, namespace, body)
        meta = new["metadata"]
        if meta.get("resourceVersion"):
            raise errors.bad_request("resourceVersion should not be set on objects to be created")
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = meta["generateName"] + self.suffix()
        if not meta.get("name"):
            cause = ("FieldValueRequired", "metadata.name", "Required value: name or generateName is required")
            raise errors.invalid(kind.group, kind.kind, "", [cause])
        return self._insert(kind, new, write, None)

    def _insert(self, kind: Kind, new: Body, write: Write, applied: frozenset[tuple[str, ...]] | None) -> Body:
        meta = new["metadata"]
        for key in (*KEPT[:5], "managedFields", "selfLink", "resourceVersion"):
            meta.pop(key, None)
        if kind.has_status:
            new.pop("status", None)
        owned = fields_of(new, schema_of(kind.api_version, kind.kind)) if applied is None else applied
        operation = "Update" if applied is None else "Apply"
        meta |= {"uid": str(uuid.UUID(int=self.rng.getrandbits(128), version=4))}
        meta |= {"creationTimestamp": timestamp(self.now()), "generation": 1}
        if not isinstance(new.get("spec"), dict):
            del meta["generation"]
        defaults.fill(new)
        self.admission.complete(kind, new)
        write_entries(new, [self._entry(kind, write, operation, owned)])
        validation.check(kind, new)
        self.admission.admit(kind, new)
        if self.store.get(kind, meta.get("namespace", ""), meta["name"]) is not None:
            raise errors.already_exists(kind.group, kind.plural, meta["name"])
        if write.dry_run:
            return new
        stored = self.store.put(kind, new)
        self._follow(kind, stored)
        return stored

    def _follow(self, kind: Kind, stored: Body) -> None:
        """A namespace gets its default account, a definition its kind."""
        if kind.kind == "Namespace":
            account = self.kinds.named("ServiceAccount")
            self.create(account, stored["metadata"]["name"], {"metadata": {"name": "default"}})
        elif kind.kind == "CustomResourceDefinition":
            for one in defined(stored):
                self.kinds.add(one)

    def _entry(self, kind: Kind, write: Write, operation: str, fields: frozenset[tuple[str, ...]]) -> Entry:
        stamp = timestamp(self.now())
        return Entry(write.manager, operation, kind.api_version, write.subresource, fields, stamp)

    def replace(self, kind: Kind, namespace: str, name: str, body: Body, write: Write = Write()) -> Body:
        """PUT. Raises 400, 404, 409, 422."""
        old = self.must(kind, namespace, name)
        new = received(kind, namespace, body, name)
        if kind.open_schema and not new["metadata"].get("resourceVersion"):
            text = "Invalid value: 0: must be specified for an update"
            raise errors.invalid(kind.group, kind.kind, name, [("FieldValueInvalid", "metadata.resourceVersion", text)])
        return self._update(kind, old, new, write)

    def patch(self, kind: Kind, namespace: str, name: str, how: str, data: Any, write: Write = Write()) -> Body:
        """PATCH with one of the three patches that don't track ownership. Raises 400, 404, 409, 415, 422."""
        if how not in PATCHES or (how == STRATEGIC_PATCH and kind.open_schema):
            known = ", ".join(PATCHES)
            text = f"the body of the request was in an unknown format - accepted media types include: {known}"
            raise errors.ApiError(415, text)
        if write.force is not None:
            cause = ("FieldValueForbidden", "force", "Forbidden: may not be specified for non-apply patch")
            raise errors.invalid("meta.k8s.io", "PatchOptions", "", [cause])
        old = self.must(kind, namespace, name)
        new = patched(old, how, data, schema_of(kind.api_version, kind.kind))
        return self._update(kind, old, received(kind, namespace, new, name), write)

    def apply(self, kind: Kind, namespace: str, name: str, body: Any, write: Write) -> tuple[Body, bool]:
        """Server-side apply; also says whether the object was created. Raises 400, 409, 422."""
        if not write.named_manager:
            text = "Required value: is required for apply patch"
            cause = ("FieldValueRequired", "fieldManager", text)
            raise errors.invalid("meta.k8s.io", "PatchOptions", "", [cause])
        new = received(kind, namespace, body, name)
        if new["metadata"].pop("managedFields", None):
            raise errors.bad_request("metadata.managedFields must be nil")
        old = self.store.get(kind, namespace, name)
        node = schema_of(kind.api_version, kind.kind)
        new = part(kind, new, write.subresource)
        validation.check_form(kind, new)
        if old is None:
            if new["metadata"].get("resourceVersion") or new["metadata"].get("uid"):
                raise errors.conflict(kind.group, kind.plural, name, "Precondition failed: the object does not exist")
            if write.subresource:
                raise errors.not_found(kind.group, kind.plural, name)
            return self._insert(kind, new, write, fields_of(new, node)), True
        self._same_version(kind, old, new)
        by = self._entry(kind, write, "Apply", frozenset())
        self._judge_conflicts(kind, old, new, node, by, force=bool(write.force))
        result, entries = apply(old, new, node, by)
        return self._update(kind, old, result, write, entries), False

    def _judge_conflicts(self, kind: Kind, old: Body, new: Body, node: Node, by: Entry, *, force: bool) -> None:
        found = [] if force else conflicts_of(old, new, node, by.who)
        if not found:
            return
        causes = []
        for clash in found:
            text = f'conflict with "{clash.manager}" using {clash.api_version}'
            causes.append({"reason": "FieldManagerConflict", "message": text, "field": clash.field})
        lines = "\n".join(f"- {cause['message']}: {cause['field']}" for cause in causes)
        one = f"conflict: {causes[0]['message']}: {causes[0]['field']}"
        text = (
            f"Apply failed with 1 {one}" if len(found) == 1 else f"Apply failed with {len(found)} conflicts:\n{lines}"
        )
        details = errors.named(kind.group, kind.plural, old["metadata"]["name"]) | {"causes": causes}
        raise errors.ApiError(409, text, details=details)

    def _same_version(self, kind: Kind, old: Body, new: Body) -> None:
        name, meta = old["metadata"]["name"], new["metadata"]
        if meta.get("resourceVersion") not in (None, "", "0", old["metadata"]["resourceVersion"]):
            raise errors.conflict(kind.group, kind.plural, name)
        if (uid := meta.get("uid")) and uid != old["metadata"]["uid"]:
            why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {old['metadata']['uid']}"
            raise errors.conflict(kind.group, kind.plural, name, why)

    def _update(self, kind: Kind, old: Body, new: Body, write: Write, entries: list[Entry] | None = None) -> Body:
        self._same_version(kind, old, new)
        final = combined(kind, old, new, write.subresource)
        defaults.fill(final)
        node = schema_of(kind.api_version, kind.kind)
        if entries is None:
            entries = after_update(old, final, node, self._entry(kind, write, "Update", frozenset()))
        write_entries(final, entries)
        if desired(final) != desired(old) and "generation" in old["metadata"]:
            final["metadata"]["generation"] = old["metadata"]["generation"] + 1
        validation.check(kind, final, old)
        self._check_finalizers(kind, old, final)
        if write.dry_run or same(final, old):
            return final if write.dry_run else old
        return self._stored(kind, final)

    def _stored(self, kind: Kind, final: Body) -> Body:
        """A terminating object without finalizers and without grace is gone with this write."""
        meta = final["metadata"]
        ended = (
            meta.get("deletionTimestamp") and not meta.get("finalizers") and not meta.get("deletionGracePeriodSeconds")
        )
        if ended and not (kind.kind == "Namespace" and final["spec"].get("finalizers")):
            return self._removed(kind, final)
        return self.store.put(kind, final)

    def _removed(self, kind: Kind, body: Body) -> Body:
        if kind.kind == "CustomResourceDefinition":
            self.kinds.drop(body["spec"]["group"], body["spec"]["names"]["plural"])
        return self.store.remove(kind, body)

    def _check_finalizers(self, kind: Kind, old: Body, new: Body) -> None:
        if not old["metadata"].get("deletionTimestamp"):
            return
        added = set(new["metadata"].get("finalizers") or []) - set(old["metadata"].get("finalizers") or [])
        if added:
            text = f"Forbidden: no new finalizers can be added if the object is being deleted, found {sorted(added)}"
            cause = ("FieldValueForbidden", "metadata.finalizers", text)
            raise errors.invalid(kind.group, kind.kind, old["metadata"]["name"], [cause])

    def delete(self, kind: Kind, namespace: str, name: str, options: dict[str, Any] | None = None) -> tuple[Body, bool]:
        """Returns the object and whether it is gone already. Raises 404, 409, 422."""
        options, old = options or {}, self.must(kind, namespace, name)
        deletion.check_preconditions(kind, old, options.get("preconditions") or {})
        new = deletion.marked(kind, old, options, self.now())
        held = deletion.is_held(kind, new)
        if options.get("dryRun"):
            return old, not held
        if not held:
            return self._removed(kind, new), True
        return (old if same(new, old) else self.store.put(kind, new)), False
