"""Sending what is due. Any manager may send any delivery; each try is one manager's, by a lease.

A claim moves `due_at` ahead by more than a try can take, in one short statement; the HTTP call is outside of any
transaction. A manager that dies between the receiver's answer and our row lets the lease run out: the delivery is sent
again, under the same `webhook-id`. Deliveries of a webhook are sent side by side, so their order is not promised.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter as Tally
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog
from prometheus_client import Counter, Histogram

from app.core.batch import Batcher, BatcherClosed
from app.core.clock import Clock
from app.core.db import Database
from app.core.failpoints import reach
from app.core.http import DATABASE_AWAY
from app.settings import WebhookSettings
from app.webhooks.decide import Answer, RetryPolicy, Verdict, delay_s, verdict
from app.webhooks.records import Claimed
from app.webhooks.sender import Sender
from app.webhooks.service import Webhooks

log = structlog.get_logger()

TRIES = Counter("yard_webhook_tries", "Tries to deliver, by what came of them.", ["outcome"])
SECONDS = Histogram("yard_webhook_seconds", "How long receivers took to answer.")

LEASE_MARGIN_S = 30.0
STORE_BATCH = 200

# Each webhook's first delivery stands before any second one, so that one with many due holds up nobody. What is due is
# no more than `max_pending` a webhook.
CLAIM = """
WITH due AS (
  SELECT d.id, d.due_at,
    row_number() OVER (PARTITION BY d.webhook_id ORDER BY d.due_at, d.id) + coalesce(b.busy, 0) AS place
  FROM webhook_deliveries d LEFT JOIN unnest($1::uuid[], $2::int[]) AS b (webhook_id, busy) USING (webhook_id)
  WHERE d.status = 'pending' AND d.due_at <= now()
), picked AS (
  SELECT id FROM due WHERE place <= $3 ORDER BY place, due_at LIMIT $4
), ours AS (
  SELECT id FROM webhook_deliveries
  WHERE id = ANY(ARRAY(SELECT id FROM picked)) AND status = 'pending' AND due_at <= now() FOR UPDATE SKIP LOCKED
)
UPDATE webhook_deliveries d SET tries = d.tries + 1, due_at = now() + make_interval(secs => $5)
FROM ours, webhooks w WHERE d.id = ours.id AND w.id = d.webhook_id
RETURNING d.id, d.webhook_id, d.tries, d.body, w.url, w.generation
"""

# A success counts whenever it comes, but for one sent before somebody asked to send it again (which sets `tries` to 0);
# any other answer only while its try is the newest one.
_STORE = """
UPDATE webhook_deliveries d SET
  status = v.status, answer_status = v.answer_status, answer = v.answer,
  due_at = CASE WHEN v.status = 'pending' THEN now() + make_interval(secs => v.delay_s) ELSE d.due_at END,
  delivered_at = CASE WHEN v.status = 'delivered' THEN now() ELSE d.delivered_at END
FROM unnest($1::uuid[], $2::int[], $3::text[], $4::float8[], $5::int[], $6::text[])
  AS v (id, tries, status, delay_s, answer_status, answer)
WHERE d.id = v.id AND (d.tries = v.tries AND d.status = 'pending' OR v.status = 'delivered' AND d.tries >= v.tries)
"""

_QUIET = """
SELECT NOT EXISTS (SELECT FROM webhook_deliveries WHERE webhook_id = $1 AND status = 'delivered'
                   AND delivered_at > now() - make_interval(secs => $2))
   AND EXISTS (SELECT FROM webhook_deliveries WHERE webhook_id = $1
               AND created_at <= now() - make_interval(secs => $2))
