"""Heartbeats: to Redis as they come, to PostgreSQL in batches. Losing some only makes an agent look a little older."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID, uuid4

import redis.asyncio as redis

from app.core.batch import Batcher
from app.core.clock import Clock
from app.core.db import Database
from app.core.nerve import Nerve

KEY = "yard:heartbeats"
ABANDONED_S = 600

# The time of a beat is the clock of the host that heard it. One that is ahead must not make an agent look alive in the
# future, nor let its beats outlast those that other hosts hear: no time counts as later than the database's own.
_FLUSH = """
UPDATE agents a SET heartbeat_at = h.at, last_seen_at = GREATEST(a.last_seen_at, h.at), running = h.running,
  status = CASE WHEN a.status NOT IN ('idle', 'busy') THEN a.status WHEN h.running > 0 THEN 'busy' ELSE 'idle' END
FROM (SELECT id, LEAST(at, now()) AS at, running
  FROM unnest($1::uuid[], $2::timestamptz[], $3::int[]) AS given(id, at, running)) h
WHERE a.id = h.id AND a.status <> 'gone' AND (a.heartbeat_at IS NULL OR LEAST(a.heartbeat_at, now()) <= h.at)
"""

type Beat = tuple[UUID, datetime, int]


class Heartbeats:
    """`record` is called by the edge, `flush` by a loop of every manager: whoever takes the hash writes it."""

    def __init__(self, db: Database, nerve: Nerve, clock: Clock) -> None:
        self._db, self._nerve, self._clock = db, nerve, clock
        self._kept: dict[UUID, Beat] = {}
        self._batcher: Batcher[Beat, None] = Batcher(self._push, limit=1000)

    def record(self, agent_id: UUID, running: int) -> None:
        """Note one heartbeat; never waits and never fails."""
        self._batcher.put_nowait((agent_id, self._clock.now(), running))

    async def close(self) -> None:
        """Write what is left."""
        await self._batcher.close()
        await self.flush()

    async def flush(self) -> None:
        """Bring to PostgreSQL what Redis holds and what could not go to Redis. Raises what the database raises."""
        taken_key = f"{KEY}:{uuid4().hex}"
        beats = {beat[0]: beat for beat in await self._take(taken_key)}
        kept, self._kept = self._kept, {}
        beats.update(kept)
        if not beats:
            return
        try:
            await self._write(list(beats.values()))
        except BaseException:
            self._kept = {**beats, **self._kept}
            raise
        await self._nerve.run(lambda client: client.delete(taken_key))

    async def _push(self, beats: Sequence[Beat]) -> list[None]:
        fields: dict[Any, Any] = {str(agent_id): f"{at.timestamp():.3f}:{running}" for agent_id, at, running in beats}

        async def call(client: redis.Redis) -> int:
            return int(await client.hset(KEY, mapping=fields))

        if await self._nerve.run(call) is None:
            self._kept.update((beat[0], beat) for beat in beats)
        return [None] * len(beats)

    async def _take(self, taken_key: str) -> list[Beat]:
        async def call(client: redis.Redis) -> dict[bytes, bytes]:
            if not await client.exists(KEY):
                return {}
            try:
                await client.rename(KEY, taken_key)
            except redis.ResponseError:  # another manager took it first
                return {}
            await client.expire(taken_key, ABANDONED_S)
            return cast("dict[bytes, bytes]", await client.hgetall(taken_key))

        return [_parse(name, value) for name, value in (await self._nerve.run(call) or {}).items()]

    async def _write(self, beats: Sequence[Beat]) -> None:
        ordered = sorted(beats, key=lambda beat: beat[0].int)
        async with self._db.hot() as connection:
            await connection.execute(
                _FLUSH,
                [beat[0] for beat in ordered],
                [beat[1] for beat in ordered],
                [beat[2] for beat in ordered],
            )


def _parse(name: bytes, value: bytes) -> Beat:
    at, _, running = value.decode().partition(":")
    return UUID(name.decode()), datetime.fromtimestamp(float(at), UTC), int(running)
