"""PostgreSQL: an asyncpg pool for the hot path, a SQLAlchemy engine for the rest, and the metadata of all tables."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

import asyncpg
import orjson
from sqlalchemy import MetaData
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.orm import DeclarativeBase

from app.core.errors import Unavailable
from app.settings import DatabaseSettings

type HotConnection = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]


class Base(DeclarativeBase):
    """The base of every table. Domains refer to each other's tables by string foreign keys only."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def engine_url(url: str) -> str:
    """The same database for SQLAlchemy's asyncpg dialect."""
    parts = urlsplit(url)
    if parts.scheme not in ("postgresql", "postgres", "postgresql+asyncpg"):
        raise ValueError(f"YARD_DATABASE_URL must start with postgresql://, not {parts.scheme!r}")
    return urlunsplit(("postgresql+asyncpg", parts.netloc, parts.path, parts.query, parts.fragment))


def plain_url(url: str) -> str:
    """The same database for asyncpg itself."""
    return url.replace("postgresql+asyncpg://", "postgresql://", 1)


def describe_url(url: str) -> str:
    """Where a database is, without its password."""
    parts = urlsplit(url)
    host = parse_qs(parts.query).get("host", [parts.hostname or "local socket"])[0]
    return f"{host}{parts.path}"


async def _keep_session(_: asyncpg.Connection[Any]) -> None:
    """Nothing here sets session state, so a released connection needs no RESET round trip."""


VITAL_CONNECTIONS = 2
CLOSE_S = 5.0

_BOUNDS = {
    # A manager that is frozen inside a transaction (SIGSTOP, a paused machine) must not hold its locks for long.
    "idle_in_transaction_session_timeout": "5s",
    "lock_timeout": "3s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}


class Database:
    """All ways into one PostgreSQL: asyncpg pools by purpose, and `begin()` for transactions of the other domains."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self.settings = settings
        self._pools: dict[str, asyncpg.Pool[asyncpg.Record]] = {}
        self.engine: AsyncEngine = create_async_engine(
            engine_url(settings.url),
            pool_size=settings.cold_connections,
            max_overflow=0,
            pool_timeout=settings.acquire_timeout_s,
            pool_pre_ping=False,
            json_deserializer=orjson.loads,  # a JSONB number of a hundred digits is a float, as it was when it came in
            connect_args={
                "statement_cache_size": settings.statement_cache,
                "command_timeout": settings.command_timeout_s,
                "timeout": settings.acquire_timeout_s,
                "server_settings": {"application_name": "yardmaster", **_BOUNDS, "timezone": "UTC"},
            },
        )

    async def start(self) -> None:
        """Open the pools; raises OSError or asyncpg errors when the database cannot be reached."""
        settings = self.settings
        for name, size in (
            ("hot", settings.hot_connections),
            ("read", settings.read_connections),
            ("vital", VITAL_CONNECTIONS),
        ):
            self._pools[name] = await self._open(name, size)

    async def _open(self, name: str, size: int) -> asyncpg.Pool[asyncpg.Record]:
        settings = self.settings
        return await asyncpg.create_pool(
            plain_url(settings.url),
            min_size=1,
            max_size=size,
            statement_cache_size=settings.statement_cache,
            command_timeout=settings.command_timeout_s,
            timeout=settings.acquire_timeout_s,
            reset=_keep_session,
            server_settings={"application_name": f"yardmaster-{name}", "jit": "off", **_BOUNDS, "timezone": "UTC"},
        )

    async def stop(self) -> None:
        """Close every connection."""
        pools, self._pools = self._pools, {}
        for pool in pools.values():
            try:
                async with asyncio.timeout(CLOSE_S):
                    await pool.close()
            except (OSError, TimeoutError, asyncpg.InterfaceError):
                pool.terminate()
        await self.engine.dispose()

    async def listener(self) -> asyncpg.Connection[asyncpg.Record]:
        """A connection of its own, for LISTEN."""
        return await asyncpg.connect(
            plain_url(self.settings.url),
            timeout=self.settings.acquire_timeout_s,
            server_settings={"application_name": "yardmaster-listen"},
        )

    def hot(self) -> AbstractAsyncContextManager[HotConnection]:
        """A connection for what moves tasks: submit, claim, settle. In autocommit, as the two below."""
        return self._acquire("hot")

    def read(self) -> AbstractAsyncContextManager[HotConnection]:
        """A connection for requests that only read: however many come, those that move tasks do not wait for them."""
        return self._acquire("read")

    def vital(self) -> AbstractAsyncContextManager[HotConnection]:
        """A connection for this manager's own sign of life, which waits for nobody."""
        return self._acquire("vital")

    @asynccontextmanager
    async def _acquire(self, name: str) -> AsyncIterator[HotConnection]:
        pool = self._pools.get(name)
        if pool is None:
            raise Unavailable("The service is starting or stopping.")
        async with pool.acquire(timeout=self.settings.acquire_timeout_s) as connection:
            yield connection

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A transaction; commits when the block ends, rolls back when it raises."""
        try:
            async with self.engine.begin() as connection:
                yield connection
        except DBAPIError as exc:
            # SQLAlchemy has no class for some faults of a server ("starting up"): asyncpg's own says what it is.
            cause = exc.orig.__cause__ if exc.orig is not None else None
            if type(exc) is DBAPIError and isinstance(cause, asyncpg.PostgresError):
                raise cause from exc
            raise
