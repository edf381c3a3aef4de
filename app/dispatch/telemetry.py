"""Metrics of dispatch. Names are those operators know; every label is bounded."""

from __future__ import annotations

from collections import deque

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

disable_created_metrics()  # type: ignore[no-untyped-call]

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)

AGENTS = Gauge("ai_agents_total", "Registered agents.", ["type", "status"], multiprocess_mode="mostrecent")
LOAD = Gauge("ai_agent_load", "Share of its slots in use, by this manager.", ["agent_id"], multiprocess_mode="livesum")
QUEUED = Gauge("ai_agent_queue_length", "Queued tasks.", ["agent_type"], multiprocess_mode="mostrecent")
SUCCESS = Gauge(
    "ai_agent_success_rate",
    "Share of successes among the last 100 attempts.",
    ["agent_type"],
    multiprocess_mode="mostrecent",
)
DURATION = Histogram("ai_task_duration_seconds", "From submit to the final state.", buckets=_SECONDS)
REQUESTS = Counter("ai_agent_requests", "Calls of agents by how they ended.", ["agent_type", "status", "endpoint"])
RESPONSE = Histogram(
    "ai_agent_response_time_seconds", "From call to answer.", ["agent_type", "complexity"], buckets=_SECONDS
)
TOKENS = Counter("ai_agent_token_usage", "Tokens reported by agents.", ["agent_type", "model"])
START_WAIT = Histogram("yard_task_start_wait_seconds", "From claimable to the call.", ["agent_type"], buckets=_SECONDS)
RESCUED = Counter("yard_tasks_rescued", "Tasks taken over from managers that died.")
STALE = Counter("yard_results_stale", "Results refused because the attempt was no longer current.")
BALANCER_ERRORS = Counter("yard_balancer_errors", "Choices that a balancer failed to make.", ["pool", "reason"])
DEFERRED = Counter("yard_balancer_deferrals", "Choices to keep a task queued for a better agent.", ["pool"])
PARKED = Counter("yard_tasks_without_money", "Times that a budget had no room for a task.", ["pool", "reason"])
COST = Counter("ai_agent_cost_usd", "What attempts cost.", ["agent_type", "model"])
UNPRICED = Counter("yard_usage_unpriced", "Usage reported of models without a price.", ["agent_type", "model"])
EJECTED = Counter("ai_agent_ejections", "Agents ejected as outliers.", ["agent_type"])

MAX_MODELS = 200
WINDOW = 100


class Models:
    """Bounds the `model` label: models past the 200th are counted as `other`."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def label(self, model: str) -> str:
        if model in self._known or len(self._known) < MAX_MODELS:
            self._known.add(model)
            return model
        return "other"


class PoolMeters:
    """The series of one pool, each looked up once: finding one by its labels costs more than counting."""

    def __init__(self, pool: str) -> None:
        self._pool = pool
        self.start_wait = START_WAIT.labels(pool)
        self._success = SUCCESS.labels(pool)
        self._requests: dict[str, Counter] = {}
        self._response: dict[str, Histogram] = {}
        self._results: deque[bool] = deque(maxlen=WINDOW)
        self._successes = 0

    def ended(self, status: str) -> None:
        """Count a call by how it ended."""
        series = self._requests.get(status)
        if series is None:
            series = self._requests[status] = REQUESTS.labels(self._pool, status, "execute")
        series.inc()

    def result(self, ok: bool, complexity: float, seconds: float) -> None:
        """Note an attempt that counts."""
        label = complexity_label(complexity)
        series = self._response.get(label)
        if series is None:
            series = self._response[label] = RESPONSE.labels(self._pool, label)
        series.observe(seconds)
        if len(self._results) == WINDOW:
            self._successes -= self._results[0]
        self._results.append(ok)
        self._successes += ok
        self._success.set(self._successes / len(self._results))


class Meters:
    """The meters of every pool that was used."""

    def __init__(self) -> None:
        self._pools: dict[str, PoolMeters] = {}

    def of(self, pool: str) -> PoolMeters:
        meters = self._pools.get(pool)
        if meters is None:
            meters = self._pools[pool] = PoolMeters(pool)
        return meters


def complexity_label(complexity: float) -> str:
    """The bands of the balancer's complexity fitness."""
    return "low" if complexity <= 0.3 else "medium" if complexity <= 0.7 else "high"
