"""A verified caller, and what the scopes let it do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

Scope = Literal["tasks:write", "tasks:read", "agents:register", "pools:admin", "approvals:decide", "admin"]

SCOPES: dict[str, str] = {
    "tasks:write": "submit, cancel and retry tasks",
    "tasks:read": "read tasks, events, pools and agents",
    "agents:register": "register agents and report for them",
    "pools:admin": "define pools, scale them, drain and remove agents",
    "approvals:decide": "approve or reject",
    "admin": "everything, including keys",
}


PROBES_TENANT = "yardmaster-probes"
"""The tenant of the service's own probes. Keys of it may read and nothing else, so nobody else's work is in it."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request. `agent_id` is set when an agent calls with its own token, which carries no scope.

    `groups` are those of people that approvals may be asked of.
    """

    id: str
    tenant: str
    scopes: frozenset[str]
    agent_id: UUID | None = None
    groups: frozenset[str] = frozenset()

    def may(self, scope: str) -> bool:
        """Whether the caller holds `scope`; `admin` holds all."""
        return scope in self.scopes or "admin" in self.scopes
