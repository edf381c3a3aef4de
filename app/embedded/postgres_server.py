"""The PostgreSQL server of a data directory, from leftovers of the last one to a database that answers."""

import signal
import subprocess
import threading
import time
from urllib.parse import quote

import psutil
import structlog

from app.embedded.account import Account
from app.embedded.cluster import SUPERUSER, ensure_cluster, postgres_bin
from app.embedded.directory import POSTGRES_SOCKET, DataDirectory
from app.embedded.errors import EmbeddedStartError
from app.embedded.logfile import ServerLog
from app.embedded.processes import AT_ONCE, Ladder, end, has_ended, leftovers, server_environment, spawn

DATABASE = "yardmaster"

FAST_SHUTDOWN: Ladder = ((signal.SIGINT, 60.0), *AT_ONCE)
"""SIGINT ends the sessions and writes a checkpoint; SIGQUIT leaves the work to the next start's recovery."""

_CREATE_DATABASE = f"""\
SELECT 'CREATE DATABASE {DATABASE}' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{DATABASE}')
\\gexec
"""  # noqa: S608 - a constant

_log = structlog.get_logger(__name__)


class PostgresServer:
    """One postmaster. Calls come from one thread at a time, by a holder of the directory's lock."""

    name = "postgres"

    def __init__(self, directory: DataDirectory, account: Account | None, start_timeout_s: float) -> None:
        """`start_timeout_s` bounds the wait for readiness, crash recovery included."""
        self._directory = directory
        self._account = account
        self._start_timeout_s = start_timeout_s
        self._process: psutil.Popen | None = None
        self.log = ServerLog(directory.logs / "postgres.log")

    @property
    def url(self) -> str:
        """A DSN for asyncpg and, with another scheme, SQLAlchemy. The port is named against PGPORT."""
        return f"postgresql://{SUPERUSER}@/{DATABASE}?host={quote(str(self._directory.sockets))}&port=5432"

    @property
    def alive(self) -> bool:
        return self._process is not None and not has_ended(self._process)

    def start(self, cancelled: threading.Event) -> None:
        """Return when the database answers. Raises EmbeddedStartError or OSError; then `stop` cleans up."""
        self._end_leftovers()
        ensure_cluster(self._directory, self._account, self.log, cancelled)
        self._remove_stale_files()
        command = [str(postgres_bin() / "postgres"), "-D", str(self._directory.cluster)]
        with self.log.open() as output:
            self._process = spawn(command, cwd=self._directory.cluster, log=output, account=self._account)
        self._await_ready(self._process, cancelled)
        self._ensure_database()

    def stop(self) -> None:
        """Fast shutdown within a bounded time; nothing happens if it does not run."""
        process, self._process = self._process, None
        if process is not None and not end(process, FAST_SHUTDOWN):
            _log.error("embedded.postgres_outlived_kill", pid=process.pid)

    def _end_leftovers(self) -> None:
        """End servers and initdb runs of an earlier holder, and the backends of a killed postmaster."""
        postmaster = self._recorded_pid()
        for process in self._leftovers():
            if process.pid == postmaster:
                _log.info("embedded.leftover_stopped", server=self.name, pid=process.pid)
                end(process, FAST_SHUTDOWN)
        for process in self._leftovers():
            end(process, AT_ONCE)
        if remaining := self._leftovers():
            pids = ", ".join(str(process.pid) for process in remaining)
            raise EmbeddedStartError(f"an earlier PostgreSQL in {self._directory.root} cannot be ended: {pids}")

    def _leftovers(self) -> list[psutil.Process]:
        found = leftovers({"postgres"}, self._directory.cluster)
        return found + leftovers({"postgres", "initdb"}, self._directory.new_cluster)

    def _remove_stale_files(self) -> None:
        """No server runs here, so these are stale. PostgreSQL itself would refuse to start if the recorded
        pid now belonged to any program of the same user, which is likely after a reboot or in a container."""
        (self._directory.cluster / "postmaster.pid").unlink(missing_ok=True)
        socket = self._directory.sockets / POSTGRES_SOCKET
        socket.unlink(missing_ok=True)
        socket.with_name(f"{POSTGRES_SOCKET}.lock").unlink(missing_ok=True)

    def _await_ready(self, process: psutil.Popen, cancelled: threading.Event) -> None:
        deadline = time.monotonic() + self._start_timeout_s
        while not self._is_ready(process.pid):
            if has_ended(process):
                raise EmbeddedStartError(f"PostgreSQL ended while starting (exit {process.poll()})", self.log.tail())
            if time.monotonic() >= deadline:
                raise EmbeddedStartError(
                    f"PostgreSQL was not ready within {self._start_timeout_s:g} s; if its log shows recovery "
                    "in progress, start again: it goes on from the last checkpoint",
                    self.log.tail(),
                )
            if cancelled.wait(0.02):
                raise EmbeddedStartError("stopped while PostgreSQL was starting")

    def _is_ready(self, pid: int) -> bool:
        """The postmaster keeps its state on the last line of its pid file: starting, ready, stopping."""
        lines = self._pid_file_lines()
        return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"

    def _recorded_pid(self) -> int | None:
        lines = self._pid_file_lines()
        return int(lines[0]) if lines and lines[0].strip().isdecimal() else None

    def _pid_file_lines(self) -> list[str]:
        try:
            return (self._directory.cluster / "postmaster.pid").read_text(errors="replace").splitlines()
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _ensure_database(self) -> None:
        command = [
            str(postgres_bin() / "psql"), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--port=5432",
            f"--host={self._directory.sockets}", f"--username={SUPERUSER}", "--dbname=postgres",
        ]  # fmt: skip
        environment = server_environment() | {"PGCONNECT_TIMEOUT": "10"}
        try:
            subprocess.run(  # noqa: S603 - our own binary and words
                command,
                input=_CREATE_DATABASE,
                check=True,
                capture_output=True,
                text=True,
                timeout=60,
                env=environment,
            )
        except subprocess.CalledProcessError as error:
            raise EmbeddedStartError(f"database {DATABASE}: {error.stderr.strip()}", self.log.tail()) from error
        except subprocess.TimeoutExpired as error:
            raise EmbeddedStartError(f"database {DATABASE}: no answer in 60 s", self.log.tail()) from error
