from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, BigInteger, DateTime, Index, Integer, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base


class Event(Base):
    """One thing that happened to a task, or to a budget's account. (task_id, seq) is its place; types are listed in
    `catalog.py`.

    `tx` is the transaction that wrote it. A feed over many tasks is read in the order of `tx`, up to the oldest
    transaction that still runs: behind that nothing can appear any more. None: written before there were feeds.
    """

    __tablename__ = "events"
    # Never updated, so pages are filled. The room of what retention deletes is free again within 2 % of the table, and
    # inserts are frozen a million at a time rather than all at once.
    __table_args__ = (
        # Every transaction adds a run of equal keys: merging them costs more than all else that a claim does (measured:
        # 0.084 CPU s per 1,000 tasks instead of 0.027).
        Index("ix_events_tenant_tx", "tenant", "tx", postgresql_with={"deduplicate_items": "off"}),
        {
            "postgresql_with": {
                "autovacuum_vacuum_scale_factor": "0.02",
                "autovacuum_vacuum_insert_scale_factor": "0.0",
                "autovacuum_vacuum_insert_threshold": "1000000",
            }
        },
    )
    task_id: Mapped[UUID] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    tenant: Mapped[str] = mapped_column(Text)
    type: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    data: Mapped[dict[str, Any]] = mapped_column(JSON)
    tx: Mapped[int | None] = mapped_column(BigInteger, server_default=text("(pg_current_xact_id()::text)::bigint"))
