from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, BigInteger, DateTime, SmallInteger, Text, func
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base


class Usage(Base):
    """Tokens of one model in one attempt. `quantities` keeps whatever else was reported, by name.

    Usage is money: it stays when its task is deleted for age.
    """

    __tablename__ = "usage"
    # Only inserted, never updated or deleted: vacuum has nothing to clear, and freezes a million rows at a time.
    __table_args__ = (
        {
            "postgresql_with": {
                "autovacuum_vacuum_insert_scale_factor": "0.0",
                "autovacuum_vacuum_insert_threshold": "1000000",
            }
        },
    )
    task_id: Mapped[UUID] = mapped_column(primary_key=True)
    fence: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    ordinal: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    tenant: Mapped[str] = mapped_column(Text)
    pool: Mapped[str] = mapped_column(Text)
    model: Mapped[str] = mapped_column(Text)
    input_tokens: Mapped[int] = mapped_column(BigInteger)
    output_tokens: Mapped[int] = mapped_column(BigInteger)
    quantities: Mapped[dict[str, Any]] = mapped_column(JSON)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
