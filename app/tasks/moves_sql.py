"""The statements by which `queue.py` moves tasks on, with what each relies on. Only constants are put together."""

from app.costs.ledger_sql import NO_MODEL, USED_COLUMNS, booked, charge
from app.tasks.queue_sql import head_of, turn_of, turns_of

# A task that comes back keeps its turn, unless the queue's head is past it.
BACK = f"""(SELECT GREATEST(t.tag, {head_of("t", "w.turn")} + {{nth}} * w.turn)
      FROM (SELECT {turn_of("t.tenant")} AS turn) w)"""

SETTLE_FIELDS = (
    "id",
    "fence",
    "status",
    "outcome",
    "event_type",
    "event_data",
    "result",
    "error_code",
    "error_message",
    "delay_s",
    "counted",
    "rejoin",
)
SETTLE = f"""
WITH input AS (
  SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::json[], $7::json[],
    $8::text[], $9::text[], $10::float8[], $11::bool[], $12::bool[])
  AS i(id, fence, status, outcome, event_type, event_data, result, error_code, error_message, delay_s, counted, rejoin)
), held AS (
  -- Locked in key order: a rescue or a cancel of the same rows must not wait for us while we wait for it.
  SELECT t.id, t.fence, t.manager_id, t.attempt AS tried, t.pool, t.priority, t.tenant, t.tag, t.holds, t.hold_amounts
  FROM tasks t JOIN (SELECT DISTINCT id, fence FROM input) i ON i.id = t.id AND i.fence = t.fence
  WHERE t.status = 'running' ORDER BY t.id FOR UPDATE OF t
), ranked AS (
  SELECT *, row_number() OVER (PARTITION BY pool, priority, tenant ORDER BY tag, id) AS nth FROM held
), spent AS (
  SELECT * FROM unnest($13::uuid[], $14::bigint[], $15::int[], $16::text[], $17::bigint[], $18::bigint[], $19::json[],
    $20::numeric[], $21::text[])
    AS u(id, fence, ordinal, model, input_tokens, output_tokens, quantities, cost_usd, price_version)
), costs AS (
  SELECT id, fence, sum(cost_usd) AS usd FROM spent WHERE cost_usd IS NOT NULL GROUP BY 1, 2
), done AS (
  -- What its agent still works on (`rejoin`) keeps what it holds until the run is joined.
  -- A task that waits has started in time: its start deadline is done with.
  UPDATE tasks t SET status = i.status, result = i.result, error_code = i.error_code, error_message = i.error_message,
    attempt = t.attempt - CASE WHEN i.counted THEN 0 ELSE 1 END, event_seq = t.event_seq + 1, manager_id = NULL,
    rejoin = i.rejoin,
    tag = CASE WHEN i.status = 'queued' THEN {BACK.format(nth="h.nth")} ELSE t.tag END,
    start_deadline_at = CASE WHEN i.status <> 'waiting' THEN t.start_deadline_at END,
    wake_at = CASE WHEN i.status = 'queued' AND i.delay_s > 0
      THEN clock_timestamp() + make_interval(secs => i.delay_s) END,
    queued_at = CASE WHEN i.status = 'queued' THEN clock_timestamp() ELSE t.queued_at END,
    finished_at = CASE WHEN i.status NOT IN ('queued', 'waiting') THEN clock_timestamp() END,
    holds = CASE WHEN i.rejoin THEN t.holds END, hold_amounts = CASE WHEN i.rejoin THEN t.hold_amounts END,
    cost_usd = CASE WHEN c.usd IS NULL THEN t.cost_usd ELSE COALESCE(t.cost_usd, 0) + c.usd END
  -- The fence again: a stale end may stand in one batch with the current one.
  FROM input i JOIN ranked h USING (id, fence) LEFT JOIN costs c USING (id, fence)
  WHERE t.id = i.id
  RETURNING t.id, t.fence, t.tenant, t.pool, t.event_seq, t.agent_id, t.attempt_started_at, h.manager_id, h.tried,
    i.outcome, i.event_type, i.event_data, i.counted, i.error_code, i.error_message, i.rejoin, t.type, t.complexity,
    t.synthetic, t.labels,
    CASE WHEN t.finished_at IS NOT NULL THEN t.parent_id END AS parent_id,
    CASE WHEN t.status <> 'queued' OR t.wake_at IS NOT NULL THEN t.concurrency_key END AS key
), tried AS (
  INSERT INTO attempts (task_id, fence, attempt, pool, agent_id, manager_id, started_at, finished_at, outcome, counted,
    error_code, error_message)
  SELECT id, fence, tried, pool, agent_id, manager_id, attempt_started_at, clock_timestamp(), outcome, counted,
    error_code, error_message FROM done
), noted AS (
  INSERT INTO events (task_id, seq, tenant, type, data) SELECT id, event_seq, tenant, event_type, event_data FROM done
), used AS (
  INSERT INTO usage ({USED_COLUMNS})
  SELECT d.id, d.fence, u.ordinal, d.tenant, d.pool, u.model, u.input_tokens, u.output_tokens, u.quantities, d.type,
    d.outcome, d.complexity, d.synthetic, d.labels, u.cost_usd, u.price_version
  FROM spent u JOIN done d ON d.id = u.id AND d.fence = u.fence
  UNION ALL
  -- A success without usage, of a task that may have cost something before: reports count it.
  SELECT d.id, d.fence, 0, d.tenant, d.pool, '{NO_MODEL}', 0, 0, '{{}}'::json, d.type, d.outcome, d.complexity,
    d.synthetic, d.labels, 0, NULL
  FROM done d WHERE d.outcome = 'succeeded' AND d.fence > 1
    AND NOT EXISTS (SELECT FROM spent u WHERE u.id = d.id AND u.fence = d.fence)
), holding AS (
  SELECT d.id, d.fence, d.counted, x.account, x.amount
  FROM done d JOIN held h USING (id, fence) CROSS JOIN LATERAL unnest(h.holds, h.hold_amounts) AS x(account, amount)
  WHERE NOT d.rejoin
), accounts AS MATERIALIZED (
  SELECT id, unit, model FROM budget_accounts WHERE id = ANY(ARRAY(SELECT account FROM holding)) ORDER BY id FOR UPDATE
), moves AS (
  SELECT x.account, sum(x.amount) AS released,
    sum({charge("a", "spent u WHERE u.id = x.id AND u.fence = x.fence", "x.amount", "x.counted")}) AS charged
  FROM holding x JOIN accounts a ON a.id = x.account GROUP BY 1
), {booked("moves")}
SELECT id, fence, parent_id, pool, tenant, key FROM done
"""

