"""The part of synthetic probes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter

from app.core.loop import Loop
from app.slo import probe_api, probe_wire
from app.slo.probe_budgets import ProbeBudgets
from app.slo.probe_loop import ProbeLoop
from app.slo.probe_service import Probes
from app.wiring.part import Part

if TYPE_CHECKING:
    from app.wiring import Yard


class Probing(Part):
    """Synthetic probes."""

    tags = (("probes", "Tasks whose right answer is known."),)
    wire = (probe_wire,)

    def __init__(self, yard: Yard) -> None:
        super().__init__(yard)
        tasks, settings = yard.tasks, yard.settings.slo
        budgets = ProbeBudgets(yard.money.budget_service)
        self.probes = Probes(yard.db, tasks.submit_within, tasks.cancel_many, tasks.check, budgets, settings)
        self.looking = ProbeLoop(
            yard.db, self.leader("probes"), yard.clock, tasks.submit_within, tasks.cancel_many, settings
        )
        self.loop = Loop("probes", self.looking.tick, interval_s=settings.probe_interval_s)
        self.probes.on_change = self.loop.wake
        self.loops.append(self.loop)

    def routers(self) -> list[APIRouter]:
        return [probe_api.router(self.probes, self.yard.edge)]
