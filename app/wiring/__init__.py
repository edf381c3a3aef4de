"""The composition root: builds every concrete object once, and knows the order of starting and stopping."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from uuid import UUID, uuid4

import structlog

from app.auth import service as auth_service
from app.auth.edge import Edge
from app.auth.service import Authenticator, Keys
from app.core.batch import Batcher
from app.core.clock import Clock
from app.core.db import Database
from app.core.http import DATABASE_AWAY
from app.core.loop import VITAL_BACKOFF_CAP_S, Loop
from app.core.nerve import Nerve
from app.core.wake import Wakes, notify
from app.dispatch.attempt import Attempts
from app.dispatch.balancers import registry as balancers
from app.dispatch.executors.durable import StepBounds
from app.dispatch.executors.http import HttpExecutor
from app.dispatch.learning import LearningLoop
from app.dispatch.loop import DispatchLoop
from app.dispatch.membership import Membership
from app.dispatch.placer import Placer
from app.dispatch.rescue import RescueLoop
from app.dispatch.settler import Settler
from app.dispatch.slots import SlotTable
from app.events.hub import Hub
from app.registry import service as registry_service
from app.registry.addresses import AllowList
from app.registry.heartbeats import Heartbeats
from app.registry.service import Registry
from app.registry.view import Changes, RegistryView
from app.settings import Settings
from app.tasks.cancelling import CANCEL_TOPIC
from app.tasks.depth import Depth
from app.tasks.queue import Freed
from app.tasks.service import Tasks
from app.wiring.control import Control
from app.wiring.durable import Durable
from app.wiring.feeds import Feeds
from app.wiring.fleets import Fleets
from app.wiring.money import Money
from app.wiring.notifying import Notifying
from app.wiring.objectives import Objectives
from app.wiring.part import Part
from app.wiring.people import People
from app.wiring.probing import Probing
from app.wiring.responding import Responding
from app.wiring.timetable import Timetable
from app.wiring.upkeep import Upkeep
from app.wiring.watching import Watching

log = structlog.get_logger()

REFRESH_REST, MAX_REFRESH_REST_S = 4.0, 1.0
QUEUED_TOPIC = "queued"
PARTS: tuple[type[Part], ...] = (
    Durable,
    Money,
    People,
    Control,
    Feeds,
    Timetable,
    Fleets,
    Objectives,
    Probing,
    Watching,
    Notifying,
    Responding,
)


class Yard:
    """One manager: every object of it. Building does no I/O; `start` and `stop` do.

    `ends_processes`: this manager is the whole service, so launched agents end with it.
    """

    def __init__(self, settings: Settings, *, ends_processes: bool = True) -> None:
        self.settings, self.me = settings, uuid4()
        self._ends_processes = ends_processes
        self.clock = Clock()
        self.db = Database(settings.database)
        self.nerve = Nerve(settings.redis, self.clock)
        self.wakes = Wakes(self.db)
        self.authenticator = Authenticator(self.db, settings.auth, self.clock)
        self.edge, self.keys = Edge(self.authenticator), Keys(self.db, self.authenticator)
        self.ready = False
        self._build_registry()
        self.money = Money(self)
        self._build_dispatch()
        self._build_tasks()
        self.people, self.control, self.feeds = People(self), Control(self), Feeds(self)
        self.timetable, self.fleets = Timetable(self), Fleets(self)
        self.objectives, self.probing = Objectives(self), Probing(self)
        self.watching, self.notifying, self.responding = Watching(self), Notifying(self), Responding(self)
        self.upkeep = Upkeep(self, self._refresh)
        self.parts: list[Part] = [
            self.upkeep,
            self.durable,
            self.money,
            self.people,
            self.control,
            self.feeds,
            self.timetable,
            self.fleets,
            self.objectives,
            self.probing,
            self.watching,
            self.notifying,
            self.responding,
        ]
        self.loops = self._loops()
        self._listening: asyncio.Task[None] | None = None

    def _build_registry(self) -> None:
        settings = self.settings.registry
        self.allow_list = AllowList(settings.allowed_networks)
        self.view = RegistryView(self.db)
        self.registry = Registry(
            self.db,
            self.authenticator,
            self.allow_list,
            balancers=balancers.installed().factories.keys,
            launches=self._launches(),
            silent_after_s=settings.silent_after_s,
            quota=self.settings.kubernetes.max_replicas,
            allowed_secrets=self.settings.kubernetes.allowed_secrets,
        )
        self.heartbeats = Heartbeats(self.db, self.clock)
        self.authenticator.agent_digest = self._agent_digest

    def _launches(self) -> list[str]:
        """The launch kinds that this service can start."""
        settings = self.settings
        wanted = {"process": settings.scaling.allow_process, "kubernetes": settings.kubernetes.mode != "off"}
        return [kind for kind, on in wanted.items() if on]

    def _build_dispatch(self) -> None:
        settings, db = self.settings.dispatch, self.db
        durable = self.settings.durable
        self.executor = HttpExecutor(
            self.allow_list,
            settings,
            probe_timeout_s=self.settings.registry.probe_timeout_s,
            steps=StepBounds(durable.max_steps, durable.max_step_bytes, durable.max_steps_bytes),
        )
        self.slots = SlotTable()
        self.membership = Membership(db, self.clock, self.slots, settings, self.me)
        self.hub = Hub(db, self.nerve, lambda: not self.membership.alone)
        self.settler = Settler(
            db,
            self.hub,
            batch=settings.settle_batch,
            on_delayed=self._delayed,
            on_freed=self._freed,
        )
        self.durable = Durable(self, on_queued=self.queued, on_inserted=self._inserted, on_delayed=self._delayed)
        self.placer = Placer(
            self.view,
            self.slots,
            self.clock,
            settings,
            self.settings.balancer,
            self.settings.telemetry.max_labelled_agents,
            self.durable.restraints.of,
        )
        self.dispatch = DispatchLoop(
            db,
            self.clock,
            self.view,
            self.membership,
            self.slots,
            self.placer,
            self.hub,
            settings,
            self.me,
            self.money.gate,
            self.money.aside,
            self.durable.restraints.least,
        )
        self._build_attempts()

    def _build_attempts(self) -> None:
        settings, db = self.settings.dispatch, self.db
        self.attempts = Attempts(
            self.executor,
            self.placer,
            self.settler,
            self.hub,
            self.clock,
            settings,
            self.dispatch.freed,
            self._returned,
            price=self.money.price,
            on_booked=self.money.unparking.booked,
            suspender=self.durable.suspender,
            tracing=bool(self.settings.telemetry.otlp_endpoint),
        )
        self.dispatch.attempts = self.attempts
        self.placer.on_warm = lambda pool: self.dispatch.queued({pool}, pinned=True)
        self.rescue = RescueLoop(
            db,
            self.clock,
            self.membership,
            self.dispatch,
            self.attempts,
            self.settler,
            self.hub,
            self.registry,
            self.view,
            settings,
            self.durable.waits.freed,
        )
        self.learning = LearningLoop(db, self.nerve, self.clock, self.membership, self.registry, self.placer)
        self.view.on_change(self._registry_changed)

    def _build_tasks(self) -> None:
        self._peer_hints: Batcher[str, None] = Batcher(self._tell_peers, limit=1000)
        self.tasks = Tasks(
            self.db,
            self.view,
            self.hub,
            Depth(self.db, self.clock, self.settings.tasks.max_queued),
            self.durable.intake,
            self.durable.limits,
            on_queued=self.queued,
            on_freed=self.durable.waits.freed,
        )

    def _loops(self) -> list[Loop]:
        self.membership_loop = Loop(
            "membership",
            self._membership_tick,
            interval_s=self.settings.dispatch.heartbeat_interval_s,
            backoff_cap_s=VITAL_BACKOFF_CAP_S,
        )
        self._leaders = [leader for part in self.parts for leader in part.leaders]
        return [loop for part in self.parts for loop in part.loops]

    async def start(self) -> None:
        """Connect, join the managers, start the loops. Raises what the database raises."""
        await self.db.start()
        for problem in balancers.installed().problems.items():
            log.error("balancer_not_loaded", name=problem[0], problem=problem[1])
        await self.executor.open()
        await self.view.refresh()
        self._registry_changed()
        await self.learning.rebuild()
        await self.membership.tick()
        for part in self.parts:
            await part.open()
            for topic, call in part.topics.items():
                self.wakes.on(topic, call)
        self.wakes.on(registry_service.TOPIC, lambda _: self._registry_hint())
        self.wakes.on(auth_service.TOPIC, self.authenticator.forget)
        self.wakes.on(CANCEL_TOPIC, self.rescue.cancelled)
        self.wakes.on(QUEUED_TOPIC, lambda payload: self.dispatch.queued(filter(None, payload.split(","))))
        self.wakes.start()
        self._listening = asyncio.get_running_loop().create_task(self.hub.listen(), name="hub-listen")
        self.membership_loop.start()
        for loop in self.loops:
            loop.start()
        self.dispatch.loop.start()
        self.ready = True

    def begin_stop(self) -> None:
        """Claim nothing more and end open streams: called as soon as we are asked to stop."""
        self.ready = False
        self.dispatch.paused = True
        self.hub.close()

    async def stop(self) -> None:
        """Finish within the grace, return the rest uncounted, leave. Called once."""
        self.begin_stop()
        await self.dispatch.loop.stop()
        await self._bounded(self.tasks.close(), 5.0)
        await self.attempts.finish(self.settings.dispatch.grace_s)
        self.settler.give_up()
        await self._bounded(self.settler.close(), 5.0)
        for loop in self.loops:
            await loop.stop()
        if self._ends_processes:
            await self._bounded(self.fleets.end_all(), 12.0)
        await self._bounded(self.heartbeats.flush(), 3.0)
        await self.membership_loop.stop()
        await self._bounded(self.membership.leave(), 3.0)
        for leader in self._leaders:
            await self._bounded(leader.resign(), 3.0)
        self.placer.close()
        for part in self.parts:
            await self._bounded(part.close(), 5.0)
        await self.wakes.stop()
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        await self.executor.close()
        await self.nerve.close()
        await self.db.stop()

    async def healthy(self) -> None:
        """Raises when requests that need the database would fail now."""
        async with self.db.hot() as connection:
            await connection.fetchval("SELECT 1")

    @staticmethod
    async def _bounded(work: Awaitable[None], seconds: float) -> None:
        """A step of stopping that must not keep us from the next one."""
        with contextlib.suppress(*DATABASE_AWAY):
            async with asyncio.timeout(seconds):
                await work

    async def _membership_tick(self) -> float | None:
        live = self.membership.live
        had = self.slots.active
        await self.membership.tick()
        if live != self.membership.live or had != self.slots.active:
            self.dispatch.everywhere()
        return None

    async def _refresh(self) -> float | None:
        began = self.clock.monotonic()
        await self.view.refresh()
        # When thousands of agents come at once each hint would read them all again: the manager has other work too.
        rest_s = min(MAX_REFRESH_REST_S, REFRESH_REST * (self.clock.monotonic() - began))
        await self.upkeep.view.rest(rest_s)
        return None

    def _registry_hint(self) -> None:
        self.upkeep.view.wake()
        self.upkeep.health.wake()

    def _registry_changed(self, changes: Changes | None = None) -> None:
        self.placer.follow_registry(changes)
        self.dispatch.everywhere()
        self.fleets.changed()

    def _delayed(self) -> None:
        self.upkeep.sweep.wake()

    def _freed(self, freed: Freed) -> None:
        self.durable.waits.freed(freed)

    def _returned(self, pool: str) -> None:
        self.queued({pool})

    def _inserted(self, pools: set[str]) -> None:
        self.queued(pools, pinned=False)
        self.fleets.inserted(pools)

    def queued(self, pools: set[str], *, pinned: bool = True) -> None:
        """Tasks of these pools may be claimed; `pinned`: perhaps some that only one agent may run."""
        self.dispatch.queued(pools, pinned=pinned)
        if not self.membership.alone:
            for pool in pools:
                self._peer_hints.put_nowait(pool).add_done_callback(lambda done: done.exception())

    async def _tell_peers(self, pools: object) -> list[None]:
        names = list(pools)  # type: ignore[call-overload]
        async with self.db.hot() as connection:
            await notify(connection, QUEUED_TOPIC, ",".join(sorted(set(names))[:100]))
        return [None] * len(names)

    async def _agent_digest(self, agent_id: UUID) -> bytes | None:
        known = self.view.agents.get(agent_id)
        if known is not None:
            return known.token_digest
        await self.view.refresh()
        known = self.view.agents.get(agent_id)
        return None if known is None else known.token_digest
