"""a long history: settings of the tables that grow, recent attempts by time; agents: ejection"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_INSERTS = "autovacuum_vacuum_insert_scale_factor = 0.0, autovacuum_vacuum_insert_threshold = 1000000"
_INSERT_NAMES = "autovacuum_vacuum_insert_scale_factor, autovacuum_vacuum_insert_threshold"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("ALTER TABLE tasks SET (autovacuum_vacuum_threshold = 100000, vacuum_index_cleanup = on)")
    op.execute(f"ALTER TABLE attempts SET (autovacuum_vacuum_scale_factor = 0.02, {_INSERTS})")
    op.execute(f"ALTER TABLE events SET (autovacuum_vacuum_scale_factor = 0.02, {_INSERTS})")
    op.execute(f"ALTER TABLE usage SET ({_INSERTS})")
    # It keeps attempts from being written: about 0.1 s a million rows.
    op.create_index(
        "ix_attempts_finished_at",
        "attempts",
        ["finished_at"],
        unique=False,
        postgresql_using="brin",
        postgresql_with={"pages_per_range": "32", "autosummarize": "on"},
    )
    # Last, for from here on agents cannot even be read until the migration is committed.
    op.add_column("agents", sa.Column("ejected_until", sa.DateTime(timezone=True), nullable=True))
    op.add_column("agents", sa.Column("ejected_reason", sa.Text(), server_default="", nullable=False))


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_index("ix_attempts_finished_at", table_name="attempts", postgresql_using="brin")
    op.execute(f"ALTER TABLE usage RESET ({_INSERT_NAMES})")
    op.execute(f"ALTER TABLE events RESET (autovacuum_vacuum_scale_factor, {_INSERT_NAMES})")
    op.execute(f"ALTER TABLE attempts RESET (autovacuum_vacuum_scale_factor, {_INSERT_NAMES})")
    op.execute("ALTER TABLE tasks RESET (vacuum_index_cleanup)")
    op.execute("ALTER TABLE tasks SET (autovacuum_vacuum_threshold = 50000)")
    op.drop_column("agents", "ejected_reason")
    op.drop_column("agents", "ejected_until")
