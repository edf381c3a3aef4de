"""Agents of the SDK as processes of their own (`working_agent.py`), and the journal of what they ran."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.support.service import free_port
from tests.support.waiting import until

PROGRAM = Path(__file__).with_name("working_agent.py")


@dataclass(frozen=True)
class Journal:
    """What the agents that write to `path` ran."""

    path: Path

    def entries(self) -> list[dict[str, Any]]:
        """Whole lines so far, in the order of writing."""
        if not self.path.exists():
            return []
        lines = self.path.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def starts(self) -> Counter[str]:
        """How often each task was started."""
        return Counter(entry["task"] for entry in self.entries() if entry["event"] == "start")

    def most_at_once(self) -> int:
        """The most runs under way at once in one agent."""
        return max((entry["running"] for entry in self.entries()), default=0)


@dataclass
class AgentProcess:
    """One agent, listening on `url`."""

    process: subprocess.Popen[bytes]
    url: str

    def answers(self) -> bool:
        assert self.process.poll() is None, f"the agent ended with {self.process.returncode}"
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(self.url + "/health").status_code == 200
        return False

    def kill(self) -> None:
        """kill -9."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@dataclass
class Agents:
    """Starts agents; `close` ends them all."""

    folder: Path
    running: list[AgentProcess] = field(default_factory=list)

    @property
    def journal(self) -> Journal:
        """Shared by all of them."""
        return Journal(self.folder / "journal.jsonl")

    def start(self, pool: str, slots: int, **environment: str) -> AgentProcess:
        """An agent that answers. It registers itself only when MANAGER_URL is given."""
        port = free_port()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("YARD_", "AGENT_"))}
        agent = {"AGENT_POOL": pool, "AGENT_SLOTS": str(slots), "AGENT_PORT": str(port)}
        with (self.folder / f"agent-{len(self.running)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, str(PROGRAM)],
                env=kept | agent | {"AGENT_JOURNAL": str(self.journal.path)} | environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        started = AgentProcess(process, f"http://127.0.0.1:{port}")
        self.running.append(started)
        until(started.answers, "the agent answers")
        return started

    def close(self) -> None:
        for agent in self.running:
            agent.kill()


@contextlib.contextmanager
def agent_processes(folder: Path) -> Iterator[Agents]:
    """Agents that end with the block."""
    agents = Agents(folder)
    try:
        yield agents
    finally:
        agents.close()
