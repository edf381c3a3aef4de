"""Every setting, one section a domain, units in the names.

Each is read from the environment: `YARD_` + section + name, for example `YARD_DISPATCH_GRACE_S=30`. The few that
clients are written against have short names: `YARD_DATABASE_URL`, `YARD_REDIS_URL`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


def _section(name: str) -> SettingsConfigDict:
    return SettingsConfigDict(env_prefix=f"YARD_{name}_", extra="ignore")


class DatabaseSettings(BaseSettings):
    """PostgreSQL. A manager opens hot + read + cold connections at most, and three more for itself."""

    model_config = _section("DATABASE")
    url: str = Field("postgresql://postgres@127.0.0.1:5432/yardmaster", description="PostgreSQL 15 or newer.")
    hot_connections: int = Field(8, ge=2, description="Most connections for submit, claim and settle.")
    read_connections: int = Field(6, ge=2, description="Most connections for reading tasks and events.")
    cold_connections: int = Field(4, ge=2, description="Most connections for all other requests and loops.")
    command_timeout_s: float = Field(30.0, gt=0, description="A statement slower than this is given up.")
    acquire_timeout_s: float = Field(5.0, gt=0, description="Waiting longer for a connection answers 503.")
    statement_cache: int = Field(200, ge=0, description="Prepared statements kept; 0 behind a transaction pooler.")


class RedisSettings(BaseSettings):
    """Redis holds only what may be lost; without it the service is slower, never wrong."""

    model_config = _section("REDIS")
    url: str = Field("redis://127.0.0.1:6379/0", description="Redis 6.2 or newer.")
    timeout_s: float = Field(0.5, gt=0, description="A command slower than this counts as Redis down.")
    retry_after_s: float = Field(1.0, gt=0, description="Pause after a failure before Redis is tried again.")


class HttpSettings(BaseSettings):
    """The REST edge."""

    model_config = _section("HTTP")
    max_body_bytes: int = Field(1_048_576, ge=1024, description="A larger request body answers 413.")
    max_bodies_bytes: int = Field(
        268_435_456, ge=1024, description="Bodies served at once; past it requests answer 503."
    )
    max_wait_s: float = Field(60.0, gt=0, description="`Prefer: wait=N` is cut to this.")
    public_metrics: bool = Field(True, description="False: `/metrics` needs a key with the scope `admin`.")


class AuthSettings(BaseSettings):
    """Callers."""

    model_config = _section("AUTH")
    pepper: SecretStr = Field(SecretStr(""), description="Secret that keys are hashed with; at least 32 characters.")
    cache_s: float = Field(10.0, ge=0, description="A verified key is trusted this long; revoking also tells managers.")


class RegistrySettings(BaseSettings):
    """Pools and agents."""

    model_config = _section("REGISTRY")
    allowed_networks: list[str] = Field(
        default=[
            "127.0.0.0/8",
            "::1/128",
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "100.64.0.0/10",
            "fc00::/7",
        ],
        description="Networks that agent URLs may point into. Link-local and metadata addresses never are.",
    )
    heartbeat_interval_s: float = Field(15.0, gt=0, description="How often an agent is asked to report.")
    flush_interval_s: float = Field(5.0, gt=0, description="Heartbeats reach PostgreSQL this often.")
    silent_after_s: float = Field(60.0, gt=0, description="An agent neither heard from nor answering is failed.")
    probe_interval_s: float = Field(
        15.0, gt=0, description="`/health` is asked this often where heartbeats are missing."
    )
    probe_timeout_s: float = Field(3.0, gt=0, description="Longest wait for `/health`.")
    probe_concurrency: int = Field(64, ge=1, description="Probes at once.")
    failed_retention_s: float = Field(3600.0, gt=0, description="An agent failed for so long is gone for good.")
    refresh_interval_s: float = Field(2.0, gt=0, description="Managers re-read the registry at least this often.")
    gone_retention_s: float = Field(86_400.0, gt=0, description="Rows of removed agents are kept this long.")


class TaskSettings(BaseSettings):
    """Submitting and keeping tasks."""

    model_config = _section("TASKS")
    max_queued: int = Field(100_000, ge=1, description="Queued tasks a pool may hold; past it submit answers 503.")
    insert_batch: int = Field(500, ge=1, description="Most submissions written by one statement.")
    sweep_interval_s: float = Field(1.0, gt=0, description="How often due and expired tasks are looked for.")
    retention_s: float = Field(
        2_592_000.0,
        ge=0,
        le=3_153_600_000,
        allow_inf_nan=False,
        description="Finished tasks are deleted after this long, with attempts and events; 0 keeps them for ever.",
    )
    retention_interval_s: float = Field(60.0, gt=0, description="How often tasks past that age are looked for.")
    retention_batch: int = Field(5000, ge=1, le=100_000, description="About so many rows are deleted by one statement.")


class DispatchSettings(BaseSettings):
    """Claiming, calling and settling."""

    model_config = _section("DISPATCH")
    poll_interval_s: float = Field(1.0, gt=0, description="A pass runs at least this often, wakes or not.")
    claim_batch: int = Field(32, ge=1, description="Most tasks started by one statement; many at once come in bursts.")
    settle_batch: int = Field(64, ge=1, description="Most results written by one statement.")
    heartbeat_interval_s: float = Field(1.0, gt=0, description="How often a manager renews its lease.")
    lease_s: float = Field(5.0, gt=0, description="A manager silent for so long is dead, and its tasks are rescued.")
    grace_s: float = Field(20.0, ge=0, description="On shutdown, running tasks may finish for so long.")
    connect_timeout_s: float = Field(3.0, gt=0, description="Longest wait for a connection to an agent.")
    max_result_bytes: int = Field(1_048_576, ge=1024, description="A larger answer of an executor fails the attempt.")
    max_event_bytes: int = Field(65_536, ge=256, description="A larger progress, token or usage event fails it too.")
    max_events_per_attempt: int = Field(10_000, ge=1, description="More stored events than this fail the attempt.")
    busy_retry_s: float = Field(
        1.0, gt=0, description="Pause of an agent that answered 429 or 503 without Retry-After."
    )
    max_rescues: int = Field(50, ge=1, description="A task whose managers died so often is failed.")
    rejoin_patience_s: float = Field(5.0, ge=0, description="A rescued task waits so long for the agent that had it.")


class BalancerSettings(BaseSettings):
    """Choosing an agent: the terms of `weighted_score`, and when failing agents get nothing for a while."""

    model_config = _section("BALANCER")
    score_success: float = Field(0.30, ge=0, allow_inf_nan=False, description="Weight of an agent's success rate.")
    score_response: float = Field(0.25, ge=0, allow_inf_nan=False, description="Weight of its short response time.")
    score_free: float = Field(0.20, ge=0, allow_inf_nan=False, description="Weight of its share of free slots.")
    score_compatibility: float = Field(
        0.15, ge=0, allow_inf_nan=False, description="Weight of its pool's skill in the task's type."
    )
    score_complexity: float = Field(
        0.10, ge=0, allow_inf_nan=False, description="Weight of how well it suits the task's complexity."
    )
    score_alpha: float = Field(0.1, gt=0, le=1, description="Share of the newest answer in the response time.")
    score_window: int = Field(100, ge=1, le=10_000, description="Results that the success rate is of.")
    outlier_consecutive: int = Field(5, ge=1, description="So many failures in a row eject an agent.")
    outlier_min_requests: int = Field(
        20, ge=1, description="With fewer attempts in the interval its failure share ejects nobody."
    )
    outlier_interval_s: float = Field(30.0, gt=0, description="An attempt's part in that share falls to 1/e in this.")
    outlier_failure_share: float = Field(0.5, gt=0, le=1, description="An agent failing this share is ejected.")
    outlier_excess_share: float = Field(
        0.25, ge=0, le=1, description="But only if it is so much above the share of the pool's other agents."
    )
    outlier_base_s: float = Field(30.0, gt=0, description="The first ejection lasts this long, the second twice that.")
    outlier_max_s: float = Field(300.0, gt=0, description="No ejection lasts longer.")
    outlier_max_share: float = Field(
        0.30, ge=0, le=1, description="Most of a pool's agents ejected at once, rounded down; 0 ejects none."
    )

    @model_validator(mode="after")
    def _scores_something(self) -> Self:
        few = (self.score_success, self.score_response, self.score_free)
        if not any((*few, self.score_compatibility, self.score_complexity)):
            raise ValueError("one of the score weights must be above 0")
        return self

    def score_params(self) -> dict[str, object]:
        """What `weighted_score` is built with."""
        names = ("success", "response", "free", "compatibility", "complexity", "alpha", "window")
        return {name: getattr(self, f"score_{name}") for name in names}


class ScalingSettings(BaseSettings):
    """Fleets that Yardmaster starts itself."""

    model_config = _section("SCALING")
    allow_process: bool = Field(False, description="Pools may launch local processes. On in the embedded default.")
    interval_s: float = Field(1.0, gt=0, description="How often replicas are compared with what is wanted.")
    drain_grace_s: float = Field(30.0, gt=0, description="A draining process that is still busy then is stopped.")
    manager_url: str = Field("http://127.0.0.1:8080", description="Where launched agents find the service.")


class TelemetrySettings(BaseSettings):
    """Logs, traces, metrics."""

    model_config = _section("TELEMETRY")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="debug, info, warning or error."
    )
    log_format: Literal["auto", "json", "pretty"] = Field("auto", description="auto: pretty on a terminal, else JSON.")
    otlp_endpoint: str = Field("", description="OTLP over HTTP, e.g. http://collector:4318; empty: no traces are sent.")
    max_labelled_agents: int = Field(
        1000, ge=0, description="Agents that get a series of their own in `ai_agent_load`."
    )


class Settings(BaseSettings):
    """All sections together, and the folder of the embedded default."""

    model_config = SettingsConfigDict(env_prefix="YARD_", extra="ignore")
    data_dir: Path = Path(".yardmaster")
    database: DatabaseSettings = Field(default_factory=DatabaseSettings)
    redis: RedisSettings = Field(default_factory=RedisSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    auth: AuthSettings = Field(default_factory=AuthSettings)
    registry: RegistrySettings = Field(default_factory=RegistrySettings)
    tasks: TaskSettings = Field(default_factory=TaskSettings)
    dispatch: DispatchSettings = Field(default_factory=DispatchSettings)
    balancer: BalancerSettings = Field(default_factory=BalancerSettings)
    scaling: ScalingSettings = Field(default_factory=ScalingSettings)
    telemetry: TelemetrySettings = Field(default_factory=TelemetrySettings)
