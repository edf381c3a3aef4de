"""The embedded servers after kill -9, with stale files and recycled pids, and the watchdog."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import redis
from embedded_probes import Holder, execute, servers_below, value

from app.embedded import EmbeddedCheck, EmbeddedServers


@pytest.fixture
def stranger(root: Path) -> Iterator[Callable[[int], subprocess.Popen[bytes]]]:
    """Start a program that is none of our servers, as the given user."""
    started: list[subprocess.Popen[bytes]] = []

    def start(uid: int) -> subprocess.Popen[bytes]:
        user = uid if os.geteuid() == 0 else None
        started.append(subprocess.Popen(["sleep", "300"], user=user, cwd="/"))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def postmaster_of(root: Path) -> psutil.Process:
    servers = servers_below(root)
    pids = {process.pid for process in servers}
    return next(p for p in servers if p.name() == "postgres" and p.ppid() not in pids)


def redis_of(root: Path) -> psutil.Process:
    return next(process for process in servers_below(root) if process.name() == "redis-server")


def kill_all(processes: list[psutil.Process]) -> None:
    for process in processes:
        process.kill()
    psutil.wait_procs(processes, timeout=10)


def test_kill_9_of_the_holder(root: Path, hold: Callable[..., Holder]) -> None:
    holder = hold(root / "data")
    execute(holder.database_url, "CREATE TABLE kept (n int)", "INSERT INTO kept SELECT generate_series(1, 1000)")
    holder.kill()
    orphans = servers_below(root)
    assert {process.name() for process in orphans} == {"postgres", "redis-server"}
    with EmbeddedServers(root / "data") as servers:
        assert servers.urls.database_url == holder.database_url
        assert value(servers.urls.database_url, "SELECT count(*) FROM kept") == 1000
        assert not {process.pid for process in orphans} & {process.pid for process in servers_below(root)}


def test_kill_9_of_everything_leaves_only_stale_files(root: Path, hold: Callable[..., Holder]) -> None:
    holder = hold(root / "data")
    execute(holder.database_url, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (1)")
    holder.kill()
    kill_all(servers_below(root))
    assert (root / "data" / "postgres" / "postmaster.pid").exists()
    assert {path.name for path in (root / "data" / "run").iterdir()} >= {".s.PGSQL.5432.lock", "redis.sock"}
    with EmbeddedServers(root / "data") as servers:
        assert value(servers.urls.database_url, "SELECT n FROM kept") == 1
        assert redis.Redis.from_url(servers.urls.redis_url).ping()


def test_backends_of_a_killed_postmaster_do_not_block_the_start(root: Path, hold: Callable[..., Holder]) -> None:
    holder = hold(root / "data")
    execute(holder.database_url, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (1)")
    stuck = next(p for p in servers_below(root) if p.name() == "postgres" and p != postmaster_of(root))
    stuck.suspend()
    holder.kill()
    kill_all([postmaster_of(root)])
    with EmbeddedServers(root / "data") as servers:
        assert not stuck.is_running() or stuck.status() == psutil.STATUS_ZOMBIE
        assert value(servers.urls.database_url, "SELECT n FROM kept") == 1


def test_a_recycled_pid_is_left_alone(root: Path, stranger: Callable[[int], subprocess.Popen[bytes]]) -> None:
    with EmbeddedServers(root / "data"):
        pid_file = root / "data" / "postgres" / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
    sleeper = stranger((root / "data" / "postgres").stat().st_uid)
    pid_file.write_text("\n".join([str(sleeper.pid), *lines[1:]]) + "\n")
    (root / "data" / "run" / ".s.PGSQL.5432.lock").write_text(f"{sleeper.pid}\n")
    with EmbeddedServers(root / "data") as servers:
        assert value(servers.urls.database_url, "SELECT 1") == 1
    assert sleeper.poll() is None


def test_the_pid_of_another_directorys_postgres_is_left_alone(root: Path) -> None:
    with EmbeddedServers(root / "other") as other:
        with EmbeddedServers(root / "data"):
            pass
        stale = root / "data" / "postgres" / "postmaster.pid"
        stale.write_text((root / "other" / "postgres" / "postmaster.pid").read_text())
        with EmbeddedServers(root / "data") as servers:
            assert value(servers.urls.database_url, "SELECT 1") == 1
        assert value(other.urls.database_url, "SELECT 1") == 1
        assert other.check() == EmbeddedCheck()


def test_damaged_pid_files(servers: EmbeddedServers, root: Path) -> None:
    for content in ("", "garbage\n", "-1\n", "99999999999999999999\n", "\x00\x00\n", "²\n"):
        servers.stop()
        (root / "data" / "postgres" / "postmaster.pid").write_text(content)
        servers.start()
        assert value(servers.urls.database_url, "SELECT 1") == 1


def test_an_initdb_that_was_cut_short_is_begun_again(root: Path) -> None:
    half = root / "data" / "postgres.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    with EmbeddedServers(root / "data") as servers:
        assert value(servers.urls.database_url, "SELECT 1") == 1
    assert not half.exists()


def test_the_lock_names_the_present_holder_after_a_kill(root: Path, hold: Callable[..., Holder]) -> None:
    hold(root / "data").kill()
    with EmbeddedServers(root / "data"):
        assert (root / "data" / "lock").read_text() == f"{os.getpid()}\n"


def test_check_restarts_what_died(servers: EmbeddedServers, root: Path) -> None:
    execute(servers.urls.database_url, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (1)")
    assert servers.check() == EmbeddedCheck()
    kill_all([redis_of(root)])
    assert servers.check() == EmbeddedCheck(restarted=("redis",))
    kill_all([postmaster_of(root)])
    assert servers.check() == EmbeddedCheck(restarted=("postgres",))
    kill_all([postmaster_of(root), redis_of(root)])
    assert servers.check() == EmbeddedCheck(restarted=("postgres", "redis"))
    assert value(servers.urls.database_url, "SELECT n FROM kept") == 1
    assert redis.Redis.from_url(servers.urls.redis_url).ping()


def test_postgres_itself_mends_a_killed_backend(servers: EmbeddedServers, root: Path) -> None:
    backend = next(p for p in servers_below(root) if p.name() == "postgres" and p != postmaster_of(root))
    backend.send_signal(signal.SIGKILL)
    assert servers.check() == EmbeddedCheck()


def test_restarts_are_bounded(root: Path) -> None:
    now = 0.0
    bounded = EmbeddedServers(root / "data", restart_limit=2, restart_window_s=60, clock=lambda: now)
    with bounded as servers:
        for _ in range(2):
            kill_all([redis_of(root)])
            assert servers.check() == EmbeddedCheck(restarted=("redis",))
        kill_all([redis_of(root)])
        assert servers.check() == EmbeddedCheck(down=("redis",))
        now = 60.0
        assert servers.check() == EmbeddedCheck(restarted=("redis",))


def test_a_restart_that_fails_is_reported(servers: EmbeddedServers, root: Path) -> None:
    auto = root / "data" / "postgres" / "postgresql.auto.conf"
    auto.write_text("max_connections = nonsense\n")
    kill_all([postmaster_of(root)])
    assert servers.check() == EmbeddedCheck(down=("postgres",))
    auto.write_text("")
    assert servers.check() == EmbeddedCheck(restarted=("postgres",))


def test_nothing_is_restarted_in_a_directory_that_was_removed(servers: EmbeddedServers, root: Path) -> None:
    (root / "data").rename(root / "moved")
    kill_all([redis_of(root)])
    assert servers.check() == EmbeddedCheck(down=("redis",))
    assert not (root / "data").exists()
