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
    max_queued: int = Field(
        100_000, ge=1, description="Tasks of a pool that may be queued or held; past it submit answers 503."
    )
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
    drain_grace_s: float = Field(30.0, gt=0, description="A draining replica that is still busy then is stopped.")
    manager_url: str = Field("http://127.0.0.1:8080", description="Where launched agents find the service.")
    decide_interval_s: float = Field(3.0, gt=0, description="How often it is judged how many replicas a pool needs.")
    sample_retention_s: float = Field(
        1_296_000.0, ge=3600, description="Measured arrivals are kept so long, for forecasts and simulations."
    )
    decision_retention_s: float = Field(604_800.0, ge=3600, description="Decisions are kept so long.")


class KubernetesSettings(BaseSettings):
    """Pools as Deployments of a Kubernetes cluster."""

    model_config = _section("KUBERNETES")
    mode: Literal["off", "in_cluster", "kubeconfig"] = Field(
        "off", description="off, in_cluster (the pod's service account) or kubeconfig."
    )
    kubeconfig: str = Field("", description="Path of the kubeconfig; empty: KUBECONFIG, then ~/.kube/config.")
    context: str = Field("", description="Context of the kubeconfig; empty: its current one.")
    namespace: str = Field("default", min_length=1, description="Where the Deployments are.")
    instance: str = Field(
        "yardmaster", min_length=1, max_length=63, description="Tells two Yardmasters of one namespace apart."
    )
    interval_s: float = Field(2.0, gt=0, description="How often Deployments are compared with what is wanted.")
    request_timeout_s: float = Field(10.0, gt=0, le=300, description="A call of the API that takes longer has failed.")
    watch_timeout_s: float = Field(300.0, gt=0, le=3600, description="A watch is begun anew after so long.")
    max_replicas: int = Field(0, ge=0, description="Quota of all its pools together; 0: the cluster's own only.")
    agent_secret: str = Field(
        "", description="Secret with the agents' key (`YARD_API_KEY`); empty: Yardmaster keeps one of its own."
    )
    allowed_secrets: list[str] = Field(
        default_factory=list, description="Secrets of the namespace that a pool's launch may name; empty: all."
    )


class ApprovalSettings(BaseSettings):
    """Questions to people."""

    model_config = _section("APPROVALS")
    expires_s: float = Field(14_400.0, gt=0, description="An approval whose policy names no expiry expires after this.")
    sweep_interval_s: float = Field(1.0, gt=0, description="How often expired approvals are looked for.")


class SlackSettings(BaseSettings):
    """Slack. Without a token nothing is posted; without a signing secret no click is taken."""

    model_config = _section("SLACK")
    token: SecretStr = Field(SecretStr(""), description="Bot token (`xoxb-…`) with `chat:write`.")
    signing_secret: SecretStr = Field(SecretStr(""), description="Signing secret of the Slack app.")
    channel: str = Field("", description="Channel of approvals whose pool and tenant have none of their own.")
    api_url: str = Field("https://slack.com/api/", description="Base of Slack's Web API.")
    timeout_s: float = Field(10.0, gt=0, le=60, description="A call of Slack that takes longer has failed.")
    interval_s: float = Field(1.0, gt=0, description="How often approvals and their messages are compared.")
    retry_s: float = Field(1.0, gt=0, description="Pause after a message failed; it doubles up to a minute.")
    answer_s: float = Field(2.0, gt=0, lt=3, description="A click is answered by then; its decision may still go on.")


