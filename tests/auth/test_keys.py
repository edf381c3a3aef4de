"""Keys: shown once, stored as a digest, trusted for a while, revoked at once and everywhere."""

from __future__ import annotations

import asyncio
import secrets as randomness
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncConnection

from app.auth import secrets
from app.auth.callers import Caller
from app.auth.service import TOPIC, Authenticator, Keys, Unauthenticated, WeakPepper
from app.core.db import Database
from app.core.errors import Conflict, NotFound
from app.core.wake import Wakes
from app.settings import AuthSettings
from tests.core.database import HandClock

PEPPER = "p" * 32
CACHE_S = 10.0
ADMIN = Caller("admin", "default", frozenset({"admin"}))


def settings(pepper: str = PEPPER) -> AuthSettings:
    return AuthSettings(pepper=pepper, cache_s=CACHE_S)


class Desk:
    """One manager's authenticator and keys."""

    def __init__(self, db: Database, clock: HandClock, pepper: str = PEPPER) -> None:
        self.authenticator = Authenticator(db, settings(pepper), clock)
        self.keys = Keys(db, self.authenticator)

    async def accepts(self, key: str) -> bool:
        try:
            await self.authenticator.verify(key)
        except Unauthenticated:
            return False
        return True


async def sql(db: Database, statement: str, *args: Any) -> None:
    async with db.hot() as connection:
        await connection.execute(statement, *args)


def test_secrets_are_long_fresh_and_split_again() -> None:
    secret, key_id = secrets.new_secret(), secrets.new_key_id()
    assert len(bytes.fromhex(secret)) == 24 and secret != secrets.new_secret()
    assert secrets.split(secrets.join("yk", key_id, secret)) == secrets.Token("yk", key_id, secret)


@given(st.text(max_size=80) | st.from_regex(r"y[ka]_[0-9a-z-]{0,45}_[0-9a-fA-F]{46,50}", fullmatch=True))
def test_any_text_is_a_token_or_none(text: str) -> None:
    token = secrets.split(text)
    if token is not None:
        assert secrets.join(token.kind, token.id, token.secret) == text and len(token.secret) == 48


def test_a_digest_depends_on_the_pepper_and_the_secret() -> None:
    stored = secrets.digest(b"pepper", "secret")
    assert secrets.matches(b"pepper", "secret", stored)
    assert not secrets.matches(b"Pepper", "secret", stored)
    assert not secrets.matches(b"pepper", "Secret", stored)
    assert b"secret" not in stored and len(stored) == 32


@pytest.mark.parametrize("pepper", ["", "short", "x" * 31])
async def test_a_weak_pepper_is_refused_at_the_start(db: Database, clock: HandClock, pepper: str) -> None:
    with pytest.raises(WeakPepper):
        Authenticator(db, settings(pepper), clock)


async def test_a_key_is_its_caller_and_its_secret_is_stored_nowhere(db: Database, clock: HandClock) -> None:
    desk = Desk(db, clock)
    info, key = await desk.keys.create("ci", "acme", ["tasks:read", "tasks:write"])
    caller = await desk.authenticator.verify(key)
    assert caller == Caller(info.id, "acme", frozenset({"tasks:read", "tasks:write"}))
    assert key.startswith(info.prefix) and info.scopes == ["tasks:write", "tasks:read"]
    async with db.hot() as connection:
        dump = str(await connection.fetch("SELECT * FROM api_keys"))
    assert key.rpartition("_")[2] not in dump


async def test_what_is_not_quite_the_key_is_refused(db: Database, clock: HandClock) -> None:
    desk = Desk(db, clock)
    info, key = await desk.keys.create("k", "t", ["admin"])
    other, _ = await desk.keys.create("k2", "t", ["admin"])
    secret = key.rpartition("_")[2]
    wrong = [
        "", key[:-1], key + "0", key.upper(), key.replace("yk_", "ya_"), secrets.join("yk", other.id, secret),
        secrets.join("yk", "0" * 10, secret), secrets.join("yk", info.id, randomness.token_hex(24)), key + "\x00",
    ]  # fmt: skip
    assert [await desk.accepts(text) for text in wrong] == [False] * len(wrong)
    assert await desk.accepts(key)
    assert not await Desk(db, clock, "q" * 32).accepts(key), "another service's pepper"


