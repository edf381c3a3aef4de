"""`yard db`: the schema, and the first key of a database of one's own."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import typer
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

import app
from app.auth.service import Authenticator, Keys, WeakPepper
from app.core.clock import Clock
from app.core.db import Database, describe_url, plain_url
from app.settings import DatabaseSettings, Settings

db_app = typer.Typer(help="The schema, and the first key of a database of your own.", no_args_is_help=True)

MIGRATIONS = Path(app.__file__).resolve().parent.parent / "migrations"


class SchemaBehind(RuntimeError):
    """The database's schema is not the one this release needs."""


def alembic_config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    config.attributes["database_url"] = url
    return config


def migrate(url: str) -> None:
    """Bring the schema to this release; does nothing when it is there. Not inside a running event loop."""
    command.upgrade(alembic_config(url), "head")


def head() -> str:
    """The revision this release needs."""
    return ScriptDirectory.from_config(alembic_config("")).get_current_head() or ""


async def check_schema(url: str) -> None:
    """Raises SchemaBehind when the database is not at this release's revision; what asyncpg raises when it is away."""
    connection = await asyncpg.connect(plain_url(url), timeout=5)
    try:
        if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
            raise SchemaBehind("The database is empty: run `yard db upgrade` first.")
        have = {row["version_num"] for row in await connection.fetch("SELECT version_num FROM alembic_version")}
    finally:
        await connection.close()
    known = {script.revision for script in ScriptDirectory.from_config(alembic_config("")).walk_revisions()}
    if have != {head()} and have <= known:  # a newer schema keeps working with older code (expand, move, contract)
        raise SchemaBehind(f"The schema is at {', '.join(have)}, this release needs {head()}: run `yard db upgrade`.")


async def make_admin_key(settings: Settings, name: str, tenant: str) -> str:
    """An admin key written straight to the database."""
    db = Database(settings.database)
    try:
        keys = Keys(db, Authenticator(db, settings.auth, Clock()))
        _, key = await keys.create(name, tenant, ["admin"])
        return key
    finally:
        await db.stop()


@db_app.command()
def upgrade() -> None:
    """Bring the schema of YARD_DATABASE_URL to this release."""
    url = DatabaseSettings().url
    try:
        migrate(url)
    except (OSError, asyncpg.PostgresError) as exc:
        typer.echo(f"error: cannot migrate {describe_url(url)}: {exc}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{describe_url(url)} is at {head()}.", err=True)


@db_app.command("admin-key")
def admin_key(
    name: str = typer.Option("admin", help="What the key is for."),
    tenant: str = typer.Option("default", help="The tenant it belongs to."),
) -> None:
    """Make an admin key in YARD_DATABASE_URL (needs YARD_AUTH_PEPPER). It is printed once."""
    try:
        typer.echo(asyncio.run(make_admin_key(Settings(), name, tenant)))
    except (OSError, asyncpg.PostgresError, WeakPepper) as exc:
        typer.echo(f"error: {exc}", err=True)
        raise typer.Exit(1) from None
