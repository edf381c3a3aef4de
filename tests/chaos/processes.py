"""The managers and agents of a crash run: killed with -9 and started again, so that always as many are wanted."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.support.service import Backing, free_port

AGENT = Path(__file__).with_name("agent_program.py")
QUICK = {
    "YARD_DISPATCH_LEASE_S": "2",
    "YARD_DISPATCH_HEARTBEAT_INTERVAL_S": "0.4",
    "YARD_DISPATCH_REJOIN_PATIENCE_S": "1",
    "YARD_REGISTRY_PROBE_INTERVAL_S": "1",
    "YARD_REGISTRY_SILENT_AFTER_S": "20",
    "YARD_BALANCER_OUTLIER_MAX_SHARE": "0",
    "YARD_TELEMETRY_LOG_FORMAT": "json",
}
FAILPOINTS = (
    "insert.written",
    "start.written",
    "settle.before",
    "settle.after",
    "suspend.settled",
    "suspend.written",
    "suspend.committed",
    "waits.resumed",
    "approval.decided",
    "approval.committed",
    "signal.matched",
    "cancel.written",
)
START_S = 40.0


@dataclass
class Process:
    """One program at an address that stays; `number` counts its lives. `lived`: this one was ready once."""

    name: str
    port: int
    command: list[str]
    environment: dict[str, str]
    folder: Path
    ready_path: str
    popen: subprocess.Popen[bytes] | None = None
    number: int = 0
    ready: bool = False
    lived: bool = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}-{self.number}.log"

    @property
    def dead(self) -> bool:
        return self.popen is None or self.popen.poll() is not None

    def start(self, **environment: str) -> None:
        self.number += 1
        self.ready = self.lived = False
        with self.log.open("wb") as file:
            self.popen = subprocess.Popen(
                self.command,
                env=self.environment | environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self) -> bool:
        """kill -9; whether it lived."""
        lived = not self.dead
        if self.popen is not None:
            if lived:
                self.popen.send_signal(signal.SIGKILL)
            self.popen.wait()
        self.ready = False
        return lived

    async def becomes_ready(self, client: httpx.AsyncClient) -> bool:
        """Whether it answers before it dies or START_S are over."""
        end = asyncio.get_running_loop().time() + START_S
        while not self.dead and asyncio.get_running_loop().time() < end:
            try:
                if (await client.get(self.url + self.ready_path)).status_code == 200:
                    self.ready = self.lived = True
                    return True
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)
        return False


@dataclass
class Processes:
    """`kills` counts ends by kill -9: ours ("manager", "agent") and those at failpoints ("failpoint")."""

    backing: Backing
    folder: Path
    rng: random.Random
    managers: list[Process] = field(default_factory=list)
    agents: list[Process] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    failpoints: bool = False
    reached: Counter[str] = field(default_factory=Counter)
    _armed: dict[str, str] = field(default_factory=dict)

    def add_manager(self) -> None:
        name, port = f"manager{len(self.managers)}", free_port()
        command = ["serve", "--port", str(port), "--data", str(self.folder / "data")]
        environment = self.backing.environment(**QUICK)
        self.managers.append(
            Process(name, port, [sys.executable, "-m", "app.cli", *command], environment, self.folder, "/readyz")
        )

    def add_agent(self, pool: str, slots: int) -> Process:
        name, port = f"agent{len(self.agents)}", free_port()
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("YARD_", "AGENT_"))}
        place = {"AGENT_POOL": pool, "AGENT_SLOTS": str(slots), "AGENT_PORT": str(port)}
        agent = Process(name, port, [sys.executable, str(AGENT)], kept | place, self.folder, "/health")
        self.agents.append(agent)
        return agent

    def start(self, process: Process) -> None:
        """A manager may get failpoints, at which it will die by itself."""
        armed = {}
        self._armed.pop(process.name, None)
        if self.failpoints and process in self.managers and self.rng.random() < 0.9:
            point = self.rng.choice(FAILPOINTS)
            armed = {"YARD_FAILPOINTS": f"{point}={self.rng.randint(1, 6)}"}
            self._armed[process.name] = point
        process.start(**armed)

    async def keep(self) -> None:
        """Start what has died again, for ever: managers that died at a failpoint, and what `kill` ended."""
        async with httpx.AsyncClient(timeout=5.0) as client, asyncio.TaskGroup() as group:
            for process in [*self.managers, *self.agents]:
                group.create_task(self._keep(process, client))

    async def _keep(self, process: Process, client: httpx.AsyncClient) -> None:
        while True:
            if process.dead:
                self.note_end(process)
                self.start(process)
            if not process.ready:
                await process.becomes_ready(client)
            await asyncio.sleep(0.05)

    def note_end(self, process: Process) -> None:
        """Tell a death at a failpoint from one that nobody ordered. A start may fail: PostgreSQL may be away."""
        if process.popen is None or process.popen.returncode is None:
            return
        point = self._armed.pop(process.name, None)
        if point is not None and process.popen.returncode == -signal.SIGKILL:
            self.kills["failpoint"] += 1
            self.reached[point] += 1
        elif process.popen.returncode != -signal.SIGKILL and process.lived:
            raise AssertionError(
                f"{process.name} ended by itself with {process.popen.returncode}:\n{process.log.read_text()[-4000:]}"
            )

    def kill(self, process: Process, kind: str) -> None:
        if process.dead:
            return
        self._armed.pop(process.name, None)
        self.kills[kind] += process.kill()

    def urls(self) -> list[str]:
        """Where managers answer, as far as is known."""
        return [manager.url for manager in self.managers if manager.ready and not manager.dead]

    def close(self) -> None:
        for process in [*self.managers, *self.agents]:
            process.kill()
