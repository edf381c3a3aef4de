"""Replicas as local processes.

A replica finds the service by its environment (AGENT_POOL, MANAGER_URL, YARD_API_KEY) and registers itself with the
label `replica`. It runs in a session of its own, so that Ctrl-C reaches only the service, which then drains it. It
gets none of the service's own environment but what a program needs to run.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil

PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "SSL_CERT_FILE", "OTEL_EXPORTER_OTLP_ENDPOINT")
LOG_BYTES = 10 * 1024 * 1024
SAME_START_S = 1.0
LABEL = "replica"
REPLICA_ENV = "YARD_REPLICA_ID"


class CannotLaunch(RuntimeError):
    """The command cannot be started."""


class ProcessBackend:
    """Starts, watches and ends processes of this host."""

    def __init__(self, data_dir: Path, manager_url: str, api_key: str) -> None:
        self._logs = data_dir / "logs" / "agents"
        self._manager_url, self._api_key = manager_url, api_key
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def launch(self, replica_id: UUID, pool: str, launch: dict[str, Any], slots: int) -> tuple[int, float]:
        """Start one replica: its pid and start time (seconds since the epoch); raises CannotLaunch."""
        command = [_program(launch["command"][0]), *launch["command"][1:]]
        with self._log_file(pool, replica_id).open("ab") as log_file:
            try:
                child = subprocess.Popen(  # noqa: S603 - the command is the pool's, set by pools:admin
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log_file,
                    stderr=subprocess.STDOUT,
                    env=self._environment(replica_id, pool, launch, slots),
                    start_new_session=True,
                )
            except (OSError, ValueError) as exc:
                raise CannotLaunch(f"{command[0]}: {exc}") from exc
        self._children[child.pid] = child
        try:
            return child.pid, psutil.Process(child.pid).create_time()
        except psutil.Error:
            return child.pid, 0.0

    def find(self, replica_id: UUID) -> tuple[int, float] | None:
        """A process that was launched for this replica but never written down."""
        for process in psutil.process_iter():
            try:
                if process.environ().get(REPLICA_ENV) == str(replica_id):
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
        self._signal(pid, started, signal.SIGTERM)

    def kill(self, pid: int, started: float) -> None:
        """End it and what it started (its whole session)."""
        self._signal(pid, started, signal.SIGKILL)

    def _signal(self, pid: int, started: float, number: signal.Signals) -> None:
        if _process(pid, started) is None:
            return
        try:
            if number == signal.SIGKILL:
                os.killpg(pid, number)
            else:
                os.kill(pid, number)
        except ProcessLookupError:
            pass

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

    def _log_file(self, pool: str, replica_id: UUID) -> Path:
        self._logs.mkdir(parents=True, exist_ok=True)
        path = self._logs / f"{pool}-{str(replica_id)[:8]}.log"
        if path.exists() and path.stat().st_size > LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
        return path


def _program(name: str) -> str:
    """`python` means the one we run on."""
    if name in ("python", "python3"):
        return sys.executable
    return shutil.which(name) or name


def _process(pid: int, started: float) -> psutil.Process | None:
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) < SAME_START_S
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None
