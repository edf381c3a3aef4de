"""The JSON shapes of how a pool is launched and scaled."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

MASK = "***"
QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$"
DNS_NAME = r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"
MAX_DAY_S = 604_800.0
MAX_REPLICAS = 10_000


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class FloorIn(_Strict):
    """At least `min` replicas for `duration_s` from each tick of `cron` on."""

    cron: str = Field(min_length=9, max_length=200, description="Five fields, in `timezone`.", examples=["0 8 * * 1-5"])
    duration_s: float = Field(gt=0, le=MAX_DAY_S, description="How long the floor stands.")
    timezone: str = Field("UTC", max_length=64, description="A name of the IANA time zone database.")
    min: int = Field(ge=1, le=MAX_REPLICAS)

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (OSError, ValueError) as exc:  # ZoneInfoNotFoundError is a KeyError
            raise ValueError(f"there is no time zone {name!r}") from exc
        except KeyError as exc:
            raise ValueError(f"there is no time zone {name!r}") from exc
        return name

    @field_validator("cron")
    @classmethod
    def _five_fields(cls, text: str) -> str:
        if len(text.split()) != 5:
            raise ValueError("cron needs five fields: minute hour day month weekday")
        try:
            next(CronSim(text, datetime(2026, 1, 1, tzinfo=UTC)))
        except (CronSimError, StopIteration) as exc:
            raise ValueError(f"cron {text!r} is not a time that ever comes") from exc
        return text


class ProviderIn(_Strict):
    """What the model's provider allows all agents of the pool together: more replicas cannot get more out of it."""

    tokens_per_min: float | None = Field(None, gt=0, le=1e12)
    requests_per_min: float | None = Field(None, gt=0, le=1e9)


class ScaleIn(_Strict):
    """How many replicas a launched pool may have, and how that is judged."""

    min: int = Field(0, ge=0, le=MAX_REPLICAS)
    max: int = Field(10, ge=0, le=MAX_REPLICAS)
    policy: Literal["queue_wait", "utilization", "manual"] = Field(
        "queue_wait",
        description="`queue_wait`: so many slots that few tasks wait long; `utilization`: up above `high`, down below "
        "`low`; `manual`: as `POST …/scale` says.",
    )
    wait_s: float = Field(30.0, ge=0, le=86_400, description="A task should wait no longer …")
    wait_share: float = Field(0.05, ge=1e-6, lt=1, description="… but for this share of the tasks.")
    drain_s: float = Field(60.0, gt=0, le=86_400, description="A backlog should be worked off in so many seconds.")
    high: float = Field(0.8, gt=0, le=1, description="`utilization`: above this share of busy slots it grows.")
    low: float = Field(0.2, gt=0, lt=1, description="`utilization`: below this share it shrinks.")
    tolerance: float = Field(0.1, ge=0, lt=1, description="A smaller relative change is not made.")
    down_window_s: float = Field(
        300.0, ge=0, le=86_400, description="It shrinks only to the highest number recommended for so long."
    )
    max_up: int | None = Field(None, ge=1, le=MAX_REPLICAS, description="Most replicas added by one decision.")
    max_down: int | None = Field(None, ge=1, le=MAX_REPLICAS, description="Most replicas taken by one decision.")
    idle_s: float = Field(300.0, ge=0, le=604_800, description="After so long without work to zero, where min is 0.")
    schedule: list[FloorIn] = Field(default_factory=list, max_length=50, description="Floors by the calendar.")
    forecast: bool = Field(False, description="Arrivals recorded at this time of earlier days and weeks may raise it.")
    provider: ProviderIn | None = Field(None, description="The rate limit of the model's provider.")
    replica_usd_per_hour: float | None = Field(None, gt=0, le=1e6, description="What one replica costs.")
    max_usd_per_hour: float | None = Field(None, gt=0, le=1e9, description="No more replicas than this pays for.")
    drain_grace_s: float | None = Field(
        None,
        gt=0,
        le=604_800,
        description="A replica that leaves may finish its tasks for so long. By default YARD_SCALING_DRAIN_GRACE_S.",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> ScaleIn:
        if self.min > self.max:
            raise ValueError("scale.min is greater than scale.max")
        if self.low >= self.high:
            raise ValueError("scale.low is not below scale.high")
        if self.max_usd_per_hour is not None and self.replica_usd_per_hour is None:
            raise ValueError("scale.max_usd_per_hour needs scale.replica_usd_per_hour")
        over = [floor.min for floor in self.schedule if floor.min > self.max]
        if over:
            raise ValueError(f"a floor of {over[0]} in scale.schedule is greater than scale.max")
        return self


Environment = dict[str, str]


class ProcessLaunch(_Strict):
    """Each replica is a local process that registers itself (environment: AGENT_POOL, MANAGER_URL, YARD_API_KEY)."""

    kind: Literal["process"]
    command: list[Annotated[str, Field(min_length=1, max_length=4096)]] = Field(min_length=1, max_length=64)
    env: Environment = Field(
        default_factory=dict,
        max_length=64,
        description=f"More environment. Each value reads as `{MASK}` unless the caller holds `pools:admin`.",
    )


Quantity = Annotated[str, Field(pattern=QUANTITY, max_length=32)]
ResourceName = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9./-]+$")]
ObjectName = Annotated[str, Field(pattern=DNS_NAME, max_length=253)]


