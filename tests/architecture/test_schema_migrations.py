"""Migrations: up, down and up again on a fresh database, the same as the models, never waiting long for a lock."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import asyncpg
import pytest
from alembic import command

from app.cli.db import MIGRATIONS, alembic_config
from app.core.db import plain_url
from app.tables import metadata
from tests.conftest import run_sql, with_database

VERSIONS = sorted((MIGRATIONS / "versions").glob("*.py"))


@pytest.fixture
def empty(servers: tuple[str, str]) -> Iterator[str]:
    """The URL of an empty database."""
    run_sql(servers[0], "CREATE DATABASE migrations")
    yield with_database(servers[0], "migrations")
    run_sql(servers[0], "DROP DATABASE migrations WITH (FORCE)")


def names(url: str) -> set[str]:
    """Tables, indexes, constraints, types and functions of ours, and settings of the tables."""

    async def read() -> set[str]:
        connection = await asyncpg.connect(plain_url(url))
        try:
            found = await connection.fetch(
                """SELECT relkind::text || relname || COALESCE(array_to_string(reloptions, ','), '') FROM pg_class
                WHERE relnamespace = 'public'::regnamespace
                UNION SELECT conname || pg_get_constraintdef(oid) FROM pg_constraint
                WHERE connamespace = 'public'::regnamespace
                UNION SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
                UNION SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"""
            )
        finally:
            await connection.close()
        return {row[0] for row in found if "alembic_version" not in row[0]}

    return asyncio.run(read())


def test_up_down_up_and_the_same_as_the_models(empty: str) -> None:
    config = alembic_config(empty)
    with redirect_stdout(StringIO()):
        command.upgrade(config, "head")
        first = names(empty)
        command.check(config)
        command.downgrade(config, "base")
        assert names(empty) == set()
        command.upgrade(config, "head")
        command.upgrade(config, "head")
    assert names(empty) == first and len(first) > 30


def test_budgets_of_actions_go_with_their_accounts(empty: str) -> None:
    def budgets() -> list[str]:
        async def read() -> list[str]:
            connection = await asyncpg.connect(plain_url(empty))
            try:
                return [row["name"] for row in await connection.fetch("SELECT name FROM budgets ORDER BY name")]
            finally:
                await connection.close()

        return asyncio.run(read())

    config, action = alembic_config(empty), "00000000-0000-7000-8000-000000000001"
    with redirect_stdout(StringIO()):
        command.upgrade(config, "head")
        run_sql(
            empty,
            f"""INSERT INTO alert_actions (id, rule, fingerprint, fired_at, action, labels, params, status, expires_at)
            VALUES ('{action}', 'r', 'f', now(), 'rate_limiting', '{{}}', '{{}}', 'running', now())""",
        )
        for name in (f"alert-{action}", "alert-of-mine"):
            run_sql(
                empty,
                f"""INSERT INTO budgets
                  (name, id, window_kind, unit, "limit", thresholds, created_by, created_by_tenant)
                VALUES ('{name}', gen_random_uuid(), 'day', 'usd', 1, '[]', 'k', 'default')""",
            )
        command.downgrade(config, "0011")
    assert budgets() == ["alert-of-mine"]


def test_storage_settings_are_those_of_the_models(empty: str) -> None:
    """Alembic does not compare them."""
    with redirect_stdout(StringIO()):
        command.upgrade(alembic_config(empty), "head")

    async def read() -> dict[str, set[str]]:
        connection = await asyncpg.connect(plain_url(empty))
        try:
            found = await connection.fetch("SELECT relname, reloptions FROM pg_class WHERE reloptions IS NOT NULL")
        finally:
            await connection.close()
        return {row["relname"]: set(row["reloptions"]) for row in found}

    wanted: dict[str, set[str]] = {}
    for item in [*metadata.sorted_tables, *(index for table in metadata.sorted_tables for index in table.indexes)]:
        if settings := item.dialect_options["postgresql"]["with"]:
            wanted[str(item.name)] = {f"{name}={value}" for name, value in settings.items()}
    stored = asyncio.run(read())
    assert {name: stored.get(name) for name in wanted} == wanted
    assert {name for name in stored if not name.startswith("pg_")} == set(wanted)


@pytest.mark.parametrize("path", VERSIONS, ids=lambda path: path.stem)
@pytest.mark.parametrize("direction", ["upgrade", "downgrade"])
def test_the_first_statement_bounds_the_wait_for_locks(path: Path, direction: str) -> None:
    tree = ast.parse(path.read_text())
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == direction)
    first = ast.unparse(function.body[0])
    assert first.startswith("op.execute(") and "SET LOCAL lock_timeout = " in first
