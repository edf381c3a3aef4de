"""Approvals are posted, and their messages are brought up to date until they show how it ended.

Level-based: a pass compares pending approvals with the notices there are, and what each notice shows with what its
approval is now. Every manager runs it; a notice is leased by its `due_at`, so one sends it at a time.

A notice stays `pending` until its message shows the end (`sent`), or sending it makes no sense any more (`failed`,
with the reason). A failed one is posted again when its pool gets another channel, or the same once more.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog

from app.alerts import queries
from app.alerts.notifiers.base import Notifier, Receipt, Undelivered
from app.alerts.question import Facts, message
from app.alerts.telemetry import NOTICES
from app.core.clock import Clock
from app.core.db import Database, HotConnection
from app.settings import SlackSettings

log = structlog.get_logger()

BATCH, AT_ONCE = 20, 4
LEASE_MARGIN_S, MAX_RETRY_S = 20.0, 60.0
REST = 20.0
"""A pass looks at every pending approval: it is followed by a rest of so many times what looking took."""

_OPEN = """
INSERT INTO approval_notices (approval_id, channel, state)
SELECT a.id, c.channel, 'pending' FROM approvals a CROSS JOIN LATERAL (SELECT coalesce(
  (SELECT s.channel FROM slack_channels s WHERE s.tenant = a.tenant AND s.pool IN (a.pool, '')
   ORDER BY s.pool = '' LIMIT 1), nullif($1, '')) AS channel) c
WHERE a.status = 'pending' AND c.channel IS NOT NULL AND NOT EXISTS (
  SELECT FROM approval_notices n WHERE n.approval_id = a.id AND (n.state <> 'failed' OR n.channel = c.channel))
ORDER BY a.id LIMIT $2 ON CONFLICT DO NOTHING
"""

_CLAIM = f"""
WITH due AS (
  SELECT n.approval_id, n.channel FROM approval_notices n JOIN approvals a ON a.id = n.approval_id
  WHERE n.state = 'pending' AND n.due_at <= now() AND n.shown <> {queries.FACE}
  ORDER BY n.due_at LIMIT $1 FOR UPDATE OF n SKIP LOCKED)
UPDATE approval_notices n SET due_at = clock_timestamp() + make_interval(secs => $2), tries = tries + 1
FROM due WHERE n.approval_id = due.approval_id AND n.channel = due.channel
RETURNING n.approval_id, n.channel, n.message_id, n.tries, n.due_at
"""  # noqa: S608 - a constant

_SHOWN = """
UPDATE approval_notices SET message_id = $4, shown = $5, state = $6, tries = 0, error = '', due_at = now()
WHERE approval_id = $1 AND channel = $2 AND due_at = $3
"""

_MISSED = """
UPDATE approval_notices SET state = $4, error = $5, due_at = now() + make_interval(secs => $6)
WHERE approval_id = $1 AND channel = $2 AND due_at = $3
"""

_GIVEN_BACK = """
UPDATE approval_notices SET tries = tries - 1, due_at = now() + make_interval(secs => $4)
WHERE approval_id = $1 AND channel = $2 AND due_at = $3
"""


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice that this manager may send until `leased_until`. `tries` counts this one, since the last that worked."""

    approval_id: UUID
    channel: str
    message_id: str | None
    tries: int
    leased_until: datetime

    @property
    def key(self) -> tuple[UUID, str, datetime]:
        """Finds the row as long as nobody else has leased it since."""
        return self.approval_id, self.channel, self.leased_until


