"""Deletion: preconditions, propagation, and the grace a pod on a node has."""

from __future__ import annotations

import copy
from datetime import datetime, timedelta
from typing import Any

from tests.fakes.kubernetes import errors
from tests.fakes.kubernetes.kinds import Kind
from tests.fakes.kubernetes.revision import timestamp
from tests.fakes.kubernetes.store import Body

_FINALIZERS = {"Foreground": "foregroundDeletion", "Orphan": "orphan", "Background": ""}


def check_preconditions(kind: Kind, old: Body, wanted: dict[str, Any]) -> None:
    """Raises 409 where the object is another or newer one than the client means."""
    for key, words in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
        if wanted.get(key) not in (None, old["metadata"][key]):
            why = f"Precondition failed: {words} in precondition: {wanted[key]}, {words} in object meta: "
            raise errors.conflict(kind.group, kind.plural, old["metadata"]["name"], why + old["metadata"][key])


def marked(kind: Kind, old: Body, options: dict[str, Any], now: datetime) -> Body:
    """The object as it is being deleted; a deletion asked for again can only shorten the grace. Raises 422."""
    new, meta = copy.deepcopy(old), old["metadata"]
    finalizers = list(meta.get("finalizers") or [])
    special = _FINALIZERS[_policy(options)]
    if special and special not in finalizers:
        new["metadata"]["finalizers"] = [*finalizers, special]
    grace = _grace(kind, old, options.get("gracePeriodSeconds"))
    if meta.get("deletionTimestamp") and meta.get("deletionGracePeriodSeconds", 0) <= grace:
        return new
    new["metadata"]["deletionTimestamp"] = timestamp(now + timedelta(seconds=grace))
    new["metadata"]["deletionGracePeriodSeconds"] = grace
    if "generation" in meta:
        new["metadata"]["generation"] += 1
    if kind.kind == "Namespace":
        new["status"] = {"phase": "Terminating"}
    return new


def _policy(options: dict[str, Any]) -> str:
    policy = str(options.get("propagationPolicy") or ("Orphan" if options.get("orphanDependents") else "Background"))
    if policy not in _FINALIZERS:
        text = f'Unsupported value: "{policy}": supported values: "Background", "Foreground", "Orphan"'
        cause = ("FieldValueNotSupported", "propagationPolicy", text)
        raise errors.invalid("meta.k8s.io", "DeleteOptions", "", [cause])
    return policy


def is_held(kind: Kind, marked_body: Body) -> bool:
    """Whether something still keeps the object: finalizers, a namespace's content, a pod's grace."""
    meta = marked_body["metadata"]
    return bool(meta.get("finalizers") or meta["deletionGracePeriodSeconds"] or kind.kind == "Namespace")


def _grace(kind: Kind, old: Body, wanted: Any) -> int:
    """Seconds a deletion leaves to the object: only pods on a node have any."""
    if kind.kind != "Pod" or not old["spec"].get("nodeName"):
        return 0
    if (old.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return 0
    return int(old["spec"].get("terminationGracePeriodSeconds", 30) if wanted is None else wanted)
