"""A randomised crash run: callers at work while managers and agents are killed, PostgreSQL restarts, Redis is emptied.

All that is random comes from one seed. What processes make of it depends on time, so a seed brings the same blows in
the same order, not the same run.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import redis.asyncio as redis

from app.tasks.models import FINAL_STATUSES
from tests.chaos.agent_program import right_result
from tests.chaos.callers import Callers
from tests.chaos.checker import check
from tests.chaos.history import History, Task, load
from tests.chaos.processes import Process, Processes
from tests.support.ledger import Ledger
from tests.support.own_servers import OwnServers

KEY_LIMIT = 2
RETRY = {"initial_s": 0.05, "max_s": 0.5, "factor": 2.0, "jitter": 0.5}
AGENTS = (("work", 24), ("work", 24), ("children", 16), ("gated", 16), ("keyed", 16))
SUBMITTERS = 4


@dataclass(frozen=True)
class Size:
    """How much of a run. `quiet_s`: after the last blow all must be over within this."""

    roots: int
    kills: int
    managers: int = 3
    quiet_s: float = 60.0


@dataclass
class CrashRun:
    """`run` plays it to the end; `problems` says what is wrong then, nothing when all is well."""

    own: OwnServers
    folder: Path
    seed: int
    size: Size
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.ledger = Ledger(self.own.backing.database_url)
        self.processes = Processes(self.own.backing, self.folder, random.Random(self.seed + 1))
        self.begun = time.monotonic()

    async def run(self) -> History:
        """The history once all is quiet."""
        try:
            async with asyncio.TaskGroup() as group:
                workers = await self._start(group)
                await self._play()
                self.say(f"{self.callers.submitted} submitted, {dict(self.processes.kills)} kills")
                await self._quiet()
                for worker in workers:
                    worker.cancel()
        finally:
            self.processes.close()
        return await asyncio.to_thread(load, self.ledger, self.callers.accepted, {"keyed": KEY_LIMIT})

    def problems(self, history: History) -> list[str]:
        """Breaches of the rules with their tasks' events, wrong results, and answers nobody should get."""
        found = [f"{item.rule} {item.task}: {item.detail}\n    {history.story(item.task)}" for item in check(history)]
        found += [f"not final: {task}\n    {history.story(task.id)}" for task in history.tasks if open_(task)]
        for task in history.tasks:
            if wrong := wrong_end(task):
                found.append(f"{wrong}: {task}\n    {history.story(task.id)}")
        return found + [f"odd answer: {text}" for text in self.callers.odd]

    def report(self, history: History) -> str:
        """What the run was, for people."""
        outcomes = Counter(item.outcome for item in history.attempts)
        statuses = Counter(task.status for task in history.tasks)
        return "\n".join(
            [
                f"seed {self.seed}: {len(history.tasks)} tasks, {len(history.accepted)} accepted, {dict(statuses)}",
                f"kills {dict(self.processes.kills)}, failpoints {dict(self.processes.reached)}",
                f"attempts {dict(outcomes)}, answers {dict(self.callers.answers)}, lost answers {self.callers.lost}",
                *self.lines,
            ]
        )

    def say(self, what: str) -> None:
        self.lines.append(f"{time.monotonic() - self.begun:6.1f} s  {what}")
        print(self.lines[-1], flush=True)

    async def _start(self, group: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """Everything is up; what goes on beside the run until its end."""
        for _ in range(self.size.managers):
            self.processes.add_manager()
        for pool, slots in AGENTS:
            self.processes.add_agent(pool, slots)
        keeping = group.create_task(self.processes.keep())
        while len(self.processes.urls()) < self.size.managers:
            await asyncio.sleep(0.05)
        key = await self._define()
        self.callers = Callers(self.processes.urls, self.own.backing.admin_key, key, random.Random(self.seed + 2))
        self.say("started")
        return [keeping, group.create_task(self.callers.signal()), group.create_task(self.callers.decide())]

    async def _define(self) -> str:
        """The pools with their agents and limits; the key of those who decide."""
        headers = {"Authorization": f"Bearer {self.own.backing.admin_key}"}
        async with httpx.AsyncClient(base_url=self.processes.urls()[0], headers=headers, timeout=30.0) as client:
            for pool in dict.fromkeys(pool for pool, _ in AGENTS):
                body: dict[str, Any] = {"retry": RETRY, "max_attempts": 50}
                body |= {"approvals": {"start": {}}} if pool == "gated" else {}
                (await client.put(f"/v1/pools/{pool}", json=body)).raise_for_status()
            (await client.put("/v1/limits/pool/keyed", json={"concurrency": KEY_LIMIT})).raise_for_status()
            for (pool, slots), agent in zip(AGENTS, self.processes.agents, strict=True):
                place = {"pool": pool, "url": agent.url, "slots": slots}
                (await client.post("/v1/agents", json=place)).raise_for_status()
            body = {"name": "decider", "scopes": ["approvals:decide", "tasks:read"]}
            answer = await client.post("/v1/keys", json=body)
            return str(answer.raise_for_status().json()["key"])

    async def _play(self) -> None:
        """Callers and blows side by side, until all is submitted and every blow has fallen."""
        self.processes.failpoints = True
        numbers = range(self.size.roots)
        async with asyncio.TaskGroup() as group:
            cancelling = group.create_task(self.callers.cancel())
            work = [self.callers.submit(numbers[index::SUBMITTERS], self._behind) for index in range(SUBMITTERS)]
            await asyncio.gather(self._blows(), *work)
            cancelling.cancel()

    def _behind(self) -> bool:
        """Submissions keep step with the blows, so that these fall while there is work."""
        done = (self.processes.kills.total() + 2) / self.size.kills
        return self.callers.submitted < self.size.roots * done

    async def _blows(self) -> None:
        """So many kills, at any moments; in between PostgreSQL dies and comes back, and Redis forgets everything."""
        others = ["postgres", "redis"] * (1 + self.size.kills // 100)
        self.rng.shuffle(others)
        marks = sorted(self.rng.sample(range(2, max(4, self.size.kills - 1)), len(others)))
        kills = self.processes.kills
        while kills.total() < self.size.kills:
            await asyncio.sleep(self.rng.uniform(0.1, 0.8))
            if marks and kills.total() >= marks[0]:
                marks.pop(0)
                await self._strike(others.pop())
            elif kills["agent"] <= kills["manager"] + kills["failpoint"]:
                self._kill(self.rng.choice(self.processes.agents), "agent")
            elif len(self.processes.urls()) > 1:  # the last manager that answers is left alone
                self._kill(self.rng.choice(self.processes.managers), "manager")
        self.processes.failpoints = False
        for name in others:
            await self._strike(name)

    def _kill(self, target: Process, kind: str) -> None:
        if target.ready:
            self.processes.kill(target, kind)
            self.say(f"{target.name} killed, {self.callers.submitted} submitted")

    async def _strike(self, what: str) -> None:
        self.say(f"{what} after {self.processes.kills.total()} kills, {self.callers.submitted} submitted")
        if what == "redis":
            client = redis.Redis.from_url(self.own.backing.redis_url)
            await client.flushall()
            await client.aclose()
            return
        await asyncio.to_thread(self.own.kill, "postgres")
        await asyncio.sleep(self.rng.uniform(0.0, 0.5))
        await asyncio.to_thread(self.own.restart)

    async def _quiet(self) -> None:
        """Nothing is killed any more; everything comes to its end, within a bound."""
        left = await self._open()
        await self.callers.cancel_left([task_id for task_id, kind in left if kind == "slow"])
        end = time.monotonic() + self.size.quiet_s
        while (left := await self._open()) and time.monotonic() < end:
            await asyncio.sleep(0.25)
        self.say(f"quiet, {len(left)} tasks are not final")

    async def _open(self) -> list[tuple[str, str]]:
        """The (id, kind) of tasks that are not final."""
        query = """SELECT id::text, payload::jsonb ->> 'kind' AS kind FROM tasks
            WHERE status IN ('held', 'queued', 'running', 'waiting')"""
        return [(row["id"], row["kind"]) for row in await asyncio.to_thread(self.ledger.rows, query)]


def open_(task: Task) -> bool:
    return task.status not in FINAL_STATUSES


def wrong_end(task: Task) -> str:
    """What is wrong with how a final task ended, given what it was to do."""
    n = task.payload["n"]
    if task.status == "succeeded" and task.result != right_result(task.kind, n):
        return "wrong result"
    if task.status == "failed" and (task.kind, task.error) != ("fatal", "no_good"):
        return f"failed with {task.error}"
    if task.status == "succeeded" and task.kind in ("fatal", "slow"):
        return "it cannot have succeeded"
    return "it expired" if task.status == "expired" else ""