class ApprovalNotices:
    """`tick` is one pass. The notifier is called without a transaction or a connection being held."""

    def __init__(self, db: Database, clock: Clock, notifier: Notifier, settings: SlackSettings) -> None:
        self._db, self._clock, self._notifier, self._settings = db, clock, notifier, settings
        self._lease_s = settings.timeout_s + LEASE_MARGIN_S
        self._paused_until = 0.0
        self._rng = random.Random()  # noqa: S311 - jitter, not a secret

    async def tick(self) -> float | None:
        if (pause_s := self._pause_s()) > 0:
            return min(pause_s, self._settings.interval_s)
        began = self._clock.monotonic()
        async with self._db.hot() as connection:
            await connection.execute(_OPEN, self._settings.channel, BATCH)
            notices = await self._claim(connection)
            known = await queries.facts(connection, {notice.approval_id for notice in notices}) if notices else {}
        rest_s = max(self._settings.interval_s, REST * (self._clock.monotonic() - began))
        limit = asyncio.Semaphore(AT_ONCE)
        ended = await asyncio.gather(*(self._one(one, known, limit) for one in notices), return_exceptions=True)
        for problem in filter(None, ended):  # the database's: those notices come again when their leases run out
            raise problem
        return 0.0 if len(notices) == BATCH else rest_s

    async def _claim(self, connection: HotConnection) -> list[Notice]:
        found = await connection.fetch(_CLAIM, BATCH, self._lease_s)
        return [Notice(row[0], row[1], row[2], row[3], row[4]) for row in found]

    async def _one(self, notice: Notice, known: Mapping[UUID, Facts], limit: asyncio.Semaphore) -> None:
        facts = known.get(notice.approval_id)
        if facts is None:  # deleted meanwhile, and its notices with it
            return
        async with limit:
            if (pause_s := self._pause_s()) > 0:
                await self._write(_GIVEN_BACK, *notice.key, pause_s)
            elif notice.message_id is None and not facts.pending:
                await self._write(_MISSED, *notice.key, "failed", f"{facts.status} before it was posted", 0.0)
            else:
                await self._deliver(notice, facts)

    async def _deliver(self, notice: Notice, facts: Facts) -> None:
        try:
            message_id = await self._show(notice, facts)
        except Undelivered as exc:
            await self._missed(notice, exc)
            return
        NOTICES.labels("sent" if notice.message_id is None else "updated").inc()
        state = "pending" if facts.pending else "sent"
        if not await self._write(_SHOWN, *notice.key, message_id, facts.face, state):
            log.warning("approval_notice_lease_lost", approval_id=str(notice.approval_id), channel=notice.channel)

    async def _show(self, notice: Notice, facts: Facts) -> str:
        """Post or update the message; its id. Raises Undelivered."""
        if notice.message_id is None:
            return (await self._notifier.send(notice.channel, message(facts))).message_id
        await self._notifier.update(Receipt(notice.channel, notice.message_id), message(facts))
        return notice.message_id

    async def _missed(self, notice: Notice, exc: Undelivered) -> None:
        if exc.retry_after_s is not None:
            self._paused_until = max(self._paused_until, self._clock.monotonic() + exc.retry_after_s)
        NOTICES.labels("retried" if exc.retry else "failed").inc()
        if notice.tries == 1 or not exc.retry:  # once an outage, not once a try
            log.warning(
                "approval_notice_undelivered",
                approval_id=str(notice.approval_id),
                channel=notice.channel,
                error=exc.reason,
                retry=exc.retry,
            )
        state, wait_s = ("pending", self._wait_s(notice, exc)) if exc.retry else ("failed", 0.0)
        await self._write(_MISSED, *notice.key, state, exc.reason, wait_s)

    def _wait_s(self, notice: Notice, exc: Undelivered) -> float:
        backoff_s: float = min(MAX_RETRY_S, self._settings.retry_s * 2.0 ** min(notice.tries - 1, 20))
        return max(backoff_s * self._rng.uniform(0.9, 1.1), exc.retry_after_s or 0.0)

    def _pause_s(self) -> float:
        return self._paused_until - self._clock.monotonic()

    async def _write(self, statement: str, *values: object) -> bool:
        """Whether the notice was still ours."""
        async with self._db.hot() as connection:
            done = await connection.execute(statement, *values)
        return done != "UPDATE 0"
