"""The fleet loop: under one leader a backend keeps as many replicas of each pool as are wanted."""

from __future__ import annotations

import structlog
from prometheus_client import Gauge

from app.core.clock import Clock
from app.core.db import Database
from app.core.http import DATABASE_AWAY
from app.core.leader import Leader
from app.registry import sizes
from app.registry.records import PoolRecord
from app.registry.view import RegistryView
from app.scaling import queries
from app.scaling.backends.base import Backend, BackendError, Condition, Fleet

log = structlog.get_logger()

MAX_BACKOFF_S = 60.0
CONDITIONS = Gauge("yard_pool_conditions", "What keeps a pool's replicas from being as they should.", ["pool", "code"])


class FleetLoop:
    """A pass over the backend's pools: one that cannot be done is the pool's condition, and holds up no other pool."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        leader: Leader,
        view: RegistryView,
        backend: Backend,
    ) -> None:
        self._db, self._clock, self._leader, self._view = db, clock, leader, view
        self._backend = backend
        self._resting: dict[str, tuple[int, float]] = {}
        self._shown: dict[str, set[str]] = {}

    async def tick(self) -> float | None:
        if not await self._leader.leads():
            self._forget_shown()
            return None
        kind = self._backend.kind
        pools = {name for name, pool in self._view.pools.items() if pool.launch["kind"] == kind}
        try:
            owned = set(await self._backend.owned())
        except BackendError as exc:
            for name in pools:
                await self._note(name, (Condition(exc.code, str(exc)),))
            raise
        for name in sorted(pools | owned):
            await self._pool(name, self._view.pools.get(name))
        for name in self._shown.keys() - pools - owned:  # launched by others by now, or deleted
            await self._note(name, ())
        return None

    async def _pool(self, name: str, pool: PoolRecord | None) -> None:
        failures, rests_until = self._resting.get(name, (0, 0.0))
        if self._clock.monotonic() < rests_until:
            return
        mine = pool if pool is not None and pool.launch["kind"] == self._backend.kind else None
        try:
            fleet = await self._backend.converge(name, mine)
        except DATABASE_AWAY:
            raise
        except Exception as exc:
            self._rest(name, failures + 1, exc)
            code = exc.code if isinstance(exc, BackendError) else "backend_error"
            fleet = Fleet(0, 0, (Condition(code, str(exc) or type(exc).__name__),))
        else:
            self._resting.pop(name, None)
        if pool is not None:
            await self._note(name, fleet.conditions if mine is not None else ())
            if fleet.cold_starts_s:
                async with self._db.hot() as connection:
                    await queries.note_cold_starts(connection, name, fleet.cold_starts_s)

    def _rest(self, name: str, failures: int, exc: Exception) -> None:
        """1, 2, 4 … 60 s."""
        seconds = min(MAX_BACKOFF_S, 2.0 ** min(failures - 1, 10))
        self._resting[name] = (failures, self._clock.monotonic() + seconds)
        if isinstance(exc, BackendError):
            log.warning("pool_not_converged", pool=name, code=exc.code, error=str(exc), retry_s=seconds)
        else:
            log.exception("pool_not_converged", pool=name, retry_s=seconds)

    async def _note(self, name: str, conditions: tuple[Condition, ...]) -> None:
        pairs = sorted({item.code: item.message for item in conditions}.items())
        async with self._db.hot() as connection:
            changed = await sizes.set_conditions(connection, name, self._backend.kind, pairs)
        for code in self._shown.pop(name, set()) - {code for code, _ in pairs}:
            CONDITIONS.remove(name, code)
        for code, message in pairs:
            CONDITIONS.labels(name, code).set(1)
            self._shown.setdefault(name, set()).add(code)
            if changed:
                log.warning("pool_condition", pool=name, code=code, message=message)

    def _forget_shown(self) -> None:
        """Whoever leads shows them."""
        for name, codes in self._shown.items():
            for code in codes:
                CONDITIONS.remove(name, code)
        self._shown = {}
