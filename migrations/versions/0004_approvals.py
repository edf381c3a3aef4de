"""approvals, their policies and votes, and how people are asked"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "approvals",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("args", sa.JSON(), nullable=False),
        sa.Column("edited_args", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("payload_hash", sa.Text(), nullable=False),
        sa.Column("risk", sa.Text(), nullable=True),
        sa.Column("submitted_by", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("groups", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("quorum", sa.Integer(), server_default="1", nullable=False),
        sa.Column("self_approval", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("on_expiry", sa.Text(), server_default="expire", nullable=False),
        sa.Column("escalate_to", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("escalate_s", sa.Double(), nullable=True),
        sa.Column("escalations", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("decided_from", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint("kind IN ('action','start')", name=op.f("ck_approvals_kind")),
        sa.CheckConstraint("on_expiry IN ('expire','reject','escalate')", name=op.f("ck_approvals_on_expiry")),
        sa.CheckConstraint(
            "status IN ('pending','approved','edited','rejected','expired','superseded')",
            name=op.f("ck_approvals_status"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approvals")),
    )
    op.create_index(
        "ix_approvals_expires_at",
        "approvals",
        ["expires_at"],
        unique=False,
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_index("ix_approvals_task_id", "approvals", ["task_id"], unique=False)
    op.create_index(
        "ix_approvals_tenant_status_id", "approvals", ["tenant", "status", sa.literal_column("id DESC")], unique=False
    )
    op.create_table(
        "slack_channels",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "pool", name=op.f("pk_slack_channels")),
    )
    op.create_table(
        "approval_notices",
        sa.Column("approval_id", sa.Uuid(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=True),
        sa.Column("shown", sa.Text(), server_default="", nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint("state IN ('pending','sent','failed')", name=op.f("ck_approval_notices_state")),
        sa.ForeignKeyConstraint(
            ["approval_id"],
            ["approvals.id"],
            name=op.f("fk_approval_notices_approval_id_approvals"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("approval_id", "channel", name=op.f("pk_approval_notices")),
    )
    op.create_index(
        "ix_approval_notices_open",
        "approval_notices",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_table(
        "approval_votes",
        sa.Column("approval_id", sa.Uuid(), nullable=False),
        sa.Column("ordinal", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("payload_hash", sa.Text(), nullable=False),
        sa.Column("void", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("decision IN ('approve','reject')", name=op.f("ck_approval_votes_decision")),
        sa.ForeignKeyConstraint(
            ["approval_id"], ["approvals.id"], name=op.f("fk_approval_votes_approval_id_approvals"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("approval_id", "ordinal", name=op.f("pk_approval_votes")),
    )
    op.create_table(
        "slack_users",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["key_id"], ["api_keys.id"], name=op.f("fk_slack_users_key_id_api_keys"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant", "user_id", name=op.f("pk_slack_users")),
    )
    op.add_column("api_keys", sa.Column("groups", sa.ARRAY(sa.Text()), server_default="{}", nullable=False))
    op.add_column(
        "pools", sa.Column("approvals", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False)
    )


_MUST_BE_DECIDED = """
DO $$ BEGIN
  IF EXISTS (SELECT FROM approvals WHERE status = 'pending') THEN
    RAISE EXCEPTION 'approvals are pending: have them decided, or cancel their tasks, first';
  END IF;
END $$
"""


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(_MUST_BE_DECIDED)
    op.drop_column("pools", "approvals")
    op.drop_column("api_keys", "groups")
    op.drop_table("slack_users")
    op.drop_table("approval_votes")
    op.drop_index(
        "ix_approval_notices_open", table_name="approval_notices", postgresql_where=sa.text("state = 'pending'")
    )
    op.drop_table("approval_notices")
    op.drop_table("slack_channels")
    op.drop_index("ix_approvals_tenant_status_id", table_name="approvals")
    op.drop_index("ix_approvals_task_id", table_name="approvals")
    op.drop_index("ix_approvals_expires_at", table_name="approvals", postgresql_where=sa.text("status = 'pending'"))
    op.drop_table("approvals")
