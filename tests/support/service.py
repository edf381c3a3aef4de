"""The real service as processes, on free ports, ended by pid."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx

START_S = 120.0


def free_port() -> int:
    """A port nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Backing:
    """A database and a Redis of a test's own, and the keys to them."""

    database_url: str
    redis_url: str
    admin_key: str
    pepper: str

    def environment(self, **more: str) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(("YARD_", "AGENT_"))},
            "YARD_DATABASE_URL": self.database_url,
            "YARD_REDIS_URL": self.redis_url,
            "YARD_AUTH_PEPPER": self.pepper,
            "YARD_DISPATCH_GRACE_S": "5",
            **more,
        }


@dataclass
class Manager:
    """One `yard serve` process."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path
    backing: Backing

    def client(self, **options: object) -> httpx.Client:
        return httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {self.backing.admin_key}"}, timeout=60.0, **options
        )  # type: ignore[arg-type]

    def wait_ready(self) -> None:
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise AssertionError(f"the service ended with {self.process.returncode}:\n{self.log.read_text()}")
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(self.url + "/readyz").status_code == 200:
                    return
            time.sleep(0.05)
        raise AssertionError(f"the service did not become ready:\n{self.log.read_text()}")

    def kill(self) -> None:
        """kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, timeout_s: float = 40.0) -> int:
        """SIGTERM, then wait; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)


@dataclass
class Fleet:
    """Starts managers and makes sure that none outlives the test."""

    backing: Backing
    folder: Path
    managers: list[Manager] = field(default_factory=list)

    def manager(self, *arguments: str, **environment: str) -> Manager:
        """A manager on a free port, ready. `arguments` go to `yard serve`."""
        port, log = free_port(), self.folder / f"manager-{len(self.managers)}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "app.cli", *_serve(port, self.folder / "data"), *arguments],
                env=self.backing.environment(**environment),
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        manager = Manager(process, f"http://127.0.0.1:{port}", log, self.backing)
        self.managers.append(manager)
        manager.wait_ready()
        return manager

    def close(self) -> None:
        for manager in self.managers:
            if manager.process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    manager.stop(20)
            if manager.process.poll() is None:
                manager.kill()


def _serve(port: int, data: Path) -> list[str]:
    return ["serve", "--port", str(port), "--data", str(data)]


@contextlib.contextmanager
def fleet(backing: Backing, folder: Path) -> Iterator[Fleet]:
    running = Fleet(backing, folder)
    try:
        yield running
    finally:
        running.close()


def new_pepper() -> str:
    return secrets.token_hex(32)
