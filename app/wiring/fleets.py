"""The fleets part: backends that keep replicas, and the autoscaler that says how many."""

from __future__ import annotations

import socket
from types import ModuleType
from typing import TYPE_CHECKING

from fastapi import APIRouter

from app.core.loop import Loop
from app.scaling import api, wire
from app.scaling.autoscale import AutoscaleLoop
from app.scaling.backends.base import Backend
from app.scaling.backends.launcher import Launcher
from app.scaling.backends.process import ProcessBackend
from app.scaling.loop import FleetLoop
from app.wiring import launch_key
from app.wiring.part import Part

if TYPE_CHECKING:
    from app.wiring import Yard


class Fleets(Part):
    """backends that keep replicas, the autoscaler"""

    tags = (("scaling", "How many replicas a pool has, and why."),)
    wire: tuple[ModuleType, ...] = (wire,)

    def __init__(self, yard: Yard) -> None:
        super().__init__(yard)
        self.backends: list[Backend] = []
        self.fleet_loops: list[Loop] = []
        settings = yard.settings
        if settings.scaling.allow_process:
            self._add(self._processes(), f"processes:{socket.gethostname()}", settings.scaling.interval_s)
        if settings.kubernetes.mode != "off":
            self._add(self._kubernetes(), "kubernetes", settings.kubernetes.interval_s)
        self.autoscale = AutoscaleLoop(
            yard.db, yard.clock, self.leader("autoscale"), yard.view, settings.scaling, settings.kubernetes
        )
        self.autoscale_loop = Loop("autoscale", self.autoscale.tick, interval_s=settings.scaling.decide_interval_s)
        self.loops = [*self.fleet_loops, self.autoscale_loop]
        self.desk = api.Desk(yard.db, yard.clock, yard.view)

    def _processes(self) -> Backend:
        yard, settings = self.yard, self.yard.settings
        launcher = Launcher(settings.data_dir, settings.scaling.manager_url, launch_key.key_of(settings.auth))
        frozen = yard.durable.tightening.freezes_rollouts
        return ProcessBackend(yard.db, yard.clock, yard.registry, yard.view, launcher, settings.scaling, frozen=frozen)

    def _kubernetes(self) -> Backend:
        # Here, not above: the client takes more than a second of CPU to import, also where no pool needs it.
        from app.scaling.backends.kubernetes import KubernetesBackend

        yard, settings = self.yard, self.yard.settings
        key = launch_key.key_of(settings.auth)
        backend = KubernetesBackend(
            yard.db,
            yard.clock,
            yard.registry,
            yard.view,
            settings.kubernetes,
            settings.scaling,
            key,
            frozen=yard.durable.tightening.freezes_rollouts,
        )
        backend.on_change = self.changed
        return backend

    def _add(self, backend: Backend, lease: str, interval_s: float) -> None:
        loop = FleetLoop(self.yard.db, self.yard.clock, self.leader(lease), self.yard.view, backend)
        self.backends.append(backend)
        self.fleet_loops.append(Loop(f"fleet-{backend.kind}", loop.tick, interval_s=interval_s))

    def routers(self) -> list[APIRouter]:
        return [api.router(self.desk, self.yard.edge)]

    async def open(self) -> None:
        if self.backends:
            await launch_key.keep(self.yard.db, self.yard.authenticator, self.yard.settings.auth)
        for backend in self.backends:
            await backend.open()

    async def close(self) -> None:
        for backend in self.backends:
            await backend.close()

    async def end_all(self) -> None:
        """The whole service ends on this machine."""
        for backend in self.backends:
            await backend.end_all()

    def changed(self) -> None:
        """The registry changed: perhaps a pool's size."""
        for loop in self.fleet_loops:
            loop.wake()

    def inserted(self, pools: set[str]) -> None:
        """Tasks came: a pool that was at zero is judged at once."""
        if any(self.autoscale.due(pool) for pool in pools):
            self.autoscale_loop.wake()
