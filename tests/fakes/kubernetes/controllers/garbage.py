"""What follows a deletion: dependents of owners that are gone, foreground and orphan deletion, namespaces."""

from __future__ import annotations

import copy
from typing import Any

from tests.fakes.kubernetes.controllers.world import World
from tests.fakes.kubernetes.store import Body


class Garbage:
    def run(self, world: World) -> None:
        for kind in world.writes.kinds.all():
            for body in world.writes.store.items(kind):
                self._collect(world, body)
        for namespace in world.all("Namespace"):
            if namespace["metadata"].get("deletionTimestamp"):
                self._empty(world, namespace)

    def _collect(self, world: World, body: Body) -> None:
        meta = body["metadata"]
        finalizers = meta.get("finalizers") or []
        if meta.get("deletionTimestamp") and "foregroundDeletion" in finalizers:
            self._foreground(world, body)
        elif meta.get("deletionTimestamp") and "orphan" in finalizers:
            self._orphan(world, body)
        elif not meta.get("deletionTimestamp") and _is_orphaned(world, body):
            world.delete(body, propagationPolicy="Background")

    def _foreground(self, world: World, body: Body) -> None:
        left = _dependents(world, body)
        for one in left:
            if not one["metadata"].get("deletionTimestamp"):
                world.delete(one, propagationPolicy="Foreground" if _dependents(world, one) else "Background")
        if not left:
            _release(world, body, "foregroundDeletion")

    def _orphan(self, world: World, body: Body) -> None:
        for one in _dependents(world, body):
            freed = copy.deepcopy(one)
            refs = freed["metadata"]["ownerReferences"]
            freed["metadata"]["ownerReferences"] = [ref for ref in refs if ref["uid"] != body["metadata"]["uid"]]
            world.write(freed)
        _release(world, body, "orphan")

    def _empty(self, world: World, namespace: Body) -> None:
        name, left = namespace["metadata"]["name"], 0
        for kind in world.writes.kinds.all():
            for body in world.writes.store.items(kind, name) if kind.namespaced else []:
                left += 1
                if not body["metadata"].get("deletionTimestamp"):
                    world.delete(body)
        if not left:
            world.writes.store.remove(world.writes.kinds.named("Namespace"), namespace)


def _is_orphaned(world: World, body: Body) -> bool:
    """It had owners and none of them is left."""
    refs = body["metadata"].get("ownerReferences") or []
    return bool(refs) and all(_owner(world, body, ref) is None for ref in refs)


def _owner(world: World, body: Body, ref: dict[str, Any]) -> Body | None:
    group, _, version = ref["apiVersion"].rpartition("/")
    for kind in world.writes.kinds.all():
        if (kind.group, kind.version, kind.kind) == (group, version, ref["kind"]):
            where = body["metadata"].get("namespace", "")
            found = world.writes.store.get(kind, where, ref["name"])
            return found if found and found["metadata"]["uid"] == ref["uid"] else None
    # An owner of a kind that is not served can't be judged absent.
    return body


def _dependents(world: World, owner: Body) -> list[Body]:
    uid, where = owner["metadata"]["uid"], owner["metadata"].get("namespace", "")
    return [
        body
        for kind in world.writes.kinds.all()
        for body in world.writes.store.items(kind, where)
        if any(ref["uid"] == uid for ref in body["metadata"].get("ownerReferences") or [])
    ]


def _release(world: World, body: Body, finalizer: str) -> None:
    now = world.fresh(body)
    if now is not None:
        freed = copy.deepcopy(now)
        freed["metadata"]["finalizers"] = [one for one in freed["metadata"]["finalizers"] if one != finalizer]
        world.write(freed)
