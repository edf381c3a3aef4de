"""The money part: prices, budgets, reports of costs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from types import ModuleType
from typing import TYPE_CHECKING

from fastapi import APIRouter

from app.core.jsonbody import parse_json
from app.core.loop import Loop
from app.costs import (
    budget_api,
    budget_view,
    budget_wire,
    catalogue,
    control_api,
    control_wire,
    model_api,
    model_wire,
    price_api,
    price_service,
    price_wire,
    prices,
    reports_api,
    reports_wire,
)
from app.costs.analyst import Analyst
from app.costs.budget_loop import BudgetLoop
from app.costs.budget_service import Budgets
from app.costs.budget_view import BudgetView
from app.costs.control_service import Controls
from app.costs.estimates import Estimates
from app.costs.model_service import Models
from app.costs.price_service import Prices
from app.costs.prices import PriceBook
from app.costs.recost import Recosts
from app.costs.reports_api import Reports
from app.costs.rollup import RollupLoop
from app.costs.thresholds import Reached, Thresholds
from app.costs.vendors import vendor_of
from app.dispatch.gate import Gate, Passed
from app.dispatch.unparking import Unparking
from app.registry.records import PoolRecord
from app.tasks import spending
from app.tasks.queue import UsageRow
from app.wiring.part import Part

if TYPE_CHECKING:
    from app.wiring import Yard

UNPARK_INTERVAL_S = 1.0
LEARN_EVERY = 2


class Money(Part):
    """Prices, budgets, reports of costs. Built before what dispatches."""

    tags = (
        ("costs", "What work cost, and what would cost less."),
        ("budgets", "What work may cost."),
    )
    wire: tuple[ModuleType, ...] = (budget_wire, control_wire, price_wire, model_wire, reports_wire)

    def __init__(self, yard: Yard) -> None:
        super().__init__(yard)
        self._build_prices()
        self._build_budgets()
        self._build_gate()
        self._build_reports()

    def _build_prices(self) -> None:
        yard, settings = self.yard, self.yard.settings.costs
        self.prices = PriceBook(yard.db)
        self.recosts = Recosts(yard.db, self.prices, on_recost=spending.recost)
        # Until then some manager may not have read a new price.
        self.price_changes = Prices(yard.db, self.prices, yard.clock, settle_s=2 * settings.refresh_interval_s)
        self.models = Models(yard.db, self.prices, yard.clock)
        self._recost_leader = self.leader("recosts")
        prices_loop = Loop("prices", self.prices.tick, interval_s=settings.refresh_interval_s)
        recosts_loop = Loop("recosts", self._recost, interval_s=settings.interval_s)
        self.loops += [prices_loop, recosts_loop]
        self.topics[prices.TOPIC] = lambda _: prices_loop.wake()
        self.topics[price_service.RECOST_TOPIC] = lambda _: recosts_loop.wake()

    def _build_budgets(self) -> None:
        yard, settings = self.yard, self.yard.settings.costs
        self.budgets = BudgetView(yard.db)
        self.budget_service = Budgets(yard.db, self.budgets, self._room)
        self.controls = Controls(self.budget_service)
        self.thresholds = Thresholds(yard.db, self._reached)
        watch = BudgetLoop(yard.db, self.leader("budgets"), yard.clock, self.thresholds, settings.accounts_retention_s)
        budgets_loop = Loop("budgets", self._refresh, interval_s=settings.refresh_interval_s)
        self.loops += [budgets_loop, Loop("budget-watch", watch.tick, interval_s=settings.interval_s)]
        self.topics[budget_view.TOPIC] = lambda _: budgets_loop.wake()

    def _build_gate(self) -> None:
        yard, settings = self.yard, self.yard.settings.costs
        self.estimates = Estimates(yard.db, self.prices, settings.default_model, settings.estimate_after)
        self.gate = Gate(
            self.budgets,
            self.estimates,
            yard.clock,
            recheck_s=settings.recheck_s,
            approval_expires_s=yard.settings.approvals.expires_s,
            pool=self._pool,
        )
        self.unparking = Unparking(yard.db, self.budgets, yard.clock, self._due)
        self._learner = self.leader("estimates")
        unparking_loop = Loop("unparking", self.unparking.tick, interval_s=UNPARK_INTERVAL_S)
        self.unparking.wake = unparking_loop.wake
        self.loops += [unparking_loop, Loop("estimates", self._learn, interval_s=settings.interval_s * LEARN_EVERY)]

    def _build_reports(self) -> None:
        yard, settings = self.yard, self.yard.settings.costs
        self.rollup = RollupLoop(yard.db, self.leader("costs"), yard.clock, settings)
        self.reports = Reports(yard.db, yard.clock, vendor_of)
        self.analyst = Analyst(yard.db, yard.clock, self.models.options)
        self.loops.append(Loop("costs", self.rollup.tick, interval_s=settings.interval_s))

    async def open(self) -> None:
        """From the first claim on budgets, prices and estimates are known."""
        await asyncio.gather(self.budgets.refresh(), self.prices.refresh(), asyncio.to_thread(catalogue.load))
        await self.estimates.refresh()

    def routers(self) -> list[APIRouter]:
        yard = self.yard
        return [
            budget_api.router(yard.db, self.budget_service, yard.edge, yard.clock),
            control_api.router(self.controls, yard.edge),
            price_api.router(self.price_changes, yard.edge, yard.clock),
            model_api.router(self.models, yard.edge),
            reports_api.router(self.reports, self.analyst, yard.edge),
        ]

    def price(self, row: UsageRow, at: datetime) -> UsageRow:
        """The row with what it cost."""
        quantities = parse_json(row.quantities.encode()) if row.quantities != "{}" else {}
        priced = self.prices.price(row.model, row.input_tokens, row.output_tokens, quantities, at)
        return replace(row, cost_usd=priced.cost_usd, price_version=priced.version)

    def aside(self, passed: Passed) -> None:
        """Tasks wait for money, or ended for lack of it."""
        self._due()
        if passed.freed:
            self.yard.durable.waits.freed(passed.freed)

    def _pool(self, name: str) -> PoolRecord | None:
        return self.yard.view.pools.get(name)

    def _due(self) -> None:
        self.yard.upkeep.sweep.wake()

    def _room(self) -> None:
        self.unparking.wake()

    async def _refresh(self) -> float | None:
        await self.budgets.refresh()
        self.unparking.wake()
        return None

    async def _recost(self) -> float | None:
        return await self.recosts.tick() if await self._recost_leader.leads() else None

    async def _learn(self) -> float | None:
        if await self._learner.leads():
            await self.estimates.learn()
        await self.estimates.refresh()
        return None

    async def _reached(self, reached: Sequence[Reached]) -> None:
        """Those who follow the feed hear of it."""
        self.yard.hub.changed([item.account.id for item in reached])
