"""The timetable part: schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter

from app.core.loop import Loop
from app.schedules import api, wire
from app.schedules.firing import Firing
from app.schedules.loop import ScheduleLoop
from app.schedules.service import Schedules
from app.wiring.part import Part

if TYPE_CHECKING:
    from app.wiring import Yard


class Timetable(Part):
    """schedules."""

    tags = (("schedules", "Tasks by the clock."),)
    wire = (wire,)

    def __init__(self, yard: Yard) -> None:
        super().__init__(yard)
        settings = yard.settings.schedules
        firing = Firing(yard.tasks.submit_within, yard.tasks.cancel_many, settings)
        self.schedules = Schedules(yard.db, yard.view, firing, settings)
        self.loop = Loop("schedules", ScheduleLoop(yard.db, firing, settings).tick, interval_s=settings.interval_s)
        self.schedules.on_change = self.loop.wake
        self.loops.append(self.loop)

    def routers(self) -> list[APIRouter]:
        return [api.router(self.schedules, self.yard.edge, self.yard.clock)]
