"""The statements that move groups of alerts. `$n` are their arguments."""

# ruff: noqa: S608 - built of constants only

from __future__ import annotations

GROUP_COLUMNS = (
    "key, receiver, labels, next_flush_at, flushed, receipt, notice_id, notice_digest, tries, tried_since, retry_at,"
    " refused_digest, alarmed, alarmed_at, escalated_at, acked_by, acked_until, ack_due, resend_at, last_notification"
)

# One look at the alerts at a time, whoever makes it: what is seen later is stored later.
LOOK_LOCK = "SELECT pg_try_advisory_xact_lock(hashtext('yardmaster-alert-groups'))"

STATES = "SELECT rule, state FROM alert_states WHERE phase IN ('firing', 'recovering', 'resolved')"
RULES = "SELECT name, spec FROM alert_rules"
MEMBERS = "SELECT receiver, group_key, rule, alert FROM alert_group_members"
OPEN_GROUPS = "SELECT key, receiver, labels, next_flush_at, flushed FROM alert_groups"

OPEN = """
INSERT INTO alert_groups (key, receiver, labels, due_at, next_flush_at)
SELECT * FROM unnest($1::text[], $2::text[], $3::json[], $4::timestamptz[], $4::timestamptz[])
ON CONFLICT (key) DO NOTHING
"""
# One that is under way is flushed once more: STORE knows by the time that differs from the one it was claimed with.
HURRY = """
UPDATE alert_groups g SET due_at = least(g.due_at, v.at),
  next_flush_at = CASE WHEN g.lease IS NULL THEN least(g.next_flush_at, v.at) ELSE v.at END
FROM unnest($1::text[], $2::timestamptz[]) AS v (key, at) WHERE g.key = v.key
"""
PUT_MEMBERS = """
INSERT INTO alert_group_members (receiver, fingerprint, group_key, rule, starts_at, ends_at, alert)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::json[])
ON CONFLICT (receiver, fingerprint) DO UPDATE SET
  starts_at = EXCLUDED.starts_at, ends_at = EXCLUDED.ends_at, alert = EXCLUDED.alert
"""

# Each receiver's first group stands before any second one, so that one that hangs, or has many due, holds up nobody.
CLAIM = f"""
WITH due AS (
  SELECT g.key, g.due_at, row_number() OVER (PARTITION BY g.receiver ORDER BY g.due_at, g.key) + coalesce(b.busy, 0)
    AS place
  FROM alert_groups g JOIN receivers r ON r.name = g.receiver AND r.enabled
  LEFT JOIN unnest($1::text[], $2::int[]) AS b (receiver, busy) ON b.receiver = g.receiver
  WHERE g.due_at <= now() AND (g.leased_until IS NULL OR g.leased_until <= now())
), picked AS (
  SELECT key FROM due WHERE place <= $3 ORDER BY place, due_at LIMIT $4
), ours AS (
  SELECT key FROM alert_groups
  WHERE key = ANY(ARRAY(SELECT key FROM picked)) AND due_at <= now() AND (leased_until IS NULL OR leased_until <= now())
  FOR UPDATE SKIP LOCKED
)
UPDATE alert_groups g SET lease = $5, leased_until = now() + make_interval(secs => $6)
FROM ours WHERE g.key = ours.key RETURNING {", ".join("g." + name for name in GROUP_COLUMNS.split(", "))}
"""
MEMBERS_OF = "SELECT receiver, group_key, rule, alert FROM alert_group_members WHERE group_key = ANY($1::text[])"
LOG_OF = """
SELECT group_key, receiver, firing, resolved, sent_at, expires_at FROM notification_log
WHERE group_key = ANY($1::text[])
"""

