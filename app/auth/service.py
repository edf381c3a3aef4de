"""Verify callers; make, list and revoke keys."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, select, text, update
from sqlalchemy.engine import Row

from app.auth import secrets
from app.auth.callers import PROBES_TENANT, SCOPES, Caller
from app.auth.models import ApiKey
from app.core.clock import Clock
from app.core.db import Database
from app.core.errors import Conflict, Invalid, NotFound, Problem
from app.core.wake import CHANNEL
from app.settings import AuthSettings

CACHE_SIZE = 10_000
TOPIC = "keys"


class Unauthenticated(Problem):
    status, code, title = 401, "unauthenticated", "No valid key"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": 'Bearer realm="yardmaster"'})


class Forbidden(Problem):
    status, code, title = 403, "forbidden", "Not allowed"


class ReservedTenant(Invalid):
    """Budgets of everybody do not count what the tenant of probes spends."""

    code, title = "reserved_tenant", "The tenant is reserved"


class WeakPepper(ValueError):
    """The server's pepper is missing or too short."""


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """A key as it may be shown. `prefix` is the readable start of the key."""

    id: str
    tenant: str
    name: str
    prefix: str
    scopes: list[str]
    groups: list[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


type AgentLookup = Callable[[UUID], Awaitable[bytes | None]]


class Authenticator:
    """Turns a bearer token into a Caller. A verified key is remembered for `cache_s`; a revoke clears that at once."""

    def __init__(self, db: Database, settings: AuthSettings, clock: Clock) -> None:
        pepper = settings.pepper.get_secret_value()
        if len(pepper) < 32:
            raise WeakPepper("YARD_AUTH_PEPPER must have at least 32 characters (openssl rand -hex 32).")
        self._db, self._settings, self.clock = db, settings, clock
        self._pepper = pepper.encode()
        self._cache: dict[bytes, tuple[float, Caller]] = {}
        self._forgotten = 0
        self.agent_digest: AgentLookup | None = None

    def digest(self, secret: str) -> bytes:
        """What to store of a secret."""
        return secrets.digest(self._pepper, secret)

    def forget(self, _: str = "") -> None:
        """Drop what is remembered: some key was revoked."""
        self._cache.clear()
        self._forgotten += 1

    async def verify(self, presented: str) -> Caller:
        """The caller behind a token; raises Unauthenticated."""
        mark = hashlib.sha256(presented.encode()).digest()
        known = self._cache.get(mark)
        if known is not None and known[0] > self.clock.monotonic():
            return known[1]
        token = secrets.split(presented)
        if token is None:
            raise Unauthenticated("The Authorization header does not hold a Yardmaster key.")
        if token.kind == secrets.AGENT_PREFIX:
            return await self._agent(token)
        forgotten = self._forgotten
        caller, left_s = await self._key(token)
        if len(self._cache) >= CACHE_SIZE:
            self._cache.clear()
        trust_s = self._settings.cache_s if left_s is None else min(left_s, self._settings.cache_s)
        if forgotten == self._forgotten:  # else what we read may be what was just revoked
            self._cache[mark] = (self.clock.monotonic() + trust_s, caller)
        return caller

    async def _key(self, token: secrets.Token) -> tuple[Caller, float | None]:
        """The caller, and the seconds left until the key expires (None: it does not)."""
        async with self._db.begin() as connection:
            row = (
                await connection.execute(
                    select(
                        ApiKey.digest,
                        ApiKey.tenant,
                        ApiKey.scopes,
                        ApiKey.groups,
                        ApiKey.revoked_at,
                        func.extract("epoch", ApiKey.expires_at - func.now()).label("left_s"),
                    ).where(ApiKey.id == token.id)
                )
            ).one_or_none()
        if row is None or not secrets.matches(self._pepper, token.secret, row.digest):
            raise Unauthenticated("The key is not known.")
        if row.revoked_at is not None:
            raise Unauthenticated("The key was revoked.")
        left_s = None if row.left_s is None else float(row.left_s)
        if left_s is not None and left_s <= 0:
            raise Unauthenticated("The key has expired.")
        return Caller(token.id, row.tenant, frozenset(row.scopes), groups=frozenset(row.groups)), left_s

    async def _agent(self, token: secrets.Token) -> Caller:
        try:
            agent_id = UUID(token.id)
        except ValueError:
            raise Unauthenticated("The token is not known.") from None
        stored = await self.agent_digest(agent_id) if self.agent_digest else None
        if stored is None or not secrets.matches(self._pepper, token.secret, stored):
            raise Unauthenticated("The token is not known; the agent may have been removed: register again.")
        return Caller(f"agent:{agent_id}", "", frozenset(), agent_id)


class Keys:
    """Keys of all tenants."""

    def __init__(self, db: Database, authenticator: Authenticator) -> None:
        self._db, self._authenticator = db, authenticator

    async def create(
        self, name: str, tenant: str, scopes: list[str], expires_s: float | None = None, groups: Sequence[str] = ()
    ) -> tuple[KeyInfo, str]:
        """Make a key: what may be shown of it, and the key itself, which is never shown again. Raises
        ReservedTenant."""
        if tenant == PROBES_TENANT and set(scopes) != {"tasks:read"}:
            message = "is the tenant of the service's probes; a key of it may have the scope tasks:read only"
            raise ReservedTenant(f"{tenant!r} {message}.", extra={"errors": [{"path": "tenant", "message": message}]})
        key_id, secret = secrets.new_key_id(), secrets.new_secret()
        expires = func.now() + timedelta(seconds=expires_s) if expires_s is not None else None
        async with self._db.begin() as connection:
            row = (
                await connection.execute(
                    insert(ApiKey)
                    .values(
                        id=key_id,
                        tenant=tenant,
                        name=name,
                        digest=self._authenticator.digest(secret),
                        scopes=sorted(scopes, key=list(SCOPES).index),
                        groups=list(groups),
                        expires_at=expires,
                    )
                    .returning(ApiKey)
                )
            ).one()
        return _info(row), secrets.join(secrets.KEY_PREFIX, key_id, secret)

    async def list(self, after: str | None, limit: int) -> list[KeyInfo]:
        """Keys by id, revoked ones too."""
        query = select(ApiKey.__table__).order_by(ApiKey.id).limit(limit)
        if after is not None:
            query = query.where(ApiKey.id > after)
        async with self._db.begin() as connection:
            return [_info(row) for row in await connection.execute(query)]

    async def revoke(self, key_id: str, *, by: Caller) -> KeyInfo:
        """Revoke a key, on every manager at once; revoking twice changes nothing."""
        if key_id == by.id:
            raise Conflict("A key cannot revoke itself; use another admin key.")
        async with self._db.begin() as connection:
            row = (
                await connection.execute(
                    update(ApiKey)
                    .where(ApiKey.id == key_id)
                    .values(revoked_at=func.coalesce(ApiKey.revoked_at, func.now()))
                    .returning(ApiKey)
                )
            ).one_or_none()
            await connection.execute(text("SELECT pg_notify(:channel, :topic)"), {"channel": CHANNEL, "topic": TOPIC})
        self._authenticator.forget()
        if row is None:
            raise NotFound("There is no key with this id.")
        return _info(row)


def _info(row: Row[Any]) -> KeyInfo:
    return KeyInfo(
        row.id,
        row.tenant,
        row.name,
        f"{secrets.KEY_PREFIX}_{row.id}",
        list(row.scopes),
        list(row.groups),
        row.created_at,
        row.expires_at,
        row.revoked_at,
    )
