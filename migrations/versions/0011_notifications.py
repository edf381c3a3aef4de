"""alerts: receivers, silences, inhibitions, mute times; groups, what is being told, and what was"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _whom_to_tell()
    _what_holds_back()
    _what_is_told()
    _what_was_told()


def _whom_to_tell() -> None:
    op.create_table(
        "receivers",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("routed", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("matchers", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("send_resolved", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("mute_times", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("active_times", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("group_by", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("group_wait_s", sa.Double(), nullable=False),
        sa.Column("group_interval_s", sa.Double(), nullable=False),
        sa.Column("repeat_interval_s", sa.Double(), nullable=False),
        sa.Column("escalate_to", sa.Text(), nullable=True),
        sa.Column("escalate_after_s", sa.Double(), nullable=True),
        sa.Column("heartbeat_s", sa.Double(), nullable=True),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("throttled_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failed_reason", sa.Text(), server_default="", nullable=False),
        sa.Column("failed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["escalate_to"], ["receivers.name"], name=op.f("fk_receivers_escalate_to_receivers")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_receivers")),
    )


def _what_holds_back() -> None:
    op.create_table(
        "silences",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("matchers", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("comment", sa.Text(), server_default="", nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_silences")),
    )
    op.create_index("ix_silences_ends_at", "silences", ["ends_at"], unique=False)
    op.create_table(
        "inhibit_rules",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("source", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("target", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("equal", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_inhibit_rules")),
    )
    op.create_table(
        "mute_times",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("intervals", sa.JSON(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_mute_times")),
    )


def _what_is_told() -> None:
    op.create_table(
        "alert_groups",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("receiver", sa.Text(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_flush_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("flushed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("receipt", sa.Text(), server_default="", nullable=False),
        sa.Column("notice_id", sa.Uuid(), nullable=True),
        sa.Column("notice_digest", sa.Text(), server_default="", nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("tried_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("retry_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("refused_digest", sa.Text(), server_default="", nullable=False),
        sa.Column("alarmed", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("alarmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("escalated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("acked_by", sa.Text(), server_default="", nullable=False),
        sa.Column("acked_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ack_comment", sa.Text(), server_default="", nullable=False),
        sa.Column("ack_due", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("resend_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease", sa.Uuid(), nullable=True),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_notification", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(
            ["receiver"], ["receivers.name"], name=op.f("fk_alert_groups_receiver_receivers"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_alert_groups")),
    )
    op.create_index("ix_alert_groups_due_at", "alert_groups", ["due_at"], unique=False)
    op.create_index("ix_alert_groups_receiver", "alert_groups", ["receiver"], unique=False)
    op.create_table(
        "alert_group_members",
        sa.Column("receiver", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("group_key", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("alert", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["group_key"],
            ["alert_groups.key"],
            name=op.f("fk_alert_group_members_group_key_alert_groups"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("receiver", "fingerprint", name=op.f("pk_alert_group_members")),
    )
    op.create_index("ix_alert_group_members_group_key", "alert_group_members", ["group_key"], unique=False)


def _what_was_told() -> None:
    op.create_table(
        "notification_log",
        sa.Column("group_key", sa.Text(), nullable=False),
        sa.Column("receiver", sa.Text(), nullable=False),
        sa.Column("firing", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("resolved", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("group_key", "receiver", name=op.f("pk_notification_log")),
    )
    op.create_index("ix_notification_log_expires_at", "notification_log", ["expires_at"], unique=False)
    op.create_table(
        "notifications",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("group_key", sa.Text(), nullable=False),
        sa.Column("receiver", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("sent", sa.Boolean(), nullable=False),
        sa.Column("verdicts", sa.JSON(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("count", sa.Integer(), server_default="1", nullable=False),
        sa.CheckConstraint(
            "outcome IN ('delivered','retrying','throttled','permanent','held')", name=op.f("ck_notifications_outcome")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notifications")),
    )
    op.create_index(
        "ix_notifications_group_key", "notifications", ["group_key", sa.literal_column("id DESC")], unique=False
    )
    op.create_index("ix_notifications_last_at", "notifications", ["last_at"], unique=False)
    op.create_index(
        "ix_notifications_receiver", "notifications", ["receiver", sa.literal_column("id DESC")], unique=False
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_table("notifications")
    op.drop_table("notification_log")
    op.drop_table("alert_group_members")
    op.drop_table("alert_groups")
    op.drop_table("mute_times")
    op.drop_table("inhibit_rules")
    op.drop_table("silences")
    op.drop_table("receivers")
