"""An agent's place at the manager: register, heartbeat, drain, leave.

    register ──201──▶ heartbeat every interval ±10 % ──▶ …
        ▲  └─ anything else: again after a pause (backoff with jitter), for ever
        └──────────── 401/404/410: the manager no longer knows us

An outage is logged once when it begins and once when it ends.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from yardmaster.settings import Settings

log = logging.getLogger("yardmaster.agent")

FORGOTTEN = (401, 404, 410)
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
DEFAULT_INTERVAL_S = 10.0


@dataclass(frozen=True, slots=True)
class Place:
    """What a registration gave: the agent's id, its own token, and how often to send heartbeats."""

    id: str
    token: str
    interval_s: float


class ForgottenError(Exception):
    """The manager doesn't know this agent (any more)."""


class Registration:
    """Keeps one agent registered from `start` to `leave`.

    `load` returns {"running","status"} for a heartbeat; `on_drain` is called when the manager asks the agent
    to drain; `url` is the advertised address.
    """

    def __init__(
        self,
        settings: Settings,
        url: str,
        *,
        load: Callable[[], dict[str, Any]],
        on_drain: Callable[[], None],
        client: httpx.AsyncClient,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self.place: Place | None = None
        self._settings = settings
        self._url = url
        self._load = load
        self._on_drain = on_drain
        self._client = client
        self._rng = rng
        self._failures = 0
        self._leaving = False
        self._keeping: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Keep the place in the background; it never gives up."""
        self._keeping = asyncio.create_task(self.run(), name="registration")

    async def run(self) -> None:
        """Register and send heartbeats until cancelled, or forgotten while draining."""
        while True:
            try:
                pause_s = await self._turn()
                self._recovered()
            except ForgottenError:
                if self._leaving:
                    return
                log.info("the manager no longer knows this agent; registering again")
                self.place, pause_s = None, self._jitter(FIRST_PAUSE_S, 0.5)
            except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
                pause_s = self._backoff(error)
            await asyncio.sleep(pause_s)

    async def drain(self) -> None:
        """Tell the manager that no new tasks are wanted. Best effort."""
        self._leaving = True
        await self._farewell("POST", "/drain")

    async def leave(self) -> None:
        """Give up the place and stop. Best effort: a manager that can't be reached notices the silence."""
        if self._keeping is not None:
            self._keeping.cancel()  # first: a heartbeat after the farewell would register again
            await asyncio.gather(self._keeping, return_exceptions=True)
        await self._farewell("DELETE", "")
        self.place = None

    async def _turn(self) -> float:
        """One heartbeat, registering before it if needed; returns the pause until the next, in seconds."""
        if self.place is None:
            self.place = await self._register()
            log.info("registered agent_id=%s url=%s", self.place.id, self._url)
        await self._heartbeat(self.place)
        return self._jitter(self.place.interval_s, 0.1)

    async def _register(self) -> Place:
        settings = self._settings
        facts = {"version": settings.version, "weight": settings.weight, "labels": settings.labels}
        body = {"pool": settings.pool, "url": self._url, "slots": settings.slots}
        body |= {name: value for name, value in facts.items() if value}
        answer = await self._client.post(self._manager("/v1/agents"), json=body, headers=self._key())
        answer.raise_for_status()
        return _place(answer.json())

    async def _heartbeat(self, place: Place) -> None:
        url = self._manager(f"/v1/agents/{place.id}/heartbeat")
        answer = await self._client.post(url, json=self._load(), headers=_bearer(place.token))
        if answer.status_code in FORGOTTEN:
            raise ForgottenError
        answer.raise_for_status()
        for name in _directives(answer):
            if name == "drain":
                self._on_drain()

    async def _farewell(self, method: str, path: str) -> None:
        place = self.place
        if place is None:
            return
        url = self._manager(f"/v1/agents/{place.id}{path}")
        try:
            await self._client.request(method, url, headers=_bearer(place.token), timeout=2.0)
        except httpx.HTTPError as error:
            log.info("the manager did not hear the farewell: %r", error)

    def _backoff(self, error: Exception) -> float:
        if not self._failures:
            log.warning("the manager can't be reached or refuses; trying on: %s", _reason(error))
        self._failures = min(self._failures + 1, 16)
        return self._jitter(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (self._failures - 1)), 0.5)

    def _recovered(self) -> None:
        if self._failures:
            log.info("the manager answers again")
        self._failures = 0

    def _jitter(self, seconds: float, share: float) -> float:
        return seconds * (1 + share * (2 * self._rng() - 1))

    def _manager(self, path: str) -> str:
        return f"{self._settings.manager_url}{path}"

    def _key(self) -> dict[str, str]:
        return _bearer(self._settings.api_key) if self._settings.api_key else {}


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _place(body: Any) -> Place:
    """The registration's answer; ValueError when it isn't one."""
    fields = body if isinstance(body, dict) else {}
    if not fields.get("id"):
        raise ValueError("the manager's answer to the registration has no id")
    interval = fields.get("heartbeat_interval_s")
    interval_s = float(interval) if isinstance(interval, int | float) and interval > 0 else DEFAULT_INTERVAL_S
    return Place(str(fields["id"]), str(fields.get("token") or ""), interval_s)


def _directives(answer: httpx.Response) -> list[str]:
    """The names of the directives: each is a string or {"type": name}."""
    body = answer.json() if answer.content else {}
    found = body.get("directives") if isinstance(body, dict) else None
    items = found if isinstance(found, list) else []
    return [str(item.get("type")) if isinstance(item, dict) else str(item) for item in items]


def _reason(error: Exception) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"{error.response.status_code} {error.response.text[:300]}"
    return repr(error)