# An attempt that was broken off ($9: its agent was told to stop) holds its estimate until this books what it cost.
SPEND = f"""
WITH task AS MATERIALIZED (
  SELECT id, type, complexity, synthetic, labels, CASE WHEN $9 AND fence = $2 AND status <> 'running' THEN holds END
    AS holds, hold_amounts FROM tasks WHERE id = $1 FOR UPDATE
), added AS (
  INSERT INTO usage ({USED_COLUMNS})
  SELECT $1, $2, ord - 1, $3, $4, u.model, u.input_tokens, u.output_tokens, u.quantities, COALESCE(t.type, ''), $10,
    COALESCE(t.complexity, 0.5), COALESCE(t.synthetic, false), t.labels, u.cost_usd, u.price_version
  FROM unnest($5::text[], $6::bigint[], $7::bigint[], $8::json[], $11::numeric[], $12::text[]) WITH ORDINALITY
    AS u(model, input_tokens, output_tokens, quantities, cost_usd, price_version, ord) LEFT JOIN task t ON true
  WHERE NOT EXISTS (SELECT FROM usage WHERE task_id = $1 AND fence = $2)
    AND ($9 OR NOT EXISTS (SELECT FROM tasks WHERE id = $1 AND fence > $2))
  ON CONFLICT DO NOTHING RETURNING model, input_tokens, output_tokens, cost_usd
), costed AS (
  UPDATE tasks t SET holds = CASE WHEN k.holds IS NULL THEN t.holds END,
    hold_amounts = CASE WHEN k.holds IS NULL THEN t.hold_amounts END,
    cost_usd = CASE WHEN c.usd IS NULL THEN t.cost_usd ELSE COALESCE(t.cost_usd, 0) + c.usd END
  FROM task k, (SELECT sum(cost_usd) AS usd FROM added) c
  WHERE t.id = k.id AND (k.holds IS NOT NULL OR c.usd IS NOT NULL)
), holding AS (
  SELECT x.account, x.amount FROM task k CROSS JOIN LATERAL unnest(k.holds, k.hold_amounts) AS x(account, amount)
), accounts AS MATERIALIZED (
  SELECT id, unit, model FROM budget_accounts
  WHERE id = ANY($13::uuid[] || ARRAY(SELECT account FROM holding)) ORDER BY id FOR UPDATE
), moves AS (
  SELECT a.id AS account, COALESCE(x.amount, 0) AS released,
    {charge("a", "added u WHERE true", "COALESCE(x.amount, 0)", "x.account IS NOT NULL")} AS charged
  FROM accounts a LEFT JOIN holding x ON x.account = a.id
), {booked("moves")}
SELECT count(*) FROM added
"""

