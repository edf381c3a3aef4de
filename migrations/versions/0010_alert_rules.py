"""alerts: rules with those that are there by default, states of their instances, transitions, beats of loops"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_SUMMARY = "Only {{ $value | humanizePercentage }} of attempts of {{ $labels.pool }} succeed."
_DEFAULTS = {
    "high_error_rate": {
        "signal": "success_rate",
        "comparison": "<",
        "threshold": 0.9,
        "for_s": 300,
        "severity": "warning",
        "action": "scale_up",
        "annotations": {
            "summary": _SUMMARY,
            "description": "Fewer than 90 % have succeeded for five minutes. The pool's floor is raised for a while; "
            "`yard explain alert high_error_rate` says on what evidence.",
        },
    },
    "critical_error_rate": {
        "signal": "success_rate",
        "comparison": "<",
        "threshold": 0.8,
        "for_s": 180,
        "severity": "critical",
        "action": "immediate_intervention",
        "annotations": {
            "summary": _SUMMARY,
            "description": "Fewer than 80 % have succeeded for three minutes. Emergency mode is on until it expires or "
            "is lifted; `yard explain alert critical_error_rate` says on what evidence.",
        },
    },
    "high_response_time": {
        "signal": "response_time_p95",
        "comparison": ">",
        "threshold": 30,
        "for_s": 600,
        "severity": "warning",
        "action": "performance_investigation",
        "annotations": {
            "summary": "One in twenty calls of {{ $labels.pool }} takes {{ $value | humanizeDuration }} or longer.",
            "description": "The 95th percentile has been above 30 s for ten minutes. A report with the slowest "
            "attempts is linked from this alert.",
        },
    },
    "token_budget_exceeded": {
        "signal": "tokens_per_hour",
        "comparison": ">",
        "threshold": 1_000_000,
        "for_s": 60,
        "severity": "critical",
        "action": "rate_limiting",
        "annotations": {
            "summary": "{{ $labels.pool }} used {{ $value | humanize }} tokens in an hour.",
            "description": "More than a million tokens in the last hour. Its rate is limited until the limit expires.",
        },
    },
    "receiver_failing": {
        "signal": "receivers_failing",
        "comparison": ">",
        "threshold": 0,
        "severity": "critical",
        "min_events": 0,
        "annotations": {
            "summary": "The receiver {{ $labels.receiver }} gets no notifications.",
            "description": "It refused one for good, and trying again does not help. Put the receiver right; "
            "`yard explain alert receiver_failing` shows since when.",
        },
    },
    "slo_burn_fast": {
        "signal": "slo_burn_page",
        "comparison": ">=",
        "threshold": 1,
        "severity": "critical",
        "annotations": {
            "summary": "{{ $labels.slo }} burns its error budget fast.",
            "description": "In both windows of a quick burn alert errors come faster than its factor allows: "
            "{{ $value | humanize }} times as fast. At this pace the budget is gone within days.",
        },
    },
    "slo_burn_slow": {
        "signal": "slo_burn_ticket",
        "comparison": ">=",
        "threshold": 1,
        "severity": "warning",
        "annotations": {
            "summary": "{{ $labels.slo }} burns its error budget.",
            "description": "In both windows of a slow burn alert errors come faster than its factor allows: "
            "{{ $value | humanize }} times as fast. Nobody need get up for it, but the budget will not last.",
        },
    },
    "probe_failing": {
        "signal": "probe_success",
        "comparison": "<",
        "threshold": 1,
        "severity": "critical",
        "min_events": 0,
        "confidence": None,
        "annotations": {
            "summary": "The probe {{ $labels.probe }} of {{ $labels.pool }} fails.",
            "description": "A golden task, sent the way every task goes, was not answered as declared.",
        },
    },
}


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    rules = op.create_table(
        "alert_rules",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("evaluated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_alert_rules")),
    )
    op.bulk_insert(
        rules, [{"name": name, "spec": spec, "created_by": "yardmaster"} for name, spec in _DEFAULTS.items()]
    )
    op.create_table(
        "alert_states",
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("state", sa.JSON(), nullable=False),
        sa.Column("reading", sa.JSON(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "phase IN ('ok','pending','firing','recovering','resolved')", name=op.f("ck_alert_states_phase")
        ),
        sa.PrimaryKeyConstraint("rule", "fingerprint", name=op.f("pk_alert_states")),
    )
    op.create_index(
        "ix_alert_states_phase", "alert_states", ["phase"], unique=False, postgresql_where=sa.text("phase <> 'ok'")
    )
    op.create_table(
        "alert_transitions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("before", sa.Text(), nullable=False),
        sa.Column("after", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_transitions")),
    )
    op.create_index(
        "ix_alert_transitions_rule", "alert_transitions", ["rule", sa.literal_column("id DESC")], unique=False
    )
    op.create_table(
        "loop_beats",
        sa.Column("manager_id", sa.Uuid(), nullable=False),
        sa.Column("lags", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("manager_id", name=op.f("pk_loop_beats")),
        postgresql_with={"fillfactor": "50"},
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_table("loop_beats")
    op.drop_table("alert_transitions")
    op.drop_table("alert_states")
    op.drop_table("alert_rules")
