"""Steady submissions from a thread, as a caller makes them who tries again elsewhere."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx


@dataclass
class Traffic:
    """Submits one task every `every_s` to the first of `urls` that answers; `urls` may be changed meanwhile.

    `accepted` are the ids that got a 202, `statuses` counts every answer, `odd` keeps those that are not 202.
    """

    urls: Sequence[str]
    key: str
    pool: str
    seconds: Callable[[int], float]
    every_s: float = 0.02
    accepted: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    odd: list[httpx.Response] = field(default_factory=list)
    broken: list[Exception] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        with httpx.Client(headers={"Authorization": f"Bearer {self.key}"}, timeout=30.0) as client:
            for number in itertools.count():
                if self._stop.wait(self.every_s):
                    return
                self._submit(client, {"pool": self.pool, "payload": {"n": number, "seconds": self.seconds(number)}})

    def _submit(self, client: httpx.Client, body: dict[str, Any]) -> None:
        for url in list(self.urls):
            try:
                answer = client.post(f"{url}/v1/tasks", json=body)
            except httpx.TransportError as exc:
                self.broken.append(exc)
                continue
            self.statuses[answer.status_code] += 1
            if answer.status_code == 202:
                self.accepted.append(answer.json()["id"])
                return
            self.odd.append(answer)

    def stop(self) -> None:
        self._stop.set()


@contextlib.contextmanager
def traffic(urls: Sequence[str], key: str, pool: str, seconds: Callable[[int], float]) -> Iterator[Traffic]:
    """Traffic while the block runs."""
    flowing = Traffic(urls, key, pool, seconds)
    thread = threading.Thread(target=flowing.run, name="traffic")
    thread.start()
    try:
        yield flowing
    finally:
        flowing.stop()
        thread.join()
