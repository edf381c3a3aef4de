"""What an endpoint answers when a statement fails: 503 where the database was away, 500 where it was our fault."""

from __future__ import annotations

import asyncpg
import httpx
import pytest
import sqlalchemy.exc
from fastapi import FastAPI

from app.core.http import add_error_handlers


def wrapped(cause: Exception) -> sqlalchemy.exc.DBAPIError:
    """As SQLAlchemy raises what it has no name of its own for."""
    inner = Exception(str(cause))
    inner.__cause__ = cause
    return sqlalchemy.exc.DBAPIError("SELECT 1", {}, inner)


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (asyncpg.ConnectionDoesNotExistError("closed in the middle of operation"), 503),
        (wrapped(asyncpg.ConnectionDoesNotExistError("closed in the middle of operation")), 503),
        (wrapped(asyncpg.InternalClientError("cannot switch to state 12")), 503),
        (wrapped(TimeoutError()), 503),
        (sqlalchemy.exc.DBAPIError("SELECT 1", {}, Exception("gone"), connection_invalidated=True), 503),
        (wrapped(asyncpg.UndefinedColumnError("no such column")), 500),
        (sqlalchemy.exc.DBAPIError("SELECT 1", {}, Exception("what")), 500),
    ],
)
async def test_a_database_that_is_away_is_no_bug(raised: Exception, status: int) -> None:
    app = FastAPI()
    add_error_handlers(app)

    @app.get("/")
    async def fail() -> None:
        raise raised

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://yard") as client:
        answer = await client.get("/")
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
