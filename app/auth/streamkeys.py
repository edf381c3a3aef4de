"""Stream tokens: what a browser puts into a stream's address, because an EventSource cannot send headers.

A token is signed, not stored. It opens one channel of one tenant, for reading, for a short time, and no longer than the
key that it was made with: revoke the key, and its tokens open nothing more, and the streams they opened end.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from itsdangerous import BadData, TimestampSigner, URLSafeTimedSerializer

from app.auth.callers import Caller
from app.core.clock import Clock
from app.core.db import Database
from app.core.errors import Problem

EVENTS = "events"
"""The channel of a tenant's feed."""
SCOPE = "tasks:read"
_SALT = "yardmaster stream token"
_KEY = """
SELECT tenant, scopes FROM api_keys
WHERE id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
"""


class StreamTokenInvalid(Problem):
    status, code, title = 401, "stream_token_invalid", "No valid stream token"


class StreamTokenExpired(Problem):
    status, code, title = 401, "stream_token_expired", "The stream token has expired"


class StreamTokenForeign(Problem):
    status, code, title = 403, "stream_token_foreign", "The stream token is for another channel"


@dataclass(frozen=True, slots=True)
class StreamKey:
    """A new token, and until when it opens a stream. A stream that is open then goes on, as long as the key does."""

    token: str
    expires_at: datetime


def task_channel(task_id: UUID) -> str:
    """The channel of one task's events."""
    return f"task:{task_id}"


class StreamKeys:
    """Makes and checks stream tokens; every manager with the same pepper takes them."""

    def __init__(self, db: Database, clock: Clock, pepper: bytes, ttl_s: float) -> None:
        self._db, self._clock, self._ttl_s = db, clock, ttl_s

        class Signer(TimestampSigner):
            def get_timestamp(self) -> int:
                return int(clock.now().timestamp())

        self._serializer = URLSafeTimedSerializer(
            pepper,
            salt=_SALT,
            signer=Signer,
            signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
        )

    def make(self, caller: Caller, channel: str) -> StreamKey:
        """A token for one channel of the caller's tenant."""
        token = self._serializer.dumps([caller.tenant, channel, caller.id])
        expires_at = self._clock.now().replace(microsecond=0) + timedelta(seconds=self._ttl_s)
        return StreamKey(token if isinstance(token, str) else token.decode(), expires_at)

    async def verify(self, presented: str, channel: str) -> Caller:
        """The caller it was made for, who may read and nothing else; raises one of the three problems above."""
        tenant, of, key_id = self._read(presented)
        if of != channel:
            raise StreamTokenForeign("The token opens another stream than this one.")
        return await self.reader(key_id, tenant)

    async def reader(self, key_id: str, tenant: str) -> Caller:
        """A key of a tenant as one who may read and nothing else; raises StreamTokenInvalid when it may not any
        more."""
        async with self._db.read() as connection:
            row = await connection.fetchrow(_KEY, key_id)
        if row is None or row["tenant"] != tenant or not Caller(key_id, tenant, frozenset(row["scopes"])).may(SCOPE):
            raise StreamTokenInvalid("The key that the stream token was made with is not valid any more.")
        return Caller(key_id, tenant, frozenset({SCOPE}))

    def _read(self, presented: str) -> tuple[str, str, str]:
        try:
            value, at = self._serializer.loads(presented, return_timestamp=True)
        except BadData:
            raise StreamTokenInvalid("The stream token is not one of this service.") from None
        if at + timedelta(seconds=self._ttl_s) <= self._clock.now():
            raise StreamTokenExpired("The stream token has expired; ask `GET /v1/stream-token` for a new one.")
        tenant, channel, key_id = value
        return tenant, channel, key_id
