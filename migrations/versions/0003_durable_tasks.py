"""durable tasks: steps, waits, sub-tasks, sent events"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_OPEN = "status IN ('held', 'queued', 'running', 'waiting')"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "signal_uses",
        sa.Column("signal_id", sa.Uuid(), nullable=False),
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("signal_id", "task_id", name=op.f("pk_signal_uses")),
    )
    op.create_index("ix_signal_uses_task_id", "signal_uses", ["task_id"], unique=False)
    op.create_table(
        "signals",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("task_id", sa.Uuid(), nullable=True),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("sent_by", sa.Text(), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signals")),
    )
    op.create_index("ix_signals_expires_at", "signals", ["expires_at"], unique=False)
    op.create_index("ix_signals_name", "signals", ["tenant", "name", "id"], unique=False)
    op.create_table(
        "task_steps",
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=False),
        sa.Column("failed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("task_id", "name", name=op.f("pk_task_steps")),
    )
    op.create_table(
        "waits",
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("event_name", sa.Text(), nullable=True),
        sa.Column("event_match", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.CheckConstraint("reason IN ('approval','call','event','timer')", name=op.f("ck_waits_reason")),
        sa.PrimaryKeyConstraint("task_id", name=op.f("pk_waits")),
    )
    op.create_index("ix_waits_calls", "waits", ["task_id"], unique=False, postgresql_where=sa.text("reason = 'call'"))
    op.create_index(
        "ix_waits_due_at", "waits", ["due_at"], unique=False, postgresql_where=sa.text("due_at IS NOT NULL")
    )
    op.create_index(
        "ix_waits_event", "waits", ["tenant", "event_name"], unique=False, postgresql_where=sa.text("reason = 'event'")
    )
    op.add_column("tasks", sa.Column("parent_id", sa.Uuid(), nullable=True))
    op.add_column("tasks", sa.Column("parent_step", sa.Text(), nullable=True))
    op.add_column("tasks", sa.Column("root_id", sa.Uuid(), nullable=True))
    op.add_column("tasks", sa.Column("depth", sa.SmallInteger(), server_default="0", nullable=False))
    op.add_column("tasks", sa.Column("lineage", sa.LargeBinary(), nullable=True))
    op.add_column("tasks", sa.Column("stepped", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("tasks", sa.Column("resume", sa.JSON(none_as_null=True), nullable=True))
    op.add_column("tasks", sa.Column("replays", sa.SmallInteger(), server_default="0", nullable=False))
    op.add_column("tasks", sa.Column("waited_s", sa.Float(), server_default="0", nullable=False))
    op.create_index(
        "ix_tasks_gated",
        "tasks",
        ["pool", "tenant", "concurrency_key", sa.literal_column("priority DESC"), "id"],
        unique=False,
        postgresql_where=sa.text("status = 'queued' AND wake_at = 'infinity'"),
    )
    op.create_index(
        "ix_tasks_keyed",
        "tasks",
        ["pool", "tenant", "concurrency_key"],
        unique=False,
        postgresql_where=sa.text("concurrency_key IS NOT NULL AND " + _OPEN),
    )
    op.create_index(
        "ix_tasks_open_children",
        "tasks",
        ["parent_id"],
        unique=False,
        postgresql_where=sa.text("parent_id IS NOT NULL AND " + _OPEN),
    )
    op.create_index(
        "ix_tasks_parent_id",
        "tasks",
        ["parent_id", "parent_step"],
        unique=False,
        postgresql_where=sa.text("parent_id IS NOT NULL"),
    )
    op.create_index(
        "ix_tasks_root_id", "tasks", ["root_id"], unique=False, postgresql_where=sa.text("root_id IS NOT NULL")
    )


# What this revision alone knows how to move would stand still for ever under an older one.
_MUST_BE_OVER = """
DO $$ BEGIN
  IF EXISTS (SELECT FROM tasks WHERE status IN ('held', 'waiting') OR (status = 'queued' AND wake_at = 'infinity')) THEN
    RAISE EXCEPTION 'tasks wait, are held or queue under a full concurrency key: let them end, or cancel them';
  END IF;
END $$
"""


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(_MUST_BE_OVER)
    op.drop_index("ix_tasks_root_id", table_name="tasks", postgresql_where=sa.text("root_id IS NOT NULL"))
    op.drop_index("ix_tasks_parent_id", table_name="tasks", postgresql_where=sa.text("parent_id IS NOT NULL"))
    op.drop_index(
        "ix_tasks_open_children", table_name="tasks", postgresql_where=sa.text("parent_id IS NOT NULL AND " + _OPEN)
    )
    op.drop_index(
        "ix_tasks_keyed", table_name="tasks", postgresql_where=sa.text("concurrency_key IS NOT NULL AND " + _OPEN)
    )
    op.drop_index(
        "ix_tasks_gated", table_name="tasks", postgresql_where=sa.text("status = 'queued' AND wake_at = 'infinity'")
    )
    op.drop_column("tasks", "replays")
    op.drop_column("tasks", "waited_s")
    op.drop_column("tasks", "resume")
    op.drop_column("tasks", "stepped")
    op.drop_column("tasks", "lineage")
    op.drop_column("tasks", "depth")
    op.drop_column("tasks", "root_id")
    op.drop_column("tasks", "parent_step")
    op.drop_column("tasks", "parent_id")
    op.drop_index("ix_waits_event", table_name="waits", postgresql_where=sa.text("reason = 'event'"))
    op.drop_index("ix_waits_due_at", table_name="waits", postgresql_where=sa.text("due_at IS NOT NULL"))
    op.drop_index("ix_waits_calls", table_name="waits", postgresql_where=sa.text("reason = 'call'"))
    op.drop_table("waits")
    op.drop_table("task_steps")
    op.drop_index("ix_signals_name", table_name="signals")
    op.drop_index("ix_signals_expires_at", table_name="signals")
    op.drop_table("signals")
    op.drop_index("ix_signal_uses_task_id", table_name="signal_uses")
    op.drop_table("signal_uses")
