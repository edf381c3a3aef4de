"""slo: how far minutes are counted, what an exhausted budget tightens"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("slos", sa.Column("min_events", sa.Integer(), server_default="1", nullable=False))
    op.add_column("slos", sa.Column("on_exhausted", sa.ARRAY(sa.Text()), server_default="{}", nullable=False))
    op.add_column("slos", sa.Column("counted_from", sa.DateTime(timezone=True), nullable=True))
    op.add_column("slos", sa.Column("counted_until", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_slo_buckets_pending", "slo_buckets", ["slo_id", "start"], postgresql_where=sa.text("pending > 0")
    )
    op.create_table(
        "tightened",
        sa.Column("slo_id", sa.Uuid(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("slo", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("what IN ('require_approval','freeze_rollouts')", name=op.f("ck_tightened_what")),
        sa.PrimaryKeyConstraint("slo_id", "what", name=op.f("pk_tightened")),
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_table("tightened")
    op.drop_index("ix_slo_buckets_pending", table_name="slo_buckets", postgresql_where=sa.text("pending > 0"))
    for name in ("counted_until", "counted_from", "on_exhausted", "min_events"):
        op.drop_column("slos", name)
