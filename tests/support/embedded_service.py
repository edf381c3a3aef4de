"""`yard serve --embedded --examples` on a data folder and a port that stay the same over restarts."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.support.folders import server_folder
from tests.support.service import Backing, Manager, free_port

BROUGHT_ALONG = ("YARD_DATABASE_URL", "YARD_REDIS_URL", "YARD_AUTH_PEPPER")
ROOT = Path(__file__).parents[2]


@dataclass
class EmbeddedService:
    """Everything it keeps is below `folder`. `start` it again and again, one at a time."""

    folder: Path
    port: int = field(default_factory=free_port)
    started: list[Manager] = field(default_factory=list)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Manager:
        """A service that is ready; its key is read as any program of this machine's user reads it."""
        environment = Backing("", "", "", "").environment()
        command = ["-m", "app.cli", "serve", "--embedded", "--examples", "--data", str(self.data)]
        log = self.folder / f"service-{len(self.started)}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, *command, "--port", str(self.port)],
                cwd=ROOT,
                env={name: value for name, value in environment.items() if name not in BROUGHT_ALONG},
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        service = Manager(process, self.url, log, Backing("", "", "", ""))
        self.started.append(service)
        service.wait_ready()
        service.backing.admin_key = (self.data / "admin.key").read_text().strip()
        return service

    def processes(self) -> list[psutil.Process]:
        """What runs of it besides the service itself: its servers and its agents."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def close(self) -> None:
        for service in self.started:
            if service.process.poll() is None:
                service.kill()
        for process in self.processes():
            process.kill()

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            server = Path(process.cwd()).is_relative_to(self.folder)
            return server or process.environ().get("MANAGER_URL") == self.url
        except (psutil.Error, OSError):
            return False


@contextlib.contextmanager
def embedded_service() -> Iterator[EmbeddedService]:
    """Not started yet; ended with all it started."""
    with server_folder("yard-embedded-") as folder:
        service = EmbeddedService(folder)
        try:
            yield service
        finally:
            service.close()
