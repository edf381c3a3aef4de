"""The thread the API runs on."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable

from aiohttp import web

from tests.fakes.kubernetes.server import Server


class ServerThread:
    """An event loop of its own in a thread, so that blocking clients in the test's thread are answered."""

    def __init__(self, server: Server, tls: ssl.SSLContext | None = None) -> None:
        self._server = server
        self._tls = tls
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self._url = ""
        self._ready = threading.Event()
        self._passes: asyncio.Task[None] | None = None
        # What ended the repeated passes.
        self.failure: BaseException | None = None

    def start(self) -> str:
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),), name="fake-kubernetes", daemon=True)
        self._thread.start()
        if not self._ready.wait(30):
            raise TimeoutError("the fake API did not start")
        return self._url

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        app = self._server.application()
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.2)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        host, port = runner.addresses[0][:2]
        self._url = f"{'https' if self._tls else 'http'}://{host}:{port}"
        self._ready.set()
        await self._stopping.wait()
        if self._passes is not None:
            self._passes.cancel()
            await asyncio.gather(self._passes, return_exceptions=True)
        await runner.cleanup()

    def repeat(self, work: Callable[[], Awaitable[object]], every_s: float) -> None:
        """Do it again and again on this thread's loop until `stop`; its first error ends it and is kept."""
        if self._loop is None:
            raise RuntimeError("start the cluster first")
        asyncio.run_coroutine_threadsafe(self._begin(work, every_s), self._loop).result(30)

    async def _begin(self, work: Callable[[], Awaitable[object]], every_s: float) -> None:
        if self._passes is None:
            self._passes = asyncio.create_task(self._go_on(work, every_s))

    async def _go_on(self, work: Callable[[], Awaitable[object]], every_s: float) -> None:
        try:
            while True:
                await work()
                await asyncio.sleep(every_s)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self.failure = error

    def stop(self) -> None:
        if self._thread is None or self._loop is None or self._stopping is None:
            return
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(30)
        self._thread = None