async def test_a_verified_key_is_trusted_for_the_cache_time_and_no_longer(db: Database, clock: HandClock) -> None:
    desk = Desk(db, clock)
    info, key = await desk.keys.create("k", "t", ["admin"])
    assert await desk.accepts(key)
    await sql(db, "DELETE FROM api_keys WHERE id = $1", info.id)
    clock.forward(CACHE_S - 0.1)
    assert await desk.accepts(key)
    clock.forward(0.2)
    assert not await desk.accepts(key)


async def test_an_expired_key_is_refused(db: Database, clock: HandClock) -> None:
    desk = Desk(db, clock)
    info, key = await desk.keys.create("k", "t", ["admin"], expires_s=3600)
    assert info.expires_at is not None and await desk.accepts(key)
    await sql(db, "UPDATE api_keys SET expires_at = now() - interval '1 ms' WHERE id = $1", info.id)
    clock.forward(CACHE_S)
    assert not await desk.accepts(key)


async def test_a_revoke_reaches_every_manager_though_both_trust_the_key(db: Database, clock: HandClock) -> None:
    here, there = Desk(db, clock), Desk(db, clock)
    told = asyncio.Event()
    connected = asyncio.Event()

    def heard(payload: str) -> None:
        there.authenticator.forget(payload)
        (told if connected.is_set() else connected).set()

    wakes = Wakes(db)
    wakes.on(TOPIC, heard)
    wakes.start()
    async with asyncio.timeout(10):
        await connected.wait()
        info, key = await here.keys.create("k", "t", ["tasks:read"])
        assert await here.accepts(key) and await there.accepts(key)
        revoked = await here.keys.revoke(info.id, by=ADMIN)
        assert not await here.accepts(key)
        await told.wait()
    assert not await there.accepts(key)
    again = await there.keys.revoke(info.id, by=ADMIN)
    assert again.revoked_at == revoked.revoked_at is not None
    await wakes.stop()


class HeldBack(Database):
    """Its transactions end only when the test says so."""

    def __init__(self, inner: Database) -> None:
        self._inner, self.read, self.go = inner, asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        async with self._inner.begin() as connection:
            yield connection
        self.read.set()
        await self.go.wait()


async def test_a_verify_that_read_before_a_revoke_is_not_remembered(db: Database, clock: HandClock) -> None:
    slow = HeldBack(db)
    desk, there = Desk(db, clock), Desk(slow, clock)
    info, key = await desk.keys.create("k", "t", ["admin"])
    verifying = asyncio.ensure_future(there.accepts(key))
    await slow.read.wait()
    await desk.keys.revoke(info.id, by=ADMIN)
    there.authenticator.forget()
    slow.go.set()
    assert await verifying
    assert not await there.accepts(key)


async def test_revoking_oneself_or_nothing_is_refused(db: Database, clock: HandClock) -> None:
    desk = Desk(db, clock)
    info, key = await desk.keys.create("k", "t", ["admin"])
    with pytest.raises(Conflict):
        await desk.keys.revoke(info.id, by=await desk.authenticator.verify(key))
    with pytest.raises(NotFound):
        await desk.keys.revoke("nosuchkey1", by=ADMIN)
    assert await desk.accepts(key)


@pytest.mark.parametrize(
    ("scopes", "wanted", "may"),
    [({"admin"}, "pools:admin", True), ({"tasks:read"}, "tasks:read", True), ({"tasks:read"}, "tasks:write", False),
     (set(), "tasks:read", False), ({"pools:admin"}, "admin", False)],
)  # fmt: skip
def test_scopes(scopes: set[str], wanted: str, may: bool) -> None:
    assert Caller("k", "t", frozenset(scopes)).may(wanted) is may
