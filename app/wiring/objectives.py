"""The part of objectives: SLOs, feedback, what exhausted error budgets tighten."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

from fastapi import APIRouter

from app.core.loop import Loop
from app.limits import tightening
from app.slo import api, feedback_api, feedback_wire, openslo_api, standing_wire, wire
from app.slo.desk import Desk
from app.slo.feedback import Feedbacks
from app.slo.loop import SloLoop
from app.slo.service import Slos
from app.wiring.part import Part

if TYPE_CHECKING:
    from app.wiring import Yard

TIGHTENING_INTERVAL_S = 5.0


class Objectives(Part):
    """SLOs and feedback."""

    tags = (("slos", "What was promised, how much of the error budget is left, and what people say of results."),)
    wire: tuple[ModuleType, ...] = (wire, standing_wire, feedback_wire, openslo_api)

    def __init__(self, yard: Yard) -> None:
        super().__init__(yard)
        settings = yard.settings
        self.slos, self.desk = Slos(yard.db, settings.slo), Desk(yard.db)
        self.feedback = Feedbacks(yard.db, settings.slo.max_feedback)
        self.counting = SloLoop(yard.db, yard.clock, self.leader("slo"), tasks_kept_s=settings.tasks.retention_s)
        slo_loop = Loop("slo", self.counting.tick, interval_s=settings.slo.interval_s)
        view_loop = Loop("tightening", yard.durable.tightening.tick, interval_s=TIGHTENING_INTERVAL_S)
        self.loops = [slo_loop, view_loop]
        self.topics = {tightening.TOPIC: lambda _: view_loop.wake()}

    async def open(self) -> None:
        """From the first submission on it is known which pools are tightened."""
        await self.yard.durable.tightening.refresh()

    def routers(self) -> list[APIRouter]:
        edge = self.yard.edge
        return [
            openslo_api.router(self.slos, edge),
            api.router(self.slos, self.desk, edge),
            feedback_api.router(self.feedback, edge),
        ]
