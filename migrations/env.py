"""Alembic's entry. The address comes from the caller (`yard db upgrade`) or YARD_DATABASE_URL."""

from __future__ import annotations

import asyncio

from alembic import context
from sqlalchemy import Connection, pool, text
from sqlalchemy.ext.asyncio import create_async_engine

from app.core.db import engine_url
from app.settings import DatabaseSettings
from app.tables import metadata

LOCK_TIMEOUT = "5s"


def _migrate(connection: Connection) -> None:
    # Wait for a lock only briefly: a migration that queues behind a long query would stop the whole service.
    connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
    # Two managers that start together migrate one after the other.
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('yardmaster-migrations'))"))
    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_type=True,
        compare_server_default=False,
    )
    with context.begin_transaction():
        context.run_migrations()


async def _run() -> None:
    url = context.config.attributes.get("database_url") or DatabaseSettings().url
    engine = create_async_engine(engine_url(url), poolclass=pool.NullPool)
    async with engine.begin() as connection:
        await connection.run_sync(_migrate)
    await engine.dispose()


if context.is_offline_mode():
    raise SystemExit("Offline migrations are not supported: they need a connection.")
asyncio.run(_run())