class ResourcesIn(_Strict):
    """Kubernetes quantities, by resource."""

    requests: dict[ResourceName, Quantity] = Field(
        default_factory=lambda: {"cpu": "100m", "memory": "256Mi"}, max_length=16
    )
    limits: dict[ResourceName, Quantity] = Field(default_factory=lambda: {"memory": "512Mi"}, max_length=16)


class KubernetesLaunch(_Strict):
    """The pool is a Deployment; each pod registers itself (environment: AGENT_POOL, MANAGER_URL, YARD_API_KEY)."""

    kind: Literal["kubernetes"]
    image: str = Field(min_length=1, max_length=500, pattern=r"^\S+$", examples=["ghcr.io/acme/agents:1.4.2"])
    command: list[Annotated[str, Field(max_length=4096)]] = Field(
        default_factory=list, max_length=64, description="Instead of the image's entry point."
    )
    args: list[Annotated[str, Field(max_length=4096)]] = Field(default_factory=list, max_length=64)
    env: Environment = Field(
        default_factory=dict,
        max_length=64,
        description=f"More environment. Each value reads as `{MASK}` unless the caller holds `pools:admin`.",
    )
    env_from_secrets: list[ObjectName] = Field(
        default_factory=list, max_length=16, description="Secrets of the namespace whose keys become environment."
    )
    port: int = Field(8080, ge=1, le=65_535, description="Where the agent listens: `/execute`, `/health`.")
    resources: ResourcesIn = Field(default_factory=ResourcesIn)
    service_account: ObjectName | None = Field(None, description="By default one without any rights.")
    image_pull_secrets: list[ObjectName] = Field(default_factory=list, max_length=16)
    node_selector: dict[str, str] = Field(default_factory=dict, max_length=32)

    @field_validator("env_from_secrets", "image_pull_secrets")
    @classmethod
    def _each_once(cls, secrets: list[str]) -> list[str]:
        twice = sorted(name for name in set(secrets) if secrets.count(name) > 1)
        if twice:
            raise ValueError(f"{twice[0]!r} is named more than once")
        return secrets


def refused_secrets(launch: Mapping[str, Any], allowed: Collection[str]) -> str:
    """Why a launch spec is refused for the Secrets that it names; "" where it is not. `allowed`: none: all are."""
    named = [*launch.get("env_from_secrets", ()), *launch.get("image_pull_secrets", ())]
    refused = sorted(set(named) - set(allowed)) if allowed else []
    if not refused:
        return ""
    return f"A launch may not name the Secret {refused[0]!r} (YARD_KUBERNETES_ALLOWED_SECRETS)."


class ExternalLaunch(_Strict):
    """Somebody else starts the agents; they register themselves."""

    kind: Literal["external"] = "external"


Launch = Annotated[ProcessLaunch | KubernetesLaunch | ExternalLaunch, Field(discriminator="kind")]


def masked(launch: dict[str, Any]) -> dict[str, Any]:
    """The launch spec for those who may not see what its environment holds: names stay, values do not."""
    return {**launch, "env": dict.fromkeys(launch["env"], MASK)} if launch.get("env") else launch


class ConditionOut(BaseModel):
    """Something that keeps a launched pool from being as it should."""

    code: str = Field(examples=["image_pull_failed"])
    message: str
    since: datetime
