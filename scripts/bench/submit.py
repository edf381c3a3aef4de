"""Submit: POST /v1/tasks per second at 64 connections on one manager ÷ a bare FastAPI echo with a pydantic body."""

from __future__ import annotations

from scripts.bench import load, profile
from scripts.bench.load import Load, Sent
from scripts.bench.rig import Rig, server, service
from scripts.bench.targets import at_least

TARGETS = {"submit_ratio": at_least(0.50)}

CONNECTIONS = 64
SECONDS = 6.0
WARM_UP_S = 1.0
BODY = {"pool": "submit", "payload": {"text": "x" * 180}}


def _send(port: int, key: str, seconds: float) -> Sent:
    requests = [load.request("POST", "/v1/tasks", key, BODY)]
    return load.run(Load(port, requests, CONNECTIONS, seconds))


def _round(rig: Rig, echo_port: int, seconds: float) -> dict[str, float]:
    reference = _send(echo_port, rig.key, seconds)
    cpu = rig.cpu_by_kind()
    with profile.profiled(rig, "submit"):
        ours = _send(rig.port, rig.key, seconds)
    used = rig.cpu_by_kind() - cpu
    return {
        "echo_per_s": reference.rate_per_s,
        "submit_per_s": ours.rate_per_s,
        "submit_ratio": ours.rate_per_s / reference.rate_per_s,
        "submit_p50_ms": ours.latency_ms(0.5),
        "submit_p99_ms": ours.latency_ms(0.99),
        "submit_manager_cpu_s_per_1000": used["manager"] / ours.count * 1000,
        "submit_postgres_cpu_s_per_1000": used["postgres"] / ours.count * 1000,
        "submit_generator_cpu_share": ours.cpu_share,
    }


def measure(rounds: int = 3, seconds: float = SECONDS) -> list[dict[str, float]]:
    """Interleaved rounds. The pool has no agents, so nothing is dispatched meanwhile."""
    with service() as rig, server("scripts.bench.echo") as echo_url:
        rig.define("submit", slots=1)
        echo_port = int(echo_url.rpartition(":")[2])
        for port in (echo_port, rig.port):
            _send(port, rig.key, WARM_UP_S)
        return [_round(rig, echo_port, seconds) for _ in range(rounds)]
