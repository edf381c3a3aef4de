"""What budgets cost: tasks per second with three budgets on every task ÷ without any, in interleaved rounds."""

from __future__ import annotations

from scripts.bench import nginx
from scripts.bench.dispatch import COUNT, SLOTS, WARM_UP, once
from scripts.bench.rig import Rig, service
from scripts.bench.targets import at_least

TARGETS = {"budgets_ratio": at_least(0.9)}

LIMIT = "1000000"


def set_budgets(rig: Rig, pool: str) -> None:
    """A daily one of the pool in USD, an hourly one of the tenant in tokens, and a monthly one of attempts."""
    of_pool, of_tenant = {"pool": pool}, {"tenant": "default", "pool": pool}
    with rig.client() as client:
        for name, scope, window, unit in (
            ("usd", of_pool, "day", "usd"),
            ("tokens", of_tenant, "hour", "tokens"),
            ("requests", of_pool, "month", "requests"),
        ):
            body = {"scope": scope, "window": {"kind": window}, "unit": unit, "limit": LIMIT}
            client.put(f"/v1/budgets/{pool}-{name}", json=body).raise_for_status()


def measure(rounds: int = 3, count: int = COUNT) -> list[dict[str, float]]:
    """Each round drains as many tasks with budgets as without."""
    found = []
    with service() as rig, nginx.executor() as url:
        once(rig, url, "warm-up", min(count, WARM_UP))
        for number in range(rounds):
            plain = once(rig, url, f"plain-{number}", count)
            pool = f"budgeted-{number}"
            rig.define(pool, slots=SLOTS)
            set_budgets(rig, pool)
            budgeted = once(rig, url, pool, count)
            found.append(
                {
                    "plain_per_s": plain.rate_per_s,
                    "budgeted_per_s": budgeted.rate_per_s,
                    "budgets_ratio": budgeted.rate_per_s / plain.rate_per_s,
                    "plain_cpu_s_per_1000": plain.cpu,
                    "budgeted_cpu_s_per_1000": budgeted.cpu,
                }
            )
    return found
