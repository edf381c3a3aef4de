"""Verbs of silences, inhibitions and mute times: what keeps people from being told. Of the installation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import structlog

from app.alerts.claiming import silence_of
from app.alerts.flushing import new_id
from app.alerts.matching import BadMatcher, parse_matcher, text_of
from app.alerts.notification_loop import TOPIC
from app.alerts.receiver_service import matchers_refused
from app.alerts.records import Matcher
from app.alerts.silences import BadSilence, Silence, check_silence, expire
from app.core.db import Database, HotConnection
from app.core.errors import Conflict, Invalid, NotFound
from app.core.wake import notify

log = structlog.get_logger()

MAX_SILENCES = 10_000
_COLUMNS = "id, matchers, starts_at, ends_at, created_by, comment"
_GET = f"SELECT {_COLUMNS} FROM silences WHERE id = $1"  # noqa: S608 - constants
_LOCK = f"{_GET} FOR UPDATE"
_PAGE = f"""
SELECT {_COLUMNS} FROM silences WHERE ($1::uuid IS NULL OR id < $1)
  AND ($2::text IS NULL OR $2 = CASE WHEN ends_at <= now() THEN 'expired' WHEN starts_at > now() THEN 'pending'
    ELSE 'active' END)
ORDER BY id DESC LIMIT $3
"""  # noqa: S608
_ADD = "INSERT INTO silences (id, matchers, starts_at, ends_at, created_by, comment) VALUES ($1, $2, $3, $4, $5, $6)"
_CHANGE = """
UPDATE silences SET matchers = $2, starts_at = $3, ends_at = $4, comment = $5, updated_at = now() WHERE id = $1
"""
_OPEN = "SELECT count(*) FROM silences WHERE ends_at > now()"


class SilenceNotFound(NotFound):
    code, title = "silence_not_found", "No such silence"


class TooManySilences(Conflict):
    code, title = "too_many_silences", "Too many silences"


class SilenceRefused(Invalid):
    code, title = "bad_silence", "Bad silence"


@dataclass(frozen=True, slots=True)
class SilenceSpec:
    """`matchers` as text; `starts_at` None: now."""

    matchers: Sequence[str]
    ends_at: datetime
    starts_at: datetime | None = None
    comment: str = ""


class Silences:
    """The verbs."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def create(self, spec: SilenceSpec, by: str) -> tuple[Silence, datetime]:
        """The silence, and the time it is. Raises MatchersRefused, SilenceRefused or TooManySilences."""
        async with self._db.hot() as connection, connection.transaction():
            now: datetime = await connection.fetchval("SELECT now()")
            made = await _made(connection, spec, by, now)
        log.info("silence_created", id=str(made.id), by=by)
        return made, now

    async def change(self, silence_id: UUID, spec: SilenceSpec, by: str) -> tuple[Silence, datetime]:
        """As Alertmanager does: one that can be changed in place is; else it is expired, and a new one takes its place,
        with an id of its own. In place: the same matchers, not expired, and an active one keeps its beginning."""
        async with self._db.hot() as connection, connection.transaction():
            row = await connection.fetchrow(_LOCK, silence_id)
            if row is None:
                raise _missing()
            now: datetime = await connection.fetchval("SELECT now()")
            old = silence_of(dict(row))
            wanted = checked(silence_id, spec, old.created_by, now, starts=old.starts_at)
            if in_place(old, wanted, now):
                await connection.execute(
                    _CHANGE, old.id, _texts(wanted.matchers), wanted.starts_at, wanted.ends_at, wanted.comment
                )
                await notify(connection, TOPIC)
                return wanted, now
            ended = expire(old, now)
            await connection.execute(
                _CHANGE, old.id, _texts(ended.matchers), ended.starts_at, ended.ends_at, ended.comment
            )
            return await _made(connection, spec, by, now), now

    async def end(self, silence_id: UUID) -> tuple[Silence, datetime]:
        """Expire it now; one that is expired stays as it is. Raises SilenceNotFound."""
        async with self._db.hot() as connection, connection.transaction():
            row = await connection.fetchrow(_LOCK, silence_id)
            if row is None:
                raise _missing()
            now: datetime = await connection.fetchval("SELECT now()")
            ended = expire(silence_of(dict(row)), now)
            await connection.execute(
                _CHANGE, ended.id, _texts(ended.matchers), ended.starts_at, ended.ends_at, ended.comment
            )
            await notify(connection, TOPIC)
        return ended, now

    async def get(self, silence_id: UUID) -> tuple[Silence, datetime]:
        """Raises SilenceNotFound."""
        async with self._db.read() as connection:
            row = await connection.fetchrow(_GET, silence_id)
            now: datetime = await connection.fetchval("SELECT now()")
        if row is None:
            raise _missing()
        return silence_of(dict(row)), now

    async def page(self, state: str | None, before: UUID | None, limit: int) -> tuple[list[Silence], datetime]:
        """Newest first."""
        async with self._db.read() as connection:
            rows = await connection.fetch(_PAGE, before, state, limit)
            now: datetime = await connection.fetchval("SELECT now()")
        return [silence_of(dict(row)) for row in rows], now


def checked(silence_id: UUID, spec: SilenceSpec, by: str, now: datetime, *, starts: datetime | None = None) -> Silence:
    """The silence, which can be stored. Raises MatchersRefused or SilenceRefused. Pure."""
    try:
        matchers = tuple(map(parse_matcher, spec.matchers))
        begins = spec.starts_at or starts or now
        silence = check_silence(Silence(silence_id, matchers, begins, spec.ends_at, by, spec.comment))
    except BadMatcher as error:
        raise matchers_refused(error, "matchers") from None
    except BadSilence as error:
        raise _refused(str(error)) from None
    if silence.ends_at <= now:
        raise _refused("a silence ends in the future")
    return silence


def in_place(old: Silence, wanted: Silence, now: datetime) -> bool:
    """Whether the old one can become the wanted one, without history being rewritten. Pure."""
    if old.matchers != wanted.matchers:
        return False
    match old.state(now):
        case "active":
            return wanted.starts_at == old.starts_at
        case "pending":
            return wanted.starts_at >= now
        case "expired":
            return False


async def _made(connection: HotConnection, spec: SilenceSpec, by: str, now: datetime) -> Silence:
    silence = checked(new_id(), spec, by, now)
    silence = replace(silence, starts_at=max(silence.starts_at, now))
    if await connection.fetchval(_OPEN) >= MAX_SILENCES:
        raise TooManySilences(f"There are {MAX_SILENCES} silences that are not expired; expire some first.")
    await connection.execute(
        _ADD, silence.id, _texts(silence.matchers), silence.starts_at, silence.ends_at, by, silence.comment
    )
    await notify(connection, TOPIC)
    return silence


def _texts(matchers: Sequence[Matcher]) -> list[str]:
    return list(map(text_of, matchers))


def _refused(message: str) -> SilenceRefused:
    return SilenceRefused(
        f"{message[0].upper()}{message[1:]}.", extra={"errors": [{"path": "ends_at", "message": message}]}
    )


def _missing() -> SilenceNotFound:
    return SilenceNotFound("There is no silence with this id (any more).")
