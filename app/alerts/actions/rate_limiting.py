"""`rate_limiting`: the tenant or pool of the alert may submit, or spend, only so much for a while.

Requests are kept to a temporary limit: past it submitting answers 429. The largest batch that came lately still fits.
Tokens are kept to a budget that lasts as long as the action: past it tasks wait. Both hold for their time though the
alert is resolved, for what is limited breaks no rule, and the limit would end by its own effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, ClassVar

from pydantic import Field

from app.alerts.actions.base import MAX_DURATION_S, ActionParams, Ask, Begun, NothingToDo
from app.auth.callers import Caller
from app.core.db import HotConnection
from app.costs import budget_service
from app.costs.budget_service import UnknownPool
from app.costs.budget_spec import BudgetSpec
from app.costs.records import Scope, Threshold
from app.limits import temporary

WINDOW_S, QUIET_WINDOW_S = 300.0, 3600.0
"""What came lately came in the first; where nothing did, in the second."""
LEAST_BURST = 10
LEAST_PER_MINUTE = 1.0
INSTALLATION = "default"

# Of the tasks that came lately, by their ids, which rise with time. Those of a batch came in one transaction.
_LATELY = """
SELECT COALESCE(sum(n), 0)::int AS came, COALESCE(max(n), 0)::int AS largest FROM (
  SELECT count(*) AS n FROM tasks WHERE id >= $3 AND parent_id IS NULL
    AND CASE WHEN $1 = 'pool' THEN pool ELSE tenant END = $2
  GROUP BY created_at) batches
"""
_SINCE = """
SELECT (lpad(to_hex(floor(extract(epoch FROM clock_timestamp() - make_interval(secs => $1)) * 1000)::bigint), 12, '0')
  || '70008000000000000000')::uuid
"""


class RateLimitingParams(ActionParams):
    """Without `requests_per_minute` and `tokens_per_hour` it is `share` of what was submitted in the last minutes."""

    duration_s: float = Field(3600.0, ge=10, le=MAX_DURATION_S, description="It is over after this long at the latest.")
    until_resolved: bool = Field(False, description="It is over as soon as the alert is resolved.")
    requests_per_minute: float | None = Field(None, ge=0.01, le=10_000_000, description="Tasks submitted a minute.")
    tokens_per_hour: int | None = Field(None, ge=1, le=10**15, description="Tokens used in any hour from now on.")
    share: float = Field(
        0.5, gt=0, le=1, description="Of the tasks of the last five minutes, or else of the last hour."
    )


class RateLimiting:
    params_type: ClassVar[type[ActionParams]] = RateLimitingParams

    async def begin(self, connection: HotConnection, ask: Ask, params: RateLimitingParams) -> Begun:
        kind, name = scope_of(ask)
        told, facts = list[str](), dict[str, Any]()
        per_minute = params.requests_per_minute
        if per_minute is not None or params.tokens_per_hour is None:
            lately, largest = await self._lately(connection, kind, name)
            if per_minute is None:
                per_minute = max(LEAST_PER_MINUTE, params.share * lately)
            burst = max(LEAST_BURST, largest)
            await temporary.begin(connection, ask.id, kind, name, per_minute / 60, ask.expires_at, least_burst=burst)
            told.append(f"{per_minute:.3g} tasks a minute")
        if params.tokens_per_hour is not None:
            facts["budget"] = await self._budget(connection, ask, kind, name, params.tokens_per_hour)
            told.append(f"{params.tokens_per_hour:,} tokens an hour")
        detail = f"The {kind} {name!r} may take {' and '.join(told)}."
        return Begun(detail, {kind: name}, facts=facts)

    async def end(self, connection: HotConnection, ask: Ask, facts: Mapping[str, Any], why: str) -> None:
        await temporary.end(connection, ask.id)
        if "budget" in facts:
            await budget_service.delete_within(connection, facts["budget"])

    @staticmethod
    async def _lately(connection: HotConnection, kind: str, name: str) -> tuple[float, int]:
        """How many tasks a minute came, and how large the largest batch was."""
        for window_s in (WINDOW_S, QUIET_WINDOW_S):
            since = await connection.fetchval(_SINCE, window_s)
            ((came, largest),) = await connection.fetch(_LATELY, kind, name, since)
            if came:
                return came / (window_s / 60), largest
        return 0.0, 0

    @staticmethod
    async def _budget(connection: HotConnection, ask: Ask, kind: str, name: str, tokens: int) -> str:
        scope = Scope(tenant=name) if kind == "tenant" else Scope(pool=name)
        full = Threshold(Decimal(100), "pause")
        spec = BudgetSpec(scope, "rolling", "UTC", 3600.0, "tokens", Decimal(tokens), (full,), "wait")
        budget = f"alert-{ask.id}"
        try:
            await budget_service.put_within(connection, budget, spec, Caller(ask.by, INSTALLATION, frozenset()))
        except UnknownPool as exc:
            raise NothingToDo(str(exc)) from None
        return budget


def scope_of(ask: Ask) -> tuple[str, str]:
    """Whose rate it is; raises NothingToDo. The tenant's where the alert names one: it is the narrower one's doing."""
    for kind in ("tenant", "pool"):
        if name := ask.labels.get(kind):
            return kind, name
    raise NothingToDo("The alert names no tenant and no pool.")
