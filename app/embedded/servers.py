"""Both embedded servers behind one handle: start, watch, stop."""

import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import structlog

from app.embedded.account import server_account
from app.embedded.directory import DataDirectory
from app.embedded.errors import EmbeddedError, EmbeddedStartError
from app.embedded.lock import DirectoryLock
from app.embedded.logfile import ServerLog
from app.embedded.postgres_server import PostgresServer
from app.embedded.redis_server import RedisServer
from app.embedded.restarts import RestartBudget

POSTGRES_START_TIMEOUT_S = 120.0
REDIS_START_TIMEOUT_S = 15.0
RESTART_LIMIT = 5
RESTART_WINDOW_S = 300.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class EmbeddedUrls:
    """Where the servers listen: `postgresql://…?host=…` for asyncpg, `unix://…` for redis-py."""

    database_url: str
    redis_url: str


@dataclass(frozen=True)
class EmbeddedCheck:
    """What one `check` did: servers it restarted, and those that are down ("postgres", "redis")."""

    restarted: tuple[str, ...] = ()
    down: tuple[str, ...] = ()


class _Server(Protocol):
    """`stop` never raises for a server that does not run; `start` may raise EmbeddedError or OSError."""

    name: str
    log: ServerLog

    @property
    def url(self) -> str: ...
    @property
    def alive(self) -> bool: ...
    def start(self, cancelled: threading.Event) -> None: ...
    def stop(self) -> None: ...


class EmbeddedServers:
    """The servers of one data directory; as a context manager, running inside the block.

    Every call blocks and may be made from any thread. `stop` also cuts short a `start` or `check` under way.
    The URLs stay the same over restarts, also of the machine.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        postgres_start_timeout_s: float = POSTGRES_START_TIMEOUT_S,
        redis_start_timeout_s: float = REDIS_START_TIMEOUT_S,
        restart_limit: int = RESTART_LIMIT,
        restart_window_s: float = RESTART_WINDOW_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """A server that dies is restarted at most `restart_limit` times within `restart_window_s` seconds."""
        self._data_dir = data_dir
        self._timeouts_s = (postgres_start_timeout_s, redis_start_timeout_s)
        self._restarts = (restart_limit, restart_window_s)
        self._clock = clock
        self._mutex = threading.Lock()
        self._stopping = threading.Event()
        self._lock: DirectoryLock | None = None
        self._directory: DataDirectory | None = None
        self._servers: Sequence[_Server] = ()
        self._budgets: dict[str, RestartBudget] = {}
        self._urls: EmbeddedUrls | None = None

    @property
    def urls(self) -> EmbeddedUrls:
        """The URLs while started; RuntimeError otherwise."""
        if self._urls is None:
            raise RuntimeError("the embedded servers are not started")
        return self._urls

    def start(self) -> EmbeddedUrls:
        """Start both servers and return when they answer; when already started, just return the URLs.

        The first start makes the cluster. Raises EmbeddedBusyError if another process holds the directory,
        EmbeddedVersionError for another major version's cluster, EmbeddedStartError for everything else.
        After an error nothing of ours runs and the directory is free.
        """
        with self._mutex:
            if self._urls is None:
                self._stopping.clear()
                try:
                    self._urls = self._start()
                except OSError as error:
                    self._halt()
                    raise EmbeddedStartError(f"embedded servers in {self._data_dir}: {error}") from error
                except BaseException:
                    self._halt()
                    raise
            return self._urls

    def check(self) -> EmbeddedCheck:
        """Restart what has died, within the budget. Call it every few seconds; it raises nothing.

        Nothing is restarted in a directory that was removed under us: it may have another holder by now.
        Takes microseconds, or with a restart as long as the server does, crash recovery included.
        """
        with self._mutex:
            if self._urls is None or self._stopping.is_set():
                return EmbeddedCheck()
            dead = [server for server in self._servers if not server.alive]
            held = self._lock is not None and self._lock.held
            restarted = tuple(server.name for server in dead if held and self._restart(server))
            self._trim_logs()
            return EmbeddedCheck(restarted, tuple(server.name for server in dead if server.name not in restarted))

    def stop(self) -> None:
        """Stop both servers and free the directory. Safe when repeated, and after a failed start."""
        self._stopping.set()
        with self._mutex:
            self._halt()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> EmbeddedUrls:
        begun = time.monotonic()
        self._directory = directory = DataDirectory.at(self._data_dir)
        directory.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = DirectoryLock(directory.lock)
        lock.acquire()
        self._lock = lock
        account = server_account(directory.cluster)
        directory.prepare(account)
        postgres = PostgresServer(directory, account, self._timeouts_s[0])
        redis = RedisServer(directory, account, self._timeouts_s[1])
        self._servers = (postgres, redis)
        self._budgets = {server.name: RestartBudget(*self._restarts) for server in self._servers}
        for server in self._servers:
            server.start(self._stopping)
        seconds = round(time.monotonic() - begun, 3)
        _log.info("embedded.started", data_dir=str(directory.root), seconds=seconds)
        return EmbeddedUrls(postgres.url, redis.url)

    def _restart(self, server: _Server) -> bool:
        """One try for a dead server. A failed one is left stopped, for a later check within the budget."""
        if not self._budgets[server.name].take(self._clock()):
            return False
        _log.error("embedded.server_died", server=server.name, log_tail=server.log.tail())
        server.stop()
        try:
            server.start(self._stopping)
        except (EmbeddedError, OSError) as error:
            _log.error("embedded.restart_failed", server=server.name, error=str(error))
            server.stop()
            return False
        _log.info("embedded.server_restarted", server=server.name)
        return True

    def _trim_logs(self) -> None:
        for server in self._servers:
            try:
                server.log.trim()
            except OSError as error:
                _log.warning("embedded.log_not_trimmed", path=str(server.log.path), error=str(error))

    def _halt(self) -> None:
        """Redis first: it takes no time, and nobody loses anything by it."""
        for server in reversed(self._servers):
            server.stop()
        self._servers = ()
        self._urls = None
        if self._lock is not None:
            self._remove_outside_sockets()
            self._lock.release()
            self._lock = None

    def _remove_outside_sockets(self) -> None:
        """Leave no directory behind under the temp folder; only the holder of the lock may do that."""
        if self._directory is not None and self._directory.sockets.parent != self._directory.root:
            shutil.rmtree(self._directory.sockets, ignore_errors=True)
