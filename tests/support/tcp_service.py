"""What a Service is to pods: one address in front of whichever manager lives."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

START_S = 10.0
CHUNK = 65_536


@dataclass
class TcpService:
    """Hands each connection to the first of `targets` (base URLs; may grow meanwhile) that takes it."""

    targets: list[str] = field(default_factory=list)
    url: str = ""
    _loop: asyncio.AbstractEventLoop | None = None
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _ready: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        asyncio.run(self._serve())

    def wait_ready(self) -> None:
        assert self._ready.wait(START_S), "the service in front does not listen"

    def stop(self) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._stopping.wait()
        server.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            found = await self._connect()
            if found is not None:
                await _both_ways((reader, writer), found)
        finally:
            writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for target in list(self.targets):
            address = urlsplit(target)
            with contextlib.suppress(OSError):
                return await asyncio.open_connection(address.hostname, address.port)
        return None


async def _both_ways(
    one: tuple[asyncio.StreamReader, asyncio.StreamWriter], other: tuple[asyncio.StreamReader, asyncio.StreamWriter]
) -> None:
    """Until either end is closed."""
    ways = [asyncio.create_task(_copy(one[0], other[1])), asyncio.create_task(_copy(other[0], one[1]))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        other[1].close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()


@contextlib.contextmanager
def tcp_service() -> Iterator[TcpService]:
    """Listening on a free port while the block runs."""
    service = TcpService()
    thread = threading.Thread(target=service.run, name="service")
    thread.start()
    try:
        service.wait_ready()
        yield service
    finally:
        service.stop()
        thread.join()
