"""The statements of the ledger, and the parts that the statements of `tasks` take in. Only constants are joined.

Locks: tasks before accounts where both are waited for, and accounts in the order of their ids. What starts tasks locks
the accounts first and then passes over the tasks that others hold, so it waits for none.
"""

LOCK = """
SELECT id, "limit", spent + reserved AS committed, paced_until FROM budget_accounts WHERE id = ANY($1)
ORDER BY id FOR UPDATE
"""

OPEN = """
INSERT INTO budget_accounts (id, budget_id, key, window_start, window_end, unit, model, slice_s, "limit")
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::text[], $7::text[],
  $8::float8[], $9::numeric[]) ORDER BY 1
ON CONFLICT DO NOTHING
"""

# Of locked accounts. A slice leaves a rolling window when all of it is older than the window.
TURN = """
WITH gone AS (
  DELETE FROM budget_slices s USING budget_accounts a WHERE a.id = s.account_id AND a.id = ANY($1)
    AND s.start <= clock_timestamp() - make_interval(secs => 61 * a.slice_s) RETURNING s.account_id, s.spent
)
UPDATE budget_accounts a SET spent = a.spent - g.spent
FROM (SELECT account_id, sum(spent) AS spent FROM gone GROUP BY 1) g WHERE a.id = g.account_id
"""

PACE = """
UPDATE budget_accounts a SET paced_until = p.until FROM unnest($1::uuid[], $2::timestamptz[]) AS p(id, until)
WHERE a.id = p.id
"""

EPOCH = "(SELECT epoch FROM budget_epoch WHERE id = 1)"

NO_MODEL = ""
"""The model of a row that only says: this attempt succeeded, without using any. What its task cost came before."""

USED_COLUMNS = """task_id, fence, ordinal, tenant, pool, model, input_tokens, output_tokens, quantities, type, outcome,
    complexity, synthetic, labels, cost_usd, price_version"""


def booked(moves: str) -> str:
    """CTEs that book `moves` (account, released, charged; one row an account, the accounts locked before in order)."""
    return f"""booked AS (
  UPDATE budget_accounts a SET reserved = a.reserved - m.released, spent = a.spent + m.charged,
    touched_at = clock_timestamp()
  FROM {moves} m WHERE a.id = m.account
), sliced AS (
  INSERT INTO budget_slices AS s (account_id, start, spent)
  SELECT a.id, date_bin(make_interval(secs => a.slice_s), clock_timestamp(), 'epoch'), m.charged
  FROM {moves} m JOIN budget_accounts a ON a.id = m.account WHERE a.slice_s IS NOT NULL AND m.charged <> 0
  ON CONFLICT (account_id, start) DO UPDATE SET spent = s.spent + EXCLUDED.spent
)"""  # noqa: S608 - only constants


def charge(account: str, used: str, amount: str, counted: str) -> str:
    """What an attempt costs an account: a scalar over `used` (model, tokens, cost_usd; a condition may follow).

    Where a model has no price nobody knows what it cost: at least the estimate stays booked.
    """
    return f"""(SELECT CASE {account}.unit
      WHEN 'requests' THEN CASE WHEN {counted} THEN 1 ELSE 0 END
      WHEN 'tokens' THEN COALESCE(sum(u.input_tokens + u.output_tokens), 0)
      ELSE GREATEST(COALESCE(sum(u.cost_usd), 0), CASE WHEN bool_or(u.cost_usd IS NULL) THEN {amount} ELSE 0 END) END
    FROM {used} AND ({account}.model IS NULL OR u.model = {account}.model))"""  # noqa: S608
