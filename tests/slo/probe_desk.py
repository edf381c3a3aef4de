"""Probes of a manager in this process, the loop driven by hand. Planned times come by `forward` alone; tasks take real
time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import httpx

from app.alerts.reading import Reading
from app.alerts.signals.base import By
from app.alerts.signals.probes import SIGNALS
from app.core.db import HotConnection
from app.core.leader import Leader
from app.settings import SloSettings
from app.slo.probe_loop import ProbeLoop
from app.wiring import Yard
from tests.api.verbs import until

FINAL = ("succeeded", "failed", "cancelled", "expired")


class _Always(Leader):
    """Two of them lead at once."""

    def __init__(self) -> None:
        """Needs nothing."""

    async def leads(self) -> bool:
        return True


class Desk:
    """The manager's own loop is stopped by `open`."""

    def __init__(self, yard: Yard, client: httpx.AsyncClient, **options: Any) -> None:
        self.yard, self.client = yard, client
        self.now: datetime | None = None
        tasks, settings = yard.tasks, SloSettings(**options)
        submit, cancel = tasks.submit_within, tasks.cancel_many
        self.loop = ProbeLoop(yard.db, _Always(), yard.clock, submit, cancel, settings, now=self._time)

    async def open(self) -> Desk:
        await self.yard.probing.loop.stop()
        return self

    async def _time(self, connection: HotConnection) -> datetime:
        if self.now is None:
            self.now = await connection.fetchval("SELECT clock_timestamp()")
        assert self.now is not None
        return self.now

    def forward(self, seconds: float) -> None:
        assert self.now is not None
        self.now += timedelta(seconds=seconds)

    async def put(self, name: str = "golden", **fields: Any) -> dict[str, Any]:
        """A probe every minute whose answer is its payload, 42, unless `fields` say otherwise. Its next time is not
        there yet, and is within a minute."""
        check = {"kind": "json", "path": "$", "value": 42}
        body = {"pool": "echo", "payload": 42, "checks": [check], "every_s": 60, "timeout_s": 20, **fields}
        answer = await self.client.put(f"/v1/probes/{name}", json=body)
        assert answer.status_code in (200, 201), answer.text
        found: dict[str, Any] = answer.json()
        earliest = datetime.fromisoformat(found["updated_at"])
        self.now = earliest if self.now is None else max(self.now, earliest)
        return found

    async def run(self, name: str = "golden") -> dict[str, Any]:
        """Its next planned time comes and the run is judged: the run."""
        self.forward(60)
        await self.loop.tick()
        return await self.judged(name)

    async def judged(self, name: str = "golden") -> dict[str, Any]:
        """The newest run once it is judged."""

        async def there() -> dict[str, Any] | None:
            await self.loop.tick()
            newest = (await self.runs(name))[0]
            return newest if newest["outcome"] != "pending" else None

        return dict(await until(there))

    async def runs(self, name: str = "golden") -> list[dict[str, Any]]:
        answer = await self.client.get(f"/v1/probes/{name}/runs", params={"page_size": 500})
        assert answer.status_code == 200, answer.text
        return list(answer.json()["items"])

    async def state(self, name: str = "golden") -> str:
        return str((await self.client.get(f"/v1/probes/{name}")).json()["state"])

    async def signal(self, name: str) -> Sequence[Reading]:
        """What a signal of probes says."""
        (signal,) = (signal for signal in SIGNALS if signal.name == name)
        async with self.yard.db.read() as connection:
            return await signal.read(connection, By(), await self._time(connection))

    async def sql(self, statement: str, *args: Any) -> Sequence[Any]:
        async with self.yard.db.hot() as connection:
            return await connection.fetch(statement, *args)
