"""The part that watches: signals, rules and the states of alerts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter

from app.alerts import rule_api, rule_service, rule_wire
from app.alerts.beats import BEAT_S, Beats
from app.alerts.evaluation import Evaluation
from app.alerts.reader import Reader
from app.alerts.rule_service import Rules
from app.alerts.signals.registry import SIGNALS
from app.core.loop import Loop
from app.wiring.part import Part

if TYPE_CHECKING:
    from app.wiring import Yard


class Watching(Part):
    """Signals, rules, states of alerts."""

    tags = (("alerts", "What is watched, what is wrong, and who is told."),)
    wire = (rule_wire,)

    def __init__(self, yard: Yard) -> None:
        super().__init__(yard)
        settings = yard.settings.alerts
        self.reader = Reader(yard.db, SIGNALS, settings.signal_timeout_s)
        self.rules = Rules(yard.db, self.reader)
        self.evaluation = Evaluation(yard.db, self.leader("alerts"), yard.clock, self.reader, settings.retention_s)
        self.beats = Beats(yard.db, yard.me, self._lags)
        evaluation = Loop("alerts", self.evaluation.tick, interval_s=settings.interval_s)
        self.topics[rule_service.TOPIC] = lambda _: evaluation.wake()
        self.loops += [evaluation, Loop("loop-beats", self.beats.tick, interval_s=BEAT_S)]

    def routers(self) -> list[APIRouter]:
        return [rule_api.router(self.rules, self.yard.edge)]

    async def close(self) -> None:
        await self.beats.leave()

    def _lags(self) -> dict[str, float]:
        found: dict[str, float] = {}
        yard = self.yard
        for loop in (*yard.loops, yard.membership_loop, yard.dispatch.loop):
            found[loop.name] = max(loop.lag_s, found.get(loop.name, 0.0))
        return found
