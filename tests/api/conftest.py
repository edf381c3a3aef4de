"""The service of a test behind a real socket, for what an in-process transport cannot show."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import httpx
import pytest
import uvicorn

from app.main import create_app
from app.wiring import Yard
from tests.conftest import settings_for
from tests.support.service import Backing


@pytest.fixture
async def served(backing: Backing) -> AsyncIterator[tuple[httpx.AsyncClient, Yard]]:
    """A manager of this process that listens on a free port of 127.0.0.1, and an admin's client over TCP."""
    settings = settings_for(backing)
    yard = Yard(settings)
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        create_app(settings, yard), http="httptools", ws="none", log_config=None, access_log=False, lifespan="on"
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    while not server.started:
        assert not serving.done(), "the server ended"
        await asyncio.sleep(0.01)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    headers = {"Authorization": f"Bearer {backing.admin_key}"}
    try:
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30, trust_env=False) as client:
            yield client, yard
    finally:
        yard.begin_stop()
        server.should_exit = True
        await serving
