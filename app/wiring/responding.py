"""The part that acts on alerts: emergency mode and the other automatic responses."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter

from app.alerts import responses_api, responses_wire
from app.alerts.actions import registry as actions
from app.alerts.interventions import Interventions
from app.alerts.responses import Responses
from app.core.http import DATABASE_AWAY
from app.core.loop import Loop
from app.dispatch.api import Desk
from app.limits import restraint_service
from app.registry.service import PoolNotFound
from app.wiring.part import Part

if TYPE_CHECKING:
    from app.wiring import Yard

ALERTS_TOPIC = "alerts"
RESPONSES_INTERVAL_S, RESTRAINTS_INTERVAL_S = 2.0, 1.0
SHOWN_AGENTS = 50


class Responding(Part):
    """Actions, emergency mode."""

    tags = (("responses", "What is done about alerts by itself, and emergency mode."),)
    wire: tuple[ModuleType, ...] = (responses_wire,)

    def __init__(self, yard: Yard) -> None:
        super().__init__(yard)
        self.restraints = yard.durable.restraints
        self.restraints.on_change = self._changed
        self.responses = Responses(
            yard.db,
            yard.clock,
            self.leader("responses"),
            actions.build(self._live),
            keep_s=yard.settings.alerts.retention_s,
        )
        self.people = Interventions(yard.db, self.responses.end, self.restraints.refresh)
        restraints_loop = Loop("restraints", self.restraints.tick, interval_s=RESTRAINTS_INTERVAL_S)
        self.loop = Loop("responses", self.responses.tick, interval_s=RESPONSES_INTERVAL_S)
        self.loops = [restraints_loop, self.loop]
        self.topics = {
            restraint_service.TOPIC: lambda _: restraints_loop.wake(),
            ALERTS_TOPIC: lambda _: self.loop.wake(),
        }

    async def open(self) -> None:
        """From the first request and the first claim on it is known what holds pools back."""
        await self.restraints.refresh()

    def routers(self) -> list[APIRouter]:
        edge = self.yard.edge
        return [
            responses_api.emergency_router(self.people, edge),
            responses_api.actions_router(self.people, edge),
            responses_api.reports_router(self.people, edge),
        ]

    def _changed(self) -> None:
        """Caps are others, and what was held back may start."""
        self.yard.placer.follow_registry()
        self.yard.dispatch.everywhere()

    async def _live(self, pool: str) -> Mapping[str, Any]:
        """What this manager's memory holds, for reports."""
        yard = self.yard
        if not pool:
            return {
                "id": str(yard.me),
                "managers": max(1, len(yard.membership.live)),
                "async_tasks": len(asyncio.all_tasks()),
                "loops": {loop.name: loop.failures for loop in yard.loops},
            }
        desk = Desk(yard.db, yard.clock, yard.view, yard.membership, yard.slots, yard.placer.strategies)
        try:
            shown = await desk.balancer(pool, SHOWN_AGENTS, name_tasks=True)
        except (PoolNotFound, *DATABASE_AWAY):
            return {}
        return {"balancer": shown.model_dump(mode="json")}