class AlertSettings(BaseSettings):
    """Rules, and the people that alerts reach."""

    model_config = _section("ALERTS")
    interval_s: float = Field(15.0, gt=0, le=300, description="How often rules are evaluated.")
    signal_timeout_s: float = Field(5.0, gt=0, le=60, description="Reading a signal that takes longer is an error.")
    flush_interval_s: float = Field(1.0, gt=0, le=60, description="How often notifications that are due are sent.")
    timeout_s: float = Field(10.0, gt=0, le=60, description="A call of a provider that takes longer has failed.")
    retention_s: float = Field(2_592_000.0, gt=0, description="Transitions and notifications are kept so long.")
    url: str = Field("", description="Where people reach this service, for links in notifications; empty: no links.")
    failed_after_s: float = Field(
        900.0, gt=0, description="A receiver that has not answered for so long counts as failing; it is tried on."
    )
    max_in_flight: int = Field(256, ge=1, le=1000, description="Notifications that are sent at once.")
    max_in_flight_per_receiver: int = Field(4, ge=1, le=100, description="And to one receiver: a slow one waits alone.")
    smtp_host: str = Field("", description="Mail server for receivers of kind email; empty: none.")
    smtp_port: int = Field(0, ge=0, le=65_535, description="0: 587 for starttls, 465 for tls, 25 for none.")
    smtp_security: Literal["starttls", "tls", "none"] = Field("starttls", description="starttls, tls or none.")
    smtp_username: str = Field("", description="Empty: no authentication.")
    smtp_password: SecretStr = Field(SecretStr(""), description="Never sent unencrypted.")
    smtp_sender: str = Field("", description="Address that mails come from.")
    pagerduty_url: str = Field("", description="Base of PagerDuty's Events API for every region; empty: PagerDuty's.")


class SloSettings(BaseSettings):
    """Objectives and probes."""

    model_config = _section("SLO")
    interval_s: float = Field(10.0, gt=0, le=60, description="How often events of objectives are counted.")
    probe_interval_s: float = Field(1.0, gt=0, le=60, description="How often probes that are due are looked for.")
    max_objectives: int = Field(500, ge=1, description="Objectives there may be.")
    max_probes: int = Field(200, ge=1, description="Probes there may be.")
    probe_runs: int = Field(2000, ge=100, description="Runs kept of each probe.")
    min_events: int = Field(
        10, ge=1, description="A burn rule is not judged by fewer events in its long window: 1 of 3 is no 33 %."
    )
    max_feedback: int = Field(100, ge=1, description="Verdicts there may be about one task.")


class StreamSettings(BaseSettings):
    """Live streams: tokens in Redis, and the tokens of browsers."""

    model_config = _section("STREAMS")
    max_tokens: int = Field(4096, ge=1, description="Token events kept for late readers of one task.")
    tokens_ttl_s: float = Field(3600.0, gt=0, description="They are kept so long after the last one.")
    patience_s: float = Field(1.0, ge=0, description="A token that is late is waited for so long, then told as a gap.")
    key_ttl_s: float = Field(300.0, gt=0, description="A stream token is good for so long.")


class WebhookSettings(BaseSettings):
    """Outgoing webhooks. The defaults try a delivery 20 times over about three days."""

    model_config = _section("WEBHOOKS")
    timeout_s: float = Field(10.0, gt=0, le=300, description="A receiver that takes longer has failed.")
    allowed_networks: list[str] = Field(
        default=[],
        description="Networks (CIDR) that webhooks may point into besides the public internet, e.g. 10.0.0.0/8. "
        "Loopback is allowed where local processes may be launched (YARD_SCALING_ALLOW_PROCESS), as those could call "
        "it anyway. Link-local and metadata addresses never are.",
    )
    interval_s: float = Field(1.0, gt=0, description="How often events, and deliveries that are due, are looked for.")
    max_in_flight: int = Field(64, ge=1, le=1000, description="Deliveries a manager sends at once.")
    max_in_flight_per_webhook: int = Field(8, ge=1, le=1000, description="And of one webhook: a slow one waits alone.")
    max_pending: int = Field(
        1000, ge=1, le=100_000, description="With so many undelivered, a webhook's further events wait in the feed."
    )
    max_per_tenant: int = Field(50, ge=1, description="Webhooks a tenant may have.")
    first_retry_s: float = Field(5.0, gt=0, description="Pause after the first try that failed.")
    retry_factor: float = Field(3.0, ge=1, le=100, description="Each further pause is so many times the one before.")
    max_retry_s: float = Field(21_600.0, gt=0, description="Longest pause, also when Retry-After asks for more.")
    max_tries: int = Field(20, ge=1, le=1000, description="A delivery is given up after so many tries.")
    disable_after_s: float = Field(
        259_200.0, gt=0, description="A delivery given up, and none delivered for so long: the webhook is disabled."
    )
    retention_s: float = Field(604_800.0, gt=0, description="Deliveries are kept so long.")


