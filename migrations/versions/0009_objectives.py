"""slo: objectives, their buckets, feedback; finished tasks by time"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "feedback",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("evaluator", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("score", sa.Numeric(), nullable=True),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("comment", sa.Text(), server_default="", nullable=False),
        sa.Column("said_by", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("source IN ('human','judge')", name=op.f("ck_feedback_source")),
        sa.CheckConstraint("score IS NULL OR (score >= 0 AND score <= 1)", name=op.f("ck_feedback_score")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feedback")),
    )
    op.create_index(
        "ix_feedback_at",
        "feedback",
        ["at"],
        unique=False,
        postgresql_using="brin",
        postgresql_with={"pages_per_range": "32", "autosummarize": "on"},
    )
    op.create_index("ix_feedback_task_id", "feedback", ["task_id"], unique=False)
    op.create_table(
        "slos",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("target", sa.Numeric(), nullable=False),
        sa.Column("window_kind", sa.Text(), nullable=False),
        sa.Column("window_s", sa.Integer(), nullable=True),
        sa.Column("zone", sa.Text(), server_default="UTC", nullable=False),
        sa.Column("tenant", sa.Text(), nullable=True),
        sa.Column("pool", sa.Text(), nullable=True),
        sa.Column("label_key", sa.Text(), nullable=True),
        sa.Column("label_value", sa.Text(), nullable=True),
        sa.Column("threshold_s", sa.Numeric(), nullable=True),
        sa.Column("queue_wait", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("evaluator", sa.Text(), nullable=True),
        sa.Column("version", sa.Text(), nullable=True),
        sa.Column("pass_score", sa.Numeric(), server_default="0.5", nullable=False),
        sa.Column("coverage_floor", sa.Numeric(), server_default="0", nullable=False),
        sa.Column("settle_after_s", sa.Integer(), server_default="0", nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("burn_rules", sa.JSON(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("kind IN ('availability','latency','accuracy')", name=op.f("ck_slos_kind")),
        sa.CheckConstraint("window_kind IN ('rolling','month','week')", name=op.f("ck_slos_window_kind")),
        sa.CheckConstraint("target > 0 AND target < 1", name=op.f("ck_slos_target")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_slos")),
        sa.UniqueConstraint("owner", "name", name=op.f("uq_slos_owner_name")),
    )
    op.create_table(
        "slo_buckets",
        sa.Column("slo_id", sa.Uuid(), nullable=False),
        sa.Column("start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("good", sa.BigInteger(), nullable=False),
        sa.Column("bad", sa.BigInteger(), nullable=False),
        sa.Column("unscored", sa.BigInteger(), nullable=False),
        sa.Column("pending", sa.BigInteger(), nullable=False),
        sa.Column("excluded", sa.BigInteger(), nullable=False),
        sa.Column("named", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["slo_id"], ["slos.id"], name=op.f("fk_slo_buckets_slo_id_slos"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("slo_id", "start", name=op.f("pk_slo_buckets")),
    )
    op.create_index(
        "ix_tasks_finished_at",
        "tasks",
        ["finished_at"],
        unique=False,
        postgresql_using="brin",
        postgresql_with={"pages_per_range": "32", "autosummarize": "on"},
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_index(
        "ix_tasks_finished_at",
        table_name="tasks",
        postgresql_using="brin",
        postgresql_with={"pages_per_range": "32", "autosummarize": "on"},
    )
    op.drop_table("slo_buckets")
    op.drop_table("slos")
    op.drop_index("ix_feedback_task_id", table_name="feedback")
    op.drop_index(
        "ix_feedback_at",
        table_name="feedback",
        postgresql_using="brin",
        postgresql_with={"pages_per_range": "32", "autosummarize": "on"},
    )
    op.drop_table("feedback")
