"""The tokens of tasks in Redis: one bounded, expiring stream a task, for those who read later.

An entry's id is the token's own place, "fence-n". So a reader asks for the place it wants, and Redis refuses what comes
too late: a token of an attempt that another has overtaken.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import orjson
import redis.asyncio as redis
from prometheus_client import Counter

from app.core.nerve import Nerve
from app.events.order import Token
from app.settings import StreamSettings

PAGE = 128
REFUSED = Counter("yard_stream_tokens_refused", "Tokens that Redis did not keep (late ones of an overtaken attempt).")

_HEAD = struct.Struct(">16sQII")


def pack(task_id: UUID, token: Token) -> bytes:
    """A token as a message between managers."""
    return _HEAD.pack(task_id.bytes, token.fence, token.n, token.note) + token.data


def unpack(message: bytes) -> tuple[UUID, Token]:
    """The task and token of a message made by `pack`."""
    task_id, fence, n, note = _HEAD.unpack_from(message)
    return UUID(bytes=task_id), Token(fence, n, note, message[_HEAD.size :])


def as_token(fence: int, n: int, note: int, data: dict[str, object]) -> Token:
    return Token(fence, n, note, orjson.dumps(data))


class TokenStore:
    """Keeps and finds tokens; what Redis cannot take is lost."""

    def __init__(self, nerve: Nerve, settings: StreamSettings) -> None:
        self._nerve, self._settings = nerve, settings

    def keep(self, pipeline: redis.client.Pipeline, tokens: Iterable[tuple[UUID, Token]]) -> None:
        """Add tokens to a pipeline (whose refusals must not raise)."""
        seen: set[UUID] = set()
        for task_id, token in tokens:
            seen.add(task_id)
            fields: dict[Any, Any] = {"m": token.note, "d": token.data}
            pipeline.xadd(
                key_of(task_id),
                fields,
                id=f"{token.fence}-{token.n}",
                maxlen=self._settings.max_tokens,
                approximate=True,
            )
        for task_id in seen:
            pipeline.pexpire(key_of(task_id), int(self._settings.tokens_ttl_s * 1000))

    async def read(self, task_id: UUID, fence: int, first: int) -> list[Token] | None:
        """Up to PAGE tokens of an attempt from number `first` on; None when Redis is away."""

        async def call(client: redis.Redis) -> list[Token]:
            entries: Any = await client.xrange(key_of(task_id), f"{fence}-{first}", f"{fence}", count=PAGE)
            return [_token(entry, fields) for entry, fields in entries]

        return await self._nerve.run(call)


def key_of(task_id: UUID) -> str:
    """The key of a task's stream."""
    return f"yard:tokens:{task_id}"


def _token(entry: bytes, fields: dict[bytes, bytes]) -> Token:
    fence, n = entry.split(b"-")
    return Token(int(fence), int(n), int(fields[b"m"]), fields[b"d"])
