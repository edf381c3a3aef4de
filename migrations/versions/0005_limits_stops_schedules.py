"""limits, stop switches, schedules"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "limits",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("rate_per_s", sa.Float(), nullable=True),
        sa.Column("burst", sa.Integer(), nullable=True),
        sa.Column("concurrency", sa.Integer(), nullable=True),
        sa.Column("policy", sa.Text(), server_default="queue", nullable=False),
        sa.Column("weight", sa.Float(), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("kind IN ('tenant','key','pool')", name=op.f("ck_limits_kind")),
        sa.CheckConstraint("policy IN ('queue','reject','cancel_older')", name=op.f("ck_limits_policy")),
        sa.PrimaryKeyConstraint("kind", "name", name=op.f("pk_limits")),
    )
    op.create_table(
        "schedules",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("cron", sa.Text(), nullable=True),
        sa.Column("timezone", sa.Text(), server_default="UTC", nullable=False),
        sa.Column("interval_s", sa.Float(), nullable=True),
        sa.Column("anchor_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("task", sa.JSON(), nullable=False),
        sa.Column("misfire", sa.Text(), server_default="run_once", nullable=False),
        sa.Column("misfire_grace_s", sa.Float(), server_default="60", nullable=False),
        sa.Column("max_catch_up", sa.Integer(), server_default="10", nullable=False),
        sa.Column("overlap", sa.Text(), server_default="allow", nullable=False),
        sa.Column("paused", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("backfill_from", sa.DateTime(timezone=True), nullable=True),
        sa.Column("backfill_until", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("misfire IN ('skip','run_once','run_all')", name=op.f("ck_schedules_misfire")),
        sa.CheckConstraint("overlap IN ('allow','skip','queue','cancel_previous')", name=op.f("ck_schedules_overlap")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schedules")),
    )
    op.create_index(
        "ix_schedules_next_at",
        "schedules",
        ["next_at"],
        unique=False,
        postgresql_where=sa.text("NOT paused AND next_at IS NOT NULL"),
    )
    op.create_index("uq_schedules_tenant_name", "schedules", ["tenant", "name"], unique=True)
    op.create_table(
        "stops",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=True),
        sa.Column("pool", sa.Text(), nullable=True),
        sa.Column("agent_id", sa.Uuid(), nullable=True),
        sa.Column("label_key", sa.Text(), nullable=True),
        sa.Column("label_value", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_by_tenant", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("lifted_by", sa.Text(), nullable=True),
        sa.Column("lifted_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stops")),
    )
    op.create_index(
        "ix_stops_standing", "stops", ["created_at"], unique=False, postgresql_where=sa.text("lifted_at IS NULL")
    )
    op.create_table(
        "schedule_runs",
        sa.Column("schedule_id", sa.Uuid(), nullable=False),
        sa.Column("tick_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("task_id", sa.Uuid(), nullable=True),
        sa.Column("made_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "outcome IN ('submitted','skipped','waiting','failed')", name=op.f("ck_schedule_runs_outcome")
        ),
        sa.ForeignKeyConstraint(
            ["schedule_id"], ["schedules.id"], name=op.f("fk_schedule_runs_schedule_id_schedules"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("schedule_id", "tick_at", name=op.f("pk_schedule_runs")),
    )
    op.create_index(
        "ix_schedule_runs_waiting",
        "schedule_runs",
        ["schedule_id"],
        unique=False,
        postgresql_where=sa.text("outcome = 'waiting'"),
    )
    op.create_table(
        "stopped_attempts",
        sa.Column("stop_id", sa.Uuid(), nullable=False),
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("fence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("agent_id", sa.Uuid(), nullable=True),
        sa.Column("manager_id", sa.Uuid(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state IN ('asked','stopped','no_answer')", name=op.f("ck_stopped_attempts_state")),
        sa.ForeignKeyConstraint(
            ["stop_id"], ["stops.id"], name=op.f("fk_stopped_attempts_stop_id_stops"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("stop_id", "task_id", "fence", name=op.f("pk_stopped_attempts")),
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_table("stopped_attempts")
    op.drop_index(
        "ix_schedule_runs_waiting", table_name="schedule_runs", postgresql_where=sa.text("outcome = 'waiting'")
    )
    op.drop_table("schedule_runs")
    op.drop_index("ix_stops_standing", table_name="stops", postgresql_where=sa.text("lifted_at IS NULL"))
    op.drop_table("stops")
    op.drop_index("uq_schedules_tenant_name", table_name="schedules")
    op.drop_index(
        "ix_schedules_next_at", table_name="schedules", postgresql_where=sa.text("NOT paused AND next_at IS NOT NULL")
    )
    op.drop_table("schedules")
    op.drop_table("limits")
