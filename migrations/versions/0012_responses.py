"""answers to alerts: accounts and reports, restraints (emergency mode, pauses), temporary limits, raised floors"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_NOW = sa.text("now()")


def _time(name: str, *, nullable: bool = True, default: bool = False) -> sa.Column[object]:
    server_default = _NOW if default else None
    return sa.Column(name, sa.DateTime(timezone=True), server_default=server_default, nullable=nullable)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _restraints()
    _accounts()
    op.create_table(
        "raised_floors",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("replicas", sa.Integer(), nullable=False),
        _time("created_at", nullable=False, default=True),
        _time("expires_at", nullable=False),
        _time("ended_at"),
        sa.ForeignKeyConstraint(["pool"], ["pools.name"], name=op.f("fk_raised_floors_pool_pools"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_raised_floors")),
    )
    op.create_index(
        "ix_raised_floors_standing", "raised_floors", ["pool"], postgresql_where=sa.text("ended_at IS NULL")
    )


def _restraints() -> None:
    op.create_table(
        "restraints",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("pool", sa.Text(), nullable=True),
        sa.Column("min_priority", sa.SmallInteger(), nullable=True),
        sa.Column("max_running", sa.Integer(), nullable=True),
        sa.Column("max_share", sa.Float(), nullable=True),
        sa.Column("require_approval", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        _time("started_at", nullable=False, default=True),
        _time("expires_at", nullable=False),
        _time("ended_at"),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.CheckConstraint("kind IN ('emergency','pause')", name=op.f("ck_restraints_kind")),
        sa.CheckConstraint("source IN ('alert','person')", name=op.f("ck_restraints_source")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_restraints")),
    )
    op.create_index(
        "ix_restraints_standing", "restraints", ["expires_at"], postgresql_where=sa.text("ended_at IS NULL")
    )
    op.create_table(
        "temporary_limits",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("rate_per_s", sa.Float(), nullable=False),
        sa.Column("burst", sa.Integer(), nullable=False),
        _time("created_at", nullable=False, default=True),
        _time("expires_at", nullable=False),
        _time("ended_at"),
        sa.CheckConstraint("kind IN ('tenant','key','pool')", name=op.f("ck_temporary_limits_kind")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_temporary_limits")),
    )
    op.create_index(
        "ix_temporary_limits_standing", "temporary_limits", ["expires_at"], postgresql_where=sa.text("ended_at IS NULL")
    )


def _accounts() -> None:
    op.create_table(
        "alert_actions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        _time("fired_at", nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("scope", sa.JSON(), server_default="{}", nullable=False),
        sa.Column("params", sa.JSON(), nullable=False),
        sa.Column("facts", sa.JSON(), server_default="{}", nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("until_resolved", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        _time("due_at"),
        _time("created_at", nullable=False, default=True),
        _time("started_at"),
        _time("expires_at", nullable=False),
        _time("ended_at"),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint(
            "status IN ('retrying','running','done','ended','skipped','dry_run','failed')",
            name=op.f("ck_alert_actions_status"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_actions")),
        sa.UniqueConstraint("rule", "fingerprint", "fired_at", name="uq_alert_actions_rule"),
    )
    op.create_index(
        "ix_alert_actions_open",
        "alert_actions",
        ["expires_at"],
        postgresql_where=sa.text("status IN ('retrying', 'running')"),
    )
    op.create_index("ix_alert_actions_created_at", "alert_actions", ["created_at"])
    op.create_table(
        "alert_reports",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        _time("fired_at", nullable=False),
        sa.Column("pool", sa.Text(), server_default="", nullable=False),
        sa.Column("report", sa.JSON(), nullable=False),
        _time("created_at", nullable=False, default=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_reports")),
    )
    op.create_index("ix_alert_reports_alert", "alert_reports", ["rule", "fingerprint", "fired_at"])
    op.create_index("ix_alert_reports_created_at", "alert_reports", ["created_at"])


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    # Nobody is left to end what the actions began.
    op.execute(
        "DELETE FROM budgets b USING alert_actions a WHERE b.name LIKE 'alert-%' AND b.name = 'alert-' || a.id::text"
    )
    for name in ("raised_floors", "alert_reports", "alert_actions", "temporary_limits", "restraints"):
        op.drop_table(name)
