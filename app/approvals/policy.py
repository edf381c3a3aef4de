"""Who must say yes to what: a pool's policies, read from its `approvals` JSON. Pure.

    {"start": Policy or null, "actions": {name or "*": Policy}}

The wire's model (`registry.wire.ApprovalsIn`) checked them when the pool was defined.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

type Kind = Literal["action", "start"]
type OnExpiry = Literal["expire", "reject", "escalate"]

ANY_ACTION = "*"
DEFAULT_SCOPE = "approvals:decide"


@dataclass(frozen=True, slots=True)
class Policy:
    """What one approval asks for. `required` False: the policy itself approves.

    `expires_s` None: never. `escalate_s` None: as long as the first round. Without `groups` every group may decide.
    """

    expires_s: float | None
    required: bool = True
    on_expiry: OnExpiry = "expire"
    escalate_to: tuple[str, ...] = ()
    escalate_s: float | None = None
    groups: tuple[str, ...] = ()
    scope: str = DEFAULT_SCOPE
    quorum: int = 1
    self_approval: bool = False


def of(approvals: Mapping[str, Any], kind: Kind, action: str, default_expires_s: float) -> Policy | None:
    """The policy for an action, or for the start of a task. None: nobody is asked; an action always has one."""
    if kind == "start":
        start = approvals.get("start")
        return None if start is None else _read(start, default_expires_s)
    actions = approvals.get("actions") or {}
    return _read(actions.get(action) or actions.get(ANY_ACTION) or {}, default_expires_s)


def tightened(policy: Policy) -> Policy:
    """The policy in an emergency: people decide what it would let pass."""
    return policy if policy.required else replace(policy, required=True)


def shortened(expires_s: float | None, wanted_s: float | None) -> float | None:
    """The policy's expiry, or what the asker wants where that is sooner. None: never."""
    return min((value for value in (expires_s, wanted_s) if value is not None), default=None)


def _read(stored: Mapping[str, Any], default_expires_s: float) -> Policy:
    values = {name: stored[name] for name in Policy.__dataclass_fields__ if name in stored}
    if values.get("expires_s", "default") == "default":
        values["expires_s"] = default_expires_s
    for name in ("escalate_to", "groups"):
        values[name] = tuple(dict.fromkeys(values.get(name, ())))
    return Policy(**values)
