"""costs: prices, budgets with their accounts, roll-ups; labels of tasks"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "budget_accounts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("budget_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("window_start", sa.DateTime(timezone=True), nullable=True),
        sa.Column("window_end", sa.DateTime(timezone=True), nullable=True),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("slice_s", sa.Float(), nullable=True),
        sa.Column("limit", sa.Numeric(), nullable=False),
        sa.Column("spent", sa.Numeric(), server_default="0", nullable=False),
        sa.Column("reserved", sa.Numeric(), server_default="0", nullable=False),
        sa.Column("paced_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("opened_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("touched_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("reported", sa.ARRAY(sa.Integer()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("event_seq", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_budget_accounts")),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_index("ix_budget_accounts_budget", "budget_accounts", ["budget_id", "window_start"], unique=False)
    op.create_index(
        "ix_budget_accounts_touched_at",
        "budget_accounts",
        ["touched_at"],
        unique=False,
        postgresql_using="brin",
        postgresql_with={"pages_per_range": "32", "autosummarize": "on"},
    )
    op.create_table(
        "budget_epoch",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_budget_epoch")),
    )
    op.execute("INSERT INTO budget_epoch (id, epoch) VALUES (1, 0)")
    op.create_table(
        "budget_slices",
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("spent", sa.Numeric(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "start", name=op.f("pk_budget_slices")),
    )
    op.create_table(
        "budgets",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=True),
        sa.Column("pool", sa.Text(), nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("label_key", sa.Text(), nullable=True),
        sa.Column("label_value", sa.Text(), nullable=True),
        sa.Column("per", sa.Text(), nullable=True),
        sa.Column("window_kind", sa.Text(), nullable=False),
        sa.Column("zone", sa.Text(), server_default="UTC", nullable=False),
        sa.Column("rolling_s", sa.Float(), nullable=True),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("limit", sa.Numeric(), nullable=False),
        sa.Column("thresholds", sa.JSON(), nullable=False),
        sa.Column("on_exhausted", sa.Text(), server_default="wait", nullable=False),
        sa.Column("control", sa.Text(), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_by_tenant", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("unit IN ('usd','tokens','requests')", name=op.f("ck_budgets_unit")),
        sa.CheckConstraint(
            "window_kind IN ('hour','day','month','rolling','total')", name=op.f("ck_budgets_window_kind")
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_budgets")),
        sa.UniqueConstraint("id", name=op.f("uq_budgets_id")),
    )
    op.create_table(
        "cost_estimates",
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("band", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("usd", sa.Numeric(), nullable=False),
        sa.Column("tokens", sa.Numeric(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("pool", "type", "band", "model", name=op.f("pk_cost_estimates")),
    )
    op.create_table(
        "model_scores",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("quality", sa.Float(), nullable=True),
        sa.Column("speed", sa.Float(), nullable=True),
        sa.Column("efficiency", sa.Float(), nullable=True),
        sa.Column("good", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("bad", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("model", name=op.f("pk_model_scores")),
    )
    op.create_table(
        "prices",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("effective_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("unit_prices", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prices")),
    )
    op.create_index("ix_prices_model", "prices", ["model", "effective_from", "id"], unique=False)
    op.create_table(
        "recosts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("from_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("after_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("rows", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("delta_usd", sa.Numeric(), server_default="0", nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recosts")),
    )
    op.create_index("ix_recosts_open", "recosts", ["id"], unique=False, postgresql_where=sa.text("finished_at IS NULL"))
    op.create_table(
        "usage_days",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("synthetic", sa.Boolean(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("succeeded", sa.BigInteger(), nullable=False),
        sa.Column("model_attempts", sa.BigInteger(), nullable=False),
        sa.Column("model_succeeded", sa.BigInteger(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost_usd", sa.Numeric(), nullable=False),
        sa.Column("unpriced", sa.BigInteger(), nullable=False),
        sa.Column("unpriced_tokens", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "day",
            "tenant",
            "pool",
            "type",
            "model",
            "synthetic",
            "labels",
            "outcome",
            name=op.f("pk_usage_days"),
        ),
    )
    op.create_table(
        "usage_dirty",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_usage_dirty")),
    )
    op.create_table(
        "usage_hours",
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("synthetic", sa.Boolean(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("succeeded", sa.BigInteger(), nullable=False),
        sa.Column("model_attempts", sa.BigInteger(), nullable=False),
        sa.Column("model_succeeded", sa.BigInteger(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost_usd", sa.Numeric(), nullable=False),
        sa.Column("unpriced", sa.BigInteger(), nullable=False),
        sa.Column("unpriced_tokens", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "hour",
            "tenant",
            "pool",
            "type",
            "model",
            "synthetic",
            "labels",
            "outcome",
            name=op.f("pk_usage_hours"),
        ),
    )
    op.create_table(
        "usage_rolled",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("hours_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_usage_rolled")),
    )
    op.add_column(
        "tasks", sa.Column("labels", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True)
    )
    op.add_column("tasks", sa.Column("holds", sa.ARRAY(sa.Uuid()), nullable=True))
    op.add_column("tasks", sa.Column("hold_amounts", sa.ARRAY(sa.Numeric()), nullable=True))
    op.add_column("tasks", sa.Column("parked_by", sa.Uuid(), nullable=True))
    op.add_column("tasks", sa.Column("parked_need", sa.Numeric(), nullable=True))
    op.add_column("tasks", sa.Column("over_budget", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.create_index(
        "ix_tasks_broken_off",
        "tasks",
        ["id"],
        unique=False,
        postgresql_where=sa.text("holds IS NOT NULL AND status <> 'running'"),
    )
    op.create_index(
        "ix_tasks_parked",
        "tasks",
        ["parked_by", "parked_need"],
        unique=False,
        postgresql_where=sa.text("status = 'queued' AND parked_by IS NOT NULL"),
    )
    op.add_column("usage", sa.Column("kind", sa.Text(), server_default="reported", nullable=False))
    op.add_column("usage", sa.Column("type", sa.Text(), server_default="", nullable=False))
    op.add_column("usage", sa.Column("outcome", sa.Text(), server_default="", nullable=False))
    op.add_column("usage", sa.Column("complexity", sa.Float(), server_default="0.5", nullable=False))
    op.add_column("usage", sa.Column("synthetic", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column(
        "usage", sa.Column("labels", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True)
    )
    op.add_column("usage", sa.Column("cost_usd", sa.Numeric(), nullable=True))
    op.add_column("usage", sa.Column("price_version", sa.Text(), nullable=True))
    op.add_column("usage", sa.Column("of_ordinal", sa.SmallInteger(), nullable=True))
    op.create_index(
        "ix_usage_at",
        "usage",
        ["at"],
        unique=False,
        postgresql_using="brin",
        postgresql_with={"pages_per_range": "32", "autosummarize": "on"},
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_index(
        "ix_usage_at",
        table_name="usage",
        postgresql_using="brin",
        postgresql_with={"pages_per_range": "32", "autosummarize": "on"},
    )
    op.drop_column("usage", "of_ordinal")
    op.drop_column("usage", "price_version")
    op.drop_column("usage", "cost_usd")
    op.drop_column("usage", "labels")
    op.drop_column("usage", "synthetic")
    op.drop_column("usage", "complexity")
    op.drop_column("usage", "outcome")
    op.drop_column("usage", "type")
    op.drop_column("usage", "kind")
    op.drop_index(
        "ix_tasks_broken_off", table_name="tasks", postgresql_where=sa.text("holds IS NOT NULL AND status <> 'running'")
    )
    op.drop_index(
        "ix_tasks_parked", table_name="tasks", postgresql_where=sa.text("status = 'queued' AND parked_by IS NOT NULL")
    )
    op.drop_column("tasks", "over_budget")
    op.drop_column("tasks", "parked_need")
    op.drop_column("tasks", "parked_by")
    op.drop_column("tasks", "hold_amounts")
    op.drop_column("tasks", "holds")
    op.drop_column("tasks", "labels")
    op.drop_table("usage_rolled")
    op.drop_table("usage_hours")
    op.drop_table("usage_dirty")
    op.drop_table("usage_days")
    op.drop_index("ix_recosts_open", table_name="recosts", postgresql_where=sa.text("finished_at IS NULL"))
    op.drop_table("recosts")
    op.drop_index("ix_prices_model", table_name="prices")
    op.drop_table("prices")
    op.drop_table("model_scores")
    op.drop_table("cost_estimates")
    op.drop_table("budgets")
    op.drop_table("budget_slices")
    op.drop_table("budget_epoch")
    op.drop_index(
        "ix_budget_accounts_touched_at",
        table_name="budget_accounts",
        postgresql_using="brin",
        postgresql_with={"pages_per_range": "32", "autosummarize": "on"},
    )
    op.drop_index("ix_budget_accounts_budget", table_name="budget_accounts")
    op.drop_table("budget_accounts")
