"""A real uvicorn server around an agent, on a free port, in the test's own loop."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.types import ASGIApp

from yardmaster import Agent, Limits

QUICK = Limits(stream_after_s=0.02, ping_s=0.05, unheard_s=0.3)

type Open = Callable[..., Awaitable[httpx.AsyncClient]]


@asynccontextmanager
async def listening(app: ASGIApp) -> AsyncIterator[str]:
    """Serve an ASGI app; gives its address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=1))
        server.capture_signals = _no_signals  # type: ignore[method-assign]
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            await asyncio.sleep(0.005)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


class _no_signals:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


@pytest.fixture
async def served() -> AsyncIterator[Open]:
    """Call with a handler (and slots=, limits=): a client of an agent that serves it."""
    async with AsyncExitStack() as stack:

        async def open_agent(
            handler: Callable[..., Any], *, slots: int = 2, limits: Limits = QUICK
        ) -> httpx.AsyncClient:
            agent = Agent("echo", slots=slots, limits=limits)
            agent.task(handler)
            app = agent.app()
            url = await stack.enter_async_context(listening(app))
            client = await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=10))
            client.runner = app.state.runner  # type: ignore[attr-defined]
            return client

        yield open_agent


@pytest.fixture
def serve_app() -> Callable[[ASGIApp], Any]:
    return listening
