"""What a measurement runs on: the real service with embedded servers, and bare executors, all on loopback."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

import httpx
import psutil

START_S = 60.0
STOP_S = 180.0
SERVERS = {"postgres": "postgres", "redis-server": "redis"}


def free_port() -> int:
    """A port nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def raise_file_limit() -> None:
    """Let this process and those it starts open as many files as the system allows it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@dataclass
class Rig:
    """A running service with its data in `data`."""

    url: str
    key: str
    service: subprocess.Popen[bytes]
    data: Path

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def database_url(self) -> str:
        """The embedded PostgreSQL."""
        return f"postgresql://postgres@/yardmaster?host={quote(str(self.data / 'run'))}&port=5432"

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=60)

    def cpu_by_kind(self) -> Counter[str]:
        """Seconds of processor time used so far by manager (all of them and their supervisor), postgres and redis.

        A process that has ended counts with the one that started it, so that nothing is lost between two readings.
        """
        found: Counter[str] = Counter()
        for process in self._processes():
            with contextlib.suppress(psutil.Error):
                kind, times = _kind(process), process.cpu_times()
                found[kind] += times.user + times.system + times.children_user + times.children_system  # type: ignore[assignment]
        return found

    def cpu_s(self) -> float:
        """The same of all processes together."""
        return float(sum(self.cpu_by_kind().values()))

    def manager_pids(self) -> list[int]:
        """The managers' processes, the one of a supervisor left out."""
        managers = [process for process in self._processes() if _kind(process) == "manager"]
        workers = [process for process in managers if "app.cli.worker" in process.cmdline()]
        return [process.pid for process in workers or managers[:1]]

    def memory_mb(self) -> dict[str, float]:
        """Of the managers together: `rss`, and `uss`, which is what would come back if they ended (10^6 bytes)."""
        found = [psutil.Process(pid).memory_full_info() for pid in self.manager_pids()]
        return {"rss": sum(info.rss for info in found) / 1e6, "uss": sum(info.uss for info in found) / 1e6}

    def define(self, name: str, *, slots: int, balancer: str = "ai_optimized") -> None:
        """A pool whose contract takes any object."""
        body = {"slots": slots, "balancer": balancer, "input_schema": {"type": "object"}}
        with self.client() as client:
            client.put(f"/v1/pools/{name}", json=body).raise_for_status()

    def employ(self, pool: str, executor_url: str) -> str:
        """An agent of the pool at `executor_url`, ready to work; its id."""
        with self.client() as client:
            agent = client.post("/v1/agents", json={"pool": pool, "url": executor_url}).raise_for_status().json()
            client.post(f"/v1/agents/{agent['id']}/heartbeat", json={"status": "idle"}).raise_for_status()
        return str(agent["id"])

    def dismiss(self, agent_id: str) -> None:
        with self.client() as client:
            client.delete(f"/v1/agents/{agent_id}").raise_for_status()

    def _processes(self) -> list[psutil.Process]:
        service = psutil.Process(self.service.pid)
        return [service, *service.children(recursive=True)]


def _kind(process: psutil.Process) -> str:
    return SERVERS.get(process.name(), "manager")


@contextlib.contextmanager
def service(
    *arguments: str, data: Path | None = None, environment: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Rig]:
    """`yard serve --embedded`, ended with everything it started. Without `data` in a folder that is removed then."""
    with tempfile.TemporaryDirectory(prefix="yard-bench-", ignore_cleanup_errors=True) as name:
        data, log, port = data or Path(name) / "data", Path(name) / "log", free_port()
        process = _start(port, data, log, arguments, environment)
        try:
            url = f"http://127.0.0.1:{port}"
            wait_up(url + "/readyz", process, log)
            yield Rig(url, (data / "admin.key").read_text().strip(), process, data)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(STOP_S)


def _start(
    port: int, data: Path, log: Path, arguments: Sequence[str], environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("YARD_", "AGENT_"))}
    command = [sys.executable, "-m", "app.cli", "serve", "--embedded", "--port", str(port), "--data", str(data)]
    with log.open("wb") as output:
        return subprocess.Popen(
            [*command, *arguments],
            env={**kept, "YARD_TASKS_MAX_QUEUED": "100000000", **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        )


@contextlib.contextmanager
def server(module: str) -> Iterator[str]:
    """`python -m module PORT` in a process of its own; its URL. It must answer `GET /health`."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", module, str(port)])
    try:
        url = f"http://127.0.0.1:{port}"
        wait_up(url + "/health", process, None)
        yield url
    finally:
        process.terminate()
        process.wait(10)


def wait_up(url: str, process: subprocess.Popen[bytes], log: Path | None) -> None:
    """Return when `url` answers 200; raises SystemExit, with the log, when the process ended or takes too long."""
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url).status_code == 200:
                return
        time.sleep(0.05)
    raise SystemExit(f"{url} did not come up\n{log.read_text() if log else ''}")


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` (0..1) of the values lie, nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]
