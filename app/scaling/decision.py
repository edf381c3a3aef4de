"""What a decision rests on, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

STALE_S = 60.0
"""Numbers older than this decide nothing."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a pool has to do, and what it does it with, as measured at `at` (seconds since the epoch).

    `arrivals_per_s`: λ, work that comes to the queue (submitted, resumed, retried); `usual_per_s`: the same over the
    last minutes, surges averaged out (None: not told apart); `came_lately`: arrivals of the last minute.
    `service_s`: mean time that an
    attempt holds a slot, None while nothing is known; `service_cv`: its standard deviation over its mean;
    `service_p90_s`: nine of ten take no longer. `slots`: k, of one replica. `queued` may be claimed now, the oldest for
    `oldest_s`; `resuming` of these were suspended before. `running` hold a slot. `ready` replicas take tasks, `desired`
    are wanted at present: those between are starting. `cold_start_s`: from launch to ready, None while never measured.
    `tokens_per_task`, `requests_per_task`: of the model's provider, means of the attempts that used any.
    `forecast_per_s`: arrivals to be expected once a replica started now is ready. `quota`: most replicas the platform
    has room for, None: no bound. `raised`: least replicas that answers to alerts ask for, 0: none.
    """

    at: float
    slots: int
    desired: int
    ready: int
    arrivals_per_s: float = 0.0
    usual_per_s: float | None = None
    came_lately: float = 0.0
    service_s: float | None = None
    service_cv: float = 1.0
    service_p90_s: float | None = None
    queued: int = 0
    oldest_s: float = 0.0
    running: int = 0
    resuming: int = 0
    cold_start_s: float | None = None
    tokens_per_task: float = 0.0
    requests_per_task: float = 0.0
    forecast_per_s: float | None = None
    quota: int | None = None
    raised: int = 0


@dataclass(frozen=True, slots=True)
class History:
    """What decisions leave for the next: `recommended` (when, replicas), oldest first, of the down window; `busy_at`:
    when there was last any work, or since when somebody looks (None: never looked). Seconds since the epoch."""

    recommended: tuple[tuple[float, int], ...] = ()
    busy_at: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """`desired` replicas from now on; `recommended`: what the load alone, present or forecast, asks for now. `code`:
    which rule had the last word (snake case); `reason`: one sentence for people. `workings`: the numbers on the way, by
    name. `history` is for the next decision.

    Codes: `queue_wait`, `utilization`, `forecast`, `first_task`, `running` and `provider_limit` where the load or what
    bounds its use spoke last; `schedule`, `raised`, `min`, `max`, `budget`, `quota`, `max_up`, `max_down` where a bound
    did; `tolerance`, `down_window`, `not_idle_yet` where it waits; `idle`: to zero; `manual` and `frozen`: nothing was
    judged. A frozen one made without any demand does not know the present number: keep that one.

    Workings, each where it was needed: `offered_load` (a, busy slots), `erlang_slots` and `wait_share` (of tasks that
    wait longer than T with so many), `backlog` (tasks that call for more slots), `to_come` (of these, what starting
    slots take), `drain_slots`, `slots_needed`, `busy_share`, `load_replicas`, `running_replicas` (what runs needs),
    `forecast_slots`, `provider_slots`, `lower` and `upper` (bounds in replicas), `window_max` (replicas), `idle_s`.
    """

    desired: int
    recommended: int
    code: str
    reason: str
    workings: Mapping[str, float] = field(default_factory=dict)
    history: History = field(default_factory=History)