# The notice has its id, and people count as alarmed, before anything is sent. The lease covers the whole send, however
# long after the claim it begins.
BEGIN = """
UPDATE alert_groups SET notice_id = $3, notice_digest = $4, tries = tries + 1,
  tried_since = coalesce(tried_since, now()),
  alarmed = $5, alarmed_at = CASE WHEN $6 THEN now() ELSE alarmed_at END,
  escalated_at = CASE WHEN $6 THEN NULL ELSE escalated_at END,
  acked_by = CASE WHEN $7 THEN '' ELSE acked_by END, acked_until = CASE WHEN $7 THEN NULL ELSE acked_until END,
  ack_comment = CASE WHEN $7 THEN '' ELSE ack_comment END, ack_due = ack_due AND NOT $7, last_notification = $3,
  leased_until = now() + make_interval(secs => $8)
WHERE key = $1 AND lease = $2 AND leased_until > now() RETURNING tries
"""
BEGIN_NOTIFICATION = """
INSERT INTO notifications (id, group_key, receiver, reason, sent, verdicts, outcome, detail, tries)
VALUES ($1, $2, $3, $4, false, $5, 'retrying', 'It is being sent.', 1)
ON CONFLICT (id) DO UPDATE SET verdicts = EXCLUDED.verdicts, outcome = EXCLUDED.outcome, detail = EXCLUDED.detail,
  tries = notifications.tries + 1, last_at = now()
"""
END_NOTIFICATION = """
UPDATE notifications SET sent = $2, outcome = $3, detail = $4, last_at = now() WHERE id = $1
"""
LAST = "SELECT outcome, verdicts FROM notifications WHERE id = $1"
COUNT_UP = "UPDATE notifications SET count = count + 1, last_at = now(), verdicts = $2 WHERE id = $1"
ADD_HELD = """
INSERT INTO notifications (id, group_key, receiver, reason, sent, verdicts, outcome, detail)
VALUES ($1, $2, $3, $4, false, $5, 'held', $6)
"""

# While a notice is sent it may be acknowledged, or wanted at once: what is due is looked at here.
STORE = """
UPDATE alert_groups SET next_flush_at = CASE WHEN next_flush_at = $16 THEN $3 ELSE next_flush_at END,
  flushed = $4, receipt = $5, notice_id = $6, notice_digest = $7, tries = $8, tried_since = $9,
  retry_at = CASE WHEN next_flush_at = $16 THEN $10::timestamptz END, refused_digest = $11, resend_at = $12,
  ack_due = ack_due AND NOT $13 AND NOT $14,
  alarmed = CASE WHEN $14 THEN '{}' ELSE alarmed END, alarmed_at = CASE WHEN $14 THEN NULL ELSE alarmed_at END,
  escalated_at = CASE WHEN $14 THEN NULL ELSE escalated_at END, acked_by = CASE WHEN $14 THEN '' ELSE acked_by END,
  acked_until = CASE WHEN $14 THEN NULL ELSE acked_until END, ack_comment = CASE WHEN $14 THEN '' ELSE ack_comment END,
  due_at = CASE WHEN next_flush_at = $16
    THEN greatest(least($3, $12, CASE WHEN ack_due AND NOT $13 AND NOT $14 THEN now() END), $10) ELSE next_flush_at END,
  last_notification = coalesce($15, last_notification), lease = NULL, leased_until = NULL
WHERE key = $1 AND lease = $2 RETURNING 1
"""
STORE_LOG = """
INSERT INTO notification_log (group_key, receiver, firing, resolved, sent_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (group_key, receiver) DO UPDATE SET firing = EXCLUDED.firing, resolved = EXCLUDED.resolved,
  sent_at = EXCLUDED.sent_at, expires_at = EXCLUDED.expires_at
"""
# Not one that fired again meanwhile.
SETTLE = """
DELETE FROM alert_group_members m USING unnest($2::text[], $3::timestamptz[]) AS v (fingerprint, starts_at)
WHERE m.group_key = $1 AND m.fingerprint = v.fingerprint AND m.starts_at = v.starts_at AND m.ends_at IS NOT NULL
"""
RELEASE = """
UPDATE alert_groups SET lease = NULL, leased_until = NULL,
  due_at = greatest(least(next_flush_at, resend_at, CASE WHEN ack_due THEN now() END), retry_at)
WHERE key = $1 AND lease = $2
"""
