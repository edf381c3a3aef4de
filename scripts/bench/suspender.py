"""A bare executor whose tasks all wait, half for a person, half for a clock.

Run as `python -m scripts.bench.suspender PORT`.
"""

from __future__ import annotations

import asyncio
import itertools
import sys

import orjson
import uvloop

from scripts.bench.executor import Executor

HOUR_S = 3600
_ASKS = (
    {"step": "approve:shell", "reason": "approval", "action": "shell", "args": {"command": ["df", "-h"]}},
    {"step": "sleep", "reason": "timer", "seconds": HOUR_S},
)
_STEP = {"name": "first", "result": {"lines": 4711}}
_turns = itertools.count()


class Suspender(Executor):
    """One finished step, then a wish to wait."""

    def _answer(self, head: bytes, body: bytes) -> None:
        ask = orjson.dumps(_ASKS[next(_turns) % 2])
        events = b"event: step\ndata: " + orjson.dumps(_STEP) + b"\n\nevent: suspend\ndata: " + ask + b"\n\n"
        assert self.transport is not None
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(events) + events
        )


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Suspender, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