"""

_STATUS: dict[Verdict, str] = {"delivered": "delivered", "retry": "pending", "failed": "failed", "gone": "failed"}


@dataclass(frozen=True, slots=True)
class Ended:
    """A try that ended, as it is stored."""

    id: UUID
    tries: int
    status: str
    delay_s: float
    answer: Answer


class DeliveryLoop:
    """One tick claims what is due and fits, and starts it; what ends wakes the loop again (`on_free`)."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        webhooks: Webhooks,
        sender: Sender,
        settings: WebhookSettings,
        *,
        spread: Callable[[], float] = lambda: random.uniform(-1.0, 1.0),  # noqa: S311 - jitter, not a secret
    ) -> None:
        self._db, self._clock, self._webhooks, self._sender, self._settings = db, clock, webhooks, sender, settings
        self._spread = spread
        self.policy = RetryPolicy(
            settings.first_retry_s, settings.retry_factor, settings.max_retry_s, settings.max_tries
        )
        self.on_free: Callable[[], None] = lambda: None
        self.closed = False
        self._busy: Tally[UUID] = Tally()
        self._running: set[asyncio.Task[None]] = set()
        self._store: Batcher[Ended, None] = Batcher(self._write, limit=STORE_BATCH)

    async def tick(self) -> float | None:
        free = self._settings.max_in_flight - len(self._running)
        if free <= 0 or self.closed:
            return None
        for item in await self._claim(free):
            self._busy[item.webhook_id] += 1
            task = asyncio.get_running_loop().create_task(self._deliver(item), name="webhook-delivery")
            self._running.add(task)
            task.add_done_callback(self._ended)
        return None

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self.on_free()

    async def idle(self) -> None:
        """Wait until nothing that was started is under way."""
        while self._running:
            await asyncio.wait(set(self._running))

    async def close(self, grace_s: float) -> None:
        """Start nothing more; what does not end within the grace is sent again when its lease ends."""
        self.closed = True
        if self._running:
            await asyncio.wait(set(self._running), timeout=grace_s)
        for task in set(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._store.close()

    async def _claim(self, free: int) -> list[Claimed]:
        busy = +self._busy
        async with self._db.hot() as connection:
            rows = await connection.fetch(
                CLAIM,
                list(busy),
                list(busy.values()),
                self._settings.max_in_flight_per_webhook,
                free,
                self._settings.timeout_s + LEASE_MARGIN_S,
            )
        return [Claimed(*row) for row in rows]

    async def _deliver(self, item: Claimed) -> None:
        try:
            answer = await self._send(item)
            found = verdict(answer, item.tries, self.policy)
            reach("webhooks.answered")
            wait_s = delay_s(answer, item.tries, self.policy, self._clock.now(), self._spread())
            TRIES.labels(found).inc()
            await self._store.put(Ended(item.id, item.tries, _STATUS[found], wait_s, answer))
            await self._follow_up(item, found)
        except (*DATABASE_AWAY, BatcherClosed) as exc:
            log.warning("webhook_answer_not_stored", delivery_id=str(item.id), error=repr(exc))
        except Exception as exc:
            log.error("webhook_delivery_failed", delivery_id=str(item.id), exc_info=exc)
        finally:
            self._busy[item.webhook_id] -= 1
            if self._busy[item.webhook_id] <= 0:
                del self._busy[item.webhook_id]

    async def _send(self, item: Claimed) -> Answer:
        body = item.body.encode()
        headers = self._webhooks.headers(item.webhook_id, item.generation, item.id, body)
        began = self._clock.monotonic()
        answer = await self._sender.post(item.url, body, headers)
        if answer.status is not None:
            SECONDS.observe(self._clock.monotonic() - began)
        return answer

    async def _follow_up(self, item: Claimed, found: Verdict) -> None:
        """410 disables the webhook; so does a delivery that is given up when no other got through for long."""
        if found == "gone":
            await self._webhooks.disable(item.webhook_id, "gone")
        elif found == "failed":
            async with self._db.read() as connection:
                quiet = await connection.fetchval(_QUIET, item.webhook_id, self._settings.disable_after_s)
            if quiet:
                await self._webhooks.disable(item.webhook_id, "failing")

    async def _write(self, ended: Sequence[Ended]) -> list[None]:
        async with self._db.hot() as connection:
            await connection.execute(
                _STORE,
                [item.id for item in ended],
                [item.tries for item in ended],
                [item.status for item in ended],
                [item.delay_s for item in ended],
                [item.answer.status for item in ended],
                [item.answer.text for item in ended],
            )
        return [None] * len(ended)
