"""Redis as the nerve: what it carries may be lost. No call here raises because Redis is away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import redis.asyncio as redis
import structlog
from prometheus_client import Gauge
from redis.exceptions import RedisError

from app.core.clock import Clock
from app.settings import RedisSettings

log = structlog.get_logger()

REDIS_UP = Gauge("yard_redis_up", "1 while Redis answers this manager.", multiprocess_mode="min")


class Nerve:
    """One Redis client with a memory of failure: after one, calls are skipped for a moment instead of waiting."""

    def __init__(self, settings: RedisSettings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._client = redis.Redis.from_url(
            settings.url,
            socket_timeout=settings.timeout_s,
            socket_connect_timeout=settings.timeout_s,
            health_check_interval=15,
            max_connections=32,
        )
        self._down_until = 0.0
        self._was_down = False

    @property
    def up(self) -> bool:
        """Whether the last call went well (True before the first)."""
        return not self._was_down

    async def run[T](self, call: Callable[[redis.Redis], Awaitable[T]]) -> T | None:
        """`call(client)`, or None when Redis is away."""
        if self._clock.monotonic() < self._down_until:
            return None
        try:
            answer = await call(self._client)
        except (RedisError, OSError, TimeoutError) as exc:
            self._failed(exc)
            await self._drop_idle()
            return None
        self._answered()
        return answer

    async def subscribe(self, *channels: str) -> AsyncIterator[tuple[str, bytes]]:
        """(channel, message) from pub/sub for ever; ("", b"") after each (re)connect: something may be missed."""
        while True:
            pubsub = self._client.pubsub()
            try:
                await pubsub.subscribe(*channels)
                self._answered()
                yield "", b""
                while True:
                    message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=5.0)
                    if message is not None:
                        yield message["channel"].decode(), message["data"]
            except (RedisError, OSError, TimeoutError) as exc:
                self._failed(exc)
                await self._drop_idle()
                await asyncio.sleep(self._settings.retry_after_s)
            finally:
                await _close_quietly(pubsub)

    async def close(self) -> None:
        await _close_quietly(self._client)

    def _failed(self, exc: Exception) -> None:
        self._down_until = self._clock.monotonic() + self._settings.retry_after_s
        REDIS_UP.set(0)
        if not self._was_down:
            self._was_down = True
            log.warning("redis_lost", error=repr(exc))

    async def _drop_idle(self) -> None:
        # The pool's other connections are most likely dead too: each would fail one later call.
        with contextlib.suppress(RedisError, OSError):
            await self._client.connection_pool.disconnect(inuse_connections=False)

    def _answered(self) -> None:
        REDIS_UP.set(1)
        if self._was_down:
            self._was_down = False
            log.info("redis_back")


async def _close_quietly(resource: redis.Redis | redis.client.PubSub) -> None:
    with contextlib.suppress(RedisError, OSError, RuntimeError):
        await resource.aclose()
