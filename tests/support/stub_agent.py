"""An agent that does what a test tells it, over real HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

type Handler = Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]


async def echo(_: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """The payload as the result."""
    return web.json_response({"result": body["payload"], "usage": []})


@dataclass
class StubAgent:
    """`handler` answers /execute; `calls` keeps the bodies, `cancels` the task ids, `health` the status to answer."""

    handler: Handler = echo
    calls: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    cancels: list[str] = field(default_factory=list)
    health: int = 200
    url: str = ""
    _runner: web.AppRunner | None = None

    async def start(self) -> StubAgent:
        app = web.Application(client_max_size=8 * 1024 * 1024)
        app.router.add_post("/execute", self._execute)
        app.router.add_post("/cancel", self._cancel)
        app.router.add_get("/health", self._health)
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

    async def _execute(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.calls.append(body)
        self.headers.append(dict(request.headers))
        return await self.handler(request, body)

    async def _cancel(self, request: web.Request) -> web.Response:
        self.cancels.append((await request.json())["task_id"])
        return web.json_response({"cancelled": True})

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "idle", "running": 0, "slots": 1}, status=self.health)


async def stream(request: web.Request, *events: tuple[str, Any], pause_s: float = 0.0) -> web.StreamResponse:
    """Answer with these server-sent events."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for name, data in events:
        await response.write(f"event: {name}\ndata: {json.dumps(data)}\n\n".encode())
        await asyncio.sleep(pause_s)
    await response.write_eof()
    return response
