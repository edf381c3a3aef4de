"""The load generator: many kept connections in a process of its own, lean enough not to be the limit.

A request is made once, as bytes, and sent again and again; of an answer only the status and the length are read.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import cast

import orjson
import uvloop

from scripts.bench.rig import percentile

PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Load:
    """What to send to a port of this machine.

    Closed loop: each connection sends as soon as it was answered, for `seconds`, or (None) until every request was
    sent once. Open loop: `rate_per_s` requests a second for `seconds`, whether or not those before were answered.
    Requests go in turn, from the first again after the last. `keep`: the answers' bodies are wanted.
    """

    port: int
    requests: Sequence[bytes]
    connections: int = 64
    seconds: float | None = None
    rate_per_s: float | None = None
    keep: bool = False


@dataclass(slots=True)
class Sent:
    """What came of it. `cpu_s` is the generator's own processor time; near `seconds` it was the limit itself.

    Latency is counted from when a request was due. `bodies` are in the order of the requests.
    """

    count: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    bodies: dict[int, bytes] = field(default_factory=dict)

    @property
    def rate_per_s(self) -> float:
        return self.count / self.seconds

    @property
    def cpu_share(self) -> float:
        return self.cpu_s / self.seconds

    def latency_ms(self, share: float) -> float:
        return percentile(self.latencies_ms, share)


def request(method: str, path: str, key: str, body: object = None) -> bytes:
    """A request's bytes; `body` becomes JSON."""
    content = b"" if body is None else orjson.dumps(body)
    kind = b"" if body is None else b"Content-Type: application/json\r\n"
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n".encode()
    return head + kind + b"Content-Length: %d\r\n\r\n" % len(content) + content


def run(load: Load) -> Sent:
    """Send it from another process; raises RuntimeError when an answer is not 2xx or a connection breaks."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(_run, load).result()


def _run(load: Load) -> Sent:
    return uvloop.run(_Generator(load).run())


class _Generator:
    def __init__(self, load: Load) -> None:
        self._load = load
        self._sent = Sent()
        self._next = 0
        self._waiting: deque[float] = deque()  # open loop: when each unsent request was due
        self._idle: deque[_Line] = deque()
        self._busy = 0
        self._until = float("inf")
        self._over = asyncio.Event()
        self._problem: str | None = None

    async def run(self) -> Sent:
        loop, load = asyncio.get_running_loop(), self._load
        lines = [
            (await loop.create_connection(lambda: _Line(self), "127.0.0.1", load.port))[1]
            for _ in range(load.connections)
        ]
        started, cpu = time.monotonic(), time.process_time()
        if load.rate_per_s is not None:
            await self._paced(load.rate_per_s, load.seconds or 0.0)
        else:
            self._until = started + load.seconds if load.seconds is not None else float("inf")
            self._busy = len(lines)
            for line in lines:
                self._on(line)
        async with asyncio.timeout((load.seconds or 600.0) + PATIENCE_S):
            await self._over.wait()
        self._sent.seconds, self._sent.cpu_s = time.monotonic() - started, time.process_time() - cpu
        if self._problem is not None:
            raise RuntimeError(self._problem)
        for line in lines:
            line.close()
        return self._sent

    async def _paced(self, rate_per_s: float, seconds: float) -> None:
        began = time.monotonic()
        for number in range(int(rate_per_s * seconds)):
            due = began + number / rate_per_s
            if (pause := due - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            self._waiting.append(due)
            if self._idle:
                self._busy += 1
                self._on(self._idle.popleft())
            if self._problem is not None:
                return
        self._until = 0.0
        self._end_if_done()

    def connected(self, line: _Line) -> None:
        if self._load.rate_per_s is not None:
            self._idle.append(line)

    def answered(self, line: _Line, status: bytes, body: bytes) -> None:
        if not status.startswith(b"2"):
            return self.failed(f"answered {status.decode()}: {body[:500]!r}")
        self._sent.count += 1
        self._sent.latencies_ms.append((time.monotonic() - line.due) * 1000)
        if self._load.keep:
            self._sent.bodies[line.number] = body
        self._on(line)
        return None

    def failed(self, problem: str) -> None:
        self._problem = self._problem or problem
        self._over.set()

    def _on(self, line: _Line) -> None:
        """Give the line the next request, if there is one for it."""
        load = self._load
        now = time.monotonic()
        if load.rate_per_s is not None:
            due = self._waiting.popleft() if self._waiting else None
        else:
            more = now < self._until and (load.seconds is not None or self._next < len(load.requests))
            due = now if more else None
        if due is None:
            self._busy -= 1
            self._idle.append(line)
            self._end_if_done()
            return
        number, self._next = self._next, self._next + 1
        line.send(number, due, load.requests[number % len(load.requests)])

    def _end_if_done(self) -> None:
        paced_on = self._load.rate_per_s is not None and self._until > 0
        if self._busy == 0 and not self._waiting and not paced_on:
            self._over.set()


class _Line(asyncio.Protocol):
    """One connection with at most one request under way."""

    def __init__(self, generator: _Generator) -> None:
        self._generator = generator
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._closed = False
        self.number = 0
        self.due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class
        self._generator.connected(self)

    def send(self, number: int, due: float, data: bytes) -> None:
        self.number, self.due = number, due
        assert self._transport is not None
        self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer = self._buffer + data
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = buffer[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(buffer) >= end + 4 + length:
            self._buffer = b""
            self._generator.answered(self, head[9:12], buffer[end + 4 :])

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._closed:
            self._generator.failed(f"connection lost: {exc!r}")

    def close(self) -> None:
        self._closed = True
        assert self._transport is not None
        self._transport.close()
