"""A bare executor: answers at once and notes how old each task is when it arrives.

The payload's `sent` is the sender's CLOCK_MONOTONIC, which all processes of a machine share. `GET /stats` answers the
ages in milliseconds and forgets them. Run as `python -m scripts.bench.executor PORT`.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import cast

import orjson
import uvloop

ANSWER = b'{"result":{"ok":true},"usage":[]}'


class Executor(asyncio.Protocol):
    """Just enough HTTP/1.1 for a client that keeps its connections."""

    ages: list[float] = []  # noqa: RUF012 - shared by all connections of the process

    def __init__(self) -> None:
        self.buffer = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's own class

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            length = 0
            if (at := head.find(b"content-length:")) >= 0:
                length = int(head[at + 15 :].split(b"\r\n", 1)[0])
            if len(self.buffer) < end + 4 + length:
                return
            body, self.buffer = self.buffer[end + 4 : end + 4 + length], self.buffer[end + 4 + length :]
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        answer = ANSWER
        if head.startswith(b"get /stats"):
            answer = orjson.dumps(Executor.ages)
            Executor.ages.clear()
        elif body:
            sent = orjson.loads(body).get("payload", {}).get("sent")
            if sent is not None:
                Executor.ages.append((time.monotonic() - sent) * 1000)
        assert self.transport is not None
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer
        )


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Executor, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
