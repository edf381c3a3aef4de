"""The durable part: taking tasks in, letting them wait, letting them go on; and what an approval does to its task."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from fastapi import APIRouter

from app.auth.callers import Caller
from app.core.loop import Loop
from app.dispatch.suspending import Suspender
from app.limits.rates import RateLimits
from app.limits.restraint_view import RestraintView
from app.limits.tightening import TighteningView
from app.limits.view import LimitsView
from app.tasks import signals_api
from app.tasks.approved import ApprovalHooks
from app.tasks.intake import Intake
from app.tasks.limits import KeyLimit
from app.tasks.signals import Signals
from app.tasks.suspension import Suspensions
from app.tasks.wait_loop import WaitLoop
from app.wiring.part import Part

if TYPE_CHECKING:
    from app.wiring import Yard


class _TaskLimits:
    """The limits as submitting asks for them."""

    def __init__(self, view: LimitsView, rates: RateLimits, restraints: RestraintView) -> None:
        self._view, self._rates, self._restraints = view, rates, restraints

    async def admit(self, caller: Caller, counts: Mapping[str, int]) -> None:
        await self._rates.admit(caller, counts)

    def of_key(self, tenant: str, pool: str) -> KeyLimit | None:
        for key in (("pool", pool), ("tenant", tenant)):
            limit = self._view.limits.get(key)
            if limit is not None and limit.concurrency is not None:
                return KeyLimit(limit.concurrency, limit.policy)
        return None

    def shed(self, pool: str, priority: int) -> None:
        self._restraints.admit(pool, priority)

    def asks_people(self, pool: str) -> bool:
        return self._restraints.asks_people(pool)


class Durable(Part):
    """Built before the other parts, and before what dispatches. The limits' view is kept up to date by `Control`, that
    of restraints by `Responding`, that of tightened pools by `Objectives`."""

    wire = (signals_api,)
    tags = (("events", "The tenant's feed, and events that tasks wait for."),)

    def __init__(
        self,
        yard: Yard,
        *,
        on_queued: Callable[[set[str]], None],
        on_inserted: Callable[[set[str]], None],
        on_delayed: Callable[[], None],
    ) -> None:
        super().__init__(yard)
        settings = yard.settings
        expires_s = settings.approvals.expires_s
        self.limits_view = LimitsView(yard.db)
        self.tightening = TighteningView(yard.db)
        self.rates = RateLimits(self.limits_view, yard.nerve, yard.clock, lambda: len(yard.membership.live))
        self.restraints = RestraintView(yard.db, yard.clock)
        self.limits = _TaskLimits(self.limits_view, self.rates, self.restraints)
        self.waits = WaitLoop(yard.db, yard.hub, yard.clock, settings.durable, on_queued, self._cancel_orphans)
        self.intake = Intake(
            yard.db,
            yard.view,
            yard.hub,
            self.limits,
            insert_batch=settings.tasks.insert_batch,
            approval_expires_s=expires_s,
            on_queued=on_queued,
            on_inserted=on_inserted,
            on_delayed=on_delayed,
            on_freed=self.waits.freed,
            tightened=self.tightening.why_asked,
        )
        self.suspender = Suspender(
            Suspensions(yard.view, self.intake, settings.durable, approval_expires_s=expires_s),
            yard.settler,
            yard.hub,
            yard.view,
            on_queued=on_queued,
            on_freed=self.waits.freed,
            on_delayed=self.wake,
        )
        self.approval_hooks = ApprovalHooks(yard.view, self.waits.freed, on_delayed, self._committed(on_queued))
        self.signals = Signals(yard.db, yard.hub, settings.durable, on_queued, self.waits.freed)
        self._loop = Loop("waits", self.waits.tick, interval_s=settings.durable.sweep_interval_s)
        self.waits.wake = self._loop.wake
        self.loops.append(self._loop)

    async def _cancel_orphans(self, limit: int) -> bool:
        return await self.yard.tasks.cancel_orphans(limit)

    def wake(self) -> None:
        """Something waits for a time, or may go on."""
        self._loop.wake()

    def _committed(
        self, on_queued: Callable[[set[str]], None]
    ) -> Callable[[Collection[object], Collection[str]], None]:
        def committed(task_ids: Collection[object], pools: Collection[str]) -> None:
            self.yard.hub.changed(task_ids)  # type: ignore[arg-type]
            if pools:
                on_queued(set(pools))

        return committed

    def routers(self) -> list[APIRouter]:
        return [signals_api.router(self.signals, self.yard.edge)]
