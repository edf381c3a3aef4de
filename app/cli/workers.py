"""Running managers: one in this process, or several under a supervisor that shares one listening socket."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType

import structlog
import uvicorn
import uvloop

from app.embedded import EmbeddedServers
from app.settings import Settings

log = structlog.get_logger()

CHECK_S = 2.0
RESTART_CAP_S = 30.0
STABLE_S = 60.0
CLOSE_CONNECTIONS_S = 5
STOP_MARGIN_S = 40.0
GC_THRESHOLD = 20_000
"""So many more container objects than were freed start a collection (Python's default: 700)."""


class _Server(uvicorn.Server):
    """Tells the manager at the signal itself, not only after the last connection has closed."""

    def __init__(self, config: uvicorn.Config, begin_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._begin_stop = begin_stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        _settle_heap()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._begin_stop()
        super().handle_exit(sig, frame)


def run_one(
    settings: Settings,
    listening: socket.socket,
    servers: EmbeddedServers | None = None,
    *,
    ends_processes: bool = True,
) -> int:
    """Serve in this process until a signal; the exit code."""
    # Imported here: a supervisor needs none of it, and Prometheus reads its environment on import.
    from app.main import create_app
    from app.wiring import Yard

    _ignore_signals()  # the server has handlers of its own while it runs, and raises the signal again afterwards
    yard = Yard(settings, ends_processes=ends_processes)
    config = uvicorn.Config(
        create_app(settings, yard),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=2048,
        timeout_graceful_shutdown=CLOSE_CONNECTIONS_S,
        timeout_keep_alive=30,
    )
    server = _Server(config, yard.begin_stop)
    uvloop.run(_with_watchdog(server.serve(sockets=[listening]), servers))
    return 0 if server.started else 1


async def _with_watchdog(work: Awaitable[None], servers: EmbeddedServers | None) -> None:
    watchdog = asyncio.ensure_future(_watch(servers)) if servers is not None else None
    try:
        await work
    finally:
        if watchdog is not None:
            watchdog.cancel()
            await asyncio.gather(watchdog, return_exceptions=True)


async def _watch(servers: EmbeddedServers) -> None:
    while True:
        await asyncio.sleep(CHECK_S)
        try:
            _report(await asyncio.to_thread(servers.check))
        except Exception as exc:
            log.error("embedded_check_failed", error=repr(exc))


def _report(found: object) -> None:
    restarted, down = getattr(found, "restarted", ()), getattr(found, "down", ())
    if restarted:
        log.warning("embedded_restarted", servers=list(restarted))
    if down:
        log.error("embedded_down", servers=list(down))


def _settle_heap() -> None:
    """Let the cyclic collector leave alone what lives as long as the process, and look less often at the rest.

    What the imports made is most of the heap, and nearly all objects of a request or an attempt die by their count:
    walking them cost a third of the processor time of a busy manager.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 20)


def _ignore_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)


class _Worker:
    """One manager process, started again when it dies: at once the first time, then with doubling delays."""

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self._failures = 0
        self._start_at = 0.0
        self._started = 0.0
        self.process: subprocess.Popen[bytes] | None = None

    def keep(self) -> None:
        """Start it if it should run and does not."""
        now = time.monotonic()
        if self.process is not None and self.process.poll() is not None:
            self._failures = 1 if now - self._started > STABLE_S else self._failures + 1
            delay_s = min(RESTART_CAP_S, 0.5 * 2.0 ** (self._failures - 1))
            log.error("worker_died", pid=self.process.pid, code=self.process.returncode, restart_in_s=delay_s)
            _forget_metrics(self.process.pid)
            self.process, self._start_at = None, now + delay_s
        if self.process is None and now >= self._start_at:
            fd = self._listening.fileno()
            command = [sys.executable, "-m", "app.cli.worker", str(fd)]
            # A session of its own: Ctrl-C reaches the supervisor, which tells the workers in order.
            self.process = subprocess.Popen(command, pass_fds=[fd], start_new_session=True)  # noqa: S603
            self._started = now

    def tell(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)


def supervise(settings: Settings, listening: socket.socket, count: int, servers: EmbeddedServers | None = None) -> int:
    """Keep `count` managers running until a signal; the exit code. Launched agents end after the last manager."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(_empty(settings.data_dir / "metrics"))
    listening.listen(2048)
    listening.set_inheritable(True)
    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _frame: stopping.append(received))
    workers = [_Worker(listening) for _ in range(count)]
    check_at = 0.0
    while not stopping:
        for worker in workers:
            worker.keep()
        if servers is not None and time.monotonic() >= check_at:
            check_at = time.monotonic() + CHECK_S
            _report(servers.check())
        time.sleep(0.1)
    listening.close()
    _stop(workers, stopping, settings.dispatch.grace_s + STOP_MARGIN_S)
    if settings.scaling.allow_process:
        with contextlib.suppress(OSError):
            asyncio.run(_end_processes(settings))
    return 0


def _stop(workers: list[_Worker], stopping: list[int], limit_s: float) -> None:
    for worker in workers:
        worker.tell(signal.SIGTERM)
    until, told = time.monotonic() + limit_s, len(stopping)
    while any(worker.process is not None and worker.process.poll() is None for worker in workers):
        if len(stopping) > told or time.monotonic() > until:  # asked twice, or out of patience
            for worker in workers:
                worker.tell(signal.SIGKILL)
        time.sleep(0.05)


async def _end_processes(settings: Settings) -> None:
    from app.wiring import Yard

    yard = Yard(settings)
    try:
        await yard.db.start()
        await yard.view.refresh()
        await yard.fleets.end_all()
    finally:
        await yard.nerve.close()
        await yard.db.stop()


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _forget_metrics(pid: int) -> None:
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]