# What broke off without a word of what it cost: a cancelled attempt whose manager is dead, a rescued task that nobody
# takes. Its estimate is given back.
ORPHANED = f"""
WITH old AS MATERIALIZED (
  SELECT id, holds, hold_amounts FROM tasks
  WHERE holds IS NOT NULL AND status <> 'running'
    AND GREATEST(queued_at, finished_at) < clock_timestamp() - make_interval(secs => $1)
  ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED
), cleared AS (
  UPDATE tasks t SET holds = NULL, hold_amounts = NULL FROM old WHERE t.id = old.id
), holding AS (
  SELECT x.account, sum(x.amount) AS amount
  FROM old CROSS JOIN LATERAL unnest(old.holds, old.hold_amounts) AS x(account, amount) GROUP BY 1
), accounts AS MATERIALIZED (
  SELECT id FROM budget_accounts WHERE id = ANY(ARRAY(SELECT account FROM holding)) ORDER BY id FOR UPDATE
), moves AS (
  SELECT x.account, x.amount AS released, 0::numeric AS charged FROM holding x JOIN accounts a ON a.id = x.account
), {booked("moves")}
SELECT count(*) FROM old
"""

RECOST = """
WITH held AS (SELECT id FROM tasks WHERE id = ANY($1) ORDER BY id FOR UPDATE)
UPDATE tasks t SET cost_usd = COALESCE(t.cost_usd, 0) + d.delta
FROM held h JOIN unnest($1::uuid[], $2::numeric[]) AS d(id, delta) USING (id) WHERE t.id = h.id
"""

RECORD = """
WITH input AS (
  SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::json[], $5::text[], $6::json[])
    WITH ORDINALITY AS i(id, fence, type, data, step, result, ord)
), held AS (
  SELECT t.id, t.fence FROM tasks t JOIN (SELECT DISTINCT id, fence FROM input) i ON i.id = t.id AND i.fence = t.fence
  WHERE t.status = 'running' ORDER BY t.id FOR UPDATE OF t
), ours AS (
  -- Notes of a stale attempt may stand in one batch with those of the current one: only the latter are numbered. A step
  -- that this attempt has stored already was written by a try whose commit was not confirmed.
  SELECT i.id, i.type, i.data, i.step, i.result, row_number() OVER (PARTITION BY i.id ORDER BY i.ord) AS nth
  FROM input i JOIN held h USING (id, fence)
  WHERE i.step IS NULL OR NOT EXISTS (
    SELECT FROM task_steps s WHERE s.task_id = i.id AND s.name = i.step AND s.fence = i.fence)
), moved AS (
  UPDATE tasks t SET event_seq = t.event_seq + n.n, stepped = t.stepped OR n.stepped
  FROM (SELECT id, count(*)::int AS n, bool_or(step IS NOT NULL) AS stepped FROM ours GROUP BY id) n
  WHERE t.id = n.id RETURNING t.id, t.fence, t.tenant, t.event_seq - n.n AS before
), noted AS (
  INSERT INTO events (task_id, seq, tenant, type, data)
  SELECT m.id, m.before + o.nth, m.tenant, o.type, o.data FROM moved m JOIN ours o USING (id)
), stored AS (
  INSERT INTO task_steps (task_id, name, ordinal, result, fence)
  SELECT m.id, o.step, m.before + o.nth, o.result, m.fence FROM moved m JOIN ours o USING (id)
  WHERE o.step IS NOT NULL ON CONFLICT (task_id, name) DO NOTHING
)
SELECT id, fence FROM held
"""

