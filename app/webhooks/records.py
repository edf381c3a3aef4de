"""Webhooks, deliveries and the feed as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

type Position = tuple[int, UUID, int]
"""A place in a tenant's feed: (transaction, task id, event number in the task)."""

PING = "webhook.ping"
NO_TASK = UUID(int=0)


@dataclass(frozen=True, slots=True)
class WebhookRecord:
    """One webhook. `types`: prefixes of event types, none for all; `generation` is that of its secret."""

    id: UUID
    tenant: str
    url: str
    description: str
    types: list[str]
    pool: str | None
    enabled: bool
    generation: int
    cursor_tx: int
    cursor_task_id: UUID
    cursor_seq: int
    created_at: datetime

    @property
    def cursor(self) -> Position:
        """The last event that was read for it."""
        return (self.cursor_tx, self.cursor_task_id, self.cursor_seq)


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """One event on its way to one webhook. `body` is JSON text; `answer` the start of the receiver's last answer."""

    id: UUID
    webhook_id: UUID
    task_id: UUID
    seq: int
    type: str
    body: str
    status: str
    tries: int
    due_at: datetime
    answer_status: int | None
    answer: str
    created_at: datetime
    delivered_at: datetime | None


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that is ours to try, and where it goes. `tries` counts this one."""

    id: UUID
    webhook_id: UUID
    tries: int
    body: str
    url: str
    generation: int


@dataclass(frozen=True, slots=True)
class FeedEvent:
    """An event of a tenant's feed. `data` is JSON text."""

    task_id: UUID
    seq: int
    type: str
    at: datetime
    pool: str
    data: str


@dataclass(frozen=True, slots=True)
class FeedPage:
    """Events behind a position, in the feed's order. `through`: everything up to there was looked at; `more`: what
    comes after it may be read at once."""

    through: Position
    events: Sequence[FeedEvent] = field(default=())
    more: bool = False


class Feed(Protocol):
    """Reads a tenant's feed: at most `limit` events after `after` whose type starts with one of `types` (none: any)
    and whose task is in `pool` (None: any). Nothing can appear later at or before `through`."""

    async def __call__(
        self, tenant: str, after: Position, types: Sequence[str], pool: str | None, limit: int
    ) -> FeedPage: ...
