"""The embedded servers in peace: start, stop, restart, URLs, one holder, many directories."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import redis.asyncio
from embedded_probes import Holder, execute, servers_below, value
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from app.embedded import EmbeddedBusyError, EmbeddedCheck, EmbeddedServers, EmbeddedStartError


async def test_urls_suit_sqlalchemy_and_redis(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, misleading in {"PGPORT": "1", "PGHOST": "nowhere", "PGDATABASE": "x", "PGUSER": "x"}.items():
        monkeypatch.setenv(name, misleading)
    with EmbeddedServers(root / "with space & more" / "data dir") as servers:
        engine = create_async_engine(servers.urls.database_url.replace("postgresql:", "postgresql+asyncpg:"))
        async with engine.connect() as connection:
            assert (await connection.execute(text("SELECT current_database()"))).scalar() == "yardmaster"
        await engine.dispose()
        client = redis.asyncio.from_url(servers.urls.redis_url)
        assert await client.ping()
        assert (await client.config_get("maxmemory-policy"))["maxmemory-policy"] == "allkeys-lru"
        assert (await client.config_get("save"))["save"] == ""
        await client.aclose()


def test_a_restart_keeps_data_and_urls(root: Path) -> None:
    servers = EmbeddedServers(root / "data")
    first = servers.start()
    execute(first.database_url, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (7)")
    servers.stop()
    assert servers_below(root) == []
    with pytest.raises(RuntimeError, match="not started"):
        _ = servers.urls
    assert servers.start() == first
    assert value(first.database_url, "SELECT n FROM kept") == 7
    servers.stop()


def test_start_and_stop_may_be_repeated(servers: EmbeddedServers) -> None:
    assert servers.start() == servers.urls
    servers.stop()
    servers.stop()
    assert servers.check() == EmbeddedCheck()


@pytest.mark.parametrize(
    ("setting", "wanted"),
    [
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("jit", "off"),
        ("max_connections", "200"),
        ("shared_buffers", "128MB"),
        ("listen_addresses", ""),
        ("TimeZone", "UTC"),
        ("server_encoding", "UTF8"),
        ("data_checksums", "on"),
    ],
)
def test_settings(shared: EmbeddedServers, setting: str, wanted: str) -> None:
    assert value(shared.urls.database_url, f"SELECT current_setting('{setting}')") == wanted


def test_nobody_else_can_reach_the_sockets(servers: EmbeddedServers, root: Path) -> None:
    sockets = root / "data" / "run"
    assert sockets.stat().st_mode & 0o077 == 0
    assert {path.name for path in sockets.iterdir()} >= {".s.PGSQL.5432", "redis.sock"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in sockets.iterdir())


def test_signals_of_our_terminal_do_not_reach_the_servers(servers: EmbeddedServers, root: Path) -> None:
    running = servers_below(root)
    assert len(running) > 2
    assert os.getsid(0) not in {os.getsid(process.pid) for process in running}


def test_servers_do_not_see_our_secrets(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YARD_API_KEY", "secret")
    with EmbeddedServers(root / "data"):
        seen = [process.environ() for process in servers_below(root) if process.name() == "redis-server"]
    assert seen
    assert all("YARD_API_KEY" not in environment for environment in seen)


def test_a_second_start_is_refused(servers: EmbeddedServers, root: Path) -> None:
    with pytest.raises(EmbeddedBusyError, match=f"{root}/data is in use by process {os.getpid()}") as caught:
        EmbeddedServers(root / "data").start()
    assert (caught.value.data_dir, caught.value.pid) == (root / "data", os.getpid())
    assert value(servers.urls.database_url, "SELECT 1") == 1


def test_a_second_process_is_refused(root: Path, hold: Callable[..., Holder]) -> None:
    holder = hold(root / "data")
    with pytest.raises(EmbeddedBusyError) as caught:
        EmbeddedServers(root / "data").start()
    assert caught.value.pid == holder.process.pid
    assert value(holder.database_url, "SELECT 1") == 1


def test_of_many_starts_at_once_one_wins(root: Path) -> None:
    contenders = [EmbeddedServers(root / "data") for _ in range(4)]

    def attempt(servers: EmbeddedServers) -> bool:
        try:
            servers.start()
        except EmbeddedBusyError:
            return False
        return True

    with ThreadPoolExecutor(len(contenders)) as pool:
        won = list(pool.map(attempt, contenders))
    assert won.count(True) == 1
    for servers in contenders:
        servers.stop()


def test_different_directories_run_side_by_side(root: Path) -> None:
    many = [EmbeddedServers(root / str(number)) for number in range(3)]
    with ThreadPoolExecutor(len(many)) as pool:
        urls = list(pool.map(EmbeddedServers.start, many))
    assert len({found.database_url for found in urls}) == len(many)
    many[0].stop()
    assert all(value(found.database_url, "SELECT 1") == 1 for found in urls[1:])
    for servers in many:
        servers.stop()


@pytest.mark.parametrize("name", ["long-" + "x" * 120, "comma,quote'\"percent%", "übergröße"])
def test_a_path_unfit_for_sockets(root: Path, name: str) -> None:
    with EmbeddedServers(root / name) as servers:
        assert value(servers.urls.database_url, "SELECT 1") == 1
        sockets = Path(str(value(servers.urls.database_url, "SHOW unix_socket_directories")))
        assert not sockets.is_relative_to(root)
        assert sockets.stat().st_mode & 0o077 == 0
    assert not sockets.exists()


def test_stop_cuts_a_start_short(root: Path) -> None:
    servers = EmbeddedServers(root / "data")
    outcome: list[BaseException] = []

    def begin() -> None:
        try:
            servers.start()
        except EmbeddedStartError as error:
            outcome.append(error)

    thread = threading.Thread(target=begin)
    thread.start()
    while not servers_below(root) and not (root / "data" / "postgres.new").exists():
        thread.join(0.01)
    servers.stop()
    thread.join(30)
    assert len(outcome) == 1
    assert servers_below(root) == []
    with EmbeddedServers(root / "data") as again:
        assert value(again.urls.database_url, "SELECT 1") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user; others are one already")
def test_a_normal_user_needs_no_account(root: Path, hold: Callable[..., Holder]) -> None:
    uid = 65534
    os.chown(root, uid, uid)
    holder = hold(root / "data", uid=uid)
    assert {process.uids().real for process in servers_below(root)} == {uid}
    execute(holder.database_url, "CREATE TABLE kept ()")
    holder.kill()
    with EmbeddedServers(root / "data") as as_root:
        assert value(as_root.urls.database_url, "SELECT count(*) FROM kept") == 0
        assert {process.uids().real for process in servers_below(root)} == {uid}


def test_the_parent_of_the_servers_is_the_holder(servers: EmbeddedServers) -> None:
    names = {process.name() for process in psutil.Process().children()}
    assert names >= {"postgres", "redis-server"}