# A task and all below it, locked in key order as everywhere; ids rise, so each before those it called. One that its
# parent calls at this very moment is missed; ORPHANS finds it.
CANCEL = """
WITH RECURSIVE line AS (
  SELECT id, 0 AS level FROM tasks WHERE tenant = $1 AND id = ANY($2)
  UNION ALL
  SELECT c.id, l.level + 1 FROM line l JOIN tasks c ON c.parent_id = l.id
  WHERE c.status IN ('held', 'queued', 'running', 'waiting') AND l.level < 100
), old AS (
  SELECT t.id, t.status, t.agent_id, t.fence, t.manager_id, t.attempt FROM tasks t
  WHERE t.id IN (SELECT id FROM line) AND t.status IN ('held', 'queued', 'running', 'waiting')
  ORDER BY t.id FOR UPDATE OF t
), done AS (
  UPDATE tasks t SET status = 'cancelled', error_code = $4,
    error_message = CASE WHEN t.id = ANY($2) THEN $3 ELSE 'The task that called it was cancelled.' END, wake_at = NULL,
    manager_id = NULL, event_seq = t.event_seq + 1, finished_at = clock_timestamp()
  FROM old WHERE t.id = old.id RETURNING t.*, old.status AS was, old.manager_id AS had
), tried AS (
  INSERT INTO attempts (task_id, fence, attempt, pool, agent_id, manager_id, started_at, outcome, counted, error_code,
    error_message)
  SELECT id, fence, attempt, pool, agent_id, had, attempt_started_at, 'cancelled', true, 'cancelled', error_message
  FROM done WHERE was = 'running'
), noted AS (
  INSERT INTO events (task_id, seq, tenant, type, data)
  SELECT id, event_seq, tenant, 'task.cancelled', json_build_object('reason', error_message, 'was', was) FROM done
)
SELECT id, was, agent_id, fence, pool, tenant, parent_id, concurrency_key AS key FROM done
"""

# A statement of its own, after the tasks are locked: while CANCEL waited for a suspension, that wrote a row of `waits`
# which its snapshot does not show.
UNWAIT = "DELETE FROM waits WHERE task_id = ANY($1)"

ORPHANS = """
SELECT c.id, c.tenant FROM tasks c JOIN tasks p ON p.id = c.parent_id
WHERE c.parent_id IS NOT NULL AND c.status IN ('held', 'queued', 'running', 'waiting')
  AND p.status IN ('succeeded', 'failed', 'cancelled', 'expired') LIMIT $1
"""

# A keyed task asks for room again; from the first wait that ended badly on, all is done anew.
RETRY = f"""
WITH picked AS (
  -- A sub-task only while its caller still waits for it: else nobody would take its result.
  SELECT id FROM tasks t WHERE tenant = $1 AND id = ANY($2) AND status = 'failed' AND (parent_id IS NULL OR EXISTS (
    SELECT FROM waits w WHERE w.task_id = t.parent_id AND w.step = t.parent_step AND t.created_at >= w.since))
  ORDER BY id FOR UPDATE
), done AS (
  UPDATE tasks t SET status = 'queued', tag = {BACK.format(nth="1")}, attempt = 0, rescues = 0, replays = replays + 1,
    error_code = NULL, error_message = NULL, result = NULL, resume = NULL, over_budget = false,
    finished_at = NULL, started_at = NULL, start_deadline_at = NULL,
    wake_at = CASE WHEN t.concurrency_key IS NOT NULL THEN 'infinity'::timestamptz END, rejoin = false,
    queued_at = clock_timestamp(), event_seq = event_seq + 1
  FROM picked p WHERE t.id = p.id
  RETURNING t.id, t.tenant, t.pool, t.event_seq, t.concurrency_key AS key
), forgotten AS (
  DELETE FROM task_steps s USING done d WHERE s.task_id = d.id AND s.ordinal >= (
    SELECT min(f.ordinal) FROM task_steps f WHERE f.task_id = d.id AND f.failed)
), noted AS (
  INSERT INTO events (task_id, seq, tenant, type, data)
  SELECT id, event_seq, tenant, 'task.replayed', '{{}}'::json FROM done
)
SELECT id, pool, tenant, key FROM done
"""

# A keyed task that is due asks for room (ADMIT).
WAKE_DUE = f"""
WITH due AS (
  SELECT id, pool, priority, tenant, tag, fence > 0 OR parked_by IS NOT NULL AS tried, wake_at,
    concurrency_key AS key FROM tasks
  WHERE status = 'queued' AND wake_at <= now() ORDER BY wake_at LIMIT $1
  FOR UPDATE SKIP LOCKED
), arriving AS (
  -- One that never ran arrives now, as if it were submitted; one that is tried again, or had no money, keeps its age.
  SELECT pool, priority, tenant, count(*) FILTER (WHERE NOT tried)::int AS n FROM due WHERE key IS NULL GROUP BY 1, 2, 3
), {turns_of("arriving")}, ranked AS (
  SELECT *, row_number() OVER (PARTITION BY pool, priority, tenant, tried ORDER BY wake_at, tag, id) AS nth
  FROM due WHERE key IS NULL
), woken AS (
  UPDATE tasks t SET wake_at = NULL,
    tag = CASE WHEN r.tried THEN GREATEST(t.tag, h.head + r.nth * h.turn) ELSE u.before + r.nth * h.turn END
  FROM ranked r JOIN heads h USING (pool, priority, tenant) LEFT JOIN tags u USING (pool, priority, tenant)
  WHERE t.id = r.id RETURNING t.pool, t.tenant, r.key
), gated AS (
  UPDATE tasks t SET wake_at = 'infinity' FROM due d WHERE t.id = d.id AND d.key IS NOT NULL
  RETURNING t.pool, t.tenant, d.key
)
SELECT DISTINCT pool, CASE WHEN key IS NOT NULL THEN tenant END AS tenant, key
FROM (SELECT * FROM woken UNION ALL SELECT * FROM gated) w
"""

