"""Rows of usage as others write them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID, uuid4

import orjson

from app.core.db import Database

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Used:
    """One row; by default the first of an attempt that succeeded."""

    at: datetime = NOON
    cost: str | None = "1"
    outcome: str = "succeeded"
    model: str = "m"
    tenant: str = "default"
    pool: str = "p"
    type: str = "work"
    ordinal: int = 0
    kind: str = "reported"
    synthetic: bool = False
    labels: dict[str, str] | None = None
    tokens: tuple[int, int] = (100, 10)
    fence: int = 1
    task: UUID = field(default_factory=uuid4)


async def write(db: Database, rows: Sequence[Used]) -> None:
    """Add rows to `usage`."""
    async with db.hot() as connection:
        await connection.executemany(
            """INSERT INTO usage (task_id, fence, ordinal, tenant, pool, model, input_tokens, output_tokens, quantities,
              at, kind, type, outcome, synthetic, labels, cost_usd)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, '{}', $9, $10, $11, $12, $13, $14::text::jsonb, $15)""",
            [
                (r.task, r.fence, r.ordinal, r.tenant, r.pool, r.model, *r.tokens, r.at, r.kind, r.type, r.outcome,
                 r.synthetic, None if r.labels is None else orjson.dumps(r.labels).decode(),
                 None if r.cost is None else Decimal(r.cost))
                for r in rows
            ],
        )  # fmt: skip