class ScheduleSettings(BaseSettings):
    """Tasks by the clock."""

    model_config = _section("SCHEDULES")
    interval_s: float = Field(1.0, gt=0, description="How often due schedules are looked for, between ticks.")
    batch: int = Field(100, ge=1, le=1000, description="Most tasks of one schedule made by one transaction.")
    max_per_tenant: int = Field(1000, ge=1, description="Schedules a tenant may have.")
    max_backfill: int = Field(1000, ge=1, le=100_000, description="Most ticks of one backfill.")
    max_waiting: int = Field(1000, ge=0, description='Ticks that wait with overlap "queue"; further ones are skipped.')
    keep_runs: int = Field(1000, ge=10, description="Runs kept of each schedule, the newest.")


class DurableSettings(BaseSettings):
    """Steps, waits and sub-tasks."""

    model_config = _section("DURABLE")
    max_step_bytes: int = Field(262_144, ge=256, description="A larger step result fails the attempt.")
    max_steps: int = Field(1000, ge=1, description="More steps than this fail the task.")
    max_steps_bytes: int = Field(8_388_608, ge=1024, description="Larger results of all its steps fail the task.")
    max_depth: int = Field(8, ge=1, le=100, description="Calls within calls.")
    max_fan_out: int = Field(256, ge=1, le=1000, description="Sub-tasks of one call.")
    max_children: int = Field(1000, ge=1, le=100_000, description="Sub-tasks of one root task, at all depths.")
    max_tree_attempts: int = Field(10_000, ge=1, description="Attempts of a root task and all its sub-tasks.")
    max_approval_bytes: int = Field(65_536, ge=256, description="Larger arguments of an approval fail the attempt.")
    max_wait_s: float = Field(31_536_000.0, gt=0, description="Longest timer, and longest patience for an event.")
    signal_retention_s: float = Field(86_400.0, ge=0, description="A sent event is kept for tasks that wait later.")
    sweep_interval_s: float = Field(1.0, gt=0, description="How often due waits are looked for.")


class CostSettings(BaseSettings):
    """Prices, budgets and roll-ups of what was used."""

    model_config = _section("COSTS")
    interval_s: float = Field(5.0, gt=0, description="How often usage is rolled up and budgets are looked at.")
    refresh_interval_s: float = Field(5.0, gt=0, description="Managers re-read budgets and prices at least this often.")
    recheck_s: float = Field(
        300.0,
        gt=0,
        description="A task that wants more than is left tries again after so long, though nothing came free.",
    )
    default_model: str = Field(
        "gpt-4o", min_length=1, description="Prices the estimate of a task whose pool has used no model yet."
    )
    estimate_after: int = Field(20, ge=1, description="With so many attempts a pool's own history is the estimate.")
    hours_retention_s: float = Field(
        8_035_200.0, ge=172_800, description="Hourly sums are kept so long; daily ones for ever."
    )
    accounts_retention_s: float = Field(
        2_678_400.0, ge=3600, description="Accounts of past windows and ended tasks are kept so long."
    )


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
    kubernetes: KubernetesSettings = Field(default_factory=KubernetesSettings)
    durable: DurableSettings = Field(default_factory=DurableSettings)
    approvals: ApprovalSettings = Field(default_factory=ApprovalSettings)
    slack: SlackSettings = Field(default_factory=SlackSettings)
    alerts: AlertSettings = Field(default_factory=AlertSettings)
    slo: SloSettings = Field(default_factory=SloSettings)
    streams: StreamSettings = Field(default_factory=StreamSettings)
    webhooks: WebhookSettings = Field(default_factory=WebhookSettings)
    schedules: ScheduleSettings = Field(default_factory=ScheduleSettings)
    costs: CostSettings = Field(default_factory=CostSettings)
    telemetry: TelemetrySettings = Field(default_factory=TelemetrySettings)
