"""Replicas as local processes.

A replica finds the service by its environment (AGENT_POOL, MANAGER_URL, YARD_API_KEY) and registers itself with the
label `replica`. It runs in a session of its own, so that Ctrl-C reaches only the service, which then drains it, and
so that what it started can be found and ended when it is gone. It gets none of the service's own environment but what
a program needs to run. What it prints goes through a small process (`logcopy.py`) to a log that stays small.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil

from app.scaling.backends import logcopy

PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "SSL_CERT_FILE", "OTEL_EXPORTER_OTLP_ENDPOINT")
LOG_BYTES = 10 * 1024 * 1024
KEPT_LOGS = 20
SAME_START_S = 1.0
KILL_ROUNDS = 5
LABEL = "replica"
REPLICA_ENV = "YARD_REPLICA_ID"
_LOG_NAME = re.compile(r"-([0-9a-f]{8})\.log(?:\.1)?$")


class CannotLaunch(RuntimeError):
    """The command cannot be started."""


class Launcher:
    """Starts, watches and ends processes of this host."""

    def __init__(self, data_dir: Path, manager_url: str, api_key: str) -> None:
        self._logs = data_dir / "logs" / "agents"
        self._manager_url, self._api_key = manager_url, api_key
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._copiers: list[subprocess.Popen[bytes]] = []

    def launch(self, replica_id: UUID, pool: str, launch: dict[str, Any], slots: int) -> tuple[int, float]:
        """Start one replica: its pid and start time (seconds since the epoch); raises CannotLaunch."""
        command = [_program(launch["command"][0]), *launch["command"][1:]]
        output = self._log_pipe(pool, replica_id)
        try:
            child = subprocess.Popen(  # noqa: S603 - the command is the pool's, set by pools:admin
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment(replica_id, pool, launch, slots),
                start_new_session=True,
            )
        except (OSError, ValueError) as exc:
            raise CannotLaunch(f"{command[0]}: {exc}") from exc
        finally:
            os.close(output)
        self._children[child.pid] = child
        try:
            return child.pid, psutil.Process(child.pid).create_time()
        except psutil.Error:
            return child.pid, 0.0

    def find(self, replica_id: UUID) -> tuple[int, float] | None:
        """A process that was launched for this replica but never written down."""
        for process in psutil.process_iter():
            try:
                # What it started carries the same environment, but only the replica itself leads a session.
                leads = process.pid > 0 and os.getsid(process.pid) == process.pid
                if leads and process.environ().get(REPLICA_ENV) == str(replica_id):
                    return process.pid, process.create_time()
            except (psutil.Error, OSError):
                continue
        return None

    def alive(self, pid: int, started: float) -> bool:
        """Whether this very process runs; a later one with the same pid does not count."""
        child = self._children.get(pid)
        if child is not None and child.poll() is not None:
            return False
        return _process(pid, started) is not None

    def exit_text(self, pid: int) -> str:
        """How a child ended, as far as is known."""
        child = self._children.pop(pid, None)
        code = None if child is None else child.poll()
        if code is None:
            return "ended"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"

    def terminate(self, pid: int, started: float) -> None:
        """Ask it to end (SIGTERM)."""
        process = _process(pid, started)
        if process is not None:
            with contextlib.suppress(psutil.Error):
                process.terminate()

    def kill(self, pid: int, started: float) -> None:
        """End it and what it started (its whole session), also when it ended by itself and left that behind."""
        for _ in range(KILL_ROUNDS):  # what forks while it is being killed is met by the next round
            members = list(_session(pid, started))
            if not members:
                return
            for process in members:
                with contextlib.suppress(psutil.Error):
                    process.kill()

    def prune_logs(self, living: Collection[UUID]) -> None:
        """Remove the logs of replicas that are no more, but for those last written to."""
        names = {str(replica_id)[:8] for replica_id in living}
        ended: dict[str, list[Path]] = {}
        for path in self._logs.glob("*.log*"):
            match = _LOG_NAME.search(path.name)
            if match is not None and match[1] not in names:
                ended.setdefault(match[1], []).append(path)
        by_age = sorted(ended.values(), key=lambda paths: max(map(_written_at, paths)), reverse=True)
        for path in (path for paths in by_age[KEPT_LOGS:] for path in paths):
            path.unlink(missing_ok=True)

    def _environment(self, replica_id: UUID, pool: str, launch: dict[str, Any], slots: int) -> dict[str, str]:
        kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        return {
            **kept,
            "PYTHONUNBUFFERED": "1",
            "AGENT_SLOTS": str(slots),
            **launch.get("env", {}),
            "AGENT_POOL": pool,
            "MANAGER_URL": self._manager_url,
            "YARD_API_KEY": self._api_key,
            "AGENT_LABELS": json.dumps({LABEL: str(replica_id)}),
            REPLICA_ENV: str(replica_id),
            "YARD_SUPERVISOR_PID": os.environ.get("YARD_SUPERVISOR_PID", str(os.getpid())),
        }

    def _log_pipe(self, pool: str, replica_id: UUID) -> int:
        """The end of a pipe to write to; the process at its other end keeps the log, and lives as long as a writer."""
        path = self._logs / f"{pool}-{str(replica_id)[:8]}.log"
        self._copiers = [copier for copier in self._copiers if copier.poll() is None]
        reading, writing = os.pipe()
        try:
            self._logs.mkdir(parents=True, exist_ok=True)
            self._copiers.append(_copier(path.absolute(), reading))
        except OSError as exc:
            os.close(writing)
            raise CannotLaunch(f"its log cannot be kept: {exc}") from exc
        finally:
            os.close(reading)
        return writing


def _copier(path: Path, reading: int) -> subprocess.Popen[bytes]:
    """Copies `reading` to the log. It may outlive the service, and with it whoever reads the service's own output."""
    return subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-I", "-S", logcopy.__file__, str(path), str(LOG_BYTES)],
        stdin=reading,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={},
        cwd="/",
        start_new_session=True,
    )


def _program(name: str) -> str:
    """`python` means the one we run on."""
    if name in ("python", "python3"):
        return sys.executable
    return shutil.which(name) or name


def _written_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _session(pid: int, started: float) -> Iterator[psutil.Process]:
    """What lives in the session that this replica leads or led.

    A pid stays taken while its session has members. Hence, if a later process has the pid now, nothing of ours is
    left. If nobody has it, the session may be a stranger's of the same number (after a restart of the machine), so
    that only those count which carry the environment of a replica.
    """
    start = _started(pid)
    if pid <= 0 or (start is not None and abs(start - started) >= SAME_START_S):
        return
    for other in psutil.pids():
        try:
            if other <= 0 or os.getsid(other) != pid:
                continue
            process = psutil.Process(other)
            dead = process.status() == psutil.STATUS_ZOMBIE
            if dead or process.create_time() <= started - SAME_START_S:
                continue
            if start is not None or REPLICA_ENV in process.environ():
                yield process
        except (psutil.Error, OSError):
            continue


def _started(pid: int) -> float | None:
    """When the process (or what is left of it) started; None when there is none."""
    try:
        return psutil.Process(pid).create_time()
    except (psutil.Error, ValueError):
        return None


def _process(pid: int, started: float) -> psutil.Process | None:
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) < SAME_START_S
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None
