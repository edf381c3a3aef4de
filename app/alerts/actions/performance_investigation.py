"""`performance_investigation`: what a person would look up first is captured while it happens, in a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from app.alerts import investigation
from app.alerts.actions.base import ActionParams, Ask, Begun
from app.alerts.investigation import Live
from app.core.db import HotConnection


class InvestigationParams(ActionParams):
    window_s: float = Field(900.0, ge=60, le=86_400, description="It looks at the attempts of so long.")
    slowest: int = Field(20, ge=1, le=100, description="So many of the slowest attempts.")


class PerformanceInvestigation:
    """`live` tells what only the manager's memory holds."""

    params_type: ClassVar[type[ActionParams]] = InvestigationParams

    def __init__(self, live: Live) -> None:
        self._live = live

    async def begin(self, connection: HotConnection, ask: Ask, params: InvestigationParams) -> Begun:
        report = await investigation.capture(connection, ask.pool, params.window_s, params.slowest, self._live)
        await investigation.keep(connection, ask.id, ask.rule, ask.fingerprint, ask.fired_at, ask.pool, report)
        scope = {"pool": ask.pool} if ask.pool else {}
        return Begun(f"Report {ask.id}.", scope, lasts=False)

    async def end(self, connection: HotConnection, ask: Ask, facts: Mapping[str, Any], why: str) -> None:
        """A report is kept until it is old."""
