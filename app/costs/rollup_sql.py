"""The statements of the roll-up. An hour, and a day, is always replaced as a whole."""

from __future__ import annotations

NOT_WASTE = ("", "succeeded", "suspended")
"""Outcomes of attempts whose money was not lost. '' is of rows from before outcomes were recorded: nobody knows, and
they have no price either, so they change neither the waste nor the cost of a success."""

KEYS = "tenant, pool, type, model, synthetic, labels, outcome"
SUMS = (
    "attempts, succeeded, model_attempts, model_succeeded, input_tokens, output_tokens, cost_usd, unpriced, "
    "unpriced_tokens"
)
_ADDED = ", ".join(f"sum({name}) AS {name}" for name in SUMS.split(", "))
_OUTCOMES = ", ".join(f"'{outcome}'" for outcome in NOT_WASTE)


def _rolled(bucket: str) -> str:
    """Usage from $1 to before $2 by `bucket`, an expression of `at`.

    First by attempt, so that one which reports a model several times counts once. A row without a price that was
    priced later (a `recost` of the same attempt and model) is not unpriced any more. That is looked up row by row: an
    EXISTS would be hashed, which reads all of `usage`.
    """
    return f"""
SELECT bucket, {KEYS}, {_ADDED} FROM (
  SELECT {bucket} AS bucket, tenant, pool, type, model, synthetic, coalesce(labels, '{{}}'::jsonb)::text AS labels,
    CASE WHEN outcome IN ({_OUTCOMES}) THEN '' ELSE outcome END AS outcome,
    bool_or(ordinal = 0)::int AS attempts, bool_or(ordinal = 0 AND outcome = 'succeeded')::int AS succeeded,
    bool_or(kind = 'reported')::int AS model_attempts,
    bool_or(kind = 'reported' AND outcome = 'succeeded')::int AS model_succeeded,
    sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens, coalesce(sum(cost_usd), 0) AS cost_usd,
    count(*) FILTER (WHERE unpriced) AS unpriced,
    coalesce(sum(input_tokens + output_tokens) FILTER (WHERE unpriced), 0) AS unpriced_tokens
  FROM (
    SELECT u.*, u.cost_usd IS NULL AND (
      SELECT true FROM usage r WHERE r.task_id = u.task_id AND r.fence = u.fence AND r.model = u.model
        AND r.kind = 'recost' AND r.cost_usd IS NOT NULL LIMIT 1
    ) IS NULL AS unpriced
    FROM usage u WHERE u.at >= $1::timestamptz AND u.at < $2::timestamptz
  ) seen
  GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, task_id, fence
) attempt GROUP BY bucket, {KEYS}"""  # noqa: S608 - only constants


MEMORY = "SET LOCAL work_mem = '64MB'"
LOCK = "SELECT until, hours_from, now() AS now FROM usage_rolled WHERE id = 1 FOR UPDATE SKIP LOCKED"
SEED = "INSERT INTO usage_rolled (id, until, hours_from) VALUES (1, $1, $2) ON CONFLICT (id) DO NOTHING"
FIRST = "SELECT min(at) AS first, now() AS now FROM usage"
MOVED = "UPDATE usage_rolled SET until = $1, hours_from = $2, at = now() WHERE id = 1"

DIRTY = """
SELECT array_agg(id) AS ids, date_trunc('hour', hour, 'UTC') AS hour FROM usage_dirty
GROUP BY 2 ORDER BY 2 LIMIT $1::int
"""
CLEANED = "DELETE FROM usage_dirty WHERE id = ANY($1::uuid[])"
ADD_DIRTY = """
INSERT INTO usage_dirty (hour) SELECT DISTINCT date_trunc('hour', h, 'UTC') FROM unnest($1::timestamptz[]) h
"""

CLEAR_HOURS = "DELETE FROM usage_hours WHERE hour >= $1::timestamptz AND hour < $2::timestamptz"
FILL_HOURS = f"""
INSERT INTO usage_hours (hour, {KEYS}, {SUMS}) {_rolled("date_trunc('hour', at, 'UTC')")}
"""
CLEAR_DAYS = """
DELETE FROM usage_days WHERE day >= ($1::timestamptz AT TIME ZONE 'UTC')::date
  AND day < ($2::timestamptz AT TIME ZONE 'UTC')::date
"""
DAYS_OF_HOURS = f"""
INSERT INTO usage_days (day, {KEYS}, {SUMS})
SELECT (hour AT TIME ZONE 'UTC')::date, {KEYS}, {_ADDED} FROM usage_hours
WHERE hour >= $1::timestamptz AND hour < $2::timestamptz GROUP BY 1, {KEYS}
"""  # noqa: S608 - only constants
DAYS_OF_USAGE = f"""
INSERT INTO usage_days (day, {KEYS}, {SUMS}) {_rolled("(at AT TIME ZONE 'UTC')::date")}
"""

RECENT = """
SELECT pool, sum(cost_usd) AS cost_usd, sum(unpriced) AS unpriced FROM usage_hours
WHERE hour > now() - interval '24 hours' GROUP BY pool
"""
