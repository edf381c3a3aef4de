"""Fleet: what the heartbeats of 10,000 agents cost, at one per agent in 30 s, and how many are taken flat out.

The agents share one executor that answers `/health`, each at a path of its own, and report with their own tokens over
kept connections. Probing is off, so that only heartbeats are measured.
"""

from __future__ import annotations

import time
from collections import Counter

import orjson

from scripts.bench import load, nginx, profile
from scripts.bench.load import Load
from scripts.bench.rig import Rig, service
from scripts.bench.targets import at_most

TARGETS = {"fleet_cpu_share": at_most(0.10)}

AGENTS = 10_000
INTERVAL_S = 30.0
SECONDS = 30.0
FLAT_OUT_S = 5.0
CONNECTIONS = 64
KINDS = ("manager", "postgres", "redis")
QUIET = {
    "YARD_REGISTRY_HEARTBEAT_INTERVAL_S": "100000",
    "YARD_REGISTRY_SILENT_AFTER_S": "100000",
    "YARD_REGISTRY_PROBE_INTERVAL_S": "100000",
}
BEAT = {"running": 0, "status": "idle"}
SETTLED_S = 6.0
"""Longer than a flush interval: what registering left to do is done."""


def _register(rig: Rig, executor_url: str, agents: int) -> tuple[list[bytes], float]:
    """The heartbeat of each agent as a request, and how many seconds their registering took."""
    bodies = ({"pool": "fleet", "url": f"{executor_url}/agents/{number}"} for number in range(agents))
    requests = [load.request("POST", "/v1/agents", rig.key, body) for body in bodies]
    sent = load.run(Load(rig.port, requests, CONNECTIONS, keep=True))
    registered = [orjson.loads(sent.bodies[number]) for number in range(agents)]
    beats = [load.request("POST", f"/v1/agents/{one['id']}/heartbeat", one["token"], BEAT) for one in registered]
    return beats, sent.seconds


def _share(rig: Rig, before: Counter[str], began: float) -> dict[str, float]:
    """Processor time since then, by kind, as share of one core."""
    used, elapsed = rig.cpu_by_kind() - before, time.monotonic() - began
    return {kind: used[kind] / elapsed for kind in KINDS}


def _idle(rig: Rig, seconds: float) -> dict[str, float]:
    before, began = rig.cpu_by_kind(), time.monotonic()
    time.sleep(seconds)
    return _share(rig, before, began)


def _round(rig: Rig, beats: list[bytes], seconds: float) -> dict[str, float]:
    idle = _idle(rig, seconds)
    rate = len(beats) / INTERVAL_S
    with profile.profiled(rig, "fleet"):
        before, began = rig.cpu_by_kind(), time.monotonic()
        paced = load.run(Load(rig.port, beats, CONNECTIONS, seconds, rate))
        busy = _share(rig, before, began)
    flat_out = load.run(Load(rig.port, beats, CONNECTIONS, FLAT_OUT_S))
    time.sleep(SETTLED_S)
    return {
        "fleet_agents": float(len(beats)),
        "fleet_beats_per_s": paced.rate_per_s,
        "fleet_beat_p99_ms": paced.latency_ms(0.99),
        "fleet_cpu_share": sum(busy.values()) - sum(idle.values()),
        "fleet_cpu_share_with_idle": sum(busy.values()),
        "fleet_idle_cpu_share": sum(idle.values()),
        **{f"fleet_{kind}_cpu_share": busy[kind] - idle[kind] for kind in KINDS},
        "fleet_flat_out_beats_per_s": flat_out.rate_per_s,
        "fleet_flat_out_generator_cpu_share": flat_out.cpu_share,
    }


def measure(rounds: int = 3, agents: int = AGENTS, seconds: float = SECONDS) -> list[dict[str, float]]:
    """Shares are of one core (1.0 is a whole one); the share that idle took just before is subtracted."""
    with service(environment=QUIET) as rig, nginx.executor() as executor_url:
        rig.define("fleet", slots=4)
        beats, registering_s = _register(rig, executor_url, agents)
        load.run(Load(rig.port, beats, CONNECTIONS))
        time.sleep(SETTLED_S)
        return [{"fleet_register_s": registering_s, **_round(rig, beats, seconds)} for _ in range(rounds)]
