"""What an executor may ask to wait for, as plain values. Checked for shape where they are read, for sense here."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class AskApproval:
    """A person's word on one exact action; `args` is JSON text. `expires_s` may shorten what the policy says."""

    step: str
    action: str
    args: str
    risk: str | None = None
    expires_s: float | None = None


@dataclass(frozen=True, slots=True)
class Called:
    """One sub-task: a pool, or a type and the most skilled pool. `payload` is a JSON value."""

    pool: str | None
    type: str | None
    payload: Any
    priority: int | None = None
    max_attempts: int | None = None
    deadline_s: float | None = None


@dataclass(frozen=True, slots=True)
class AskCalls:
    """The results of sub-tasks, in this order."""

    step: str
    calls: tuple[Called, ...]


@dataclass(frozen=True, slots=True)
class AskEvent:
    """An event of this name whose data contain `match`, for `timeout_s` at most."""

    step: str
    name: str
    match: dict[str, Any] | None = None
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class AskTimer:
    """So many seconds."""

    step: str
    seconds: float


type Ask = AskApproval | AskCalls | AskEvent | AskTimer

REASONS = {AskApproval: "approval", AskCalls: "call", AskEvent: "event", AskTimer: "timer"}


def reason_of(ask: Ask) -> str:
    """approval, call, event or timer."""
    return REASONS[type(ask)]


def input_hash(pool: str, payload: Any) -> bytes:
    """SHA-256 over the pool and the payload, its names in order: the same work has the same hash."""
    ordered = orjson.dumps(payload, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(pool.encode() + b"\0" + ordered).digest()


HASH_BYTES = 32


def in_line(lineage: bytes, wanted: bytes) -> bool:
    """Whether one of a line of input hashes is this one."""
    return any(lineage[at : at + HASH_BYTES] == wanted for at in range(0, len(lineage), HASH_BYTES))
