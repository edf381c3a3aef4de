"""A process that serves one agent: listen, register, and end in good order.

On SIGTERM or SIGINT, or when the supervisor is gone: refuse new work, tell the manager, finish what runs
within the drain grace, leave, exit 0. What still runs after the grace ends with the retryable code
"shutdown". A second signal exits at once.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Iterator

import httpx
import uvicorn

from yardmaster.registration import Registration
from yardmaster.routes import build_app
from yardmaster.runner import Runner
from yardmaster.settings import Settings

log = logging.getLogger("yardmaster.agent")

SUPERVISOR_POLL_S = 5.0
LAST_ANSWERS_S = 5


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone: draining comes before uvicorn's own shutdown."""
        yield


async def serve(runner: Runner, settings: Settings) -> None:
    """Serve until told to stop; returns after the drain. OSError when the address is taken."""
    listener = _listen(settings.host, settings.port)
    server = _Server(
        uvicorn.Config(build_app(runner), log_config=None, access_log=False, timeout_graceful_shutdown=LAST_ANSWERS_S)
    )
    stop = _stop_signal()
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(listener.close)
        registration = await _register(stack, runner, settings, _advertised(settings, listener))
        watching = asyncio.create_task(watch_supervisor(settings, stop))
        await asyncio.wait([serving, asyncio.ensure_future(stop.wait())], return_when=asyncio.FIRST_COMPLETED)
        watching.cancel()
        await _drain(runner, registration, settings.drain_grace_s)
        server.should_exit = True
        await serving


async def _register(
    stack: contextlib.AsyncExitStack, runner: Runner, settings: Settings, url: str
) -> Registration | None:
    """Start to keep a place at the manager, if there is one."""
    log.info("serving pool=%s url=%s slots=%d", settings.pool, url, runner.slots)
    if settings.manager_url is None:
        return None
    client = await stack.enter_async_context(httpx.AsyncClient(timeout=10.0, trust_env=False))

    def load() -> dict[str, object]:
        return {"running": runner.running, "status": runner.status}

    def drain() -> None:
        runner.draining = True

    registration = Registration(settings, url, load=load, on_drain=drain, client=client)
    registration.start()
    return registration


async def _drain(runner: Runner, registration: Registration | None, grace_s: float) -> None:
    runner.draining = True
    log.info("draining running=%d", runner.running)
    if registration is not None:
        await registration.drain()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(grace_s):
            await runner.idle()
    runner.stop_all()
    if registration is not None:
        await registration.leave()


def _stop_signal() -> asyncio.Event:
    """An event that the first signal sets; the second one ends the process."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(1)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    return stop


async def watch_supervisor(settings: Settings, stop: asyncio.Event) -> None:
    """Set `stop` when the supervising process has been gone for `supervisor_gone_s` seconds."""
    pid, gone_s = settings.supervisor_pid, 0.0
    poll_s = min(SUPERVISOR_POLL_S, settings.supervisor_gone_s)
    while pid is not None and gone_s < settings.supervisor_gone_s:
        await asyncio.sleep(poll_s)
        gone_s = 0.0 if _alive(pid) else gone_s + poll_s
    if pid is not None:
        log.warning("the supervisor is gone; draining supervisor_pid=%d", pid)
        stop.set()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)  # heartbeats may begin at once: connections wait here until uvicorn takes them
    except OSError:
        listener.close()
        raise
    return listener


def _advertised(settings: Settings, listener: socket.socket) -> str:
    if settings.url:
        return settings.url.rstrip("/")
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{listener.getsockname()[1]}"
