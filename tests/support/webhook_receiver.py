"""A receiver of webhooks that answers what a test tells it, over real HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from standardwebhooks import Webhook

type Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Received:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def verified(self, secret: str) -> Any:
        """The body, checked with the receivers' own library; it raises when the signature is wrong."""
        return Webhook(secret).verify(self.body, self.headers)


async def accept(_: web.Request) -> web.StreamResponse:
    return web.Response(text="thanks")


def answering(status: int, text: str = "", **headers: str) -> Handler:
    """A handler with one answer."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(
            status=status, text=text, headers={name.replace("_", "-"): headers[name] for name in headers}
        )

    return answer


@dataclass
class WebhookReceiver:
    """`handler` answers; `got` keeps what came, in order."""

    handler: Handler = accept
    got: list[Received] = field(default_factory=list)
    url: str = ""
    _runner: web.AppRunner | None = None

    async def start(self) -> WebhookReceiver:
        app = web.Application(client_max_size=8 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        assert site._server is not None
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[attr-defined]
        return self

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def until(self, count: int, within_s: float = 60.0) -> list[Received]:
        """What came, once there are `count`."""
        async with asyncio.timeout(within_s):
            while len(self.got) < count:
                await asyncio.sleep(0.01)
        return self.got

    async def _take(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.got.append(Received(request.path_qs, headers, await request.read()))
        return await self.handler(request)


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    """A running receiver that accepts everything."""
    running = await WebhookReceiver().start()
    yield running
    await running.stop()
