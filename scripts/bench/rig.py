"""What a measurement runs on: the real service with embedded servers, and bare executors, all on loopback."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

START_S = 60.0


def free_port() -> int:
    """A port nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Rig:
    """A running service. `cpu_s` sums user and system time of every process of it, children included."""

    url: str
    key: str
    service: subprocess.Popen[bytes]
    folder: Path

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=60)

    def cpu_s(self) -> float:
        """Seconds of processor time that the service and its servers have used so far."""
        total = 0.0
        for process in [psutil.Process(self.service.pid), *psutil.Process(self.service.pid).children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def pool(self, name: str, executor_url: str, *, slots: int, balancer: str = "ai_optimized") -> None:
        """A pool with one agent at `executor_url`, ready to work."""
        with self.client() as client:
            body = {"slots": slots, "balancer": balancer, "input_schema": {"type": "object"}}
            client.put(f"/v1/pools/{name}", json=body).raise_for_status()
            agent = client.post("/v1/agents", json={"pool": name, "url": executor_url}).raise_for_status().json()
            client.post(f"/v1/agents/{agent['id']}/heartbeat", json={"status": "idle"}).raise_for_status()


@contextlib.contextmanager
def service(*arguments: str, **environment: str) -> Iterator[Rig]:
    """`yard serve --embedded` in a folder of its own, ended with everything it started."""
    with tempfile.TemporaryDirectory(prefix="yard-bench-", ignore_cleanup_errors=True) as name:
        folder, port = Path(name), free_port()
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("YARD_", "AGENT_"))}
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "app.cli", *_serve(port, f"{name}/data"), *arguments],
                env={**kept, "YARD_TASKS_MAX_QUEUED": "100000000", **environment},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            url = f"http://127.0.0.1:{port}"
            wait_up(url + "/readyz", process, folder / "log")
            yield Rig(url, (folder / "data" / "admin.key").read_text().strip(), process, folder)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


@contextlib.contextmanager
def executor() -> Iterator[str]:
    """A bare executor process; its URL."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "scripts.bench.executor", str(port)])
    try:
        url = f"http://127.0.0.1:{port}"
        wait_up(url + "/health", process, None)
        yield url
    finally:
        process.terminate()
        process.wait(10)


def _serve(port: int, data: str) -> list[str]:
    return ["serve", "--embedded", "--port", str(port), "--data", data]


def wait_up(url: str, process: subprocess.Popen[bytes], log: Path | None) -> None:
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
