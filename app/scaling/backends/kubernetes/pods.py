"""A pod as a plain value. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

COST = "controller.kubernetes.io/pod-deletion-cost"
LEAVING_SINCE = "yardmaster/leaving-since"
ENDED = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Pod:
    """Times are seconds since the epoch.

    `deployment`: the name of the one it belongs to, "" where that cannot be told. `leaving_since`: it was chosen to
    leave then. `ends_at`: it was told to end, and is killed then. `cost`: what a ReplicaSet goes by on scale-in.
    """

    name: str
    uid: str = ""
    deployment: str = ""
    template: str = ""
    ip: str = ""
    created: float = 0.0
    phase: str = "Running"
    assigned: bool = True
    ready: bool = True
    ready_since: float | None = None
    cost: int = 0
    leaving_since: float | None = None
    ends_at: float | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing runs in it any more, nor ever will: evicted by its node, for one."""
        return self.phase in ENDED

    @property
    def active(self) -> bool:
        """Whether its ReplicaSet counts it."""
        return self.ends_at is None and not self.ended


def parse(raw: Mapping[str, Any]) -> Pod:
    """A pod as the API has it."""
    metadata, status = raw["metadata"], raw.get("status") or {}
    annotations, labels = metadata.get("annotations") or {}, metadata.get("labels") or {}
    template = labels.get("pod-template-hash", "")
    ready: Mapping[str, Any] = next((item for item in status.get("conditions") or () if item["type"] == "Ready"), {})
    return Pod(
        name=metadata["name"],
        uid=metadata.get("uid", ""),
        deployment=_deployment(metadata, template),
        template=template,
        ip=status.get("podIP") or "",
        created=seconds(metadata.get("creationTimestamp")) or 0.0,
        phase=status.get("phase") or "Pending",
        assigned=bool((raw.get("spec") or {}).get("nodeName")),
        ready=ready.get("status") == "True",
        ready_since=seconds(ready.get("lastTransitionTime")) if ready.get("status") == "True" else None,
        cost=_number(annotations.get(COST)),
        leaving_since=seconds(annotations.get(LEAVING_SINCE)),
        ends_at=seconds(metadata.get("deletionTimestamp")),
    )


def seconds(text: str | None) -> float | None:
    """An RFC 3339 time as seconds since the epoch; None for none, or for what is no time."""
    try:
        return None if text is None else datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def _deployment(metadata: Mapping[str, Any], template: str) -> str:
    """By way of its ReplicaSet, whose name is the Deployment's and the template's hash."""
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("kind") == "ReplicaSet" and template and owner["name"].endswith(f"-{template}"):
            return str(owner["name"][: -len(template) - 1])
    return ""


def _number(text: str | None) -> int:
    try:
        return int(text or 0)
    except ValueError:
        return 0