NEXT_WAKE = """
SELECT extract(epoch FROM wake_at - clock_timestamp())::float8 FROM tasks
WHERE status = 'queued' AND wake_at < 'infinity' ORDER BY wake_at LIMIT 1
"""

EXPIRE = """
WITH late AS (
  SELECT id FROM tasks WHERE status = 'queued' AND start_deadline_at <= now()
  ORDER BY start_deadline_at LIMIT $1 FOR UPDATE SKIP LOCKED
), done AS (
  UPDATE tasks t SET status = 'expired', error_code = 'start_deadline', wake_at = NULL,
    error_message = 'The task did not start by its deadline.', event_seq = event_seq + 1,
    finished_at = clock_timestamp()
  FROM late WHERE t.id = late.id
  RETURNING t.id, t.event_seq, t.tenant, t.parent_id, t.pool, t.concurrency_key AS key
), noted AS (
  INSERT INTO events (task_id, seq, tenant, type, data)
  SELECT id, event_seq, tenant, 'task.expired', '{"code": "start_deadline"}'::json FROM done
)
SELECT id, parent_id, pool, tenant, key FROM done
"""

RESCUE = f"""
WITH lost AS (
  SELECT t.id, t.pool, t.priority, t.tenant, t.tag FROM tasks t WHERE t.status = 'running' AND NOT EXISTS (
    SELECT FROM managers m WHERE m.id = t.manager_id AND m.heartbeat_at > now() - make_interval(secs => $1))
  LIMIT $3 FOR UPDATE OF t SKIP LOCKED
), ranked AS (
  SELECT id, row_number() OVER (PARTITION BY pool, priority, tenant ORDER BY tag, id) AS nth FROM lost
), moved AS (
  UPDATE tasks t SET
    status = CASE WHEN t.rescues >= $2 THEN 'failed' ELSE 'queued' END,
    error_code = CASE WHEN t.rescues >= $2 THEN 'rescue_limit' END,
    error_message = CASE WHEN t.rescues >= $2 THEN 'Its managers died too often while it ran.' END,
    finished_at = CASE WHEN t.rescues >= $2 THEN clock_timestamp() END,
    attempt = t.attempt - 1, rescues = t.rescues + 1, rejoin = true,
    tag = {BACK.format(nth="r.nth")}, wake_at = NULL, manager_id = NULL,
    queued_at = clock_timestamp(), event_seq = t.event_seq + 1
  FROM ranked r, tasks old WHERE t.id = r.id AND old.id = r.id
  RETURNING t.id, t.tenant, t.pool, t.status, t.fence, t.agent_id, t.attempt_started_at, t.event_seq,
    old.manager_id AS had, old.attempt AS tried, t.parent_id, t.concurrency_key AS key
), tried AS (
  INSERT INTO attempts (task_id, fence, attempt, pool, agent_id, manager_id, started_at, outcome, counted, error_code,
    error_message)
  SELECT id, fence, tried, pool, agent_id, had, attempt_started_at, 'lost', false, 'manager_lost',
    'The manager that ran this attempt stopped reporting.' FROM moved
), noted AS (
  INSERT INTO events (task_id, seq, tenant, type, data)
  SELECT id, event_seq, tenant, CASE WHEN status = 'failed' THEN 'task.failed' ELSE 'task.rescued' END,
    json_build_object('manager_id', had, 'agent_id', agent_id) FROM moved
)
SELECT id, pool, tenant, status, parent_id, key FROM moved
"""

NOT_OURS = """
SELECT h.id, h.fence, COALESCE(t.status, 'deleted') AS status
FROM unnest($1::uuid[], $2::bigint[]) AS h(id, fence) LEFT JOIN tasks t ON t.id = h.id
WHERE t.id IS NULL OR t.status <> 'running' OR t.fence <> h.fence
"""
