"""Tables of what work consumed, what it cost, and what it may cost."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Date,
    DateTime,
    Float,
    Index,
    Integer,
    Numeric,
    SmallInteger,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base

UNITS = ("usd", "tokens", "requests")
WINDOWS = ("hour", "day", "month", "rolling", "total")


class Usage(Base):
    """Tokens of one model in one attempt, and what they cost. `quantities` keeps whatever else was reported, by name.

    Rows are only added. `kind`: `reported` by the agent; a `correction` of what it reported; a `recost` of the row
    `of_ordinal` of its attempt after a price was put right: no quantities, that row's `at`, and in `cost_usd` the
    difference to what was counted so far. `cost_usd` None: nobody knows a price (`unpriced`).
    `outcome` is the attempt's. Usage is money: it stays when its task is deleted for age.
    """

    __tablename__ = "usage"
    __table_args__ = (
        # Written as it comes, so a block range spans a short time.
        Index(
            "ix_usage_at",
            "at",
            postgresql_using="brin",
            postgresql_with={"pages_per_range": "32", "autosummarize": "on"},
        ),
        # Only inserted, never updated or deleted: vacuum has nothing to clear, and freezes a million rows at a time.
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
    kind: Mapped[str] = mapped_column(Text, server_default="reported")
    type: Mapped[str] = mapped_column(Text, server_default="")
    outcome: Mapped[str] = mapped_column(Text, server_default="")
    complexity: Mapped[float] = mapped_column(Float, server_default="0.5")
    synthetic: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    labels: Mapped[dict[str, str] | None] = mapped_column(JSONB(none_as_null=True))
    cost_usd: Mapped[Decimal | None] = mapped_column(Numeric)
    price_version: Mapped[str | None] = mapped_column(Text)
    of_ordinal: Mapped[int | None] = mapped_column(SmallInteger)


class Price(Base):
    """What a model costs from a moment on, where an operator says so. `unit_prices`: USD per unit as decimal text, by
    the name of the quantity. Never changed: a newer row of the same moment replaces it (`id` is the later one)."""

    __tablename__ = "prices"
    __table_args__ = (Index("ix_prices_model", "model", "effective_from", "id"),)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(Text)
    effective_from: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    unit_prices: Mapped[dict[str, str] | None] = mapped_column(JSON(none_as_null=True))
    note: Mapped[str] = mapped_column(Text, server_default="")
    created_by: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class Recost(Base):
    """Usage to be priced again because a price was put right: of one model, from a moment on. `after` is how far."""

    __tablename__ = "recosts"
    __table_args__ = (Index("ix_recosts_open", "id", postgresql_where=text("finished_at IS NULL")),)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(Text)
    from_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    until_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    after_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    rows: Mapped[int] = mapped_column(BigInteger, server_default="0")
    delta_usd: Mapped[Decimal] = mapped_column(Numeric, server_default="0")
    created_by: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class ModelScore(Base):
    """Quality, speed (each 0..1) and efficiency of a model, as an operator set them (None: as the built-in table has
    them), and how often people were content with it."""

    __tablename__ = "model_scores"
    model: Mapped[str] = mapped_column(Text, primary_key=True)
    quality: Mapped[float | None] = mapped_column(Float)
    speed: Mapped[float | None] = mapped_column(Float)
    efficiency: Mapped[float | None] = mapped_column(Float)
    good: Mapped[int] = mapped_column(BigInteger, server_default="0")
    bad: Mapped[int] = mapped_column(BigInteger, server_default="0")
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class _Rolled:
    """What the usage of one bucket adds up to. `labels`: the tasks' labels as canonical JSON text.

    `outcome` is that of attempts which neither succeeded nor wait: what they cost is waste. All others have ''.
    `attempts` and `succeeded` count an attempt once, with its first row of usage; `model_attempts` and
    `model_succeeded` once with every model that it used. `unpriced` counts rows without a price.
    """

    tenant: Mapped[str] = mapped_column(Text, primary_key=True)
    pool: Mapped[str] = mapped_column(Text, primary_key=True)
    type: Mapped[str] = mapped_column(Text, primary_key=True)
    model: Mapped[str] = mapped_column(Text, primary_key=True)
    synthetic: Mapped[bool] = mapped_column(Boolean, primary_key=True)
    labels: Mapped[str] = mapped_column(Text, primary_key=True)
    outcome: Mapped[str] = mapped_column(Text, primary_key=True)
    attempts: Mapped[int] = mapped_column(BigInteger)
    succeeded: Mapped[int] = mapped_column(BigInteger)
    model_attempts: Mapped[int] = mapped_column(BigInteger)
    model_succeeded: Mapped[int] = mapped_column(BigInteger)
    input_tokens: Mapped[int] = mapped_column(BigInteger)
    output_tokens: Mapped[int] = mapped_column(BigInteger)
    cost_usd: Mapped[Decimal] = mapped_column(Numeric)
    unpriced: Mapped[int] = mapped_column(BigInteger)
    unpriced_tokens: Mapped[int] = mapped_column(BigInteger)


class UsageHour(_Rolled, Base):
    __tablename__ = "usage_hours"
    hour: Mapped[datetime] = mapped_column(DateTime(timezone=True), primary_key=True, sort_order=-1)


class UsageDay(_Rolled, Base):
    """Days are UTC."""

    __tablename__ = "usage_days"
    day: Mapped[date] = mapped_column(Date, primary_key=True, sort_order=-1)


class UsageDirty(Base):
    """Hours to which usage was added late: they are rolled up again. A row for each addition, so that who adds never
    waits for who rolls up."""

    __tablename__ = "usage_dirty"
    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    hour: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class UsageRolled(Base):
    """How far usage is rolled up: one row. From `hours_from` on hourly sums are there."""

    __tablename__ = "usage_rolled"
    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    until: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    hours_from: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class Estimate(Base):
    """What an attempt is expected to use, learned from a pool's own: sums over its last attempts, by model.

    `band` is the complexity: low, medium, high. `attempts` counts all attempts of the three, whatever model they used.
    """

    __tablename__ = "cost_estimates"
    pool: Mapped[str] = mapped_column(Text, primary_key=True)
    type: Mapped[str] = mapped_column(Text, primary_key=True)
    band: Mapped[str] = mapped_column(Text, primary_key=True)
    model: Mapped[str] = mapped_column(Text, primary_key=True)
    attempts: Mapped[int] = mapped_column(BigInteger)
    usd: Mapped[Decimal] = mapped_column(Numeric)
    tokens: Mapped[Decimal] = mapped_column(Numeric)
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class Budget(Base):
    """How much a scope may spend in a window. What the scope names must all fit; `per` makes an account for each
    `thread`, `root` task or `task`. `id` is new when a deleted name comes back: old reservations are of the old one."""

    __tablename__ = "budgets"
    __table_args__ = (
        CheckConstraint("unit IN ('" + "','".join(UNITS) + "')", name="unit"),
        CheckConstraint("window_kind IN ('" + "','".join(WINDOWS) + "')", name="window_kind"),
    )
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    id: Mapped[UUID] = mapped_column(unique=True)
    tenant: Mapped[str | None] = mapped_column(Text)
    pool: Mapped[str | None] = mapped_column(Text)
    model: Mapped[str | None] = mapped_column(Text)
    label_key: Mapped[str | None] = mapped_column(Text)
    label_value: Mapped[str | None] = mapped_column(Text)
    per: Mapped[str | None] = mapped_column(Text)
    window_kind: Mapped[str] = mapped_column(Text)
    zone: Mapped[str] = mapped_column(Text, server_default="UTC")
    rolling_s: Mapped[float | None] = mapped_column(Float)
    unit: Mapped[str] = mapped_column(Text)
    limit: Mapped[Decimal] = mapped_column(Numeric)
    thresholds: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    on_exhausted: Mapped[str] = mapped_column(Text, server_default="wait")
    control: Mapped[str | None] = mapped_column(Text)
    created_by: Mapped[str] = mapped_column(Text)
    created_by_tenant: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class BudgetAccount(Base):
    """One window of a budget, for one key of its `per`. Locked while somebody decides on it.

    `spent + reserved` is what is committed. `limit`, `unit` and `model` stand here too, so that one row tells all.
    `paced_until` is the theoretical arrival time of a throttled scope (GCRA). `reported`: thresholds for which an event
    was written (`thresholds.code_of`); `event_seq` numbers those events.
    """

    __tablename__ = "budget_accounts"
    __table_args__ = (
        Index("ix_budget_accounts_budget", "budget_id", "window_start"),
        # What was touched of late; from PostgreSQL 16 on such an index leaves updates in place.
        Index(
            "ix_budget_accounts_touched_at",
            "touched_at",
            postgresql_using="brin",
            postgresql_with={"pages_per_range": "32", "autosummarize": "on"},
        ),
        # Updated with every claim and settle: with room on the page that stays in place (HOT).
        {"postgresql_with": {"fillfactor": "50"}},
    )
    id: Mapped[UUID] = mapped_column(primary_key=True)
    budget_id: Mapped[UUID]
    key: Mapped[str] = mapped_column(Text)
    window_start: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    window_end: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    unit: Mapped[str] = mapped_column(Text)
    model: Mapped[str | None] = mapped_column(Text)
    slice_s: Mapped[float | None] = mapped_column(Float)
    limit: Mapped[Decimal] = mapped_column(Numeric)
    spent: Mapped[Decimal] = mapped_column(Numeric, server_default="0")
    reserved: Mapped[Decimal] = mapped_column(Numeric, server_default="0")
    paced_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    opened_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    touched_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    reported: Mapped[list[int]] = mapped_column(ARRAY(Integer), server_default=text("'{}'"))
    event_seq: Mapped[int] = mapped_column(Integer, server_default="0")


class BudgetSlice(Base):
    """What a rolling window spent in one slice of time; it leaves the window as a whole."""

    __tablename__ = "budget_slices"
    account_id: Mapped[UUID] = mapped_column(primary_key=True)
    start: Mapped[datetime] = mapped_column(DateTime(timezone=True), primary_key=True)
    spent: Mapped[Decimal] = mapped_column(Numeric)


class BudgetEpoch(Base):
    """Counts changes of budgets: one row. Nothing starts under budgets that its manager has not read yet."""

    __tablename__ = "budget_epoch"
    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    epoch: Mapped[int] = mapped_column(BigInteger)
