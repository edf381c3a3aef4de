"""The callers of a crash run: they submit, send events, decide and cancel, and ask again when an answer is lost."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.chaos.agent_program import EVENT
from tests.chaos.history import Accepted

MIX = {
    "plain": 40,
    "flaky": 8,
    "fatal": 4,
    "steps": 12,
    "timer": 8,
    "call": 6,
    "event": 6,
    "approval": 6,
    "held": 4,
    "keyed": 8,
    "slow": 3,
}
"""How often each kind is submitted, about in percent."""
POOLS = {"held": "gated", "keyed": "keyed"}
KEYS = 4
PAUSE_S = 0.1


@dataclass
class Callers:
    """`accepted` is what they were told; `answers` counts statuses; `lost` requests without an answer."""

    urls: Callable[[], Sequence[str]]
    key: str
    decider_key: str
    rng: random.Random
    accepted: list[Accepted] = field(default_factory=list)
    answers: Counter[int] = field(default_factory=Counter)
    lost: int = 0
    odd: list[str] = field(default_factory=list)
    to_signal: list[int] = field(default_factory=list)
    to_cancel: list[str] = field(default_factory=list)
    submitted: int = 0

    def client(self, key: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=5.0)

    async def ask(
        self, client: httpx.AsyncClient, method: str, path: str, *, again: bool = True, **options: Any
    ) -> httpx.Response | None:
        """The answer of any manager. None: no answer came, and asking again was not wanted."""
        while True:
            urls = self.urls()
            if not urls:
                await asyncio.sleep(PAUSE_S)
                continue
            try:
                answer = await client.request(method, self.rng.choice(list(urls)) + path, **options)
            except httpx.ConnectError:
                await asyncio.sleep(PAUSE_S)  # nobody has heard it
                continue
            except httpx.TransportError:
                self.lost += 1
                if not again:
                    return None
                await asyncio.sleep(PAUSE_S)
                continue
            self.answers[answer.status_code] += 1
            if answer.status_code != 503:
                return answer
            await asyncio.sleep(PAUSE_S)

    async def submit(self, numbers: Sequence[int], may_go_on: Callable[[], bool]) -> None:
        """Tasks of these numbers one after the other, as fast as `may_go_on` lets; each number is of one kind."""
        kinds, weights = list(MIX), list(MIX.values())
        async with self.client(self.key) as client:
            for n in numbers:
                kind = random.Random(n).choices(kinds, weights)[0]
                await self._submit(client, kind, n)
                while not may_go_on():
                    await asyncio.sleep(PAUSE_S)

    async def _submit(self, client: httpx.AsyncClient, kind: str, n: int) -> None:
        body: dict[str, Any] = {"pool": POOLS.get(kind, "work"), "payload": {"kind": kind, "n": n}}
        if kind == "keyed":
            body["concurrency_key"] = f"key-{n % KEYS}"
        # Without a key an answer that is lost must not be asked for again: it would be another task.
        key = f"task-{n}" if n % 3 else None
        headers = {} if key is None else {"Idempotency-Key": key}
        answer = await self.ask(client, "POST", "/v1/tasks", again=key is not None, json=body, headers=headers)
        self.submitted += 1
        task_id = self._taken(answer, key)
        if kind == "event":
            self.to_signal.append(n)
        if kind == "slow" and task_id is not None:
            self.to_cancel.append(task_id)
        if key is not None and n % 10 == 0:  # somebody who did not wait for the answer asks twice
            self._taken(await self.ask(client, "POST", "/v1/tasks", json=body, headers=headers), key)

    def _taken(self, answer: httpx.Response | None, key: str | None) -> str | None:
        if answer is None:
            return None
        if answer.status_code != 202:
            self.odd.append(f"{answer.status_code} {answer.text[:300]}")
            return None
        task_id = str(answer.json()["id"])
        self.accepted.append(Accepted(task_id, key))
        return task_id

    async def signal(self) -> None:
        """Send the events that tasks wait for, some before they do."""
        async with self.client(self.key) as client:
            while True:
                while self.to_signal:
                    n = self.to_signal.pop()
                    await self.ask(client, "POST", "/v1/events", json={"name": EVENT, "data": {"n": n}})
                await asyncio.sleep(PAUSE_S)

    async def cancel(self) -> None:
        """Cancel the tasks that would take too long, and a few that are at anything."""
        async with self.client(self.key) as client:
            while True:
                while self.to_cancel:
                    await self.ask(client, "POST", f"/v1/tasks/{self.to_cancel.pop()}/cancel", json={"reason": "slow"})
                if self.accepted and self.rng.random() < 0.5:
                    any_task = self.rng.choice(self.accepted[-50:]).id
                    await self.ask(client, "POST", f"/v1/tasks/{any_task}/cancel")
                await asyncio.sleep(PAUSE_S)

    async def cancel_left(self, ids: Sequence[str]) -> None:
        """Cancel these: nobody else would, as the answer to their submission was lost."""
        async with self.client(self.key) as client:
            for task_id in ids:
                await self.ask(client, "POST", f"/v1/tasks/{task_id}/cancel")

    async def decide(self) -> None:
        """Decide what is pending, and now and then decide it twice at once."""
        async with self.client(self.decider_key) as client:
            while True:
                answer = await self.ask(client, "GET", "/v1/approvals?status=pending&page_size=50")
                items = answer.json()["items"] if answer is not None and answer.status_code == 200 else []
                await asyncio.gather(*(self._decide(client, item["id"]) for item in items[:10]))
                await asyncio.sleep(PAUSE_S)

    async def _decide(self, client: httpx.AsyncClient, approval_id: str) -> None:
        seen = await self.ask(client, "GET", f"/v1/approvals/{approval_id}")
        if seen is None or seen.status_code != 200:
            return
        asked = seen.json()
        no = asked["kind"] == "action" and asked["args"]["n"] % 5 == 0
        verb, body = ("reject", {"reason": "a fifth"}) if no else ("approve", {"payload_hash": asked["payload_hash"]})
        path = f"/v1/approvals/{approval_id}/{verb}"
        clicks = 1 + (self.rng.random() < 0.2)
        answers = await asyncio.gather(*(self.ask(client, "POST", path, json=body) for _ in range(clicks)))
        for said in answers:
            if said is not None and said.status_code not in (200, 409):
                self.odd.append(f"{path}: {said.status_code} {said.text[:300]}")
