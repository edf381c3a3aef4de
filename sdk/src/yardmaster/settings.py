"""What a served agent reads from its environment.

MANAGER_URL (none: the agent just serves), YARD_API_KEY (scope agents:register), AGENT_POOL, AGENT_HOST,
AGENT_PORT (0: a free one), AGENT_URL (advertised), AGENT_SLOTS, AGENT_VERSION, AGENT_WEIGHT, AGENT_LABELS
(JSON object), AGENT_DRAIN_GRACE_S, YARD_SUPERVISOR_PID.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Settings:
    """One agent's settings; `from_env` fails with ValueError that names the variable."""

    pool: str
    slots: int
    manager_url: str | None = None
    api_key: str | None = None
    host: str = "127.0.0.1"
    port: int = 0
    url: str | None = None
    version: str | None = None
    weight: float | None = None
    labels: dict[str, Any] = field(default_factory=dict)
    drain_grace_s: float = 30.0
    supervisor_pid: int | None = None
    supervisor_gone_s: float = 30.0

    @classmethod
    def from_env(cls, env: Mapping[str, str], *, pool: str, slots: int) -> "Settings":
        """The environment's settings over the agent's own `pool` and `slots`; empty means unset."""
        weight, pid = env.get("AGENT_WEIGHT"), env.get("YARD_SUPERVISOR_PID")
        return cls(
            pool=env.get("AGENT_POOL") or pool,
            slots=int(_number(env, "AGENT_SLOTS", slots, minimum=1)),
            manager_url=(env.get("MANAGER_URL") or "").rstrip("/") or None,
            api_key=env.get("YARD_API_KEY") or None,
            host=env.get("AGENT_HOST") or "127.0.0.1",
            port=int(_number(env, "AGENT_PORT", 0, minimum=0)),
            url=env.get("AGENT_URL") or None,
            version=env.get("AGENT_VERSION") or None,
            weight=_number(env, "AGENT_WEIGHT", 1, minimum=0) if weight else None,
            labels=_labels(env.get("AGENT_LABELS") or "{}"),
            drain_grace_s=_number(env, "AGENT_DRAIN_GRACE_S", 30, minimum=0),
            supervisor_pid=int(_number(env, "YARD_SUPERVISOR_PID", 0, minimum=1)) if pid else None,
        )


def _number(env: Mapping[str, str], name: str, default: float, *, minimum: float) -> float:
    text = env.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError as error:
        raise ValueError(f"{name} must be a number, not {text!r}") from error
    if not minimum <= value < float("inf"):
        raise ValueError(f"{name} must be at least {minimum:g}, not {text!r}")
    return value


def _labels(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"AGENT_LABELS must be a JSON object: {error}") from error
    if isinstance(value, dict):
        return value
    raise ValueError("AGENT_LABELS must be a JSON object")
