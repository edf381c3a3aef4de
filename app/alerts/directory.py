"""Where a tenant's approvals are posted, and which API key each Slack user acts with."""

from __future__ import annotations

from dataclasses import dataclass

from app.core.db import Database
from app.core.errors import Invalid, NotFound
from app.registry.service import PoolNotFound

EVERY_POOL = ""

_PUT_CHANNEL = """
INSERT INTO slack_channels (tenant, pool, channel) VALUES ($1, $2, $3)
ON CONFLICT (tenant, pool) DO UPDATE SET channel = EXCLUDED.channel
"""

_POST_AGAIN = """
DELETE FROM approval_notices n USING approvals a
WHERE a.id = n.approval_id AND a.tenant = $1 AND a.status = 'pending' AND n.state = 'failed' AND n.channel = $2
"""

_PUT_USER = """
INSERT INTO slack_users (tenant, user_id, key_id) VALUES ($1, $2, $3)
ON CONFLICT (tenant, user_id) DO UPDATE SET key_id = EXCLUDED.key_id
"""

_KEY = """
SELECT tenant, revoked_at IS NOT NULL OR coalesce(expires_at <= now(), false) AS ended FROM api_keys WHERE id = $1
FOR KEY SHARE
"""


class ChannelNotFound(NotFound):
    code, title = "slack_channel_not_found", "No such channel"


class UserNotFound(NotFound):
    code, title = "slack_user_not_found", "No such Slack user"


class UnknownKey(Invalid):
    code, title = "unknown_key", "Unknown key"


class KeyOfAnotherTenant(Invalid):
    code, title = "key_of_another_tenant", "The key belongs to another tenant"


class KeyEnded(Invalid):
    code, title = "key_ended", "The key was revoked or has expired"


@dataclass(frozen=True, slots=True)
class Channel:
    """`pool` EVERY_POOL: of every pool without a channel of its own."""

    pool: str
    channel: str


@dataclass(frozen=True, slots=True)
class User:
    """A Slack user and the key whose scopes and groups are theirs. `key_name` is for people."""

    user_id: str
    key_id: str
    key_name: str


class Directory:
    """The verbs of `/v1/slack`, each within one tenant."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def put_channel(self, tenant: str, pool: str, channel: str) -> Channel:
        """Set a channel; what could not be posted there is posted again. Raises PoolNotFound."""
        async with self._db.hot() as connection, connection.transaction():
            if pool != EVERY_POOL and not await connection.fetchval("SELECT true FROM pools WHERE name = $1", pool):
                raise PoolNotFound(
                    f"There is no pool {pool!r}; `*` stands for every pool without a channel of its own."
                )
            await connection.execute(_PUT_CHANNEL, tenant, pool, channel)
            await connection.execute(_POST_AGAIN, tenant, channel)
        return Channel(pool, channel)

    async def channels(self, tenant: str, after: str | None, limit: int) -> list[Channel]:
        """By pool; the one of every pool comes first."""
        query = "SELECT pool, channel FROM slack_channels WHERE tenant = $1 AND ($2::text IS NULL OR pool > $2)"
        async with self._db.read() as connection:
            found = await connection.fetch(f"{query} ORDER BY pool LIMIT $3", tenant, after, limit)
        return [Channel(row["pool"], row["channel"]) for row in found]

    async def channel(self, tenant: str, pool: str) -> Channel:
        """Raises ChannelNotFound."""
        query = "SELECT channel FROM slack_channels WHERE tenant = $1 AND pool = $2"
        async with self._db.read() as connection:
            found = await connection.fetchval(query, tenant, pool)
        if found is None:
            raise ChannelNotFound("This pool has no channel of its own.")
        return Channel(pool, found)

    async def remove_channel(self, tenant: str, pool: str) -> None:
        """Raises ChannelNotFound. Messages that were posted there are still brought up to date."""
        async with self._db.hot() as connection:
            done = await connection.execute("DELETE FROM slack_channels WHERE tenant = $1 AND pool = $2", tenant, pool)
        if done == "DELETE 0":
            raise ChannelNotFound("This pool has no channel of its own.")

    async def put_user(self, tenant: str, user_id: str, key_id: str) -> User:
        """Let a Slack user act with a key. Raises UnknownKey, KeyOfAnotherTenant or KeyEnded."""
        async with self._db.hot() as connection, connection.transaction():
            key = await connection.fetchrow(_KEY, key_id)
            if key is None:
                raise UnknownKey("There is no key with this id (the part between the two `_`).")
            if key["tenant"] != tenant:
                raise KeyOfAnotherTenant("A Slack user acts with a key of the same tenant.")
            if key["ended"]:
                raise KeyEnded("This key was revoked or has expired.")
            await connection.execute(_PUT_USER, tenant, user_id, key_id)
        return await self.user(tenant, user_id)

    async def users(self, tenant: str, after: str | None, limit: int) -> list[User]:
        """By Slack's user id."""
        query = f"{_USERS} AND ($2::text IS NULL OR u.user_id > $2) ORDER BY u.user_id LIMIT $3"
        async with self._db.read() as connection:
            found = await connection.fetch(query, tenant, after, limit)
        return [User(row["user_id"], row["key_id"], row["name"]) for row in found]

    async def user(self, tenant: str, user_id: str) -> User:
        """Raises UserNotFound."""
        async with self._db.read() as connection:
            row = await connection.fetchrow(f"{_USERS} AND u.user_id = $2", tenant, user_id)
        if row is None:
            raise UserNotFound("This Slack user is not mapped to a key.")
        return User(row["user_id"], row["key_id"], row["name"])

    async def remove_user(self, tenant: str, user_id: str) -> None:
        """Raises UserNotFound."""
        async with self._db.hot() as connection:
            done = await connection.execute(
                "DELETE FROM slack_users WHERE tenant = $1 AND user_id = $2", tenant, user_id
            )
        if done == "DELETE 0":
            raise UserNotFound("This Slack user is not mapped to a key.")


_USERS = "SELECT u.user_id, u.key_id, k.name FROM slack_users u JOIN api_keys k ON k.id = u.key_id WHERE u.tenant = $1"
