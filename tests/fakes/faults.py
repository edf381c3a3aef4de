"""What a provider's HTTP side may do instead of answering: an answer of a test's own, silence, a broken connection."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from aiohttp import web


@dataclass(frozen=True)
class Reply:
    """A fixed answer."""

    status: int
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)


type Fault = Reply | Literal["hang", "reset"]


def too_many(seconds: int | None = None) -> Reply:
    return Reply(429, "slow down", {} if seconds is None else {"Retry-After": str(seconds)})


@dataclass
class Faults:
    """`next` are played first, one a request; then `always`, where it is set. `played` counts them."""

    next: deque[Fault] = field(default_factory=deque)
    always: Fault | None = None
    played: int = 0

    async def play(self, request: web.Request) -> web.StreamResponse | None:
        """None: nothing is to be played, answer as usual."""
        fault = self.next.popleft() if self.next else self.always
        if fault is None:
            return None
        self.played += 1
        if isinstance(fault, Reply):
            return web.Response(status=fault.status, text=fault.body, headers=fault.headers)
        if fault == "hang":
            await asyncio.sleep(3600)
        assert request.transport is not None
        request.transport.abort()
        return web.Response()


@dataclass
class Provider:
    """An HTTP server on a free port; a fake adds its routes to `routes`."""

    faults: Faults = field(default_factory=Faults)
    url: str = ""
    _runner: web.AppRunner | None = None

    def routes(self, app: web.Application) -> None:
        raise NotImplementedError

    async def start(self) -> None:
        @web.middleware
        async def faulty(request: web.Request, handler: object) -> web.StreamResponse:
            return await self.faults.play(request) or await handler(request)  # type: ignore[operator,no-any-return]

        app = web.Application(client_max_size=16 * 1024 * 1024, middlewares=[faulty])
        self.routes(app)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        assert site._server is not None
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[attr-defined]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
