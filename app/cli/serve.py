"""`yard serve`: everything in one command, or one manager beside a PostgreSQL and Redis of one's own."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

import asyncpg
import structlog
import typer
from rich.console import Console

from app.auth.service import WeakPepper
from app.cli.db import SchemaBehind, check_schema, make_admin_key, migrate
from app.cli.workers import run_one, supervise
from app.core.db import describe_url
from app.core.telemetry import set_up_logs
from app.embedded import EmbeddedError, EmbeddedServers
from app.settings import Settings

log = structlog.get_logger()
console = Console(stderr=True, highlight=False)


def serve(
    embedded: bool = typer.Option(False, "--embedded", help="Start a PostgreSQL and a Redis too, under --data."),
    host: str = typer.Option("127.0.0.1", help="Address to listen on."),
    port: int = typer.Option(8080, min=0, max=65535, help="Port to listen on; 0 takes a free one."),
    data: Path = typer.Option(
        Path(".yardmaster"), envvar="YARD_DATA_DIR", help="Folder of the embedded servers, keys and logs."
    ),
    workers: int = typer.Option(1, min=1, max=64, help="Managers on this machine, sharing the port."),
    examples: bool = typer.Option(False, "--examples", help="Define the three example pools and run their agents."),
) -> None:
    """Start the service."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupted)
    data = data.absolute()
    os.environ["YARD_DATA_DIR"] = str(data)
    os.environ["YARD_SUPERVISOR_PID"] = str(os.getpid())
    set_up_logs(Settings().telemetry)
    listening = _listen(host, port)
    url = _base_url(listening)
    os.environ.setdefault("YARD_SCALING_MANAGER_URL", url)
    servers = _start_embedded(data) if embedded else None
    try:
        settings = _prepare(data, embedded=embedded, examples=examples)
        if embedded:
            (data / "url").write_text(url + "\n")
        _welcome(url, data, embedded, examples)
        code = (
            run_one(settings, listening, servers) if workers == 1 else supervise(settings, listening, workers, servers)
        )
    finally:
        if servers is not None:
            servers.stop()
    raise typer.Exit(code)


def _interrupted(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _fail(message: str) -> NoReturn:
    console.print(f"[bold red]error:[/] {message}", soft_wrap=True)
    raise typer.Exit(1)


def _listen(host: str, port: int) -> socket.socket:
    """Taken before anything is started, so that a port in use costs no start and stop of a database."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as exc:
        _fail(f"cannot listen on {host}:{port}: {exc.strerror}. Is the service running already? Try --port.")
    return listening


def _base_url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - an address to call, not to bind
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _start_embedded(data: Path) -> EmbeddedServers:
    servers = EmbeddedServers(data)
    try:
        urls = servers.start()
    except EmbeddedError as exc:
        _fail(str(exc))
    os.environ["YARD_DATABASE_URL"] = urls.database_url
    os.environ["YARD_REDIS_URL"] = urls.redis_url
    os.environ.setdefault("YARD_AUTH_PEPPER", _kept_secret(data / "pepper"))
    os.environ.setdefault("YARD_SCALING_ALLOW_PROCESS", "true")
    return servers


def _kept_secret(path: Path) -> str:
    if not path.exists():
        _write_secret(path, secrets.token_hex(32))
    return path.read_text().strip()


def _write_secret(path: Path, text: str) -> None:
    """Whole or not at all, and readable by its owner only."""
    partial = path.with_name(path.name + ".new")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text + "\n")
    partial.replace(path)


def _prepare(data: Path, *, embedded: bool, examples: bool) -> Settings:
    settings = Settings()
    try:
        if embedded:
            migrate(settings.database.url)
        asyncio.run(check_schema(settings.database.url))
        if embedded and not (data / "admin.key").exists():
            _write_secret(data / "admin.key", asyncio.run(make_admin_key(settings, "admin", "default")))
        if examples:
            asyncio.run(_define_examples(settings))
    except (SchemaBehind, WeakPepper) as exc:
        _fail(str(exc))
    except (OSError, asyncpg.PostgresError) as exc:
        _fail(f"PostgreSQL at {describe_url(settings.database.url)} cannot be used: {exc}")
    return settings


async def _define_examples(settings: Settings) -> None:
    """The example pools, where they are not defined yet."""
    from app.registry import queries
    from app.registry.wire import PoolIn
    from app.wiring import Yard

    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        from examples.pools import EXAMPLE_POOLS
    except ModuleNotFoundError:
        _fail("--examples needs the repository's `examples` folder in the current directory.")
    yard = Yard(settings)
    try:
        have = {pool.name for pool in await queries.pools(yard.db)}
        for name, body in EXAMPLE_POOLS.items():
            if name not in have:
                await yard.registry.put_pool(name, PoolIn.model_validate(body).model_dump())
    finally:
        await yard.db.stop()
        await yard.nerve.close()


def _welcome(url: str, data: Path, embedded: bool, examples: bool) -> None:
    console.print(f"[bold]Yardmaster[/] on {url}  (console: {url}/docs)", soft_wrap=True)
    if embedded:
        console.print(f"data in {data}, admin key in {data / 'admin.key'}", soft_wrap=True)
    if examples:
        console.print("try: yard submit log_analyzer @/var/log/dpkg.log --wait", soft_wrap=True)
