"""The control part: limits, stop switches, bulk moves, explanations."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING
from uuid import UUID

from fastapi import APIRouter

from app.core.loop import Loop
from app.dispatch import control_api, control_wire, stopping
from app.dispatch.budget_stops import BudgetStops
from app.dispatch.explainer import Explainer
from app.dispatch.stopping import Stopping
from app.limits import api as limits_api
from app.limits import view as limits_view
from app.limits.service import Limits
from app.tasks.bulk import Bulk
from app.wiring.part import Part

if TYPE_CHECKING:
    from app.wiring import Yard

LIMITS_INTERVAL_S = 5.0
STOPS_INTERVAL_S = 1.0
QUEUED_TOPIC = "queued"


class Control(Part):
    """limits, stop switches, bulk moves, explanations."""

    tags = (
        ("limits", "How much tenants, keys and pools may submit and run."),
        ("stops", "Stop switches: take tasks from their agents and hold new ones."),
    )
    wire: tuple[ModuleType, ...] = (control_wire, limits_api)

    def __init__(self, yard: Yard) -> None:
        super().__init__(yard)
        view = yard.durable.limits_view
        self.limits = Limits(yard.db, view)
        self.stopping = Stopping(
            yard.db,
            yard.attempts,
            yard.executor,
            yard.me,
            live=lambda: yard.membership.live,
            on_moved=yard.hub.changed,
            queued_topic=QUEUED_TOPIC,
        )
        self.bulk = Bulk(yard.db, yard.tasks)
        self.explainer = Explainer(yard.db, yard.clock, yard.view, self._paused, yard.durable.restraints.of)
        limits_loop = Loop("limits", view.tick, interval_s=LIMITS_INTERVAL_S)
        stops_loop = Loop("stops", self.stopping.tick, interval_s=STOPS_INTERVAL_S)
        budget_stops = BudgetStops(
            yard.db, yard.money.budgets, self.leader("budget-stops"), self.stopping, yard.tasks.cancel_many
        )
        self.loops = [limits_loop, stops_loop, Loop("budget-stops", budget_stops.tick, interval_s=STOPS_INTERVAL_S)]
        self.topics = {
            limits_view.TOPIC: lambda _: limits_loop.wake(),
            stopping.TOPIC: lambda _: stops_loop.wake(),
        }

    async def open(self) -> None:
        """From the first request on the limits are known."""
        await self.yard.durable.limits_view.refresh()

    def first_routers(self) -> list[APIRouter]:
        return [control_api.bulk_router(self.bulk, self.yard.edge)]

    def routers(self) -> list[APIRouter]:
        yard = self.yard
        return [
            limits_api.router(self.limits, yard.edge),
            control_api.stops_router(yard.db, self.stopping, yard.edge),
            control_api.explain_router(self.explainer, yard.clock, yard.edge),
        ]

    def _paused(self, agent_id: str) -> bool:
        """Whether this manager leaves a well agent alone for a moment: it refused a call, or could not be reached."""
        facts, agent = self.yard.slots.facts(agent_id), self.yard.view.agents.get(UUID(agent_id))
        return facts is not None and agent is not None and agent.works and not facts.eligible
