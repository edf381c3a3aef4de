"""Real PostgreSQL and Redis for every test: one pair of servers a run, a database of its own a test."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx
import hypothesis
import pytest
import structlog
from fastapi import FastAPI

from app.cli.db import make_admin_key, migrate
from app.core.db import plain_url
from app.embedded import EmbeddedServers
from app.main import create_app
from app.settings import AuthSettings, DatabaseSettings, DispatchSettings, RedisSettings, ScalingSettings, Settings
from app.wiring import Yard
from tests.support.folders import server_folder
from tests.support.service import Backing, Fleet, fleet, new_pepper
from tests.support.stub_agent import StubAgent

# No deadlines: a machine that is busy with something else is not a fault of the code.
hypothesis.settings.register_profile("yard", deadline=None)
hypothesis.settings.load_profile("yard")

# As the service has it: pretty tracebacks with local variables take seconds each.
_PLAIN = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
structlog.configure(processors=[*structlog.get_config()["processors"][:-1], _PLAIN])

TEMPLATE = "yard_template"
PEPPER = new_pepper()
_numbers = itertools.count()


def with_database(url: str, name: str) -> str:
    """The same server, another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


async def _sql(url: str, statement: str) -> None:
    connection = await asyncpg.connect(plain_url(url))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def run_sql(url: str, statement: str) -> None:
    asyncio.run(_sql(url, statement))


@pytest.fixture(scope="session")
def servers() -> Iterator[tuple[str, str]]:
    """URLs of a real PostgreSQL (with a migrated template) and Redis, under a folder of this run."""
    with server_folder("yard-tests-") as folder, EmbeddedServers(folder / "data") as embedded:
        urls = embedded.urls
        run_sql(urls.database_url, f"CREATE DATABASE {TEMPLATE}")
        template = with_database(urls.database_url, TEMPLATE)
        migrate(template)
        settings = Settings(database=DatabaseSettings(url=template), auth=AuthSettings(pepper=PEPPER))
        _ADMIN.append(asyncio.run(make_admin_key(settings, "tests", "default")))
        yield urls.database_url, urls.redis_url


_ADMIN: list[str] = []


@pytest.fixture
def backing(servers: tuple[str, str]) -> Iterator[Backing]:
    """A database of this test's own and a Redis database, emptied."""
    number = next(_numbers)
    name, redis_number = f"test_{number}", number % 16
    run_sql(servers[0], f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY file_copy")
    redis_url = f"{servers[1]}?db={redis_number}" if servers[1].startswith("unix:") else f"{servers[1]}/{redis_number}"
    asyncio.run(_flush(redis_url))
    yield Backing(with_database(servers[0], name), redis_url, _ADMIN[0], PEPPER)
    run_sql(servers[0], f"DROP DATABASE {name} WITH (FORCE)")


async def _flush(url: str) -> None:
    import redis.asyncio as redis

    client = redis.Redis.from_url(url)
    await client.flushdb()
    await client.aclose()


@pytest.fixture
def managers(backing: Backing, tmp_path: Path) -> Iterator[Fleet]:
    """Starts real `yard serve` processes; see tests/support/service.py."""
    with fleet(backing, tmp_path) as running:
        yield running


def settings_for(backing: Backing, **sections: Any) -> Settings:
    """Settings of an in-process manager: quick loops, everything else as in production."""
    values: dict[str, Any] = {
        "database": DatabaseSettings(url=backing.database_url, hot_connections=4, cold_connections=4),
        # Patient: a machine that stalls for a second is not a Redis that is away. Tests of that say so themselves.
        "redis": RedisSettings(url=backing.redis_url, timeout_s=10.0),
        "auth": AuthSettings(pepper=backing.pepper),
        "dispatch": DispatchSettings(grace_s=1.0),
        # Judged when a test says so: `yard.fleets.autoscale.tick()`.
        "scaling": ScalingSettings(decide_interval_s=3600.0),
    }
    return Settings(**{**values, **sections})


@asynccontextmanager
async def running_app(settings: Settings, key: str) -> AsyncIterator[tuple[httpx.AsyncClient, Yard]]:
    """A manager inside this process, and a client that calls its ASGI application."""
    yard = Yard(settings)
    app: FastAPI = create_app(settings, yard)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://yard", headers=headers, timeout=30
        ) as client:
            yield client, yard


@pytest.fixture
async def app(backing: Backing) -> AsyncIterator[tuple[httpx.AsyncClient, Yard]]:
    """A running manager in this process with an admin's client."""
    async with running_app(settings_for(backing), backing.admin_key) as running:
        yield running


@pytest.fixture
async def client(app: tuple[httpx.AsyncClient, Yard]) -> httpx.AsyncClient:
    return app[0]


@pytest.fixture
async def agents() -> AsyncIterator[Any]:
    """`await agents()` starts a stub agent (see tests/support/stub_agent.py); all end with the test."""
    async with AsyncExitStack() as stack:

        async def start(**options: Any) -> StubAgent:
            agent = await StubAgent(**options).start()
            stack.push_async_callback(agent.stop)
            return agent

        yield start
